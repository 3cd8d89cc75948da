"""Groups of the hand's bones, and the nearest one to each place of the registered frame.

Every bone is a capsule, a segment with a half width. The segments of fingers and thumb run between their joints
(`boneage.hand.joints`). The bases of the other metacarpals, the carpals, and the shafts of radius and ulna have no
joints of their own. They lie at fixed distances from the capitate, which registration puts at one place, and from the
growth plates of radius and ulna.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from boneage.arrays import FloatArray
from boneage.hand.joints import Joints
from boneage.hand.registration import CAPITATE_IN_FRAME_XY


class BoneGroup(StrEnum):
    """Group of bones, from the fingertips to the forearm."""

    DISTAL_PHALANGES = "distal_phalanges"
    MIDDLE_PHALANGES = "middle_phalanges"
    PROXIMAL_PHALANGES = "proximal_phalanges"
    METACARPALS = "metacarpals"
    CARPALS = "carpals"
    RADIUS = "radius"
    ULNA = "ulna"

    @property
    def label(self) -> str:
        """Name in tables."""
        return self.value.replace("_", " ")


GROUPS: tuple[BoneGroup, ...] = tuple(BoneGroup)

_METACARPAL_BASES = {2: (95.0, -150.0), 3: (15.0, -150.0), 4: (-60.0, -140.0), 5: (-130.0, -120.0)}
"""Bases of the metacarpals by finger, frame pixels from the capitate; read from plates of the open atlas."""

_CARPAL_ENDS = ((-100.0, 15.0), (130.0, 5.0))
"""Ends of the segment of the carpals, frame pixels from the capitate; read from plates of the open atlas."""

_BELOW_PLATE, _SHAFT = 60.0, 600.0
"""Distances from the growth plate of radius or ulna to the ends of its segment, frame pixels."""

_HALF_WIDTHS = {
    BoneGroup.DISTAL_PHALANGES: 40.0,
    BoneGroup.MIDDLE_PHALANGES: 50.0,
    BoneGroup.PROXIMAL_PHALANGES: 60.0,
    BoneGroup.METACARPALS: 65.0,
    BoneGroup.CARPALS: 125.0,
    BoneGroup.RADIUS: 120.0,
    BoneGroup.ULNA: 85.0,
}
"""Half widths of the bones, frame pixels; read from plates of the open atlas."""


class Capsule(NamedTuple):
    """Bone as a segment with a half width, frame pixels."""

    group: BoneGroup
    start_xy: NDArray[np.float64]
    end_xy: NDArray[np.float64]

    @property
    def half_width(self) -> float:
        """Half width of the bone, frame pixels."""
        return _HALF_WIDTHS[self.group]


def capsules(joints: Joints) -> list[Capsule]:
    """Return the bones of a hand: 19 of fingers and thumb, the carpals together, radius and ulna."""
    at, capitate = joints.at, np.array(CAPITATE_IN_FRAME_XY)
    bones = [
        Capsule(BoneGroup.METACARPALS, at("cmc_1"), at("mcp_1")),
        Capsule(BoneGroup.PROXIMAL_PHALANGES, at("mcp_1"), at("ip_1")),
        Capsule(BoneGroup.DISTAL_PHALANGES, at("ip_1"), at("tip_1")),
    ]
    for finger, base in _METACARPAL_BASES.items():
        mcp, pip, dip, tip = (at(f"{joint}_{finger}") for joint in ("mcp", "pip", "dip", "tip"))
        bones += [
            Capsule(BoneGroup.METACARPALS, capitate + base, mcp),
            Capsule(BoneGroup.PROXIMAL_PHALANGES, mcp, pip),
            Capsule(BoneGroup.MIDDLE_PHALANGES, pip, dip),
            Capsule(BoneGroup.DISTAL_PHALANGES, dip, tip),
        ]
    bones.append(Capsule(BoneGroup.CARPALS, *(capitate + end for end in _CARPAL_ENDS)))
    for group in (BoneGroup.RADIUS, BoneGroup.ULNA):
        plate = at(group.value)
        bones.append(Capsule(group, plate + np.array([0.0, _BELOW_PLATE]), plate + np.array([0.0, _SHAFT])))
    return bones


def nearest_groups(frame_xy: FloatArray, joints: Joints) -> NDArray[np.int64]:
    """Return the group of the nearest bone to each place, by the distance from the bone's surface.

    Args:
        frame_xy: places in the registered frame, frame pixels, (..., 2).
        joints: joints of the hand.

    Returns:
        Indices into `GROUPS`, (...).
    """
    places = np.asarray(frame_xy, np.float64)
    nearest = np.zeros(places.shape[:-1], np.int64)
    least = np.full(places.shape[:-1], np.inf)
    for bone in capsules(joints):
        along = bone.end_xy - bone.start_xy
        length = max(float(along @ along), 1e-9)
        share = np.clip((places - bone.start_xy) @ along / length, 0.0, 1.0)
        distance = np.linalg.norm(places - bone.start_xy - share[..., None] * along, axis=-1) - bone.half_width
        closer = distance < least
        nearest[closer], least[closer] = GROUPS.index(bone.group), distance[closer]
    return nearest
