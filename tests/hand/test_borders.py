"""Even borders are found whatever their grey, and nothing else is cut off."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from boneage.geometry import Transform
from boneage.hand.borders import InnerPicture, Window, content_windows, inner_window, reduced, without_borders
from boneage.image_pyramid import ImagePyramid
from boneage.phantom import draw_hand

RADIOGRAPH = np.random.default_rng(0).uniform(0.2, 0.8, (120, 90)).astype(np.float32)


def padded(*greys: float, wide: int = 40, radiograph: NDArray[np.float32] = RADIOGRAPH) -> NDArray[np.float32]:
    for grey in greys:
        radiograph = np.pad(radiograph, wide, constant_values=np.float32(grey))
    return radiograph


@pytest.mark.parametrize("greys", [(), (0.0,), (1.0,), (0.5,), (0.0, 1.0), (1.0, 0.5, 0.0)])
def test_without_borders_returns_the_radiograph(greys: tuple[float, ...]) -> None:
    picture = padded(*greys)
    window = without_borders(picture)
    deep = 40 * len(greys)
    margin = 6 if greys[:1] == (0.5,) else 0  # a grey like the radiograph's own edge counts as air
    assert abs(window.left - deep) <= margin
    assert abs(window.bottom - (deep + 120)) <= margin
    assert np.array_equal(Window(deep, deep, deep + 90, deep + 120).cut(picture), RADIOGRAPH)


def test_without_borders_survives_jpeg() -> None:
    levels = np.rint(255 * padded(1.0)).astype(np.uint8)
    _, data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, 40])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), dtype=np.float32) / np.float32(255)
    window = without_borders(decoded)
    assert max(abs(window.left - 40), abs(window.top - 40), abs(window.right - 130), abs(window.bottom - 160)) <= 16


def test_without_borders_keeps_a_margin_of_air() -> None:
    """A hand on black: what is cut off must not touch it."""
    picture = np.zeros((200, 200), np.float32)
    cv2.ellipse(picture, (100, 100), (30, 50), 0, 0, 360, 0.7, -1)
    window = without_borders(picture)
    assert 40 <= window.top <= 48
    assert 58 <= window.left <= 68
    assert window.area < 0.4 * picture.size


@pytest.mark.parametrize("picture", [np.zeros((50, 40)), np.full((3, 2), 0.5), np.eye(40)])
def test_without_borders_of_nothing_is_the_whole(picture: NDArray[np.float64]) -> None:
    assert without_borders(picture.astype(np.float32)) == Window.of(picture.shape)


def test_content_windows_are_about_the_pieces() -> None:
    """A radiograph and a letter on a page: the letter's box is too small to count."""
    page = np.full((300, 400), 0.9, np.float32)
    page[50:170, 100:190] = RADIOGRAPH
    page[280:290, 10:20] = 0.0
    (window,) = content_windows(page)
    assert max(abs(window.left - 100), abs(window.top - 50), abs(window.right - 190), abs(window.bottom - 170)) <= 4


def test_window_within_and_transform() -> None:
    window = Window(-5, 10, 60, 40).within(Window(0, 0, 50, 30))
    assert window == Window(0, 10, 50, 30)
    assert (window.width, window.height, window.area) == (50, 20, 1000)
    np.testing.assert_allclose(window.to_window().points(np.array([3.0, 12.0])), [3.0, 2.0])


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("factor", [2.0, 3.0])
def test_inner_window_is_exact_on_large_canvases(factor: float, grey: float) -> None:
    """A canvas darker than the air is cut to the pixel, although the window is found on a reduced picture."""
    phantom = draw_hand(height=800, width=600) ** 0.7  # same as `boneage sample --phantom` writes it
    side = round(factor * 800)
    top, left = side // 3 + 1, side // 5 + 1
    canvas = np.full((side, side), grey, np.float32)
    canvas[top : top + 800, left : left + 600] = phantom
    window = inner_window(canvas)
    assert abs(window.top - top) <= 2 and abs(window.bottom - top - 800) <= 2
    assert 0 <= window.left - left <= 12 and 0 <= left + 600 - window.right <= 12


@pytest.mark.parametrize("wide", [0, 5, 700])
def test_inner_picture_is_the_window_reduced(wide: int) -> None:
    """Narrow borders stay: with them the picture is the whole radiograph."""
    radiograph = np.random.default_rng(1).uniform(0.2, 0.8, (1700, 1500)).astype(np.float32)
    framed = np.pad(radiograph, wide, constant_values=np.float32(1.0))
    inner = InnerPicture.of(framed)
    cut = 700 if wide == 700 else 0
    assert inner.window == inner_window(framed)
    assert inner.window == Window(cut, cut, framed.shape[1] - cut, framed.shape[0] - cut)
    picture, to_picture = reduced(ImagePyramid(inner.window.cut(framed)), Transform.shift(-cut, -cut))
    assert np.array_equal(inner.picture.pixels, picture.pixels)
    assert inner.to_picture == to_picture


@pytest.mark.parametrize("wide", [1, 2, 3, 30, 31])
@pytest.mark.parametrize("side", range(4))
def test_without_borders_counts_lines_exactly(wide: int, side: int) -> None:
    widths = [(0, 0), (0, 0)]
    widths[side // 2] = (wide, 0) if side % 2 == 0 else (0, wide)
    window = without_borders(np.pad(RADIOGRAPH, widths, constant_values=np.float32(1.0)))
    assert window.cut(np.pad(RADIOGRAPH, widths, constant_values=np.float32(1.0))).shape == RADIOGRAPH.shape
    assert window == Window(widths[1][0], widths[0][0], widths[1][0] + 90, widths[0][0] + 120)
