"""Lossless JPEG (ITU-T T.81, annex H)."""

from __future__ import annotations

from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from boneage.reading.huffman_jpeg.bits import Bits, chunks, extended
from boneage.reading.huffman_jpeg.predictors import PREDICTORS
from boneage.reading.huffman_jpeg.stream import HuffmanTable, Scan, Stream
from boneage.reading.rejections import damaged


def decode_lossless(stream: Stream) -> NDArray[np.uint16]:
    """Decode all scans of a lossless stream.

    Returns:
        uint16 (H, W), or (H, W, 3) in the stream's order.

    Raises:
        Rejection: ``unreadable``.
    """
    planes = np.empty((len(stream.components), stream.height, stream.width), np.uint16)
    for scan in stream.scans:
        _decode_lossless_scan(stream, scan, planes)
    together: NDArray[np.uint16] = planes[0] if len(planes) == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0))
    return together


def _decode_lossless_scan(stream: Stream, scan: Scan, planes: NDArray[np.uint16]) -> None:
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
            planes[component, top:bottom] = PREDICTORS[predictor](plane, middle) << np.uint16(shift)


def _lossless_differences(interval: bytes, tables: tuple[HuffmanTable, ...], count: int) -> NDArray[np.uint16]:
    """Return the next `count` differences, modulo 65,536. The tables alternate."""
    if 8 * len(interval) < count:  # each takes at least one bit; nothing is allocated for missing pixels
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
    for start, limit, chunk in chunks(interval):
        bits = Bits(chunk)
        windows = bits.next16()
        first = done % len(tables)
        turn = [*range(first, len(tables)), *range(first)]
        steps = [steps_by_window[index][windows].tobytes() for index in turn]
        begins, offset = _follow(steps, offset, limit, count - done)
        for place, index in enumerate(turn):
            part = begins[place :: len(turn)]
            values = _lossless_values(bits, windows[part], part, tables[index], extra[index])
            out[done + place : done + len(begins) : len(turn)] = values
        done += len(begins)
        if done == count:
            if start * 8 + offset + limit > 8 * len(interval):
                raise damaged("the JPEG data are cut off")
            return out
    raise damaged("the JPEG data are cut off")


def _lossless_values(
    bits: Bits, at: NDArray[np.uint16], begins: NDArray[np.int64], table: HuffmanTable, extra: NDArray[np.uint8]
) -> NDArray[np.uint16]:
    """Return the differences whose symbols begin at these bits, modulo 65,536."""
    sizes = extra[at]
    if np.any(table.code_bits[at] == 0) or np.any(table.symbols[at] > 16):
        raise damaged("the JPEG data hold a code that does not exist")
    values = extended(bits.take(begins + table.code_bits[at], sizes), sizes)
    values[table.symbols[at] == 16] = 1 << 15
    differences: NDArray[np.uint16] = values.astype(np.uint16)
    return differences


def _follow(steps: list[bytes], offset: int, limit: int, count: int) -> tuple[NDArray[np.int64], int]:
    """Return where symbols begin, at most `count`, from bit `offset` to bit `limit`, and how far the last one exceeds
    it.

    Args:
        steps: Bits from one symbol to the next, by the bit at which it begins, for each table. The tables alternate.
        offset: First bit.
        limit: Bit at which to stop.
        count: Largest number of symbols.
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
