"""JPEG that OpenCV does not decode: lossless (process 14, DICOM's common archive syntax) and grey 12-bit sequential.

Written out here because the free decoders are large, under the GPL, or native code that a damaged radiograph could
crash. Only one step of Huffman decoding is serial: where the next code begins. The length of the symbol that would
begin at
*every* bit is therefore looked up at once, Python follows the chain of begins, and all values are taken out at once.

Source: ITU-T T.81, annexes C, F and H; DICOM PS3.5, 8.2.1.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from boneage.reading.image_headers import damaged, jpeg_segments

_CHUNK_BYTES = 1 << 18
_LOOKAHEAD_BYTES = 8192
"""More than one block of 64 symbols of 31 bits, or one lossless symbol, can take."""
_RESTART = re.compile(rb"(?<!\xff)\xff++[\xd0-\xd7]")
_END_OF_SCAN = re.compile(rb"(?<!\xff)\xff++[^\x00\xff\xd0-\xd7]")
"""Both begin at the first of several FF only: a search in a long row of them would else take a square of the time."""
_MOST_TABLES = 64
_MOST_INTERVALS = 1 << 14
"""Parts between restart markers: more than the largest radiograph has rows."""


@dataclass(frozen=True)
class _HuffmanTable:
    """By the next 16 bits: bits of the code (0: there is no such code), and its symbol."""

    code_bits: NDArray[np.uint8]
    symbols: NDArray[np.uint8]


@dataclass(frozen=True)
class _Scan:
    """A scan's header, and its entropy-coded data, cut at the restart markers.

    Attributes:
        components: the places of its components in the frame.
        dc, ac: the Huffman table of each component (AC: None if there is none).
        parameters: start and end of the spectral selection, and the successive approximation.
        intervals: the data.
    """

    components: tuple[int, ...]
    dc: tuple[_HuffmanTable, ...]
    ac: tuple[_HuffmanTable | None, ...]
    parameters: tuple[int, int, int]
    intervals: list[bytes] = field(repr=False)


@dataclass
class _Stream:
    """What the marker segments say."""

    process: int = 0
    bits: int = 0
    height: int = 0
    width: int = 0
    quantization_table: int = 0
    quantization: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    huffman: dict[int, _HuffmanTable] = field(default_factory=dict)
    tables: int = 0
    restart_interval: int = 0
    components: list[int] = field(default_factory=list)
    scans: list[_Scan] = field(default_factory=list)


def decode_huffman_jpeg(data: bytes) -> NDArray[np.uint16]:
    """Decode a JPEG stream: lossless with any predictor, grey or of three components, or grey sequential DCT.

    Returns:
        uint16 (H, W), or (H, W, 3) in the stream's order, in the range of the stream's own precision.

    Raises:
        Rejection: ``unreadable`` if it is damaged or of another kind.
    """
    try:
        stream = _parse(data)
        if stream.process == 0xC3:
            return _decode_lossless(stream)
        return _decode_sequential(stream)
    except (struct.error, IndexError, KeyError, ValueError) as error:
        raise damaged("the JPEG data are damaged") from error


# marker segments


def _parse(data: bytes) -> _Stream:
    stream = _Stream()
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
    if sorted(one for scan in stream.scans for one in scan.components) != list(range(len(stream.components))):
        raise damaged("the JPEG data are cut off")
    return stream


def _parse_frame(stream: _Stream, marker: int, content: bytes) -> None:
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


def _parse_huffman(stream: _Stream, content: bytes) -> None:
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


def _count_table(stream: _Stream) -> None:
    stream.tables += 1
    if stream.tables > _MOST_TABLES:
        raise damaged("the JPEG has too many tables")


def _huffman_table(counts: bytes, symbols: bytes) -> _HuffmanTable:
    """T.81, annex C: codes of equal length follow one another; the table is by the 16 bits that begin with the code."""
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
    return _HuffmanTable(code_bits, values)


def _parse_quantization(stream: _Stream, content: bytes) -> None:
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


def _parse_scan(stream: _Stream, content: bytes, data: bytes, start: int) -> None:
    count = content[0]
    names, tables = content[1 : 1 + 2 * count : 2], content[2 : 2 + 2 * count : 2]
    places = tuple(stream.components.index(name) for name in names)
    if len(stream.scans) >= len(stream.components):
        raise damaged("the JPEG has too many scans")
    end = _END_OF_SCAN.search(data, start)
    coded = data[start : end.start() if end else len(data)]
    parts = _RESTART.split(coded, _MOST_INTERVALS)
    if len(parts) > _MOST_INTERVALS:
        raise damaged("the JPEG is cut into too many pieces")
    stream.scans.append(
        _Scan(
            places,
            tuple(stream.huffman[table >> 4] for table in tables),
            tuple(stream.huffman.get(0x10 | table & 15) for table in tables),
            struct.unpack_from(">3B", content, 1 + 2 * count),
            [part.replace(b"\xff\x00", b"\xff") for part in parts],
        )
    )


# the chain of symbols


class _Bits:
    """Some bytes, and what stands at each of their bits."""

    def __init__(self, chunk: bytes) -> None:
        padded = np.frombuffer(chunk + bytes(8), np.uint8)
        words = padded.astype(np.uint32)
        self._words = words[:-3] << 24 | words[1:-2] << 16 | words[2:-1] << 8 | words[3:]

    def next16(self) -> NDArray[np.uint16]:
        """The 16 bits from each bit on, shape (bits,)."""
        shifts = np.arange(16, 8, -1, dtype=np.uint32)
        return (self._words[:, None] >> shifts).astype(np.uint16).ravel()

    def take(self, positions: NDArray[np.int64], lengths: NDArray[np.uint8]) -> NDArray[np.int64]:
        """As many bits (up to 16) from these positions on."""
        words = self._words[positions >> 3].astype(np.int64)
        wide = lengths.astype(np.int64)
        taken: NDArray[np.int64] = words >> (32 - (positions & 7) - wide) & ((1 << wide) - 1)
        return taken


def _extend(values: NDArray[np.int64], sizes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """T.81, F.2.2.1: values whose top bit is not set are negative."""
    wide = sizes.astype(np.int64)
    negative = (wide > 0) & (values < (1 << np.maximum(wide - 1, 0)))
    extended: NDArray[np.int64] = np.where(negative, values - (1 << wide) + 1, values)
    return extended


def _chunks(interval: bytes) -> Iterator[tuple[int, bytes]]:
    """The data a part at a time, with what may be needed of the next: (first byte, bytes)."""
    for start in range(0, max(1, len(interval)), _CHUNK_BYTES):
        yield start, interval[start : start + _CHUNK_BYTES + _LOOKAHEAD_BYTES]


# lossless (T.81, annex H)


def _decode_lossless(stream: _Stream) -> NDArray[np.uint16]:
    planes = np.empty((len(stream.components), stream.height, stream.width), np.uint16)
    for scan in stream.scans:
        _decode_lossless_scan(stream, scan, planes)
    together: NDArray[np.uint16] = planes[0] if len(planes) == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0))
    return together


def _decode_lossless_scan(stream: _Stream, scan: _Scan, planes: NDArray[np.uint16]) -> None:
    """Fill in the planes (components, H, W) that the scan holds."""
    predictor, _, approximation = scan.parameters
    shift = approximation & 15
    width, count = stream.width, len(scan.components)
    if not 1 <= predictor <= 7 or shift >= stream.bits or stream.restart_interval % width or count == 0:
        raise damaged("the lossless JPEG has an impossible predictor or restart interval")
    rows_each = stream.restart_interval // width or stream.height
    if len(scan.intervals) != -(-stream.height // rows_each):
        raise damaged("the lossless JPEG lacks a part")
    middle = 1 << (stream.bits - shift - 1)
    for index, interval in enumerate(scan.intervals):
        top, bottom = index * rows_each, min((index + 1) * rows_each, stream.height)
        differences = _lossless_differences(interval, scan.dc, (bottom - top) * width * count)
        by_component = differences.reshape(bottom - top, width, count)
        for place, component in enumerate(scan.components):
            plane = np.ascontiguousarray(by_component[:, :, place])
            planes[component, top:bottom] = _PREDICTORS[predictor](plane, middle) << np.uint16(shift)


def _lossless_differences(interval: bytes, tables: tuple[_HuffmanTable, ...], count: int) -> NDArray[np.uint16]:
    """The next `count` differences, modulo 65,536; the tables take turns."""
    if 8 * len(interval) < count:  # each takes a bit at least: do not allocate for a picture that is not there
        raise damaged("the JPEG data are cut off")
    if all(table is tables[0] for table in tables):
        tables = tables[:1]
    # Category 16 stands for 32,768 and has no further bits (H.1.2.2).
    extra = [np.where(table.symbols >= 16, 0, table.symbols).astype(np.uint8) for table in tables]
    steps_by_window = [
        np.where(table.code_bits > 0, table.code_bits + more, 1).astype(np.uint8)
        for table, more in zip(tables, extra, strict=True)
    ]
    out = np.empty(count, np.uint16)
    done, offset = 0, 0
    for start, chunk in _chunks(interval):
        bits = _Bits(chunk)
        windows = bits.next16()
        limit = 8 * min(_CHUNK_BYTES, len(interval) - start)
        first = done % len(tables)
        turn = [*range(first, len(tables)), *range(first)]
        begins, offset = _follow([steps_by_window[one][windows].tobytes() for one in turn], offset, limit, count - done)
        for place, one in enumerate(turn):
            part = begins[place :: len(turn)]
            values = _lossless_values(bits, windows[part], part, tables[one], extra[one])
            out[done + place : done + len(begins) : len(turn)] = values
        done += len(begins)
        if done == count:
            if start * 8 + offset + limit > 8 * len(interval):
                raise damaged("the JPEG data are cut off")
            return out
    raise damaged("the JPEG data are cut off")


def _lossless_values(
    bits: _Bits, at: NDArray[np.uint16], begins: NDArray[np.int64], table: _HuffmanTable, extra: NDArray[np.uint8]
) -> NDArray[np.uint16]:
    """The differences whose symbols begin at these bits, modulo 65,536."""
    sizes = extra[at]
    if np.any(table.code_bits[at] == 0) or np.any(table.symbols[at] > 16):
        raise damaged("the JPEG data hold a code that does not exist")
    values = _extend(bits.take(begins + table.code_bits[at], sizes), sizes)
    values[table.symbols[at] == 16] = 1 << 15
    differences: NDArray[np.uint16] = values.astype(np.uint16)
    return differences


def _follow(steps: list[bytes], offset: int, limit: int, count: int) -> tuple[NDArray[np.int64], int]:
    """Where symbols begin, at most `count`, from bit `offset` to bit `limit`; and by how far the last goes past it.

    The steps of the tables, by bit, take turns.
    """
    begins: list[int] = []
    append = begins.append
    position = offset
    for step in islice(cycle(steps), count):
        if position >= limit:
            break
        append(position)
        position += step[position]
    return np.array(begins, np.int64), position - limit


def _from_left(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    """Predictor 1, Ra; the first column from above (H.1.2.1). Sums wrap at 65,536, as the standard has it."""
    first = differences.copy()
    first[:1, :1] += np.uint16(middle)
    first[:, 0] = np.cumsum(first[:, 0], dtype=np.uint16)
    return np.cumsum(first, axis=1, dtype=np.uint16)


def _first_row(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    row: NDArray[np.uint16] = _from_left(differences[:1], middle)[0]
    return row


def _from_above(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    """Predictor 2, Rb."""
    rows = differences.copy()
    rows[0] = _first_row(differences, middle)
    return np.cumsum(rows, axis=0, dtype=np.uint16)


def _from_corner(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    """Predictor 3, Rc."""
    out = differences.copy()
    out[0] = _first_row(differences, middle)
    for row in range(1, len(out)):
        out[row, :1] += out[row - 1, :1]
        out[row, 1:] += out[row - 1, :-1]
    return out


def _from_plane(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    """Predictor 4, Ra + Rb - Rc."""
    start = differences.copy()
    start[:1, :1] += np.uint16(middle)
    along = np.cumsum(start, axis=1, dtype=np.uint16)
    return np.cumsum(along, axis=0, dtype=np.uint16)


def _from_left_and_slope(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    """Predictor 5, Ra + (Rb - Rc) / 2."""
    out = differences.copy()
    out[0] = _first_row(differences, middle)
    for row in range(1, len(out)):
        above = out[row - 1].astype(np.int32)
        out[row, :1] += out[row - 1, :1]
        out[row, 1:] += (np.diff(above) >> 1).astype(np.uint16)
        out[row] = np.cumsum(out[row], dtype=np.uint16)
    return out


def _from_above_and_slope(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    """Predictor 6, Rb + (Ra - Rc) / 2."""
    return _by_diagonals(differences, middle, lambda left, above, corner: above + ((left - corner) >> 1))


def _from_mean(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    """Predictor 7, (Ra + Rb) / 2."""
    return _by_diagonals(differences, middle, lambda left, above, _corner: (left + above) >> 1)


def _by_diagonals(
    differences: NDArray[np.uint16],
    middle: int,
    predict: Callable[[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]], NDArray[np.int32]],
) -> NDArray[np.uint16]:
    """Undo a prediction from the neighbours left, above and at the corner.

    Each pixel waits for its neighbours, but those of one diagonal, from upper right to lower left, only for the two
    diagonals before it. In memory they lie a row less one pixel apart.
    """
    out = differences.copy()
    height, width = out.shape
    out[0] = _first_row(differences, middle)
    out[1:, 0] = np.cumsum(out[:, 0], dtype=np.uint16)[1:]
    flat = out.reshape(-1)
    step = max(1, width - 1)
    for diagonal in range(2, height + width - 1):
        first, last = max(1, diagonal - width + 1), min(height - 1, diagonal - 1)  # rows; the first column is known
        here = slice(first * step + diagonal, last * step + diagonal + 1, step)
        left, above, corner = (
            flat[here.start - back : here.stop - back : step].astype(np.int32) for back in (1, width, width + 1)
        )
        flat[here] += predict(left, above, corner).astype(np.uint16)
    return out


_PREDICTORS = {
    1: _from_left,
    2: _from_above,
    3: _from_corner,
    4: _from_plane,
    5: _from_left_and_slope,
    6: _from_above_and_slope,
    7: _from_mean,
}


# sequential DCT (T.81, annex F)

ZIGZAG = np.array(
    sorted(range(64), key=lambda n: (n // 8 + n % 8, n // 8 if (n // 8 + n % 8) % 2 else n % 8)), dtype=np.int64
)
"""Place in a row-major block of 8 x 8 of each coefficient in the order of the stream (T.81, figure 5)."""
_END_OF_BLOCK_RUN = 128
_BLOCKS_AT_ONCE = 1 << 14


def dct_matrix() -> NDArray[np.float32]:
    """(8, 8) orthonormal: coefficients = M @ block @ M.T (T.81, A.3.3)."""
    frequency, place = np.arange(8)[:, None], np.arange(8)[None, :]
    matrix = np.cos((2 * place + 1) * frequency * np.pi / 16) / 2
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def _decode_sequential(stream: _Stream) -> NDArray[np.uint16]:
    across, down = -(-stream.width // 8), -(-stream.height // 8)
    each = stream.restart_interval or across * down
    scan = stream.scans[0]
    if len(scan.intervals) != -(-across * down // each):
        raise damaged("the JPEG lacks a part")
    blocks = np.empty((across * down, 8, 8), np.uint16)
    for index, interval in enumerate(scan.intervals):
        part = blocks[index * each : (index + 1) * each]
        coefficients = _sequential_coefficients(interval, scan, len(part))
        for first in range(0, len(part), _BLOCKS_AT_ONCE):
            part[first : first + _BLOCKS_AT_ONCE] = _inverse_dct(
                coefficients[first : first + _BLOCKS_AT_ONCE],
                stream.quantization[stream.quantization_table],
                stream.bits,
            )
    picture = blocks.reshape(down, across, 8, 8).swapaxes(1, 2).reshape(8 * down, 8 * across)
    return np.ascontiguousarray(picture[: stream.height, : stream.width])


def _inverse_dct(coefficients: NDArray[np.int32], quantization: NDArray[np.float32], bits: int) -> NDArray[np.uint16]:
    """From coefficients (n, 64), in the order of the stream, to levels (n, 8, 8)."""
    natural = np.empty(coefficients.shape, np.float32)
    natural[:, ZIGZAG] = coefficients * quantization
    matrix = dct_matrix()
    levels = matrix.T @ natural.reshape(-1, 8, 8) @ matrix + np.float32(1 << (bits - 1))
    return np.clip(np.rint(levels), 0, (1 << bits) - 1).astype(np.uint16)


@dataclass(frozen=True)
class _Steps:
    """At each bit: how far a DC symbol reaches, how far an AC symbol does, and by how many coefficients it goes on."""

    dc: bytes
    ac: bytes
    run: bytes


def _sequential_coefficients(interval: bytes, scan: _Scan, count: int) -> NDArray[np.int32]:
    """Coefficients (count, 64) in the order of the stream, DC prediction undone."""
    if 4 * len(interval) < count:  # a block takes two bits at least
        raise damaged("the JPEG data are cut off")
    dc, ac = scan.dc[0], scan.ac[0]
    if ac is None:
        raise damaged("the JPEG data are damaged")
    out = np.zeros((count, 64), np.int32)
    done, offset = 0, 0
    for start, chunk in _chunks(interval):
        bits = _Bits(chunk)
        windows = bits.next16()
        limit = 8 * min(_CHUNK_BYTES, len(interval) - start)
        steps = _sequential_steps(windows, dc, ac)
        dc_begins, ac_begins, ac_places, offset = _follow_blocks(steps, offset, limit, count - done)
        part = out[done : done + len(dc_begins)]
        part[:, 0] = _symbol_values(bits, windows, dc_begins, dc, 0xFF)
        part.reshape(-1)[ac_places] = _symbol_values(bits, windows, ac_begins, ac, 0x0F)
        done += len(dc_begins)
        if done == count:
            if start * 8 + offset + limit > 8 * len(interval):
                raise damaged("the JPEG data are cut off")
            out[:, 0] = np.cumsum(out[:, 0], dtype=np.int32)
            return out
    raise damaged("the JPEG data are cut off")


def _sequential_steps(windows: NDArray[np.uint16], dc: _HuffmanTable, ac: _HuffmanTable) -> _Steps:
    """A step of 0 marks a code that does not exist."""
    dc_step = np.where((dc.code_bits > 0) & (dc.symbols <= 15), dc.code_bits + dc.symbols, 0).astype(np.uint8)
    run, size = ac.symbols >> 4, ac.symbols & 15
    ac_step = np.where(ac.code_bits > 0, ac.code_bits + size, 0).astype(np.uint8)
    # Size 0 is the end of the block, or with a run of 15 sixteen zeros.
    ahead = np.where((size == 0) & (run < 15), _END_OF_BLOCK_RUN, run + 1).astype(np.uint8)
    return _Steps(dc_step[windows].tobytes(), ac_step[windows].tobytes(), ahead[windows].tobytes())


def _follow_blocks(
    steps: _Steps, offset: int, limit: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]:
    """Follow whole blocks from bit `offset`.

    Returns:
        Where DC symbols begin, where AC symbols with a value do, the place of each such value (64 times the block plus
        the coefficient), and by how much the last block goes past `limit`.
    """
    dc_begins: list[int] = []
    ac_begins: list[int] = []
    ac_places: list[int] = []
    dc_step, ac_step, run = steps.dc, steps.ac, steps.run
    position = offset
    for block in range(count):
        if position >= limit:
            break
        dc_begins.append(position)
        step = dc_step[position]
        position += step
        coefficient = 0
        while step and coefficient < 63:
            coefficient += run[position]
            if coefficient < 64:
                ac_begins.append(position)
                ac_places.append(64 * block + coefficient)
            step = ac_step[position]
            position += step
        if not step or 64 <= coefficient < _END_OF_BLOCK_RUN:
            raise damaged("the JPEG data hold a code that does not exist")
    return (
        np.array(dc_begins, np.int64),
        np.array(ac_begins, np.int64),
        np.array(ac_places, np.int64),
        position - limit,
    )


def _symbol_values(
    bits: _Bits, windows: NDArray[np.uint16], begins: NDArray[np.int64], table: _HuffmanTable, mask: int
) -> NDArray[np.int64]:
    """Values of the symbols that begin at these bits; the part of a symbol under `mask` is the value's size."""
    at = windows[begins]
    sizes = table.symbols[at] & np.uint8(mask)
    return _extend(bits.take(begins + table.code_bits[at], sizes), sizes)
