"""Headers of WebP files (RFC 9649)."""

from __future__ import annotations

import struct

from boneage.reading.headers.exif import exif_orientation
from boneage.reading.headers.header import ImageHeader
from boneage.reading.rejections import damaged, several_frames

MOST_CHUNKS = 65_536
"""Chunks of a WebP file."""


def read_webp(data: bytes) -> ImageHeader:
    """Read the header of a WebP file.

    Raises:
        Rejection: ``unreadable`` or ``several_frames``.
    """
    chunks = _chunks(data)
    extended = chunks.get(b"VP8X")
    if b"ANIM" in chunks or b"ANMF" in chunks or (extended and extended[0] & 2):
        raise several_frames("an animated WebP")
    width, height = _size(chunks)
    if extended is not None:
        canvas = tuple(int.from_bytes(extended[at : at + 3], "little") + 1 for at in (4, 7))
        if canvas != (width, height):
            raise damaged("the WebP names two sizes")
    return ImageHeader("webp", height, width, 8, 4, data, orientation=exif_orientation(chunks.get(b"EXIF", b"")))


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the first chunk of each name, and check that the file holds all the bytes that it declares."""
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise damaged("the WebP is cut off")
    chunks: dict[bytes, bytes] = {}
    position = 12
    for _ in range(MOST_CHUNKS):
        if position + 8 > size + 8:
            return chunks
        name, length = struct.unpack_from("<4sI", data, position)
        if position + 8 + length > len(data):
            raise damaged("the WebP is cut off")
        chunks.setdefault(name, data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    raise damaged("the WebP is cut into too many pieces")


def _size(chunks: dict[bytes, bytes]) -> tuple[int, int]:
    """Return the width and height of the coded image."""
    if b"VP8L" in chunks:
        (word,) = struct.unpack_from("<I", chunks[b"VP8L"], 1)
        return (word & 0x3FFF) + 1, (word >> 14 & 0x3FFF) + 1
    if b"VP8 " in chunks:
        width, height = struct.unpack_from("<HH", chunks[b"VP8 "], 6)
        return width & 0x3FFF, height & 0x3FFF
    raise damaged("the WebP holds no picture")
