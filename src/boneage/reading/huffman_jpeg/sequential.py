"""Grey sequential JPEG (ITU-T T.81, annex F)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boneage.reading.huffman_jpeg.bits import Bits, chunks, extended
from boneage.reading.huffman_jpeg.stream import HuffmanTable, Scan, Stream
from boneage.reading.rejections import damaged

ZIGZAG = np.array(
    sorted(range(64), key=lambda n: (n // 8 + n % 8, n // 8 if (n // 8 + n % 8) % 2 else n % 8)), dtype=np.int64
)
"""Position in a row-major block of 8 x 8 of each coefficient in the order of the stream (T.81, figure 5)."""
_END_OF_BLOCK_RUN = 128
_BLOCKS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class _Steps:
    """Steps from each bit to the next symbol.

    Attributes:
        dc: Bits of a DC symbol that begins here; 0 if there is no such code.
        ac: Bits of an AC symbol that begins here; 0 if there is no such code.
        run: Coefficients that the AC symbol advances by.
    """

    dc: bytes
    ac: bytes
    run: bytes


def decode_sequential(stream: Stream) -> NDArray[np.uint16]:
    """Decode a grey sequential stream.

    Returns:
        uint16 (H, W).

    Raises:
        Rejection: ``unreadable``.
    """
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


def dct_matrix() -> NDArray[np.float32]:
    """Return the orthonormal matrix M of the DCT, float32 (8, 8): coefficients = M @ block @ M.T (T.81, A.3.3)."""
    frequency, place = np.arange(8)[:, None], np.arange(8)[None, :]
    matrix = np.cos((2 * place + 1) * frequency * np.pi / 16) / 2
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def _inverse_dct(coefficients: NDArray[np.int32], quantization: NDArray[np.float32], bits: int) -> NDArray[np.uint16]:
    """Return the levels (n, 8, 8) of coefficients (n, 64) in the order of the stream."""
    natural = np.empty(coefficients.shape, np.float32)
    natural[:, ZIGZAG] = coefficients * quantization
    matrix = dct_matrix()
    levels = matrix.T @ natural.reshape(-1, 8, 8) @ matrix + np.float32(1 << (bits - 1))
    return np.clip(np.rint(levels), 0, (1 << bits) - 1).astype(np.uint16)


def _sequential_coefficients(interval: bytes, scan: Scan, count: int) -> NDArray[np.int32]:
    """Return coefficients (count, 64) in the order of the stream, with the DC prediction undone."""
    if 4 * len(interval) < count:  # a block takes at least two bits
        raise damaged("the JPEG data are cut off")
    dc, ac = scan.dc[0], scan.ac[0]
    if ac is None:
        raise damaged("the JPEG data are damaged")
    out = np.zeros((count, 64), np.int32)
    done, offset = 0, 0
    for start, limit, chunk in chunks(interval):
        bits = Bits(chunk)
        windows = bits.next16()
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


def _sequential_steps(windows: NDArray[np.uint16], dc: HuffmanTable, ac: HuffmanTable) -> _Steps:
    """Return the steps from each bit. A step of 0 marks a code that does not exist."""
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
        Where DC symbols begin, where AC symbols with a value begin, the place of each such value (64 times the block
        plus the coefficient), and how far the last block exceeds `limit`.
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
    bits: Bits, windows: NDArray[np.uint16], begins: NDArray[np.int64], table: HuffmanTable, mask: int
) -> NDArray[np.int64]:
    """Return the values of the symbols that begin at these bits. The bits of a symbol under `mask` give the size of the
    value.
    """
    at = windows[begins]
    sizes = table.symbols[at] & np.uint8(mask)
    return extended(bits.take(begins + table.code_bits[at], sizes), sizes)
