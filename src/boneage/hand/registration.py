"""Registration: the similarity that brings a hand into one frame, by three key points (Iglovikov et al., section 3).

The tip of the middle finger lies about 100 px under the frame's top edge and the capitate about 480 px above its
bottom edge, one under the other; right hands are mirrored by the thumb, which then lies on the right (Fig. 4). Regions
are boxes of that frame (section 4.3, Fig. 7). Frame pixels are units of length, not of a stored picture: views are cut
straight from the radiograph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import FloatArray
from boneage.geometry import Transform

FRAME_HEIGHT, FRAME_WIDTH = 2080, 1600
"""The registered frame, frame pixels (section 3)."""

TIP_IN_FRAME_XY = (800.0, 100.0)
CAPITATE_IN_FRAME_XY = (800.0, 1600.0)

HAND_LENGTH = CAPITATE_IN_FRAME_XY[1] - TIP_IN_FRAME_XY[1]
"""From the capitate to the tip of the middle finger, frame pixels."""

POINT_NAMES = ("middle_tip", "thumb_tip", "capitate")
"""What the three rows of an array of key points are."""

Region = Literal["radiograph", "surroundings", "A", "B", "C", "D", "E"]
"""What a view shows: the whole radiograph, or a part of the registered frame."""

HAND_REGIONS: tuple[Region, ...] = ("A", "B", "C", "D", "E")
"""Regions that networks for ages read, called by their letters."""


class Box(NamedTuple):
    """A part of the frame, or what surrounds it; frame pixels."""

    left: float
    top: float
    width: float
    height: float


BOXES: Mapping[Region, Box] = MappingProxyType(
    {
        "A": Box(50, 40, 1500, 2000),  # the whole hand
        "B": Box(425, 1250, 750, 750),  # carpal bones, about the capitate, with the ends of radius and ulna
        "C": Box(100, 650, 1400, 600),  # metacarpals and proximal phalanges, about the joints between them
        "D": Box(205, 40, 1140, 760),  # middle and distal phalanges
        "E": Box(425, 1600, 750, 470),  # the ends of radius and ulna, with the nearest carpal bones
        "surroundings": Box(-200, -250, 2200, 2400),  # where the key points are looked for again; holds any thumb
    }
)
"""Regions A, B and C have the sizes of section 4.3; where they lie was read from the mean of 1,785 registered hands.

D and E are ours: bones of which A shows less than the radiographs do, and that stand at the edge of B and C or outside.
"""

REGION_TITLES: Mapping[Region, str] = MappingProxyType(
    {
        "radiograph": "whole radiograph",
        "surroundings": "registered hand and its surroundings",
        "A": "whole hand",
        "B": "carpal bones",
        "C": "metacarpals and proximal phalanges",
        "D": "middle and distal phalanges",
        "E": "radius and ulna",
    }
)


@dataclass(frozen=True, eq=False)
class Hand:
    """Where the hand lies on a radiograph.

    Attributes:
        points_xy: float64 (3, 2), key points on the radiograph, rows as `POINT_NAMES`.
        mask: uint8 (h, w), 1 inside the hand, on a grid of its own.
        radiograph_to_mask: from the radiograph's coordinates to those of `mask`.
        inverted: bone is dark on the radiograph; views show it bright.
        spread: how uncertain tip and capitate are, as a share of the hand's length.
        side_certain: the thumb's tip was found. If not, the side on which it lies, and so whether the hand is a left
            one, is a guess from the rest of the hand.
        radiograph_to_frame: into the registered frame.
    """

    points_xy: NDArray[np.float64]
    mask: NDArray[np.uint8] = field(repr=False)
    radiograph_to_mask: Transform
    inverted: bool = False
    spread: float = 0.0
    side_certain: bool = True
    radiograph_to_frame: Transform = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "radiograph_to_frame", register(self.points_xy))

    @classmethod
    def at(cls, points_xy: NDArray[np.float64]) -> Hand:
        """A hand of which only the key points (3, 2) are known, to look there: its mask is one pixel and says nothing.

        Raises:
            ValueError: as `register`.
        """
        return cls(points_xy=points_xy, mask=np.ones((1, 1), np.uint8), radiograph_to_mask=Transform())

    @property
    def mirrored(self) -> bool:
        """Whether the frame shows the mirror image of the radiograph: of a right hand, or of a left one turned over."""
        return self.radiograph_to_frame.determinant < 0

    @property
    def length_pixels(self) -> float:
        """From the capitate to the tip of the middle finger, pixels of the radiograph."""
        return hand_length(self.points_xy)


def hand_length(points_xy: FloatArray) -> float:
    """Distance from the capitate to the tip of the middle finger, in the units of the points (3, 2)."""
    points_xy = np.asarray(points_xy, dtype=np.float64)
    return float(np.linalg.norm(points_xy[0] - points_xy[2]))


def register(points_xy: FloatArray) -> Transform:
    """The similarity from a radiograph to the frame: zoom, rotation, translation and, for a right hand, mirroring.

    Args:
        points_xy: (3, 2), key points on the radiograph, rows as `POINT_NAMES`.

    Raises:
        ValueError: tip and capitate are one point, or a coordinate is no number.
    """
    points_xy = np.asarray(points_xy, dtype=np.float64)
    if not np.isfinite(points_xy).all() or not hand_length(points_xy) > 1e-9:
        raise ValueError("the key points give no direction")
    tip, thumb, capitate = points_xy
    length = hand_length(points_xy)
    upright = (tip - capitate) / length
    # Rows of the turn that brings the direction capitate-tip to (0, -1), y pointing down.
    turn = np.array([[-upright[1], upright[0]], [-upright[0], -upright[1]]])
    if (turn @ (thumb - capitate))[0] < 0:
        turn[0] = -turn[0]
    linear = turn * (HAND_LENGTH / length)
    offset = np.array(CAPITATE_IN_FRAME_XY) - linear @ capitate
    return Transform.from_matrix(np.column_stack([linear, offset]))


def box_corners(region: Region) -> NDArray[np.float64]:
    """The corners of a region's box, float64 (4, 2), (x, y) in the registered frame, in turn from the upper left."""
    left, top, width, height = BOXES[region]
    return np.array([[left, top], [left + width, top], [left + width, top + height], [left, top + height]])


def share_on_radiograph(region: Region, hand: Hand, radiograph_shape: tuple[int, int]) -> float:
    """How much of a region's box lies on the radiograph (h, w), 0..1, by area."""
    corners = hand.radiograph_to_frame.inverse().points(box_corners(region)).astype(np.float32)
    height, width = radiograph_shape
    radiograph = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    common, _ = cv2.intersectConvexConvex(corners, radiograph)
    return float(np.clip(common / cv2.contourArea(corners), 0.0, 1.0))
