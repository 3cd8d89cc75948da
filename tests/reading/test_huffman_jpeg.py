"""Lossless and 12-bit JPEG against streams of libjpeg-turbo (made with imagecodecs 2026.3.6) and our own encoder."""

from __future__ import annotations

import base64
import struct
import sys
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.errors import Rejection
from boneage.reading.huffman_jpeg import bits as jpeg_bits
from boneage.reading.huffman_jpeg.decode import decode_huffman_jpeg
from boneage.reading.huffman_jpeg.library import decode_with_library, library_decoder
from boneage.reading.huffman_jpeg.lossless import decode_lossless
from boneage.reading.huffman_jpeg.predictors import PREDICTORS
from boneage.reading.huffman_jpeg.stream import parse_stream
from tests import radiograph_files as files

LOSSLESS_PREDICTOR_6 = base64.b64decode("""
/9j/4AAQSkZJRgABAQAAAQABAAD/wwALDABAAEIBAREA/8QAGgABAQEBAQEBAAAAAAAAAAAAAAcLDAgECf/aAAgBAQAGAADn/wAAFkABZAAWQAFkABZA
AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAelqXS6XS6XS6XS6XS
6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6WAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB6WpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpf4raE
20j0febLrob6+TlpvbpGNloO7RHR5ZrmuP0GWU3pR7n+eDS6XS6XS6XS6XS6XS6XS6XSwAAAAPUlSqVSqVSqVSqVSqVSqVSqVSqVSqVSloAAAAAAA9SV
KpVKpVKpVKpVKpVKpcCj0KVSqVSqVSloAAAAAAA9SVKpcCj0KVSqVSqVSqVSqVSqVSqVSqVSloAAAAAAA+jMuwxNlrPvxhOd+04snfAM1o8zfDN2Y8/j
GN5yPS5yssBXWAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAHpal0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0u
l0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ulgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAelqXS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6XS6
XS6XS6XS6XS6XS6XS6XS6WAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
AAAAB6WpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpdLpYAAAAAAAAAAA
AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAHpal0ul0ul0ul0ul0ul0ul0ul0ul0
ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ul0ulgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAf//Z
""")
SEQUENTIAL_12_BIT = base64.b64decode("""
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAUDBAQEAwUEBAQFBQUGBwwIBwcHBw8LCwkMEQ8SEhEPERETFhwXExQaFRERGCEYGh0dHx8fExciJCIeJBwe
Hx7/wQALDABAAEIBAREA/8QAGQABAQEBAQEAAAAAAAAAAAAABwgKCQsM/8QANxAAAAICDA0FAQEAAAAAAAAAAAcEBQIDBggXJkVTVmOk0gEJExQYJURi
ZoOlw+MKEhY1cxUL/9oACAEBAAA/APjMgoENLPI7gUBUAUCGlnkdwKAqAKBDSzyO4FAZk4Hy6o7bUi+FAhifLrXMXZjbUis3woQPl1R22pF8VBA+XVHb
akXwoEMT5da5i7MbakVm+FCB8uqO21IvioIHy6o7bUi+FAhifLrXMXZjbUis3woQPl1R22pF8Zk9HfjDpvlCgQz3f7mOExJv6VoUNHfjDpvlF0vTniLr
nyL78hHtbhHU+90RxGw5AuUNv/lYWzMf7q9QlWzTcngbcGFtzZgls0jJe5hlMj7Pe1+73sfWKWX+JUsFTjFVK9kedeqRJl+cW67xtz3vFfLo4SpexIC3
Uzn3cO8e8ulNN27NIwK53yY0YF04R1TlF+Xa2c4zSmtJYLZUrHClt6rSkJvVLDlbiUf8yZxOM/xIJGvsi+x+Hxh/u6TEkPlscYdTy/QsXyZBMWBdOaW6
wL5C+cty/RlSvPnS4cSZqmyqG1YE1z/w3PE1WJDSt1axbuInrK/TVOu9N/6go1sUW7t9PDs6IuCnJYxkx2kHWFy+cQiFO5ExGCF/PwrJNwsMxYOtYIGV
zhlnGZ5x7GjLZBr5kkM93+5jhMSb+laFDR34w6b5RmTgfMWjttR74UCGJ8xdcxdmNtR6zfChA+YtHbaj3xUED5i0dtqPfCgQxPmLrmLsxtqPWb4UIHzF
o7bUe+KggfMWjttR74UCGJ8xdcxdmNtR6zfChA+YtHbaj3xmTCgQ0s8juBQFQBQIaWeR3AoCoAoENLPI7gUBnPCgQ0s8juBQFQBQIaWeR3AoCoAoENLP
I7gUBmTgfLqjttSL4UCGJ8utcxdmNtSKzfChA+XVHbakXxUED5dUdtqRfCgQxPl1rmLsxtqRWb4UIHy6o7bUi+KggfLqjttSL4UCGJ8utcxdmNtSKzfC
hA+XVHbakXxmT0d+MOm+UKBDPd/uY4TEm/pWhQ0d+MOm+UVBo78YdN8oUCGe7/cxwmJN/StCho78YdN8oqDR34w6b5QoEM93+5jhMSb+laFDR34w6b5R
/9k=
""")


def drawn_steps() -> NDArray[np.uint16]:
    """Draw the content of the streams: steps, and a patch of noise."""
    row, column = np.mgrid[:64, :66]
    steps: NDArray[np.uint16] = (100 * (column // 12) + 150 * (row // 10)).astype(np.uint16)
    steps[20:24, 30:50] = (np.arange(80).reshape(4, 20) * 1237) % 4096
    return steps


def test_decode_huffman_jpeg_libjpeg_turbo_lossless() -> None:
    """A lossless stream of libjpeg-turbo is decoded exactly."""
    assert np.array_equal(decode_huffman_jpeg(LOSSLESS_PREDICTOR_6), drawn_steps())


def test_decode_huffman_jpeg_libjpeg_turbo_12_bit() -> None:
    """A 12-bit stream of libjpeg-turbo gives the pixels that it decodes itself."""
    decoded = decode_huffman_jpeg(SEQUENTIAL_12_BIT)
    assert np.abs(decoded.astype(int) - drawn_steps()).max() <= 16  # libjpeg-turbo itself: 15
    assert decoded.mean() == pytest.approx(662.120, abs=0.02)


@pytest.mark.parametrize("predictor", range(1, 8))
@settings(max_examples=20, deadline=None)
@given(st.integers(2, 16), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
@example(16, 1, 1, 0)
@example(16, 1, 9, 0)
@example(16, 9, 1, 0)
@example(16, 2, 2, 0)
def test_decode_huffman_jpeg_every_predictor(predictor: int, bits: int, height: int, width: int, seed: int) -> None:
    """Every predictor undoes its own differences."""
    radiograph = np.random.default_rng(seed).integers(0, 2**bits, (height, width)).astype(np.uint16)
    assert np.array_equal(decode_huffman_jpeg(files.jpeg_lossless(radiograph, bits, predictor)), radiograph)


@pytest.mark.parametrize("predictor", range(1, 8))
@settings(max_examples=8, deadline=None)
@given(st.integers(8, 16), st.integers(16, 60), st.integers(16, 60), st.booleans(), st.integers(0, 2**31))
def test_decode_with_library_equals_own_decoder(
    predictor: int, bits: int, height: int, width: int, noise: bool, seed: int
) -> None:
    """The decoder of libjpeg-turbo gives the same pixels, and reads every undamaged stream."""
    drawn = files.drawn_radiograph((height, width), bits=bits)
    random = np.random.default_rng(seed).integers(0, 2**bits, (height, width)).astype(np.uint16)
    data = files.jpeg_lossless(random if noise else drawn, bits, predictor)
    stream = parse_stream(data)
    decoded = decode_with_library(data, stream)
    assert decoded is not None
    assert decoded.dtype == np.uint16
    assert np.array_equal(decoded, decode_lossless(stream))


def test_decode_with_library_damaged_streams() -> None:
    """Damaged streams that the own decoder rejects are left to it, although libjpeg-turbo paints over the damage."""
    rng, left = np.random.default_rng(5), 0
    for number in range(300):
        whole = files.jpeg_lossless(files.drawn_radiograph((40, 44), bits=12), 12, 1 + number % 7)
        scan = whole.index(b"\xff\xda") + 10
        data = bytearray(whole[: rng.integers(scan, len(whole))] + b"\xff\xd9" if number % 3 == 0 else whole)
        for at in rng.integers(scan, len(data) - 2, number % 3):
            data[at] = rng.integers(256)
        try:
            stream = parse_stream(bytes(data))
        except (Rejection, struct.error, IndexError):  # a changed byte looks like a marker
            continue
        by_library = decode_with_library(bytes(data), stream)
        left += by_library is None
        if by_library is not None:
            assert np.array_equal(by_library, decode_lossless(stream))
    assert left > 150


def test_decode_with_library_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without imagecodecs the own decoder reads the stream."""
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    library_decoder.cache_clear()
    try:
        assert decode_with_library(LOSSLESS_PREDICTOR_6, parse_stream(LOSSLESS_PREDICTOR_6)) is None
        assert np.array_equal(decode_huffman_jpeg(LOSSLESS_PREDICTOR_6), drawn_steps())
    finally:
        library_decoder.cache_clear()


@pytest.mark.parametrize("predictor", range(1, 8))
def test_predictors_take_little_time(predictor: int) -> None:
    """No predictor takes a pixel at a time.

    A radiograph of 2400 x 2400 took 5 s with the predictors 6 and 7, and takes 0.05 s.
    """
    differences = np.random.default_rng(predictor).integers(0, 4096, (2400, 2400)).astype(np.uint16)
    start = time.process_time()
    PREDICTORS[predictor](differences, 2048)
    assert time.process_time() - start < 1.5


def test_decode_huffman_jpeg_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data longer than one chunk are joined."""
    radiograph = files.drawn_radiograph((120, 100), bits=12)
    monkeypatch.setattr(jpeg_bits, "CHUNK_BYTES", 501)
    assert np.array_equal(decode_huffman_jpeg(files.jpeg_lossless(radiograph, 12)), radiograph)
    assert np.abs(decode_huffman_jpeg(files.jpeg_12_bit(radiograph, 1)).astype(int) - radiograph).max() <= 4


def test_decode_huffman_jpeg_restart_markers() -> None:
    """The prediction restarts between restart markers."""
    radiograph = files.drawn_radiograph((64, 70), bits=12)
    top, bottom = (files.jpeg_lossless(part, 12) for part in (radiograph[:32], radiograph[32:]))
    scan = top.index(b"\xff\xda") + 10
    head = top[:2] + b"\xff\xdd\0\x04" + (32 * 70).to_bytes(2, "big") + top[2:scan]
    head = head.replace(
        (32).to_bytes(2, "big") + (70).to_bytes(2, "big"), (64).to_bytes(2, "big") + (70).to_bytes(2, "big")
    )
    stream = head + top[scan:-2] + b"\xff\xd0" + bottom[scan:]
    assert np.array_equal(decode_huffman_jpeg(stream), radiograph)


@settings(max_examples=40, deadline=None)
@given(st.booleans(), st.integers(0, 2**31))
def test_decode_huffman_jpeg_damaged_stream(lossless: bool, seed: int) -> None:
    """A damaged stream is rejected or gives pixels."""
    radiograph = files.drawn_radiograph((64, 66), bits=12)
    data = bytearray(files.jpeg_lossless(radiograph, 12) if lossless else files.jpeg_12_bit(radiograph))
    rng = np.random.default_rng(seed)
    for at in rng.integers(2, len(data), 3):
        data[at] = rng.integers(256)
    try:
        assert decode_huffman_jpeg(bytes(data)).dtype == np.uint16
    except Rejection as rejection:
        assert rejection.code == "unreadable"
