"""Coded pictures to grey levels: OpenCV decodes, colour that is really grey becomes grey, the film is set upright."""

from __future__ import annotations

import threading
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.errors import Refusal, RefusalCode
from boneage.image_headers import PictureHeader, damaged

Samples = NDArray[np.uint8] | NDArray[np.uint16]

_COLOUR_TOLERANCE = 16 / 255
"""Largest difference between the channels of a grey pixel, of the full range: what chroma noise of JPEG leaves."""
_COLOURED_SHARE = 0.001
"""Share of pixels that may differ more, as single ones do at sharp edges."""
_ROWS_AT_ONCE = 256
FEWEST_BITS = 6
FEWEST_LEVELS = 24
"""Drawings and scanned text have fewer grey levels. Of 12,611 films of the RSNA challenge the poorest has 46."""


class _Quiet:
    """OpenCV writes about every damaged file to the standard error; the refusal says it already.

    Its log level is one for all threads: the first that enters lowers it, and the last that leaves restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._level: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._level = self._logging().getLogLevel()
                self._logging().setLogLevel(0)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._logging().setLogLevel(self._level)

    @staticmethod
    def _logging() -> Any:
        return cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # the place differs from version to version


_quiet = _Quiet()


def decode_with_opencv(coded: bytes) -> Samples:
    """Decode a PNG, JPEG, TIFF, WebP or JPEG 2000 picture as it is stored, neither turned nor scaled.

    Returns:
        uint8 or uint16, (H, W), (H, W, 3) in the order blue, green, red, or (H, W, 4) with alpha.

    Raises:
        Refusal: ``unreadable``.
    """
    with _quiet:
        try:
            decoded = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_UNCHANGED)
        except (cv2.error, MemoryError) as error:
            raise damaged("its pixels cannot be decoded") from error
    if decoded is None or decoded.dtype not in (np.uint8, np.uint16):
        raise damaged("its pixels cannot be decoded")
    if decoded.ndim == 3 and decoded.shape[2] == 1:
        decoded = decoded[:, :, 0]
    if decoded.ndim == 3 and decoded.shape[2] not in {3, 4}:
        raise damaged("its pixels have an unusual number of channels")
    return decoded  # type: ignore[return-value]  # the dtype is checked above


def check_bits(bits: int) -> None:
    """Refuse a picture whose grey levels are stored in so few bits that it is no radiograph.

    Raises:
        Refusal: ``not_a_radiograph``.
    """
    if bits < FEWEST_BITS:
        check_levels(2**bits)


def check_levels(count: int) -> None:
    """Refuse a picture of this many different grey levels.

    Raises:
        Refusal: ``no_contrast`` for one level, ``not_a_radiograph`` for a few.
    """
    if count <= 1:
        raise Refusal(RefusalCode.NO_CONTRAST, "The film shows one even grey: there is nothing to read on it.")
    if count < FEWEST_LEVELS:
        raise Refusal(
            RefusalCode.NOT_A_RADIOGRAPH,
            f"The picture has only {count} grey levels: it looks like a drawing or a scanned text, not a radiograph.",
        )


def check_samples(samples: Samples) -> None:
    """Refuse a picture (H, W) of few grey levels, as `check_levels`; of others only a few rows are looked at."""
    present = np.zeros(int(np.iinfo(samples.dtype).max) + 1, bool)
    count = 0
    for top in range(0, len(samples), _ROWS_AT_ONCE):
        present[samples[top : top + _ROWS_AT_ONCE]] = True
        count = int(np.count_nonzero(present))
        if count >= FEWEST_LEVELS:
            return
    check_levels(count)


def grey_samples(samples: Samples) -> Samples:
    """One channel from a picture in colour that is really grey; transparent parts are laid on black.

    Args:
        samples: (H, W) (returned as it is), (H, W, 3) or (H, W, 4), blue first, over the full range of its type.

    Raises:
        Refusal: ``not_grayscale`` if more than one pixel in 1,000 has channels that differ by over 16/255.
    """
    if samples.ndim == 2:
        return samples
    height, width, channels = samples.shape
    full = int(np.iinfo(samples.dtype).max)
    grey = np.empty((height, width), samples.dtype)
    coloured = 0
    for top in range(0, height, _ROWS_AT_ONCE):
        rows = samples[top : top + _ROWS_AT_ONCE]
        blue, green, red = cv2.split(rows)[:3]
        spread = cv2.subtract(cv2.max(cv2.max(blue, green), red), cv2.min(cv2.min(blue, green), red))
        coloured += int(np.count_nonzero(spread > _COLOUR_TOLERANCE * full))
        level = cv2.cvtColor(np.ascontiguousarray(rows[:, :, :3]), cv2.COLOR_BGR2GRAY)
        if channels == 4 and rows[:, :, 3].min() < full:
            level = np.rint(level * (rows[:, :, 3] / np.float32(full))).astype(samples.dtype)
        grey[top : top + _ROWS_AT_ONCE] = level
    if coloured > _COLOURED_SHARE * height * width:
        raise Refusal(
            RefusalCode.NOT_GRAYSCALE,
            f"The picture is in colour ({coloured / (height * width):.0%} of its pixels); a radiograph is grey.",
        )
    return grey


def upright(samples: Samples, orientation: int) -> Samples:
    """A view of a picture (H, W), turned as EXIF's orientation (1..8) says."""
    if orientation >= 5:
        samples = samples.T
    if orientation in {2, 3, 6, 7}:
        samples = samples[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        samples = samples[::-1]
    return samples


def decode_picture(header: PictureHeader) -> NDArray[np.float32]:
    """The pixels of a picture whose header was found good.

    Returns:
        float32 (H, W), 0..1 over the full range of 8 or 16 bits, upright, bone bright, C-contiguous.

    Raises:
        Refusal: ``unreadable``, ``not_grayscale``, ``no_contrast`` or ``not_a_radiograph``.
    """
    check_bits(header.bits)
    samples = _decode_samples(header)
    if samples.shape[:2] != (header.height, header.width):
        raise damaged("its pixels do not have the size that its header names")
    full = _full_range(header, samples)
    samples = upright(grey_samples(samples), header.orientation)
    check_samples(samples)
    # The largest array is made last, when the decoder's is gone.
    pixels: NDArray[np.float32] = np.divide(samples, np.float32(full), dtype=np.float32, order="C")
    if header.white_is_zero:
        np.subtract(np.float32(1), pixels, out=pixels)
    if header.transparent_grey is not None:
        pixels[samples == header.transparent_grey] = 0.0
    return pixels


def _decode_samples(header: PictureHeader) -> Samples:
    if header.format == "jpeg" and header.bits > 8:
        from boneage.huffman_jpeg import decode_huffman_jpeg  # noqa: PLC0415  # rare: kept off the start-up path

        return decode_huffman_jpeg(header.body)
    return decode_with_opencv(header.body)


def _full_range(header: PictureHeader, samples: Samples) -> int:
    """The level that is white: of the type, but for JPEG files of 9 to 15 bits."""
    if header.format == "jpeg" and header.bits > 8:
        return int(2**header.bits - 1)
    return int(np.iinfo(samples.dtype).max)
