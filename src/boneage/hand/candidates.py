"""Windows of a picture that may contain a hand, to be examined at close range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from boneage.geometry import Transform
from boneage.hand.borders import Window
from boneage.hand.mask import components
from boneage.hand.registration import Hand

_SURROUNDINGS = 0.25
"""Margin of a window around a part of a mask on each side, as a share of the part's longer side."""

_TILES = ((2, 3), (3, 5))
"""Tilings of a picture: ratio of the picture's side to the tile's, and number of tiles for each side.

Neighbouring tiles overlap by half.
"""

_LEAST_STRIP = 0.25
"""Minimum width of a strip beside a hand that can show another whole hand, as a share of the hand's length."""


def part_windows(
    mask: NDArray[np.bool_], to_view: Transform, within: Window, least_pixels: float
) -> list[tuple[float, Window]]:
    """Return the windows around the parts of a mask.

    Args:
        mask: Mask (h, w) on a view of the window `within`.
        to_view: Transform from the picture's coordinates to the view's.
        within: Part of the picture that the view shows.
        least_pixels: Minimum area of a part, in pixels of the view.

    Returns:
        Area in pixels of the picture and window of each part, largest first. The window includes the surroundings of
        the part and may reach beyond `within`.
    """
    windows = []
    for part in components(mask):
        area = float(part.sum())
        if area < least_pixels:
            break
        rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
        corners = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], dtype=np.float64)
        (left, top), (right, bottom) = to_view.inverse().points(corners)
        around = _SURROUNDINGS * max(right - left, bottom - top)
        window = Window(*(round(side) for side in (left - around, top - around, right + around, bottom + around)))
        windows.append((area / abs(to_view.determinant), window))
    return windows


def tiles(shape: tuple[int, ...]) -> list[Window]:
    """Cover a picture of shape (H, W) with overlapping tiles of half and of a third of its sides."""
    height, width = shape
    windows = []
    for parts, count in _TILES:
        tops, lefts = (np.linspace(0, side - side // parts, count).round().astype(int) for side in (height, width))
        windows += [
            Window(int(left), int(top), int(left) + width // parts, int(top) + height // parts)
            for top in tops
            for left in lefts
        ]
    return windows


def hand_box(hand: Hand) -> Window:
    """Return the box about a hand's mask on the picture, which may reach beyond the picture."""
    rows, columns = np.flatnonzero(hand.mask.any(axis=1)), np.flatnonzero(hand.mask.any(axis=0))
    corners = np.array([[x, y] for x in (columns[0], columns[-1] + 1) for y in (rows[0], rows[-1] + 1)])
    on_picture = hand.radiograph_to_mask.inverse().points(corners)
    (left, top), (right, bottom) = np.floor(on_picture.min(axis=0)), np.ceil(on_picture.max(axis=0))
    return Window(int(left), int(top), int(right), int(bottom))


def strips_beside(shape: tuple[int, ...], hand: Hand) -> list[Window]:
    """Return the wide strips of a picture of shape (H, W) to the left, right, top and bottom of a hand's mask.

    Args:
        shape: Shape of the picture, pixels.
        hand: Hand on the picture.
    """
    height, width = shape
    box = hand_box(hand).within(Window.of(shape))
    strips: Sequence[Window] = (
        Window(0, 0, box.left, height),
        Window(box.right, 0, width, height),
        Window(0, 0, width, box.top),
        Window(0, box.bottom, width, height),
    )
    least = _LEAST_STRIP * hand.length_pixels
    return [strip for strip in strips if min(strip.width, strip.height) >= least]
