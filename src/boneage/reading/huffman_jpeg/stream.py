"""Marker segments of a JPEG stream: frame, tables and scans (ITU-T T.81, annexes B and C)."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from boneage.reading.headers.jpeg import jpeg_segments
from boneage.reading.rejections import damaged

_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Marker after a scan.

This pattern and `_RESTART` match the last of several FF only, and begin with a fixed byte. A search then takes little
and linear time; the fill bytes before the marker are cut off afterwards.
"""
_FILL = b"\xff"
MOST_TABLES = 64
MOST_INTERVALS = 1 << 14
"""Parts between restart markers: more than the largest radiograph has rows."""


@dataclass(frozen=True)
class HuffmanTable:
    """Huffman table, indexed by the next 16 bits.

    Attributes:
        code_bits: Bits of the code, uint8 (65536,); 0 if there is no such code.
        symbols: Symbol of the code, uint8 (65536,).
    """

    code_bits: NDArray[np.uint8]
    symbols: NDArray[np.uint8]


@dataclass(frozen=True)
class Scan:
    """Header of a scan, and its entropy-coded data, divided at the restart markers.

    Attributes:
        components: Positions of its components in the frame.
        dc: DC Huffman table of each component.
        ac: AC Huffman table of each component, or None if there is none.
        parameters: Start and end of the spectral selection, and the successive approximation.
        intervals: The data.
    """

    components: tuple[int, ...]
    dc: tuple[HuffmanTable, ...]
    ac: tuple[HuffmanTable | None, ...]
    parameters: tuple[int, int, int]
    intervals: list[bytes] = field(repr=False)


@dataclass
class Stream:
    """Content of the marker segments of a stream.

    Attributes:
        process: Second byte of the start-of-frame marker.
        bits: Bits of a sample.
        height: Pixels.
        width: Pixels.
        quantization_table: Number of the quantization table.
        quantization: Quantization tables by number, float32 (64,).
        huffman: Huffman tables by class and number.
        tables: Number of tables read so far.
        restart_interval: Minimum coded units between restart markers, or 0.
        components: Identifiers of the components.
        scans: The scans.
    """

    process: int = 0
    bits: int = 0
    height: int = 0
    width: int = 0
    quantization_table: int = 0
    quantization: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    huffman: dict[int, HuffmanTable] = field(default_factory=dict)
    tables: int = 0
    restart_interval: int = 0
    components: list[int] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)


def parse_stream(data: bytes) -> Stream:
    """Read the marker segments of a stream.

    Raises:
        Rejection: ``unreadable``.
        struct.error, IndexError, KeyError, ValueError: A segment is damaged.
    """
    stream = Stream()
    for segment in jpeg_segments(data):
        content = data[segment.start : segment.end]
        if segment.marker in {0xC0, 0xC1, 0xC3}:
            _parse_frame(stream, segment.marker, content)
        elif segment.marker == 0xC4:
            _parse_huffman(stream, content)
        elif segment.marker == 0xDB:
            _parse_quantization(stream, content)
        elif segment.marker == 0xDD:
            (stream.restart_interval,) = struct.unpack(">H", content)
        elif segment.marker == 0xDA:
            _parse_scan(stream, content, data, segment.end)
    if sorted(place for scan in stream.scans for place in scan.components) != list(range(len(stream.components))):
        raise damaged("the JPEG data are cut off")
    return stream


def _parse_frame(stream: Stream, marker: int, content: bytes) -> None:
    bits, height, width, components = struct.unpack_from(">BHHB", content)
    if components not in ({1, 3} if marker == 0xC3 else {1}):
        raise damaged("the JPEG is of 12 bits and in colour, or of an unusual number of components")
    if components == 3 and content[7:15:3] != b"\x11\x11\x11":
        raise damaged("the JPEG is lossless, but its colours have fewer pixels than its brightness")
    allowed = range(2, 17) if marker == 0xC3 else (8, 12)
    if bits not in allowed or height == 0 or width == 0:
        raise damaged("the JPEG has an impossible size or depth")
    stream.process, stream.bits, stream.height, stream.width = marker, bits, height, width
    stream.quantization_table = content[8]
    stream.components = list(content[6 : 6 + 3 * components : 3])


def _parse_huffman(stream: Stream, content: bytes) -> None:
    position = 0
    while position < len(content):
        counts = content[position + 1 : position + 17]
        total = sum(counts)
        symbols = content[position + 17 : position + 17 + total]
        if len(counts) < 16 or len(symbols) < total:
            raise damaged("a JPEG Huffman table is cut off")
        _count_table(stream)
        stream.huffman[content[position]] = _huffman_table(counts, symbols)
        position += 17 + total


def _count_table(stream: Stream) -> None:
    stream.tables += 1
    if stream.tables > MOST_TABLES:
        raise damaged("the JPEG has too many tables")


def _huffman_table(counts: bytes, symbols: bytes) -> HuffmanTable:
    """Return a Huffman table by the 16 bits that begin with the code (T.81, annex C).

    Codes of equal length follow one another.
    """
    code_bits, values = np.zeros(1 << 16, np.uint8), np.zeros(1 << 16, np.uint8)
    start, index = 0, 0
    for length, count in enumerate(counts, start=1):
        for symbol in symbols[index : index + count]:
            end = start + (1 << (16 - length))
            if end > 1 << 16:
                raise damaged("a JPEG Huffman table has too many codes")
            code_bits[start:end], values[start:end] = length, symbol
            start = end
        index += count
    return HuffmanTable(code_bits, values)


def _parse_quantization(stream: Stream, content: bytes) -> None:
    position = 0
    while position < len(content):
        wide, table = content[position] >> 4, content[position] & 15
        size = 128 if wide else 64
        values = np.frombuffer(content[position + 1 : position + 1 + size], ">u2" if wide else "u1")
        if len(values) != 64:
            raise damaged("a JPEG quantization table is cut off")
        _count_table(stream)
        stream.quantization[table] = values.astype(np.float32)
        position += 1 + size


def _parse_scan(stream: Stream, content: bytes, data: bytes, start: int) -> None:
    count = content[0]
    names, tables = content[1 : 1 + 2 * count : 2], content[2 : 2 + 2 * count : 2]
    places = tuple(stream.components.index(name) for name in names)
    if len(stream.scans) >= len(stream.components):
        raise damaged("the JPEG has too many scans")
    end = _END_OF_SCAN.search(data, start)
    coded = data[start : end.start()].rstrip(_FILL) if end else data[start:]
    *parts, last = _RESTART.split(coded, MOST_INTERVALS)
    parts = [*(part.rstrip(_FILL) for part in parts), last]
    if len(parts) > MOST_INTERVALS:
        raise damaged("the JPEG is cut into too many pieces")
    stream.scans.append(
        Scan(
            places,
            tuple(stream.huffman[table >> 4] for table in tables),
            tuple(stream.huffman.get(0x10 | table & 15) for table in tables),
            struct.unpack_from(">3B", content, 1 + 2 * count),
            [part.replace(b"\xff\x00", b"\xff") for part in parts],
        )
    )
