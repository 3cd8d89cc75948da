"""Headers of PNG files (ISO/IEC 15948)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from boneage.reading.headers.exif import exif_orientation
from boneage.reading.headers.header import ImageHeader
from boneage.reading.rejections import damaged, several_frames

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_CHUNKS = 65_536
"""Chunks of a PNG. The highest usual number is one chunk for each row."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((8, 8, 0, 0), (8, 8, 0, 4), (8, 4, 4, 0), (4, 4, 0, 2), (4, 2, 2, 0), (2, 2, 0, 1), (2, 1, 1, 0))
"""Passes of an interlaced PNG: distance between rows and between columns, then the first row and the first column."""
CHEAP_INFLATION = 512 * 2**20
"""Bytes that the compressed pixels may inflate to beyond the rows without being counted: a second's work."""
_STORED_BYTES = 64 * 2**20
"""Largest size of the rows, in bytes, at which they are kept in memory a second time."""
_INFLATED_AT_ONCE = 1 << 15
_MOST_INFLATION = 1032
"""Highest compression that deflate can reach."""


def read_png(data: bytes) -> ImageHeader:
    """Read the header of a PNG file.

    Raises:
        Rejection: ``unreadable`` or ``several_frames``.
    """
    chunks = _chunks(data)
    names = [name for name, _, _ in chunks]
    if (
        names[0] != b"IHDR"
        or names.count(b"IHDR") != 1
        or chunks[0][2] != len(PNG_SIGNATURE) + 25
        or b"IDAT" not in names
    ):
        raise damaged("the PNG has no proper header")
    if b"acTL" in names:
        raise several_frames("an animated PNG")
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if colour not in _CHANNELS or bits not in {1, 2, 4, 8, 16}:
        raise damaged("the PNG has an unknown kind of pixels")
    row_bytes = _row_bytes(height, width, bits * _CHANNELS[colour], interlaced=bool(interlaced))
    metadata = {name: data[start + 8 : end - 4] for name, start, end in chunks if name in {b"eXIf", b"tRNS"}}
    # Text, colour profiles and the like may be compressed bombs, and the decoder would only skip them.
    kept = [part for part in chunks if part[0] in {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}]
    grey = colour == 0
    transparent = metadata.get(b"tRNS") if grey else None
    return ImageHeader(
        "png",
        height,
        width,
        bits,
        (1 if grey else 4) * (2 if bits == 16 else 1),
        data,
        orientation=exif_orientation(metadata.get(b"eXIf", b"")),
        transparent_grey=struct.unpack(">H", transparent[:2])[0] if transparent is not None else None,
        bounded_body=lambda: _bounded_body(data, kept, row_bytes),
    )


def _chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """Return the name, start and end (of the whole chunk) of each chunk up to IEND, and verify the checksums."""
    chunks: list[tuple[bytes, int, int]] = []
    position, view = len(PNG_SIGNATURE), memoryview(data)
    while True:
        if len(chunks) == MOST_CHUNKS:
            raise damaged("the PNG is cut into too many pieces")
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise damaged("the PNG is cut off")
        if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise damaged("a checksum in the PNG is wrong")
        chunks.append((name, position, end))
        if name == b"IEND":
            return chunks
        position = end


def _row_bytes(height: int, width: int, pixel_bits: int, *, interlaced: bool) -> int:
    """Return the size of all rows in bytes, each with the byte that names its filter."""
    passes = _PASSES if interlaced else ((1, 1, 0, 0),)
    total = 0
    for down, across, top, left in passes:
        rows, columns = -(-(height - top) // down), -(-(width - left) // across)
        if rows > 0 and columns > 0:
            total += rows * (1 + -(-columns * pixel_bits // 8))
    return total


def _bounded_body(data: bytes, chunks: list[tuple[bytes, int, int]], row_bytes: int) -> bytes:
    """Return a PNG whose pixels inflate to no more than its rows.

    The decoder would inflate everything, whatever the header says. Inflating twice would cost half of the time of
    decoding. The inflated rows are therefore handed on, stored, where memory allows it.

    Args:
        data: The file.
        chunks: The chunks that the decoder is to see.
        row_bytes: Size of all rows.

    Raises:
        Rejection: ``unreadable`` if the pixels inflate to more than all rows.
    """
    coded = [(start + 8, end - 4) for name, start, end in chunks if name == b"IDAT"]
    if sum(end - start for start, end in coded) * _MOST_INFLATION > row_bytes + CHEAP_INFLATION:
        rows = list(_inflated(data, coded, row_bytes, kept=row_bytes <= _STORED_BYTES))
        if row_bytes <= _STORED_BYTES:
            content = b"IDAT" + zlib.compress(b"".join(rows), 0)
            stored = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
            head = b"".join(data[start:end] for name, start, end in chunks if name not in {b"IDAT", b"IEND"})
            return PNG_SIGNATURE + head + stored + data[chunks[-1][1] : chunks[-1][2]]
    return PNG_SIGNATURE + b"".join(data[start:end] for _, start, end in chunks)


def _inflated(data: bytes, coded: list[tuple[int, int]], row_bytes: int, *, kept: bool) -> Iterator[bytes]:
    """Inflate all rows of a PNG, and yield them piece by piece if `kept`.

    Args:
        data: The file.
        coded: Start and end of each part of the compressed stream.
        row_bytes: Size of all rows.
        kept: True to yield the pieces.
    """
    inflater, left, view = zlib.decompressobj(), row_bytes, memoryview(data)
    for start, end in coded:
        for at in range(start, end, _INFLATED_AT_ONCE):
            try:
                piece = inflater.decompress(view[at : min(end, at + _INFLATED_AT_ONCE)], left + 1)
            except zlib.error as error:
                raise damaged("the pixels of the PNG are damaged") from error
            left -= len(piece)
            if left < 0:
                raise damaged("the PNG holds more pixels than its header names")
            if kept:
                yield piece
            if inflater.eof:
                return
