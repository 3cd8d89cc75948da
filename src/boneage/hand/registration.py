"""Registration of a hand into one frame by three key points (Iglovikov et al., section 3).

The registration is a similarity transform. The tip of the middle finger lies about 100 px below the frame's top edge,
and the capitate vertically below it, about 480 px above the bottom edge. Right hands are mirrored, so that the thumb
lies on the right (Fig. 4). Regions are boxes of that frame (section 4.3, Fig. 7). Frame pixels are units of length, not
of a stored picture: views are cut straight from the radiograph.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import FloatArray
from boneage.geometry import Transform
from boneage.hand.joints import Joints
from boneage.hand.mask import widened

FRAME_HEIGHT, FRAME_WIDTH = 2080, 1600
"""Size of the registered frame, frame pixels (section 3)."""

MASK_MARGIN = 0.02
"""Share of the hand's length by which the mask is widened before pixels are blanked.

A narrow mask could cost a bone, whereas additional skin does no harm.
"""

TIP_IN_FRAME_XY = (800.0, 100.0)
CAPITATE_IN_FRAME_XY = (800.0, 1600.0)

HAND_LENGTH = CAPITATE_IN_FRAME_XY[1] - TIP_IN_FRAME_XY[1]
"""Distance from the capitate to the tip of the middle finger, frame pixels."""

POINT_NAMES = ("middle_tip", "thumb_tip", "capitate")
"""Key points in the order of the rows of an array."""

Region = Literal["radiograph", "surroundings", "A", "B", "C", "D", "E", "bones"]
"""Content of a view: the whole radiograph, a part of the registered frame, or its bones in tiles
(`boneage.hand.bones`)."""

HAND_REGIONS: tuple[Region, ...] = ("A", "B", "C", "D", "E")
"""Regions that age networks read, named by letters."""


class Box(NamedTuple):
    """Rectangle of the frame or its surroundings, frame pixels."""

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
        "surroundings": Box(-200, -250, 2200, 2400),  # second search for the key points; contains any thumb
    }
)
"""Boxes of the regions.

A, B and C have the sizes of section 4.3. Their positions were read from the mean of 1,785 registered hands. D and E are
our own: they hold bones that A shows with less detail than the radiographs, and that lie at the edge of B and C or
outside.
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
        "bones": "single bones",
    }
)


@dataclass(frozen=True, eq=False)
class Hand:
    """Position of the hand on a radiograph.

    Attributes:
        points_xy: Key points on the radiograph, float64 (3, 2), with the rows of `POINT_NAMES`.
        mask: Mask, uint8 (h, w), 1 inside the hand, on its own grid.
        radiograph_to_mask: Transform from the radiograph's coordinates to those of `mask`.
        inverted: True if bone is dark on the radiograph; views show it bright.
        spread: Uncertainty of tip and capitate, as a share of the hand's length.
        side_certain: True if the thumb's tip was found. Otherwise its side, and with it the side of the hand, is a
            guess from the rest of the hand.
        joints: Joints of the hand; None if no network located them.
        radiograph_to_frame: Transform from the radiograph's coordinates into the registered frame.
    """

    points_xy: NDArray[np.float64]
    mask: NDArray[np.uint8] = field(repr=False)
    radiograph_to_mask: Transform
    inverted: bool = False
    spread: float = 0.0
    side_certain: bool = True
    joints: Joints | None = None
    radiograph_to_frame: Transform = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "radiograph_to_frame", register(self.points_xy))

    @classmethod
    def at(cls, points_xy: NDArray[np.float64]) -> Hand:
        """Return a provisional hand at key points (3, 2), with a meaningless mask of one pixel.

        Raises:
            ValueError: Same as in `register`.
        """
        return cls(points_xy=points_xy, mask=np.ones((1, 1), np.uint8), radiograph_to_mask=Transform())

    def on(self, to_radiograph: Transform) -> Hand:
        """Return the hand on another picture of the radiograph, such as a part, a smaller copy, or the whole of a part.

        Args:
            to_radiograph: Transform from the other picture's coordinates to those of this hand's radiograph.
        """
        points_xy = to_radiograph.inverse().points(self.points_xy)
        return replace(self, points_xy=points_xy, radiograph_to_mask=to_radiograph.then(self.radiograph_to_mask))

    @cached_property
    def widened_mask(self) -> NDArray[np.float32]:
        """The mask widened by `MASK_MARGIN`, float32 (h, w), 0 or 1: outside of it views are blanked."""
        margin = MASK_MARGIN * self.length_pixels * self.radiograph_to_mask.zoom
        return widened(self.mask, margin).astype(np.float32)

    @property
    def mirrored(self) -> bool:
        """True if the frame shows the mirror image of the radiograph, which is so for a right hand."""
        return self.radiograph_to_frame.determinant < 0

    @property
    def length_pixels(self) -> float:
        """Distance from the capitate to the tip of the middle finger, pixels of the radiograph."""
        return hand_length(self.points_xy)

    @property
    def rotation_degrees(self) -> float:
        """Rotation of the hand on the radiograph, clockwise as seen, from fingers up; above -180 to 180."""
        x, y = self.points_xy[0] - self.points_xy[2]
        return math.degrees(math.atan2(x, -y))

    def outline(self) -> NDArray[np.float64]:
        """Return the outline of the mask's largest part on the radiograph, float64 (N, 2), pixels; N may be 0."""
        contours, _ = cv2.findContours(self.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1)
        if not contours:
            return np.empty((0, 2))
        points = max(contours, key=cv2.contourArea)[:, 0].astype(np.float64) + 0.5
        return self.radiograph_to_mask.inverse().points(points)


def hand_length(points_xy: FloatArray) -> float:
    """Return the distance from the capitate to the tip of the middle finger, in the units of the points (3, 2)."""
    points_xy = np.asarray(points_xy, dtype=np.float64)
    return float(np.linalg.norm(points_xy[0] - points_xy[2]))


def register(points_xy: FloatArray) -> Transform:
    """Return the similarity from a radiograph to the frame.

    It consists of zoom, rotation, translation and, for a right hand, mirroring.

    Args:
        points_xy: Key points on the radiograph, (3, 2), with the rows of `POINT_NAMES`.

    Raises:
        ValueError: If tip and capitate coincide, or a coordinate is not finite.
    """
    points_xy = np.asarray(points_xy, dtype=np.float64)
    if not np.isfinite(points_xy).all() or not hand_length(points_xy) > 1e-9:
        raise ValueError("the key points give no direction")
    tip, thumb, capitate = points_xy
    length = hand_length(points_xy)
    upright = (tip - capitate) / length
    # Rows of the rotation that maps the direction capitate-tip to (0, -1), with y pointing down.
    rotation = np.array([[-upright[1], upright[0]], [-upright[0], -upright[1]]])
    if (rotation @ (thumb - capitate))[0] < 0:
        rotation[0] = -rotation[0]
    linear = rotation * (HAND_LENGTH / length)
    offset = np.array(CAPITATE_IN_FRAME_XY) - linear @ capitate
    return Transform.from_matrix(np.column_stack([linear, offset]))


def box_corners(region: Region) -> NDArray[np.float64]:
    """Return the corners (x, y) of a region's box in the frame, float64 (4, 2), in order from the upper left."""
    left, top, width, height = BOXES[region]
    return np.array([[left, top], [left + width, top], [left + width, top + height], [left, top + height]])


def share_on_radiograph(region: Region, hand: Hand, radiograph_shape: tuple[int, int]) -> float:
    """Return the share of a region's box that lies on the radiograph (h, w), 0..1, by area."""
    corners = hand.radiograph_to_frame.inverse().points(box_corners(region)).astype(np.float32)
    height, width = radiograph_shape
    radiograph = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    common, _ = cv2.intersectConvexConvex(corners, radiograph)
    return float(np.clip(common / cv2.contourArea(corners), 0.0, 1.0))
