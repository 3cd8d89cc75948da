from __future__ import annotations

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from boneage.arrays import Image
from boneage.image_pyramid import ImagePyramid


def picture(rows: int, columns: int) -> Image:
    return np.random.default_rng(rows).random((rows, columns), dtype=np.float32)


@given(st.integers(1, 300), st.integers(1, 300), st.floats(1e-6, 4.0))
def test_the_copy_is_the_smallest_that_is_fine_enough(rows: int, columns: int, zoom: float) -> None:
    pyramid = ImagePyramid(picture(rows, columns))
    copy = pyramid.copy_for(zoom)
    longest = max(pyramid.shape)
    assert max(copy.shape) >= round(longest * min(zoom, 1.0) - 0.5)
    assert max(copy.shape) < 2 * longest * zoom + 2 or zoom > 0.5 or min(copy.shape) <= 64
    assert min(copy.shape) >= 32 or copy.shape == pyramid.shape


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 6))
def test_copies_keep_the_mean_grey(rows: int, columns: int, halvings: int) -> None:
    pyramid = ImagePyramid(picture(rows, columns))
    half = pyramid.halved(halvings)
    assert half.shape == half.pixels.shape
    assert abs(float(half.pixels.mean()) - float(pyramid.pixels.mean())) < 1e-3 + 0.5 / min(half.shape) ** 2
    assert ImagePyramid.of(half) is half


def test_a_halved_pyramid_shares_the_copies_that_exist() -> None:
    pyramid = ImagePyramid(picture(800, 600))
    quarter = pyramid.copy_for(0.25)
    assert pyramid.halved(1).copy_for(0.5) is quarter


def test_even_sides_are_averaged_in_squares_of_four_pixels() -> None:
    pixels = picture(64, 48)
    squares = pixels.reshape(32, 2, 24, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(ImagePyramid(pixels).halved(1).pixels, squares, atol=1e-6)


def test_threads_share_the_copies() -> None:
    pyramid = ImagePyramid(picture(800, 600))
    copies: list[Image] = []
    threads = [threading.Thread(target=lambda: copies.append(pyramid.copy_for(0.1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(copy) for copy in copies}) == 1
