"""Registration maps every hand to the same place in the frame, for any position, size, rotation and side."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage import phantom
from boneage.geometry import Transform
from boneage.hand.registration import (
    BOXES,
    CAPITATE_IN_FRAME_XY,
    FRAME_HEIGHT,
    FRAME_WIDTH,
    HAND_LENGTH,
    HAND_REGIONS,
    POINT_NAMES,
    TIP_IN_FRAME_XY,
    Hand,
    Region,
    hand_length,
    register,
    share_on_radiograph,
)
from boneage.phantom import phantom_points

Points = NDArray[np.float64]


@st.composite
def hands(draw: st.DrawFn) -> Points:
    """Key points (3, 2) of a hand anywhere on a radiograph, its thumb clearly on one side."""
    side = draw(st.sampled_from([-1, 1])) * draw(st.floats(0.02, 1.0))
    shape = np.array([[0.0, -1.0], [side, draw(st.floats(-1.0, 0.5))], [0.0, 0.0]])
    length = Transform.scale(draw(st.floats(20.0, 5000.0)))
    place = Transform.shift(draw(st.floats(-5000, 5000)), draw(st.floats(-5000, 5000)))
    return length.then(Transform.rotation(draw(st.floats(0, 360)))).then(place).points(shape)


similarities = st.builds(
    lambda mirrored, degrees, zoom, x, y: (
        (Transform.mirror(1000.0) if mirrored else Transform())
        .then(Transform.rotation(degrees))
        .then(Transform.scale(zoom))
        .then(Transform.shift(x, y))
    ),
    st.booleans(),
    st.floats(0, 360),
    st.floats(0.1, 10.0),
    st.floats(-5000, 5000),
    st.floats(-5000, 5000),
)
"""Other scans of the same radiograph: rotated, mirrored or of another size."""

shares = st.floats(-1.0, 2.0)


@settings(deadline=None)
@given(hands(), similarities, st.lists(st.tuples(shares, shares), min_size=1, max_size=4))
def test_register_invariant_to_similarity_and_mirror(
    points_xy: Points, change: Transform, places: list[tuple[float, float]]
) -> None:
    radiograph_xy = points_xy[2] + np.array(places) * hand_length(points_xy)  # anything else that is on the radiograph
    original = register(points_xy)
    changed = register(change.points(points_xy))
    np.testing.assert_allclose(changed.points(change.points(points_xy)), original.points(points_xy), rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        changed.points(change.points(radiograph_xy)), original.points(radiograph_xy), rtol=0, atol=1e-6
    )


@settings(deadline=None)
@given(hands(), st.lists(st.tuples(shares, shares), min_size=1, max_size=4))
def test_register_inverse_restores_points(points_xy: Points, places: list[tuple[float, float]]) -> None:
    radiograph_xy = np.concatenate([points_xy, points_xy[2] + np.array(places) * hand_length(points_xy)])
    to_frame = register(points_xy)
    back_xy = to_frame.inverse().points(to_frame.points(radiograph_xy))
    np.testing.assert_allclose(back_xy, radiograph_xy, rtol=0, atol=1e-6)  # pixels; the requirement is 0.01


@settings(deadline=None)
@given(hands())
def test_register_places_tip_capitate_and_thumb(points_xy: Points) -> None:
    tip, thumb, capitate = register(points_xy).points(points_xy)
    assert tip == pytest.approx(TIP_IN_FRAME_XY, abs=1e-6)
    assert capitate == pytest.approx(CAPITATE_IN_FRAME_XY, abs=1e-6)
    assert thumb[0] > CAPITATE_IN_FRAME_XY[0]


@settings(deadline=None)
@given(hands())
def test_register_is_a_similarity(points_xy: Points) -> None:
    linear = register(points_xy).matrix[:2, :2]
    zoom = HAND_LENGTH / hand_length(points_xy)
    np.testing.assert_allclose(linear @ linear.T, zoom**2 * np.eye(2), rtol=1e-9, atol=1e-9 * zoom**2)


def test_register_upright_left_and_right_hand() -> None:
    left_xy = np.array([[300.0, 50.0], [480.0, 300.0], [300.0, 350.0]])
    assert register(left_xy) == Transform(a=5.0, c=-700.0, e=5.0, f=-150.0)
    right_xy = left_xy * (-1, 1) + (600, 0)
    assert register(right_xy) == Transform(a=-5.0, c=2300.0, e=5.0, f=-150.0)


@pytest.mark.parametrize("mirrored", [False, True])
def test_hand_side_and_length(mirrored: bool) -> None:
    points_xy = phantom_points(height=1000, width=750)
    if mirrored:
        points_xy = Transform.mirror(750).points(points_xy)
    hand = Hand(points_xy=points_xy, mask=np.ones((4, 3), np.uint8), radiograph_to_mask=Transform.scale(1 / 250))
    assert hand.mirrored is mirrored
    assert hand.length_pixels == pytest.approx(math.dist(points_xy[0], points_xy[2]))
    assert hand.radiograph_to_frame == register(points_xy)


@settings(deadline=None)
@given(hands())
def test_hand_at_registers_by_points(points_xy: Points) -> None:
    hand = Hand.at(points_xy)
    assert hand.radiograph_to_frame == register(points_xy)
    assert (hand.inverted, hand.spread) == (False, 0.0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@settings(deadline=None)
@given(points_xy=hands(), row=st.integers(0, 2), column=st.integers(0, 1))
def test_register_rejects_non_finite_points(wrong: float, points_xy: Points, row: int, column: int) -> None:
    points_xy[row, column] = wrong
    with pytest.raises(ValueError, match="no direction"):
        register(points_xy)


@settings(deadline=None)
@given(st.floats(-5000, 5000), st.floats(-5000, 5000), st.floats(-100, 100))
def test_register_rejects_points_without_direction(x: float, y: float, away: float) -> None:
    with pytest.raises(ValueError, match="no direction"):
        register(np.array([[x, y], [x + away, y], [x, y]]))


# --- the frame and its regions ---


def test_frame_and_regions_match_the_paper() -> None:
    assert (FRAME_HEIGHT, FRAME_WIDTH) == (2080, 1600)
    assert TIP_IN_FRAME_XY[1] == 100
    assert FRAME_HEIGHT - CAPITATE_IN_FRAME_XY[1] == 480
    sizes = {region: (BOXES[region].height, BOXES[region].width) for region in ("A", "B", "C")}
    assert sizes == {"A": (2000, 1500), "B": (750, 750), "C": (600, 1400)}


@pytest.mark.parametrize("region", HAND_REGIONS)
def test_regions_lie_within_frame_and_surroundings(region: Region) -> None:
    inner, outer = BOXES[region], BOXES["surroundings"]
    assert inner.left >= 0
    assert inner.top >= 0
    assert inner.left + inner.width <= FRAME_WIDTH
    assert inner.top + inner.height <= FRAME_HEIGHT
    assert outer.left < 0
    assert outer.top < 0
    assert outer.left + outer.width > FRAME_WIDTH
    assert outer.top + outer.height > FRAME_HEIGHT


def test_regions_contain_the_phantoms_bones() -> None:
    """The points are in the order of registration, and each part lies in its region.

    Carpals lie in B, knuckles in C, the fingers beyond them in D, and the joints of radius and ulna in E.
    """
    to_frame = register(phantom_points(height=1000, width=750))  # the size on which it is drawn
    assert len(POINT_NAMES) == len(phantom.POINT_NAMES) == 3
    carpals = to_frame.points(np.array([carpal.centre for carpal in phantom.CARPALS]))
    knuckles = to_frame.points(np.array([finger[0].distal for finger in phantom.FINGERS[1:]]))
    tips = to_frame.points(np.array([finger[-1].distal for finger in phantom.FINGERS[1:]]))
    ends = to_frame.points(np.array([finger[-1].proximal for finger in phantom.FINGERS[1:]]))
    wrist = to_frame.points(np.array([phantom.RADIUS.distal, phantom.ULNA.distal]))
    whole, beyond = np.concatenate([carpals, knuckles, tips]), np.concatenate([ends, tips])
    for region, parts in zip(HAND_REGIONS, (whole, carpals, knuckles, beyond, wrist), strict=True):
        box = BOXES[region]
        within = (parts - (box.left, box.top)) / (box.width, box.height)
        assert within.min() > 0
        assert within.max() < 1


@given(
    degrees=st.floats(-180, 180),
    mirrored=st.booleans(),
    region=st.sampled_from(HAND_REGIONS),
    down=st.floats(0.0, 1.0),
    across=st.floats(0.0, 1.0),
)
@settings(max_examples=60, deadline=None)
def test_share_on_radiograph_matches_sampling(
    degrees: float, mirrored: bool, region: Region, down: float, across: float
) -> None:
    """The reference is the share of 100 x 100 positions in the box that a radiograph of any size includes."""
    box = BOXES[region]
    upright = Transform.scale(-0.2 if mirrored else 0.2, 0.2).then(Transform.rotation(degrees))
    frame_to_radiograph = upright.then(Transform.shift(300.0, 300.0))
    hand = Hand.at(frame_to_radiograph.points(np.array([TIP_IN_FRAME_XY, (1500.0, 900.0), CAPITATE_IN_FRAME_XY])))
    radiograph_shape = (round(40 + 560 * down), round(40 + 560 * across))
    y, x = (np.mgrid[:100, :100] + 0.5) / 100
    places = frame_to_radiograph.points(np.stack([box.left + x * box.width, box.top + y * box.height], axis=-1))
    on_radiograph = (places > 0).all(axis=-1) & (places < (radiograph_shape[1], radiograph_shape[0])).all(axis=-1)
    assert share_on_radiograph(region, hand, radiograph_shape) == pytest.approx(on_radiograph.mean(), abs=0.02)


@given(points_xy=hands(), zoom=st.floats(0.2, 5.0), x=st.floats(-500, 500), y=st.floats(-500, 500))
def test_hand_on_other_picture(points_xy: Points, zoom: float, x: float, y: float) -> None:
    """On a part or a copy of the radiograph the hand lies at the same place, of the frame and of its mask."""
    hand = Hand(points_xy, np.ones((5, 4), np.uint8), Transform.scale(0.1).then(Transform.shift(2, 3)))
    to_radiograph = Transform.scale(zoom).then(Transform.shift(x, y))
    other = hand.on(to_radiograph)
    assert np.allclose(to_radiograph.points(other.points_xy), points_xy, atol=1e-6)
    assert np.allclose(
        other.radiograph_to_frame.matrix, to_radiograph.then(hand.radiograph_to_frame).matrix, rtol=1e-6, atol=1e-4
    )
    place = np.array([[10.0, 20.0]])
    on_mask = hand.radiograph_to_mask.points(to_radiograph.points(place))
    assert np.allclose(other.radiograph_to_mask.points(place), on_mask)
