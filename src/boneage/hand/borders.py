"""The part of a picture that lies within its even borders: letterboxes, canvases, pages, collimators' shadows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image
from boneage.geometry import Transform, downsample_area

_TOLERANCE = 0.03
"""Grey levels of a border differ by at most this share of the picture's grey range."""

_STRAY_SHARE = 0.01
"""This share of a border line's pixels may have any grey: specks, and noise of JPEG files beside edges."""

_NESTED = 4
"""Largest number of frames within one another: a page, a window on it, a radiograph in the window, its collimator."""

_LEAST_SIDE = 16
"""A window is not cut below this side, pixels."""

_MARGIN = 0.05
"""This much of a border that continues the air about the hand stays, as a share of the window's longer side."""

_SAME_GREY = 0.04
"""A border continues the air if the median grey of the window's edge differs by at most this share of the range. The
air of the drawn sample lies 0.09 above a black canvas."""

_EDGE = 3
"""Lines of the window's edge: of a reduced picture the outermost mixes border and window."""
_ENOUGH = 768
"""Longer side, pixels, of a picture; no network that looks for hands would see more of one on a larger picture."""

_LARGEST_WINDOW = 0.75
"""Even borders are cut off if what lies within them is at most this share of the picture."""

_OVERVIEW_SIDE = 256
"""Longest side of the reduced picture on which pieces are separated, pixels."""

_CONTENT_DIFFERENCE = 0.05
"""Pixels of a piece differ from the grey of the picture's edge by at least this share of the grey range."""

_LEAST_CONTENT = 0.01
"""The box about a piece makes up at least this share of the picture."""


@dataclass(frozen=True)
class Window:
    """A part of a picture, pixels: rows `top` to `bottom` and columns `left` to `right`, the ends excluded."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Window:
        """The whole of a picture of this shape (H, W)."""
        return cls(0, 0, shape[1], shape[0])

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.bottom - self.top

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    def cut(self, pixels: Image) -> Image:
        """Return the window's pixels, a view of `pixels` (H, W)."""
        return pixels[self.top : self.bottom, self.left : self.right]

    def to_window(self) -> Transform:
        """Return the transform from the picture's coordinates to the window's."""
        return Transform.shift(-self.left, -self.top)

    def within(self, outer: Window) -> Window:
        """Return the part of this window that lies in another one."""
        left, right = np.clip((self.left, self.right), outer.left, outer.right)
        top, bottom = np.clip((self.top, self.bottom), outer.top, outer.bottom)
        return Window(int(left), int(top), int(right), int(bottom))


def without_borders(pixels: Image) -> Window:
    """Find the window within a picture's even borders, whatever their grey; frames may lie within one another.

    A border that has the grey of the window's own edge is taken for air, of which a margin stays.

    Args:
        pixels: float32 (H, W), 0..1.

    Returns:
        The window; the whole picture if it has no borders or nothing else.
    """
    whole = window = Window.of(pixels.shape)
    for _ in range(_NESTED):
        inner = _one_frame_less(pixels, window)
        if inner == window:
            break
        window = inner
    return window.within(whole)


def inner_window(pixels: Image) -> Window:
    """Find the window within a picture's even borders if it is much smaller than the picture.

    It is found on a reduced copy (see `reduced`), whose pixels mix border and window, and then to the pixel.

    Args:
        pixels: float32 (H, W), 0..1.

    Returns:
        The window; the whole picture if borders make up less than a quarter of it.
    """
    small, to_small = reduced(pixels, Transform())
    window = without_borders(small)
    if window.area > _LARGEST_WINDOW * small.size:
        return Window.of(pixels.shape)
    corners = np.array([[window.left, window.top], [window.right, window.bottom]])
    (left, top), (right, bottom) = to_small.inverse().points(corners)
    coarse = Window(math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))
    return _one_frame_less(pixels, coarse.within(Window.of(pixels.shape)))


def reduced(pixels: Image, to_pixels: Transform) -> tuple[Image, Transform]:
    """Average a large picture down once by a whole number, which each of a dozen looks at it would do again.

    Args:
        pixels: of the picture.
        to_pixels: from the coordinates of whatever the picture is a part of to the picture's.

    Returns:
        The smaller picture, and the transform to it.
    """
    small = downsample_area(pixels, 1 / max(1, max(pixels.shape) // _ENOUGH))
    return small, to_pixels.then(Transform.scale(small.shape[1] / pixels.shape[1], small.shape[0] / pixels.shape[0]))


def content_windows(pixels: Image) -> list[Window]:
    """Find windows about the connected pieces of a picture that differ from its edge: radiographs on a page or screen.

    Args:
        pixels: float32 (H, W), 0..1.

    Returns:
        The windows, the largest first; none that is as large as the picture.
    """
    zoom = min(1.0, _OVERVIEW_SIDE / max(pixels.shape))
    small = downsample_area(pixels, zoom)
    height, width = small.shape
    grey = np.median(np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]]))
    differing = np.abs(small - grey) > _CONTENT_DIFFERENCE * float(np.ptp(small))
    closed = cv2.morphologyEx(differing.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, _, boxes, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    across, down = pixels.shape[1] / width, pixels.shape[0] / height
    found = [
        Window(
            math.floor(left * across),
            math.floor(top * down),
            math.ceil((left + wide) * across),
            math.ceil((top + high) * down),
        )
        for left, top, wide, high, _ in boxes[1:].tolist()
        if _LEAST_CONTENT <= wide * high / small.size < 1.0
    ]
    return sorted(found, key=lambda window: -window.area)


def _one_frame_less(pixels: Image, window: Window) -> Window:
    """Cut the even lines off each side, but for a margin where they continue the air within."""
    seen = window.cut(pixels)
    low, high = float(seen.min()), float(seen.max())
    tolerance = _TOLERANCE * (high - low)
    left, right = (_even_lines(side, tolerance) for side in (seen.T, seen.T[::-1]))
    top, bottom = (_even_lines(side, tolerance) for side in (seen, seen[::-1]))
    width, height = window.width - left - right, window.height - top - bottom
    if min(width, height) < _LEAST_SIDE:
        return window
    inner = seen[top : window.height - bottom, left : window.width - right]
    kept = round(_MARGIN * max(width, height))
    alike = _SAME_GREY * (high - low)

    def cut_off(lines: int, border: Image, edge: Image) -> int:
        """Return how many lines are cut off one side, whose outermost is `border`; `edge` are the first ones within."""
        air = lines and abs(float(np.median(border)) - float(np.median(edge))) <= alike
        return max(0, lines - kept) if air else lines

    return Window(
        window.left + cut_off(left, seen[:, 0], inner[:, :_EDGE]),
        window.top + cut_off(top, seen[0], inner[:_EDGE]),
        window.right - cut_off(right, seen[:, -1], inner[:, -_EDGE:]),
        window.bottom - cut_off(bottom, seen[-1], inner[-_EDGE:]),
    )


def _even_lines(pixels: Image, tolerance: float) -> int:
    """Count the first rows of a picture (H, W) that all have the grey of the first one, stray pixels aside."""
    grey = np.float32(np.median(pixels[0]))

    def uneven(rows: Image) -> NDArray[np.bool_]:
        return np.asarray((np.abs(rows - grey) > tolerance).mean(axis=1) > _STRAY_SHARE)

    if uneven(pixels[:1])[0]:
        return 0
    differing = np.flatnonzero(uneven(pixels))
    return int(differing[0]) if differing.size else 0
