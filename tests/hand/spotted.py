"""A radiograph whose three key points are bright spots that can be located on any view of it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.geometry import Transform
from boneage.hand.mask import components

HEIGHT, WIDTH = 480, 400
POINTS_XY = np.array([[190.0, 110.0], [280.0, 270.0], [200.0, 330.0]])
"""Tip, thumb and capitate. The thumb is nearer to the capitate, and the other two are farthest apart."""

_AIR, _FLESH, _BRIGHTER = 0.05, 0.35, 0.5
_UNEVEN = 0.08
_SPOT_PIXELS = 9.0
_OVER = 0.65
"""Grey level that only spots exceed, as a share of the range from the darkest to the brightest."""


def hand_mask() -> NDArray[np.uint8]:
    """Return the mask of the hand, an ellipse, uint8 (HEIGHT, WIDTH) of 0 and 1."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(mask, (205, 240), (90, 170), 0, 0, 360, 1, -1)
    return mask


def spotted_radiograph() -> NDArray[np.float32]:
    """Return the radiograph, float32 (HEIGHT, WIDTH)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    radiograph = np.where(hand_mask() > 0, _FLESH, _AIR + _UNEVEN * ((x // 16 + y // 16) % 2))  # no even border
    for at_x, at_y in POINTS_XY:
        radiograph = radiograph + _BRIGHTER * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * _SPOT_PIXELS**2))
    return radiograph.astype(np.float32)


def turned(pixels: NDArray[np.generic], quarters: int, *, mirrored: bool) -> NDArray[np.generic]:
    """Rotate an image anticlockwise by quarter turns, then mirror it if wanted."""
    pixels = np.rot90(pixels, quarters)
    return np.ascontiguousarray(pixels[:, ::-1] if mirrored else pixels)


def turning(height: int, width: int, quarters: int, *, mirrored: bool) -> Transform:
    """Return the transform by which `turned` moves the points of an image of this size."""
    change = Transform()
    for _ in range(quarters):
        change = change.then(Transform(a=0, b=1, d=-1, e=0, f=width))  # (x, y) to (y, width - x)
        height, width = width, height
    return change.then(Transform.mirror(width)) if mirrored else change


def spots_on(view: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Locate the three points on a view (h, w) and order them by their distances, (3, 2).

    Fewer than three spots give None.
    """
    level = view.min() + _OVER * (view.max() - view.min())
    y, x = np.mgrid[: view.shape[0], : view.shape[1]] + 0.5
    spots = []
    for part in components(view > level)[:3]:
        weight = np.where(part > 0, view - level, 0).astype(np.float64)
        spots.append([(x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()])
    return _in_order(np.array(spots)) if len(spots) == 3 else None


def _in_order(spots_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    apart = np.linalg.norm(spots_xy[:, None] - spots_xy[None], axis=-1)
    first, second = np.unravel_index(apart.argmax(), apart.shape)
    (thumb,) = {0, 1, 2} - {int(first), int(second)}
    tip, capitate = (first, second) if apart[first, thumb] > apart[second, thumb] else (second, first)
    return spots_xy[[tip, thumb, capitate]]
