"""Lossless JPEG by the decoder of libjpeg-turbo, through imagecodecs (BSD licence), where that is installed.

It takes a small part of the time of our own decoder, but it paints over damage without an error. Its pixels therefore
count only if their codes have as many bits, and as many ones among them, as the stream. The own decoder reads all other
streams.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.reading.huffman_jpeg.predictors import PREDICTORS, predicted_differences
from boneage.reading.huffman_jpeg.stream import HuffmanTable, Scan, Stream

_CATEGORIES = 17
"""Number of categories of differences (T.81, table H.2)."""


@cache
def library_decoder() -> Callable[[bytes], NDArray[Any]] | None:
    """Return the decoder of libjpeg-turbo, or None if imagecodecs is not installed."""
    try:
        from imagecodecs import jpeg8_decode  # noqa: PLC0415  # an extra
    except ImportError:
        return None
    decode: Callable[[bytes], NDArray[Any]] = jpeg8_decode
    return decode


def decode_with_library(data: bytes, stream: Stream) -> NDArray[np.uint16] | None:
    """Decode a grey lossless stream.

    Args:
        data: the stream.
        stream: content of its marker segments.

    Returns:
        uint16 (H, W), the pixels that `boneage.reading.huffman_jpeg.lossless.decode_lossless` returns. None if
        imagecodecs is not installed, if the stream is of an unusual kind, or if it may be damaged.
    """
    decode = library_decoder()
    if decode is None or len(stream.scans) != 1 or len(stream.components) != 1 or stream.restart_interval:
        return None
    predictor, _, approximation = stream.scans[0].parameters
    if predictor not in PREDICTORS or approximation & 15:
        return None
    if 8 * len(stream.scans[0].intervals[0]) < stream.height * stream.width:
        return None  # each pixel takes at least one bit; nothing is allocated for missing pixels
    try:
        decoded = decode(data)
    except Exception:  # imagecodecs has an error of its own for each codec; the own decoder states the reason
        return None
    if decoded.shape != (stream.height, stream.width):
        return None
    samples: NDArray[np.uint16] = decoded.astype(np.uint16, copy=False)
    return samples if _is_coded_by(samples, stream.scans[0], 1 << (stream.bits - 1)) else None


def _is_coded_by(samples: NDArray[np.uint16], scan: Scan, middle: int) -> bool:
    """Return True if the codes of samples (H, W) have as many bits, and as many ones among them, as the scan's data.

    The padding of the last byte does not count.
    """
    differences = predicted_differences(samples, scan.parameters[0], middle)
    counts = cv2.calcHist([differences], [0], None, [1 << 16], [0, 1 << 16]).ravel().astype(np.int64)
    bits, ones = _codes_by_difference(scan.dc[0])
    if (bits[counts > 0] == 0).any():  # a difference without a code
        return False
    data = np.frombuffer(scan.intervals[0], np.uint8)
    padding = 8 * data.size - int(counts @ bits)
    if not 0 <= padding < 8:
        return False
    padded = int(data[-1] & ((1 << padding) - 1)).bit_count()
    return int(counts @ ones) == int(np.bitwise_count(data).sum(dtype=np.int64)) - padded


def _codes_by_difference(table: HuffmanTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the bits that code each difference modulo 65,536, and the ones among them, int64 (65536,) each.

    Both are 0 for a difference without a code, or with several.
    """
    lengths, code_ones = np.zeros(_CATEGORIES, np.int64), np.zeros(_CATEGORIES, np.int64)
    for category in range(_CATEGORIES):
        begins = np.flatnonzero((table.symbols == category) & (table.code_bits > 0))
        length = int(table.code_bits[begins[0]]) if begins.size else 0
        if begins.size == 1 << (16 - length):  # else the table has no code or several
            lengths[category], code_ones[category] = length, int(begins[0]).bit_count()
    differences = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int64)
    sizes = np.abs(differences)
    categories = np.frexp(sizes.astype(np.float64))[1]
    further = np.where(categories == 16, 0, categories)  # category 16 stands for 32,768 alone (H.1.2.2)
    ones = np.bitwise_count(sizes).astype(np.int64)
    ones = np.where(differences < 0, further - ones, ones) * (further > 0)  # negative ones are inverted (F.1.2.1)
    coded = lengths[categories] > 0
    return np.where(coded, lengths[categories] + further, 0), np.where(coded, code_ones[categories] + ones, 0)
