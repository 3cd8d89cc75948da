"""Time to decode a lossless JPEG of 2,500 x 3,000 pixels, with imagecodecs and with the decoder of this project.

    python benchmarks/lossless_jpeg.py            # needs boneage[codecs]

The radiograph is drawn, with grain. The output is Markdown.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from imagecodecs import ljpeg_encode
from numpy.typing import NDArray

from boneage.phantom import draw_hand
from boneage.reading.huffman_jpeg.decode import decode_huffman_jpeg
from boneage.reading.huffman_jpeg.lossless import decode_lossless
from boneage.reading.huffman_jpeg.stream import parse_stream

HEIGHT, WIDTH, REPEATS = 3000, 2500, 5


def main() -> None:
    """Measure and print the times."""
    print("| bits | size, MB | own decoder, ms | with imagecodecs, ms | ratio |\n|---:|---:|---:|---:|---:|")
    grain = np.random.default_rng(0).normal(0, 0.004, (HEIGHT, WIDTH))
    drawn = np.clip(draw_hand(height=HEIGHT, width=WIDTH) + grain, 0, 1)
    for bits in (8, 10, 12, 14, 16):
        samples = np.rint(drawn * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
        data = bytes(ljpeg_encode(samples, bitspersample=bits))
        own_ms, own = _timed(lambda data=data: decode_lossless(parse_stream(data)))  # type: ignore[misc]
        ms, decoded = _timed(lambda data=data: decode_huffman_jpeg(data))  # type: ignore[misc]
        assert np.array_equal(own, samples)
        assert np.array_equal(decoded, samples)
        print(f"| {bits} | {len(data) / 1e6:.1f} | {own_ms:.0f} | {ms:.0f} | {own_ms / ms:.1f} |")


def _timed(decode: Callable[[], NDArray[np.uint16]]) -> tuple[float, NDArray[np.uint16]]:
    """Return the least processor time of several runs, ms, and the pixels."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        decoded = decode()
        times.append(1e3 * (time.process_time() - start))
    return min(times), decoded


if __name__ == "__main__":
    main()
