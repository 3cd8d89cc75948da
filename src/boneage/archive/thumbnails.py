"""Small pictures of radiographs with the outline of the hand.

Names and dates may stand in the pixels of a radiograph (PS3.15, E.3.1, Clean Pixel Data). A pseudonymous picture
therefore shows the hand and its surroundings only; all else is black.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.activations import to_shape
from boneage.assessment import Assessment
from boneage.explain import encode_picture, mark_hand

LONGEST_SIDE = 320
"""Longest side of a thumbnail, pixels."""

_CORNERS = 3
"""Smallest number of points that enclose an area."""
_MARGIN = 0.04
"""Width of the surroundings that stay visible around the hand, as a share of the picture's longest side."""


def thumbnail(assessment: Assessment, *, whole: bool = False) -> bytes:
    """Return a JPEG of a radiograph with the outline of its hand, cut to the hand.

    Args:
        assessment: The assessment.
        whole: True to show the whole radiograph, with all that is written on it.

    Returns:
        JPEG of at most `LONGEST_SIDE` pixels a side; empty if the hand is unknown and `whole` is false.
    """
    hand, picture = assessment.hand, _reduced(assessment.picture)
    if hand is None:
        return encode_picture(".jpg", picture) if whole else b""
    to_picture = to_shape(assessment.radiograph_shape, picture.shape)
    drawn = mark_hand(picture, hand, to_picture)
    if whole:
        return encode_picture(".jpg", drawn)
    outline = to_picture.points(hand.outline())
    if len(outline) < _CORNERS:
        return b""
    margin = max(1, round(_MARGIN * LONGEST_SIDE))
    visible = np.zeros(picture.shape, np.uint8)
    cv2.fillPoly(visible, [np.rint(outline).astype(np.int32)], 1)  # a hull would hold markers beside the wrist
    visible = np.asarray(cv2.dilate(visible, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)), dtype=np.uint8)
    if not visible.any():
        return b""
    drawn[visible == 0] = 0
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    return encode_picture(".jpg", drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _reduced(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape
    zoom = min(1.0, LONGEST_SIDE / max(height, width))
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
