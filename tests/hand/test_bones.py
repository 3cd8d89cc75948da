"""Frames and tiles of single bones: where they lie, what moves them, and why a bone is not read."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.geometry import Transform, sample
from boneage.hand.bones import (
    BONES,
    TILE_COLUMNS,
    TILE_ROWS,
    BoneViews,
    cut_bones,
    frame_to_tile,
    tile_corner,
    tile_sides,
    tile_to_radiograph,
)
from boneage.hand.joints import JOINT_NAMES, JOINT_ROWS, Joints
from boneage.hand.member_views import cut_member_view
from boneage.hand.registration import Hand
from boneage.hand.views import GreyScale, ViewSpec, measure_grey
from boneage.phantom import draw_hand, phantom_points

SPEC = ViewSpec("bones", 96, 192, "hand")
HEIGHT, WIDTH = 800, 600


def phantom() -> NDArray[np.float32]:
    return draw_hand(10.0, height=HEIGHT, width=WIDTH)


def hand_on(shape: tuple[int, int] = (HEIGHT, WIDTH), joints: Joints | None = None) -> Hand:
    """The phantom's hand with the joints of a typical hand, and a mask of all pixels."""
    return Hand(
        points_xy=phantom_points(height=shape[0], width=shape[1]),
        mask=np.ones((8, 6), np.uint8),
        radiograph_to_mask=Transform.scale(6 / shape[1], 8 / shape[0]),
        joints=joints or Joints.typical(),
    )


def cut(pixels: NDArray[np.float32], hand: Hand, grey: GreyScale | None = None) -> BoneViews:
    return cut_bones(pixels, SPEC, hand, grey or measure_grey(pixels, "hand", hand))


def tile(view: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    index = next(number for number, bone in enumerate(BONES) if bone.name == name)
    row, column = tile_corner(index, SPEC)
    height, width = tile_sides(SPEC)
    return view[row : row + height, column : column + width]


def test_bones_fill_view_once() -> None:
    assert len(BONES) == TILE_ROWS * TILE_COLUMNS == len({bone.name for bone in BONES})
    corners = {tile_corner(index, SPEC) for index in range(len(BONES))}
    assert corners == {(row, column) for row in (0, 32, 64) for column in (0, 32, 64, 96, 128, 160)}


def test_bones_name_known_joints() -> None:
    assert {name for bone in BONES for name in (bone.centre, *bone.along) if name} <= set(JOINT_NAMES)


@given(
    name=st.sampled_from([bone.name for bone in BONES if bone.along and not bone.shift]),
    degrees=st.floats(-170, 170),
    length=st.floats(40, 400),
)
def test_frame_to_tile_centres_bone_and_points_it_up(name: str, degrees: float, length: float) -> None:
    bone = next(one for one in BONES if one.name == name)
    joints = Joints.typical()
    start, end = (JOINT_ROWS[one] for one in bone.along)
    direction = np.array([math.sin(math.radians(degrees)), -math.cos(math.radians(degrees))])
    joints.frame_xy[end] = joints.frame_xy[start] + length * direction
    to_tile = frame_to_tile(bone, joints, 32, 32)
    np.testing.assert_allclose(to_tile.points(joints.at(bone.centre)), (16, 16), atol=1e-9)
    up = to_tile.points(joints.frame_xy[end]) - to_tile.points(joints.frame_xy[start])
    np.testing.assert_allclose(up, (0, -length * 32 / bone.side), atol=1e-9)
    assert to_tile.determinant > 0


def test_frame_to_tile_without_direction_is_upright() -> None:
    """Two joints in one place give no direction, and no error."""
    joints = Joints.typical()
    joints.frame_xy[:] = 500.0
    assert all(frame_to_tile(bone, joints, 32, 32).b == 0 for bone in BONES)


def test_cut_bones_shows_what_tile_to_radiograph_says() -> None:
    pixels, hand = phantom(), hand_on()
    view, grey = cut(pixels, hand).view, measure_grey(pixels, "hand", hand)
    for index, bone in enumerate(BONES):
        row, column = tile_corner(index, SPEC)
        height, width = tile_sides(SPEC)
        from_view = tile_to_radiograph(hand, index, SPEC)
        to_tile = from_view.inverse().then(Transform.shift(-column, -row))
        expected = grey.apply(sample(pixels, to_tile, height, width, fill=grey.low))
        assert np.abs(tile(view, bone.name) - expected).mean() < 0.05, bone.name


@settings(max_examples=8, deadline=None)
@given(quarter=st.integers(0, 3), mirrored=st.booleans())
def test_cut_bones_is_the_same_turned_and_mirrored(quarter: int, mirrored: bool) -> None:
    """A turned or mirrored radiograph with the same hand has the same tiles."""
    pixels, hand = phantom(), hand_on()
    turned = np.ascontiguousarray(np.rot90(pixels[:, ::-1] if mirrored else pixels, quarter))
    moved = Transform.mirror(WIDTH) if mirrored else Transform()
    for _ in range(quarter):
        width = WIDTH if _ % 2 == 0 else HEIGHT
        moved = moved.then(Transform(a=0, b=1, c=0, d=-1, e=0, f=width))
    other = Hand(
        points_xy=moved.points(hand.points_xy),
        mask=hand.mask,
        radiograph_to_mask=moved.inverse().then(hand.radiograph_to_mask),
        joints=hand.joints,
    )
    grey = measure_grey(pixels, "hand", hand)
    difference = np.abs(cut(pixels, hand, grey).view - cut(turned, other, grey).view)
    assert np.quantile(difference, 0.99) < 0.1


def test_cut_bones_inverted_equals_its_negative() -> None:
    pixels, hand = phantom(), hand_on()
    grey = measure_grey(pixels, "hand", hand)
    inverted = cut(np.float32(1) - pixels, replace(hand, inverted=True), grey)
    np.testing.assert_allclose(inverted.view, cut(pixels, hand, grey).view, atol=1e-4)


def test_cut_bones_beyond_edge_are_cut_off() -> None:
    """A radiograph that ends at the wrist leaves out the forearm alone, and its tiles are even."""
    pixels, hand = phantom(), hand_on()
    wrist = int(hand.radiograph_to_frame.inverse().points(np.array([800.0, 1790.0]))[1])
    views = cut(pixels[:wrist], hand, measure_grey(pixels, "hand", hand))
    assert views.unreadable == {"radius": "cut_off", "ulna": "cut_off"}
    assert np.ptp(tile(views.view, "radius")) == 0 < np.ptp(tile(views.view, "carpals"))


@pytest.mark.parametrize("joint", ["pip_3", "mcp_1", "radius"])
def test_cut_bones_with_uncertain_joint(joint: str) -> None:
    joints = Joints.typical()
    joints.spread[JOINT_ROWS[joint]] = 1.0
    unreadable = cut(phantom(), hand_on(joints=joints)).unreadable
    assert set(unreadable) == {bone.name for bone in BONES if joint in (bone.centre, *bone.along)}
    assert set(unreadable.values()) == {"joints_uncertain"}


def test_cut_bones_with_joint_at_edge_of_its_view() -> None:
    """A joint at the very edge of the view in which it was sought may lie beyond it."""
    joints = Joints.typical()
    joints.frame_xy[JOINT_ROWS["ip_1"]] = (1549.0, 1000.0)
    assert cut(phantom(), hand_on(joints=joints)).unreadable == {"ip_1": "joints_uncertain"}


def test_cut_bones_on_even_part_has_no_contrast() -> None:
    pixels, hand = phantom(), hand_on()
    grey = measure_grey(pixels, "hand", hand)
    pixels[HEIGHT // 2 :] = 0.5
    unreadable = cut(pixels, hand, grey).unreadable
    assert unreadable["radius"] == unreadable["carpals"] == "no_contrast"
    assert "dip_3" not in unreadable


def test_cut_bones_leaves_out_what_is_not_shown() -> None:
    pixels, hand = phantom(), hand_on()
    grey = measure_grey(pixels, "hand", hand)
    shown = np.arange(len(BONES)) < 5
    views = cut_bones(pixels, SPEC, hand, grey, shown=shown)
    even = [np.ptp(tile(views.view, bone.name)) == 0 for bone in BONES]
    assert even == [not one for one in shown]
    assert views.unreadable == {}


def test_cut_bones_rejects_misfits() -> None:
    pixels, hand = phantom(), hand_on()
    grey = measure_grey(pixels, "hand", hand)
    with pytest.raises(ValueError, match="joints"):
        cut_bones(pixels, SPEC, replace(hand, joints=None), grey)
    with pytest.raises(ValueError, match="tiles"):
        cut_bones(pixels, ViewSpec("bones", 97, 192, "hand"), hand, grey)
    with pytest.raises(ValueError, match="joints"):
        tile_to_radiograph(replace(hand, joints=None), 0, SPEC)


def test_cut_member_view_of_bones_and_of_regions() -> None:
    pixels, hand = phantom(), hand_on()
    np.testing.assert_array_equal(cut_member_view(pixels, SPEC, hand=hand), cut(pixels, hand).view)
    assert cut_member_view(pixels, ViewSpec("B", 32, 32, "hand"), hand=hand).shape == (32, 32)
    with pytest.raises(ValueError, match="needs a hand"):
        cut_member_view(pixels, SPEC)
