from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.hand.bone_groups import GROUPS, BoneGroup, capsules, nearest_groups
from boneage.hand.joints import JOINT_NAMES, Joints
from boneage.hand.registration import CAPITATE_IN_FRAME_XY

TYPICAL = Joints.typical()


def _group_at(x: float, y: float) -> BoneGroup:
    return GROUPS[int(nearest_groups(np.array([x, y]), TYPICAL))]


@pytest.mark.parametrize(
    ("start", "end", "group"),
    [
        *((f"mcp_{finger}", f"pip_{finger}", BoneGroup.PROXIMAL_PHALANGES) for finger in (2, 3, 4, 5)),
        *((f"pip_{finger}", f"dip_{finger}", BoneGroup.MIDDLE_PHALANGES) for finger in (2, 3, 4, 5)),
        *((f"dip_{finger}", f"tip_{finger}", BoneGroup.DISTAL_PHALANGES) for finger in (2, 3, 4, 5)),
        ("cmc_1", "mcp_1", BoneGroup.METACARPALS),
        ("mcp_1", "ip_1", BoneGroup.PROXIMAL_PHALANGES),
        ("ip_1", "tip_1", BoneGroup.DISTAL_PHALANGES),
    ],
)
def test_nearest_groups_between_joints(start: str, end: str, group: BoneGroup) -> None:
    assert _group_at(*(TYPICAL.at(start) + TYPICAL.at(end)) / 2) is group


def test_nearest_groups_of_wrist() -> None:
    assert _group_at(*CAPITATE_IN_FRAME_XY) is BoneGroup.CARPALS
    assert _group_at(*TYPICAL.at("radius")) is BoneGroup.RADIUS
    assert _group_at(*TYPICAL.at("ulna")) is BoneGroup.ULNA
    middle = (TYPICAL.at("mcp_3") + np.array(CAPITATE_IN_FRAME_XY)) / 2
    assert _group_at(*middle) is BoneGroup.METACARPALS


@settings(max_examples=25, deadline=None)
@given(st.integers(0, len(JOINT_NAMES)), st.floats(-80, 80), st.floats(-80, 80))
def test_nearest_groups_of_segments_are_their_own(seed: int, right: float, down: float) -> None:
    """With any small change of the joints, the middle of a bone belongs to its own group."""
    moved = TYPICAL.frame_xy + np.random.default_rng(seed).normal(0, 8, TYPICAL.frame_xy.shape) + (right / 8, down / 8)
    joints = Joints(moved, TYPICAL.spread)
    for bone in capsules(joints):
        middle = (bone.start_xy + bone.end_xy) / 2
        assert GROUPS[int(nearest_groups(middle, joints))] is bone.group


def test_capsules_of_all_groups() -> None:
    counts = {group: sum(bone.group is group for bone in capsules(TYPICAL)) for group in GROUPS}
    assert counts == dict(zip(GROUPS, (5, 4, 5, 5, 1, 1, 1), strict=True))
