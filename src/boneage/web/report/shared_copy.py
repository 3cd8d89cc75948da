"""A copy of the radiograph for sharing: the hand, and nothing beside it.

Names, dates and side markers are burnt into many radiographs. All pixels become black except those of the hand and a
narrow margin around it, so that no text needs to be recognised. Anything on the hand itself remains: users must look at
the copy before they share it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.explain import HeatMap, encode_picture, overlay

SEAM = 0.03
"""Width of the margin around the hand's outline, as a share of the length from capitate to middle finger tip."""

_FEWEST_CORNERS = 3


def hand_place(
    shape: tuple[int, int],
    radiograph_shape: tuple[int, int],
    outline_xy: Sequence[Sequence[float]],
    length_pixels: float,
) -> NDArray[np.bool_]:
    """Return the area of the hand with its margin on a picture of the radiograph.

    Args:
        shape: (h, w) of the picture, which shows the whole radiograph.
        radiograph_shape: (H, W) of the radiograph.
        outline_xy: corners (x, y) on the radiograph.
        length_pixels: length of the hand on the radiograph.

    Returns:
        bool (h, w).

    Raises:
        ValueError: the outline encloses nothing.
    """
    zoom_y, zoom_x = shape[0] / radiograph_shape[0], shape[1] / radiograph_shape[1]
    # OpenCV puts the first pixel's centre at 0, the outline has it at 0.5.
    corners = np.asarray(outline_xy, dtype=np.float64).reshape(-1, 2) * [zoom_x, zoom_y] - 0.5
    if len(corners) < _FEWEST_CORNERS or not np.isfinite(corners).all():
        raise ValueError("an outline has at least three corners")
    outside = np.ones(shape, dtype=np.uint8)
    cv2.fillPoly(outside, [np.rint(corners).astype(np.int32)], 0)
    if outside.all():
        raise ValueError("the outline lies beside the radiograph")
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= SEAM * length_pixels * min(zoom_x, zoom_y))


def blanked(picture: NDArray[np.uint8], place: NDArray[np.bool_], heat: HeatMap | None = None) -> bytes:
    """Return the picture as PNG without any metadata, black outside of `place`.

    Args:
        picture: uint8 (h, w), the whole radiograph.
        place: bool (h, w), the area that remains.
        heat: heat map laid over it in colour, if given.
    """
    shown = picture if heat is None else overlay(picture, heat, scale_bar=False)
    kept = shown.copy()
    kept[~place] = 0
    return encode_picture(".png", kept)
