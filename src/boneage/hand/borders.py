"""Window of a picture within its even borders: letterboxes, canvases, pages, shadows of collimators."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from boneage.arrays import Image
from boneage.geometry import Transform, downsample_area
from boneage.image_pyramid import ImagePyramid, ImageSource

_TOLERANCE = 0.03
"""Maximum difference of grey levels within a border, as a share of the picture's grey range."""

_STRAY_SHARE = 0.01
"""Share of a border line's pixels that may have any grey level: specks, and noise of JPEG files beside edges."""

_NESTED = 4
"""Maximum number of nested frames: a page, a window on it, a radiograph in the window, its collimator."""

_LEAST_SIDE = 16
"""Minimum side of a window, pixels."""

_MARGIN = 0.05
"""Remaining margin of a border that continues the air around the hand, as a share of the window's longer side."""

_SAME_GREY = 0.04
"""Maximum difference between the median grey of border and window edge for a border that continues the air.

It is a share of the grey range. The air of the drawn sample lies 0.09 above a black canvas.
"""

_EDGE = 3
"""Number of lines of the window's edge. The outermost line of a reduced picture mixes border and window."""

_ENOUGH = 768
"""Longer side of a picture in pixels beyond which the hand networks gain no detail."""

_LARGEST_WINDOW = 0.75
"""Maximum share of the picture within even borders that are cut off."""

_OVERVIEW_SIDE = 256
"""Longest side of the reduced picture on which pieces are separated, pixels."""

_CONTENT_DIFFERENCE = 0.05
"""Minimum difference between pixels of a piece and the grey of the picture's edge, as a share of the grey range."""

_LEAST_CONTENT = 0.01
"""Minimum share of the picture in the bounding box of a piece."""


@dataclass(frozen=True)
class Window:
    """Part of a picture, pixels: rows `top` to `bottom` and columns `left` to `right`, ends excluded."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Window:
        """Return the window of a whole picture of this shape (H, W)."""
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
    """Return the window within a picture's even borders of any grey, which may be nested frames.

    A border with the grey of the window's own edge is treated as air, and a margin of it remains.

    Args:
        pixels: Picture, float32 (H, W), 0..1.

    Returns:
        The window, or the whole picture if it has no borders or consists of them.
    """
    whole = window = Window.of(pixels.shape)
    for _ in range(_NESTED):
        inner = _one_frame_less(pixels, window)
        if inner == window:
            break
        window = inner
    return window.within(whole)


def inner_window(source: ImageSource) -> Window:
    """Return the window within a picture's even borders if it is much smaller than the picture.

    The search starts on a reduced copy (see `reduced`), whose pixels mix border and window, and ends at full
    resolution.

    Args:
        source: Picture, float32 (H, W), 0..1, or its pyramid.

    Returns:
        The window, or the whole picture if borders make up less than a quarter of it.
    """
    pyramid = ImagePyramid.of(source)
    return _inner_window(pyramid.pixels, *reduced(pyramid, Transform()))


@dataclass(frozen=True, eq=False)
class InnerPicture:
    """Part of a radiograph within its even borders, prepared for the networks that locate hands.

    Attributes:
        window: Window on the radiograph, by `inner_window`.
        picture: The window, reduced by `reduced`.
        to_picture: Transform from the radiograph's coordinates to those of `picture`.
    """

    window: Window
    picture: ImagePyramid
    to_picture: Transform

    @classmethod
    def of(cls, source: ImageSource) -> InnerPicture:
        """Cut and reduce a radiograph, float32 (H, W), 0..1, or its pyramid."""
        pyramid = ImagePyramid.of(source)
        small, to_small = reduced(pyramid, Transform())
        window = _inner_window(pyramid.pixels, small, to_small)
        if window == Window.of(pyramid.shape):
            return cls(window, small, to_small)
        return cls(window, *reduced(ImagePyramid(window.cut(pyramid.pixels)), window.to_window()))


def _inner_window(pixels: Image, small: ImagePyramid, to_small: Transform) -> Window:
    """Return the window of `inner_window` of a picture whose reduced copy is `small`."""
    window = without_borders(small.pixels)
    if window.area > _LARGEST_WINDOW * small.pixels.size:
        return Window.of(pixels.shape)
    corners = np.array([[window.left, window.top], [window.right, window.bottom]])
    (left, top), (right, bottom) = to_small.inverse().points(corners)
    coarse = Window(math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))
    return _one_frame_less(pixels, coarse.within(Window.of(pixels.shape)))


def reduced(picture: ImagePyramid, to_picture: Transform) -> tuple[ImagePyramid, Transform]:
    """Halve a large picture, as often as its longer side keeps `_ENOUGH` pixels.

    Args:
        picture: Picture (H, W).
        to_picture: Transform from the coordinates of the larger picture, of which this is a part, to this picture's.

    Returns:
        The smaller picture, and the transform to it.
    """
    halvings = max(1, max(picture.shape) // _ENOUGH).bit_length() - 1
    small = picture.halved(halvings)
    across, down = small.shape[1] / picture.shape[1], small.shape[0] / picture.shape[0]
    return small, to_picture.then(Transform.scale(across, down))


def content_windows(pixels: Image) -> list[Window]:
    """Return windows around the connected pieces of a picture that differ from its edge.

    These may be radiographs on a page or a screen.

    Args:
        pixels: Picture, float32 (H, W), 0..1.

    Returns:
        The windows, largest first, without any that is as large as the picture.
    """
    zoom = min(1.0, _OVERVIEW_SIDE / max(pixels.shape))
    small = downsample_area(pixels, zoom)
    height, width = small.shape
    grey = np.median(np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]]))
    differing = np.abs(small - grey) > _CONTENT_DIFFERENCE * float(np.ptp(small))
    closed = cv2.morphologyEx(differing.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, _, boxes, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    across, down = pixels.shape[1] / width, pixels.shape[0] / height
    windows = [
        Window(
            math.floor(left * across),
            math.floor(top * down),
            math.ceil((left + wide) * across),
            math.ceil((top + high) * down),
        )
        for left, top, wide, high, _ in boxes[1:].tolist()
        if _LEAST_CONTENT <= wide * high / small.size < 1.0
    ]
    return sorted(windows, key=lambda window: -window.area)


def _one_frame_less(pixels: Image, window: Window) -> Window:
    """Cut the even lines off each side, except for a margin where they continue the air inside."""
    visible = window.cut(pixels)
    low, high = float(visible.min()), float(visible.max())
    tolerance = _TOLERANCE * (high - low)
    left, right = (_even_lines(side, tolerance) for side in (visible.T, visible.T[::-1]))
    top, bottom = (_even_lines(side, tolerance) for side in (visible, visible[::-1]))
    width, height = window.width - left - right, window.height - top - bottom
    if min(width, height) < _LEAST_SIDE:
        return window
    inner = visible[top : window.height - bottom, left : window.width - right]
    kept = round(_MARGIN * max(width, height))
    alike = _SAME_GREY * (high - low)

    def cut_off(lines: int, border: Image, edge: Image) -> int:
        """Return the number of lines to cut off a side with the outermost line `border` and the inner edge `edge`."""
        air = lines and abs(float(np.median(border)) - float(np.median(edge))) <= alike
        return max(0, lines - kept) if air else lines

    return Window(
        window.left + cut_off(left, visible[:, 0], inner[:, :_EDGE]),
        window.top + cut_off(top, visible[0], inner[:_EDGE]),
        window.right - cut_off(right, visible[:, -1], inner[:, -_EDGE:]),
        window.bottom - cut_off(bottom, visible[-1], inner[-_EDGE:]),
    )


def _even_lines(pixels: Image, tolerance: float) -> int:
    """Return the number of first rows of a picture (H, W) with the grey of the first one, except for stray pixels."""
    grey = np.float32(np.median(pixels[0]))
    even, count = 0, 1
    while even < len(pixels):  # in growing blocks, for most borders are narrow
        rows = pixels[even : even + count]
        uneven = np.flatnonzero((np.abs(rows - grey) > tolerance).mean(axis=1) > _STRAY_SHARE)
        if uneven.size:
            return even + int(uneven[0])
        even, count = even + count, 2 * count
    return 0
