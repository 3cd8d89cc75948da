"""Bytes of a DICOM object to stored values."""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Samples
from boneage.reading.dicom.layout import Layout
from boneage.reading.dicom.pixel_data import without_boxes
from boneage.reading.dicom.run_length import expand_segment
from boneage.reading.dicom.uids import EXPLICIT_BIG, JPEG_2000, JPEG_LS, RLE
from boneage.reading.headers.codestream import CodestreamHeader
from boneage.reading.images import decode_jpeg, decode_jpeg_2000
from boneage.reading.rejections import damaged, several_frames

logger = logging.getLogger(__name__)

_PIXELS_FOR_BITS = 2_000_000
"""Pixels, at most, from which the used bits are determined."""
_FEWEST_WRAPS = 16
"""Neighbours that must differ in a bit before it can be judged."""
_PICTURE_SHARE = 0.2
"""Lowest share of neighbours, differing in a bit of the image, that lie equally far apart without this bit.

On 40 radiographs of the RSNA challenge the share is 0.45 to 0.99 for each of their four highest bits. For an overlay on
them it is 0.00.
"""


@dataclass(frozen=True)
class CodedPixels:
    """Stored samples as unsigned codes, right-justified. They are two's complement if the layout is signed.

    Attributes:
        samples: (H, W) or (H, W, 3).
        bits: Bits of a code.
        ybr: Colours are luminance and chrominance.
        bits_differ: The pixels use more bits than the header declares.
        size_differs: The pixels do not fit the header's rows and columns.
    """

    samples: Samples
    bits: int
    ybr: bool = False
    bits_differ: bool = False
    size_differs: bool = False


def decode_pixels(content: bytes, layout: Layout, codestream: CodestreamHeader | None) -> CodedPixels:
    """Decode the stored pixels.

    Args:
        content: Bytes from `boneage.reading.dicom.pixel_data.pixel_bytes`.
        layout: Layout with the size of the codestream.
        codestream: Header of the codestream, or None for native and run-length coded pixels.

    Raises:
        Rejection: ``unreadable`` or ``several_frames``.
    """
    if codestream is None:
        return _decode_run_length(content, layout) if layout.syntax == RLE else _decode_native(content, layout)
    if layout.syntax in JPEG_2000:
        coded = _decode_jpeg_2000(content, codestream, layout)
    else:
        coded = _codes(decode_jpeg(content, codestream), codestream, layout)
    if coded.samples.shape[:2] != (layout.rows, layout.columns):
        raise damaged("its pixels do not have the size that its header names")
    return coded


def _decode_native(content: bytes, layout: Layout) -> CodedPixels:
    samples = layout.samples
    if layout.photometric == "YBR_FULL_422" and len(content) < layout.rows * layout.columns * 3:
        samples = 2  # a longer content is declared subsampled, but is not
    dtype = np.dtype(f"{'>' if layout.syntax == EXPLICIT_BIG else '<'}u{layout.bits_allocated // 8}")
    count = layout.rows * layout.columns * samples
    size_differs = _check_native_length(content, count * dtype.itemsize, layout)
    stored = np.frombuffer(content, dtype, count)
    native: Samples = stored.astype(dtype.newbyteorder("="), copy=False)
    coded = _stored_bits(_shaped(native, layout, samples == 2), layout)
    return replace(coded, size_differs=size_differs)


def _check_native_length(content: bytes, size: int, layout: Layout) -> bool:
    """Check the length of native pixels.

    Returns:
        True if so much more is stored than one image of `size` bytes that the header may belong to another image.
    """
    if len(content) < size:
        raise damaged("the DICOM object has fewer pixels than its header names")
    if len(content) >= 2 * size:
        if len(content) // size * size == len(content):
            raise several_frames(f"{len(content) // size} frames' pixels")
        raise damaged("the DICOM object has far more pixels than its header names")
    excess = content[size:]
    if len(excess) <= layout.columns * layout.bytes_per_pixel:
        return False
    logger.warning("the DICOM object has %d bytes more than its pixels need: not used", len(excess))
    unit = layout.bits_allocated // 8
    return excess[:-unit] != excess[unit:]  # padding repeats one value


def _shaped(native: Samples, layout: Layout, subsampled: bool) -> Samples:
    if layout.samples == 1:
        return native.reshape(layout.rows, layout.columns)
    if subsampled:  # two luminances, then the two chrominances that they share (PS3.3, C.7.6.3.1.2)
        four = native.reshape(layout.rows, layout.columns // 2, 4)
        chroma = np.repeat(four[:, :, 2:], 2, axis=1)
        both: Samples = np.dstack([four[:, :, :2].reshape(layout.rows, -1), chroma])
        return both
    if layout.by_plane:
        planes: Samples = native.reshape(3, layout.rows, layout.columns)
        return planes.transpose(1, 2, 0).copy()
    return native.reshape(layout.rows, layout.columns, 3)


def _decode_run_length(content: bytes, layout: Layout) -> CodedPixels:
    """Decode PS3.5, annex G: a segment for each byte of each sample, the high byte first."""
    count, *offsets = struct.unpack_from("<16I", content)
    if count != layout.bytes_per_pixel or offsets[0] != 64:
        raise damaged("the run-length coded pixels have the wrong number of segments")
    ends = [*offsets[1:count], len(content)]
    size = layout.rows * layout.columns
    planes = [expand_segment(content[start:end], size) for start, end in zip(offsets, ends, strict=False)]
    stacked = np.stack(planes, axis=1)
    native: Samples = stacked.view(">u2").astype(np.uint16) if layout.bits_allocated == 16 else stacked
    samples = (
        native[:, 0].reshape(layout.rows, layout.columns)
        if layout.samples == 1
        else native.reshape(layout.rows, layout.columns, 3)
    )
    return _stored_bits(samples, layout)


def _stored_bits(samples: Samples, layout: Layout) -> CodedPixels:
    """Return samples right-justified and without the bits beyond those stored, which may be an old overlay (PS3.5,
    8.1.1).
    """
    ybr = layout.photometric.startswith("YBR")
    if layout.bits_stored == layout.bits_allocated:
        return CodedPixels(samples, layout.bits_stored, ybr)
    shift = layout.high_bit + 1 - layout.bits_stored
    codes: Samples = samples >> samples.dtype.type(shift)
    bits = _used_bits(codes, layout) if layout.samples == 1 else layout.bits_stored
    codes &= codes.dtype.type(2**bits - 1)
    return CodedPixels(codes, bits, ybr, bits_differ=bits != layout.bits_stored)


def _used_bits(codes: Samples, layout: Layout) -> int:
    """Return the number of bits of a pixel that carry the image, at least the number that the header declares.

    A bit above these belongs to the image if it continues where the bits below it wrap. Where two neighbours differ in
    it, they then lie equally far apart with it and without it, as on a clock. An overlay's bit is independent.
    """
    stored, highest = layout.bits_stored, layout.bits_allocated - (layout.high_bit + 1 - layout.bits_stored)
    if codes.max() < 2**stored:
        return stored
    rows = codes[:: 1 + codes.size // _PIXELS_FOR_BITS].astype(np.int32)
    sign = (rows >> (stored - 1)) & 1
    if layout.signed and np.array_equal(rows >> stored, sign * (2 ** (highest - stored) - 1)):
        return stored  # the sign, extended to all bits
    used = stored
    for bits in range(stored + 1, highest + 1):
        differing = ((rows[:, 1:] ^ rows[:, :-1]) >> (bits - 1) & 1).astype(bool)
        steps = np.diff(rows, axis=1)[differing]
        if len(steps) < _FEWEST_WRAPS:
            continue
        if np.mean(_on_clock(steps, bits) == _on_clock(steps, bits - 1)) <= _PICTURE_SHARE:
            break
        used = bits
    return used


def _on_clock(steps: NDArray[np.int32], bits: int) -> NDArray[np.int32]:
    """Return differences modulo 2 to the power of `bits`, the nearer way round."""
    half = 1 << (bits - 1)
    wrapped: NDArray[np.int32] = ((steps + half) & (2 * half - 1)) - half
    return wrapped


def _codes(samples: Samples, header: CodestreamHeader, layout: Layout) -> CodedPixels:
    """Return decoded samples as codes.

    Signed radiographs are coded in two's complement, which some writers extend to 16 bits.
    """
    # OpenCV converts the others to RGB.
    ybr = layout.photometric.startswith("YBR") and (layout.syntax in JPEG_LS or header.process == 0xC3)
    if not layout.signed:
        return CodedPixels(samples, max(header.bits, layout.bits_stored), ybr)
    bits = min(header.bits, layout.bits_stored)
    return CodedPixels(samples & samples.dtype.type(2**bits - 1), bits, ybr)


def _decode_jpeg_2000(content: bytes, header: CodestreamHeader, layout: Layout) -> CodedPixels:
    samples = decode_jpeg_2000(without_boxes(content), header)
    if header.signed:
        samples = samples ^ samples.dtype.type(1 << (header.bits - 1))  # now two's complement
    return _codes(samples, header, layout)
