"""Image files to grey levels.

OpenCV decodes, colour that is really grey becomes grey, and the radiograph is set upright.
"""

from __future__ import annotations

import logging
import re
import threading
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image, Samples
from boneage.errors import Rejection, RejectionCode
from boneage.reading.headers.codestream import CodestreamHeader
from boneage.reading.headers.header import ImageHeader, patched
from boneage.reading.headers.jpeg2000 import whole_jpeg2000_codestream
from boneage.reading.rejections import damaged

logger = logging.getLogger(__name__)


COLOUR_TOLERANCE = 16 / 255
"""Largest difference between the channels of a grey pixel, relative to the full range. JPEG's chroma noise reaches it.
"""
COLOURED_SHARE = 0.001
"""Share of pixels that may differ more, as single ones do at sharp edges."""
_ROWS_AT_ONCE = 256
_RESTART_MARKER = re.compile(rb"\xff[\xd0-\xd7]")
_JPEG_END = b"\xff\xd9"
_MOST_PADDING = 4
"""Largest number of zeros at the end of a stream that may be padding."""
_TAIL = 4096
"""Bytes put in place of a missing rest."""
FEWEST_BITS = 6
"""Bits below which an image cannot have enough grey levels."""
FEWEST_LEVELS = 24
"""Grey levels below which an image is taken for a drawing or scanned text.

Of 12,611 radiographs of the RSNA challenge the poorest has 46 levels.
"""


class _Quiet:
    """Context in which OpenCV does not write about damaged files to the standard error; the rejection reports them.

    Its log level holds for all threads. The first thread that enters lowers it, and the last that leaves restores it.
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
        return cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # its module depends on the version


_quiet = _Quiet()


def decode_with_opencv(coded: bytes) -> Samples:
    """Decode a PNG, JPEG, TIFF, WebP, BMP or JPEG 2000 image as it is stored, neither rotated nor scaled.

    Returns:
        uint8 or uint16, (H, W), (H, W, 3) in the order blue, green, red, or (H, W, 4) with alpha.

    Raises:
        Rejection: ``unreadable``.
    """
    decoded = _decode_numbers(coded)
    if decoded.dtype not in (np.uint8, np.uint16):
        raise damaged("its pixels cannot be decoded")
    if decoded.ndim == 3 and decoded.shape[2] not in {3, 4}:
        raise damaged("its pixels have an unusual number of channels")
    return decoded


def _decode_numbers(coded: bytes) -> NDArray[Any]:
    """Decode like `decode_with_opencv`, but to any type that OpenCV knows."""
    with _quiet:
        try:
            decoded = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_UNCHANGED)
        except (cv2.error, MemoryError) as error:
            raise damaged("its pixels cannot be decoded") from error
    if decoded is None:
        raise damaged("its pixels cannot be decoded")
    return decoded[:, :, 0] if decoded.ndim == 3 and decoded.shape[2] == 1 else decoded


def decode_jpeg(data: bytes, header: CodestreamHeader) -> Samples:
    """Decode a JPEG stream, even without its end marker if the whole image is there.

    Returns:
        An array like that of `decode_with_opencv`; lossless colour is in the stream's order.

    Raises:
        Rejection: ``unreadable``.
    """
    if not header.ended:
        logger.warning("the JPEG data have no end marker")
    if header.process == 0xF7:
        return _decode_jpeg_ls([data] if header.ended else _with_end(data))
    if header.process == 0xC3 or header.bits > 8:
        from boneage.reading.huffman_jpeg.decode import decode_huffman_jpeg  # noqa: PLC0415  # rarely needed

        samples = decode_huffman_jpeg(data)
        return samples.astype(np.uint8) if header.bits <= 8 else samples
    return decode_with_opencv(data) if header.ended else _decode_without_end(data, header)


def _with_end(data: bytes) -> list[bytes]:
    """Return a stream with the end marker that it lacks, once for each number of its last zeros that may be padding."""
    bare = data.rstrip(b"\0")
    zeros = min(len(data) - len(bare), _MOST_PADDING)
    return [bare + kept * b"\0" + _JPEG_END for kept in range(zeros + 1)]


def _decode_jpeg_ls(candidates: list[bytes]) -> Samples:
    """Decode the first of the streams that is whole."""
    import jpeg_ls  # type: ignore[import-untyped]  # noqa: PLC0415  # ships no types; native, rarely needed

    failure: Exception | None = None
    for data in candidates:
        try:
            decoded: Samples = jpeg_ls.decode(np.frombuffer(data, np.uint8))
        except Exception as error:  # CharLS raises RuntimeError, its wrapper several others
            failure = error
        else:
            return decoded
    raise damaged("its pixels cannot be decoded") from failure


def _decode_without_end(data: bytes, header: CodestreamHeader) -> Samples:
    """Decode a JPEG that has no end marker, unless it lacks more than that.

    libjpeg paints missing parts grey. Bytes that follow a whole image cannot change it, but in one that is cut off they
    become the rest. The last tail serves an image that is cut off before a restart marker.
    """
    data = data.rstrip(b"\xff")
    if header.components == 1 and header.process in {0xC0, 0xC1}:
        from boneage.reading.huffman_jpeg.decode import decode_huffman_jpeg  # noqa: PLC0415  # rarely needed

        decode_huffman_jpeg(data)  # certain, and without libjpeg's messages on standard error
        return decode_with_opencv(data + _JPEG_END)
    restart = bytes([0xFF, 0xD0 + len(_RESTART_MARKER.findall(data, data.rindex(b"\xff\xda"))) % 8])
    tails = (bytes(_TAIL), b"\xaa" * _TAIL, restart + b"\xaa" * _TAIL)
    first, *others = (decode_with_opencv(data + tail + _JPEG_END) for tail in tails)
    if not all(np.array_equal(first, other) for other in others):
        raise damaged("the JPEG data are cut off")
    return first


def decode_jpeg_2000(data: bytes, header: CodestreamHeader) -> Samples:
    """Decode a JPEG 2000 codestream, even without its end marker if the whole image is there.

    Returns:
        An array like that of `decode_with_opencv`, right-justified in `header.bits`. Signed samples are higher by
        half of the range.

    Raises:
        Rejection: ``unreadable``.
    """
    codestream = whole_jpeg2000_codestream(data)
    if header.signed:
        # OpenCV rejects signed components. Declared unsigned they come out higher by half the range (T.800, G.1).
        flags = bytearray(codestream)
        for component in range(header.components):
            flags[42 + 3 * component] &= 0x7F
        codestream = bytes(flags)
    return decode_with_opencv(codestream)


def check_bits(bits: int) -> None:
    """Reject an image whose grey levels are stored in too few bits for a radiograph.

    Raises:
        Rejection: ``no_contrast`` or ``not_a_radiograph``.
    """
    if bits < FEWEST_BITS:
        check_levels(2**bits)


def check_levels(count: int) -> None:
    """Reject an image with too few different grey levels.

    Raises:
        Rejection: ``no_contrast`` for one level, ``not_a_radiograph`` for a few.
    """
    if count <= 1:
        raise Rejection(
            RejectionCode.NO_CONTRAST,
            "The radiograph shows one even grey. Check how it was exported.",
        )
    if count < FEWEST_LEVELS:
        raise Rejection(
            RejectionCode.NOT_A_RADIOGRAPH,
            f"The image has only {count} grey levels: it looks like a drawing or scanned text, not a radiograph."
            " Give the radiograph itself, with at least 8 bits.",
        )


def check_samples(samples: Samples) -> None:
    """Reject an image (H, W) of few grey levels like `check_levels`. Images with more levels are examined in part only.

    Raises:
        Rejection: ``no_contrast`` or ``not_a_radiograph``.
    """
    present = np.zeros(int(np.iinfo(samples.dtype).max) + 1, bool)
    count = 0
    for top in range(0, len(samples), _ROWS_AT_ONCE):
        present[samples[top : top + _ROWS_AT_ONCE]] = True
        count = int(np.count_nonzero(present))
        if count >= FEWEST_LEVELS:
            return
    check_levels(count)


def grey_samples(samples: Samples) -> Samples:
    """Return one channel of an image in colour that is really grey. Transparent parts are laid on black.

    Args:
        samples: (H, W) (returned unchanged), (H, W, 3) or (H, W, 4), blue first, over the full range of its type.

    Raises:
        Rejection: ``not_grayscale`` if more than one pixel in 1,000 has channels that differ by over 16/255.
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
        coloured += int(np.count_nonzero(spread > COLOUR_TOLERANCE * full))
        level = cv2.cvtColor(np.ascontiguousarray(rows[:, :, :3]), cv2.COLOR_BGR2GRAY)
        if channels == 4 and rows[:, :, 3].min() < full:
            level = np.rint(level * (rows[:, :, 3] / np.float32(full))).astype(samples.dtype)
        grey[top : top + _ROWS_AT_ONCE] = level
    check_coloured(coloured / (height * width))
    return grey


def check_coloured(share: float) -> None:
    """Reject an image with too many pixels in colour.

    Args:
        share: Share of the pixels in colour, 0..1.

    Raises:
        Rejection: ``not_grayscale``.
    """
    if share > COLOURED_SHARE:
        raise Rejection(
            RejectionCode.NOT_GRAYSCALE,
            f"The image is in colour ({share:.0%} of its pixels); a radiograph is grey. Give the radiograph itself,"
            " not a photograph or a coloured rendering of it.",
        )


def upright(samples: Samples, orientation: int) -> Samples:
    """Return a view of an image (H, W), rotated and mirrored by its EXIF orientation (1..8)."""
    if orientation >= 5:
        samples = samples.T
    if orientation in {2, 3, 6, 7}:
        samples = samples[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        samples = samples[::-1]
    return samples


def decode_image(header: ImageHeader) -> Image:
    """Decode the pixels of an image with a valid header.

    Returns:
        float32 (H, W), 0..1 over the full range of 8 or 16 bits, upright, bone bright, C-contiguous.

    Raises:
        Rejection: ``unreadable``, ``not_grayscale``, ``no_contrast`` or ``not_a_radiograph``.
    """
    check_bits(header.bits)
    samples = _decode_samples(header)
    if samples.shape[:2] != (header.height, header.width):
        raise damaged("its pixels do not have the size that its header names")
    samples, full = _on_full_range(header, samples)
    samples = upright(grey_samples(samples), header.orientation)
    check_samples(samples)
    # The largest array is made last, when the decoder's is gone.
    pixels: Image = np.divide(samples, np.float32(full), dtype=np.float32, order="C")
    if header.white_is_zero:
        np.subtract(np.float32(1), pixels, out=pixels)
    if header.transparent_grey is not None:
        pixels[samples == header.transparent_grey] = 0.0
    return pixels


def _decode_samples(header: ImageHeader) -> Samples:
    if header.codestream is not None:
        decode = decode_jpeg_2000 if header.format == "jpeg2000" else decode_jpeg
        return decode(header.body, header.codestream)
    if header.planes:
        planes = [decode_with_opencv(patched(header.body, plane)) for plane in header.planes]
        return np.dstack(planes)  # type: ignore[return-value]  # the dtype is that of each
    if header.sample_type == "unsigned" and header.bits <= 16:
        samples = decode_with_opencv(header.body)
        # The fourth byte of a BMP rarely means transparency, and is 0 in most files.
        return samples[:, :, :3] if header.format == "bmp" and samples.ndim == 3 else samples
    samples = _decode_numbers(header.body)
    kind = {"unsigned": "u", "signed": "i", "float": "f"}[header.sample_type]
    return _stretched(samples if header.bits > 16 else samples.view(f"{kind}{header.bits // 8}"))


def _stretched(numbers: NDArray[Any]) -> NDArray[np.uint16]:
    """Scale numbers (H, W) without a full range of their own to 16 bits: the lowest to 0, the highest to 65,535.

    Pixels that are not numbers become 0.
    """
    finite = np.isfinite(numbers)
    if not finite.any():
        raise damaged("its pixels are no numbers")
    low = float(numbers.min(where=finite, initial=np.inf)) if numbers.dtype.kind == "f" else float(numbers.min())
    high = float(numbers.max(where=finite, initial=-np.inf)) if numbers.dtype.kind == "f" else float(numbers.max())
    if not np.isfinite(high - low):
        raise damaged("its pixels are out of any range")
    out = np.zeros(numbers.shape, np.uint16)
    for top in range(0, len(numbers), _ROWS_AT_ONCE):
        rows, valid = numbers[top : top + _ROWS_AT_ONCE].astype(np.float64), finite[top : top + _ROWS_AT_ONCE]
        share = (np.where(valid, rows, low) - low) / ((high - low) or 1.0)
        out[top : top + _ROWS_AT_ONCE] = np.rint(share * 65535)
    return out


def _on_full_range(header: ImageHeader, samples: Samples) -> tuple[Samples, int]:
    """Return samples, and the level that is white.

    White is that of the type, except for JPEG and JPEG 2000 of other than 8 and 16 bits.
    """
    full = int(np.iinfo(samples.dtype).max)
    bits = header.bits if header.codestream is not None else full.bit_length()
    if samples.ndim == 3 and full >> bits:  # grey is judged by the type's range
        samples = samples << samples.dtype.type(full.bit_length() - bits)
        return samples, full >> (full.bit_length() - bits) << (full.bit_length() - bits)
    return samples, full >> (full.bit_length() - bits)
