"""Decoder for lossless JPEG (process 14) and grey sequential JPEG."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from boneage.reading.huffman_jpeg.library import decode_with_library
from boneage.reading.huffman_jpeg.lossless import decode_lossless
from boneage.reading.huffman_jpeg.sequential import decode_sequential
from boneage.reading.huffman_jpeg.stream import parse_stream
from boneage.reading.rejections import damaged


def decode_huffman_jpeg(data: bytes) -> NDArray[np.uint16]:
    """Decode a JPEG stream: lossless with any predictor, grey or of three components, or grey sequential DCT.

    Returns:
        uint16 (H, W), or (H, W, 3) in the stream's order, in the range of the stream's own precision.

    Raises:
        Rejection: ``unreadable`` if the stream is damaged or of another kind.
    """
    try:
        stream = parse_stream(data)
        if stream.process == 0xC3:
            by_library = decode_with_library(data, stream)
            return decode_lossless(stream) if by_library is None else by_library
        return decode_sequential(stream)
    except (struct.error, IndexError, KeyError, ValueError) as error:
        raise damaged("the JPEG data are damaged") from error
