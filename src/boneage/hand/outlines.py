"""Outlines of epiphyses and carpal bones on a radiograph, traced from the probabilities of a network.

The network (recipe ``hand-outlines``) reads a view of single bones (`boneage.hand.bones`). Each tile of its output
shows the probability of each pixel to belong to an epiphysis or carpal bone of the tile's own bone. A bone may have
several outlines (the carpal bones) or none (an epiphysis that has not yet ossified).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.hand.bones import BONES, tile_corner, tile_sides, tile_to_radiograph
from boneage.hand.registration import Hand
from boneage.hand.views import ViewSpec

Outline = NDArray[np.float64]
"""Closed outline on the radiograph, float64 (N, 2), pixels; the last point is not the first."""

_LEVEL = 0.5
"""Probability at which an outline runs."""

LEAST_CERTAINTY = 0.75
"""Least mean probability of the pixels within an outline; a part with less is not drawn.

On 95 validation radiographs with masks, 26 of 2,209 parts have less. Of most of them, less than half lies within the
mask of the bone. Of the others, this is so for 4 %.
"""

_LEAST_AREA = 60.0
"""Least area of an outline, square frame pixels. Smaller parts are a few pixels of a tile."""

_FINER = 2
"""Factor by which probabilities are interpolated before an outline is traced."""

_TOLERANCE = 0.5
"""Largest distance of the simplified outline from the traced one, pixels of the tile."""


def trace_outlines(
    probabilities: NDArray[np.float32], spec: ViewSpec, hand: Hand, unreadable: Collection[str] = ()
) -> dict[str, tuple[Outline, ...]]:
    """Return the outlines of each readable bone on the radiograph, by the bone's name, the largest first.

    Args:
        probabilities: output of the network, float32 (H, W), 0..1.
        spec: view that the network read.
        hand: hand on the radiograph, with its joints.
        unreadable: names of bones that have no outlines.

    Raises:
        ValueError: The hand has no joints, or the view does not divide evenly into tiles.
    """
    height, width = tile_sides(spec)
    outlines: dict[str, tuple[Outline, ...]] = {}
    for index, bone in enumerate(BONES):
        if bone.name in unreadable:
            continue
        row, column = tile_corner(index, spec)
        tile = probabilities[row : row + height, column : column + width]
        frame_pixels = bone.side / min(height, width)
        to_radiograph = tile_to_radiograph(hand, index, spec)
        traced = sorted(_trace(tile, _LEAST_AREA / frame_pixels**2), key=_area, reverse=True)
        corner = np.array([column, row], np.float64)
        outlines[bone.name] = tuple(to_radiograph.points(outline + corner) for outline in traced)
    return outlines


def _trace(tile: NDArray[np.float32], least_area: float) -> Iterator[Outline]:
    """Yield the outlines of the certain parts of a tile (h, w), in its own coordinates."""
    if tile.max() < _LEVEL:
        return
    fine = np.asarray(cv2.resize(tile, None, fx=_FINER, fy=_FINER, interpolation=cv2.INTER_LINEAR), np.float32)
    inside = (fine >= _LEVEL).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for contour in (np.asarray(one, np.int32) for one in contours):
        outline = _widened(contour[:, 0].astype(np.float32))
        if _area(outline) < least_area * _FINER**2 or _certainty(fine, inside, contour) < LEAST_CERTAINTY:
            continue
        simple = cv2.approxPolyDP(outline[:, None], _TOLERANCE * _FINER, closed=True)[:, 0]
        if len(simple) > 2:
            yield (simple.astype(np.float64) + 0.5) / _FINER


def _widened(contour: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a contour (N, 2) through the centres of the outermost pixels, moved outwards to their edges.

    Without this, thin epiphyses would lose a tenth of their area.
    """
    along = np.roll(contour, -2, axis=0) - np.roll(contour, 2, axis=0)
    length = np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1.0)
    signed = cv2.contourArea(contour, oriented=True)
    outwards = np.column_stack([along[:, 1], -along[:, 0]]) / length * (0.5 if signed >= 0 else -0.5)
    return np.asarray(contour + outwards, np.float32)


def _certainty(fine: NDArray[np.float32], inside: NDArray[np.uint8], contour: NDArray[np.int32]) -> float:
    """Return the mean probability of the pixels within a contour."""
    left, top, width, height = cv2.boundingRect(contour)
    drawn = np.zeros((height, width), np.uint8)
    cv2.drawContours(drawn, [contour - (left, top)], -1, 1, cv2.FILLED)
    part = (slice(top, top + height), slice(left, left + width))
    return float(fine[part][(drawn & inside[part]) > 0].mean())


def _area(outline: NDArray[np.floating]) -> float:
    return float(cv2.contourArea(outline.astype(np.float32)))
