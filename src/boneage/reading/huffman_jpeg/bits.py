"""Bits of entropy-coded JPEG data, read at many positions at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 1 << 18
"""Bytes of entropy-coded data that are decoded at once."""
_LOOKAHEAD_BYTES = 8192
"""Upper bound of one block of 64 symbols of 31 bits, or of one lossless symbol."""


class Bits:
    """Entropy-coded bytes that can be read at each of their bits.

    Args:
        chunk: The bytes, unstuffed.
    """

    def __init__(self, chunk: bytes) -> None:
        padded = np.frombuffer(chunk + bytes(8), np.uint8)
        words = padded.astype(np.uint32)
        self._words = words[:-3] << 24 | words[1:-2] << 16 | words[2:-1] << 8 | words[3:]

    def next16(self) -> NDArray[np.uint16]:
        """Return the 16 bits from each bit on, uint16 (bits,)."""
        shifts = np.arange(16, 8, -1, dtype=np.uint32)
        return (self._words[:, None] >> shifts).astype(np.uint16).ravel()

    def take(self, positions: NDArray[np.int64], lengths: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return `lengths` bits (0..16) from each of these positions on, int64 (n,)."""
        words = self._words[positions >> 3].astype(np.int64)
        wide = lengths.astype(np.int64)
        taken: NDArray[np.int64] = words >> (32 - (positions & 7) - wide) & ((1 << wide) - 1)
        return taken


def extended(values: NDArray[np.int64], sizes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return values with their sign: those whose top bit is not set are negative (T.81, F.2.2.1)."""
    wide = sizes.astype(np.int64)
    negative = (wide > 0) & (values < (1 << np.maximum(wide - 1, 0)))
    extended: NDArray[np.int64] = np.where(negative, values - (1 << wide) + 1, values)
    return extended


def chunks(interval: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Iterate over entropy-coded data in parts, each with the bytes of the next part that its last symbol may need.

    Yields:
        Offset of the part in bytes, its own length in bits, and its bytes.
    """
    for start in range(0, max(1, len(interval)), CHUNK_BYTES):
        yield (
            start,
            8 * min(CHUNK_BYTES, len(interval) - start),
            interval[start : start + CHUNK_BYTES + _LOOKAHEAD_BYTES],
        )
