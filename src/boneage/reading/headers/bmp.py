"""Headers of BMP files."""

from __future__ import annotations

import struct

from boneage.reading.headers.header import ImageHeader
from boneage.reading.rejections import damaged, unsupported

_MASKS = (0xFF0000, 0xFF00, 0xFF)


def read_bmp(data: bytes) -> ImageHeader:
    """Read the header of a BMP file.

    Raises:
        Rejection: ``unreadable`` or ``unsupported_format``.
    """
    start, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    usual = compression == 3 and bits == 32 and struct.unpack_from("<3I", data, 54) == _MASKS
    if bits not in {1, 4, 8, 24, 32} or not (compression == 0 or usual):
        raise unsupported(
            "a BMP picture of a rare kind", "Save it without compression and with 8 or 24 bits, or as PNG."
        )
    if width <= 0 or height == 0:
        raise damaged("the BMP header names no size")
    height = abs(height)  # negative: the rows are stored from the top
    if start + (width * bits + 31) // 32 * 4 * height > len(data):
        raise damaged("the BMP is cut off")
    return ImageHeader("bmp", height, width, min(bits, 8), 4, data)
