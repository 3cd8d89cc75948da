"""Views: aspect ratio kept, grey scale free of exposure, one radiograph alike at every resolution; regions of a
registered hand, whichever way it lies on the radiograph.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.errors import Rejection
from boneage.geometry import Transform
from boneage.hand.registration import BOXES, FRAME_HEIGHT, FRAME_WIDTH, HAND_REGIONS, MASK_MARGIN, Hand, Region
from boneage.hand.views import (
    GreyRule,
    ViewSpec,
    cut_view,
    mask_through,
    measure_grey,
    view_transform,
)
from boneage.phantom import draw_hand, phantom_points

RADIOGRAPH = draw_hand(9.0, height=640, width=480)


@pytest.mark.parametrize("rule", ["minmax", "percentile"])
def test_cut_view_shape_and_unit_variance(rule: str) -> None:
    view = cut_view(RADIOGRAPH, ViewSpec(height=256, width=192, grey=rule))  # type: ignore[arg-type]
    assert view.shape == (256, 192)
    assert view.dtype == np.float32
    assert view.mean() == pytest.approx(0, abs=0.05)
    assert view.std() == pytest.approx(1, abs=0.05)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 1.0), st.floats(0.0, 0.5))
def test_cut_view_independent_of_gain_and_offset(gain: float, offset: float) -> None:
    spec = ViewSpec(height=128, width=96)
    other = cut_view((RADIOGRAPH * gain + offset).astype(np.float32), spec)
    assert np.allclose(other, cut_view(RADIOGRAPH, spec), atol=5e-3)


@pytest.mark.parametrize("side", [320, 900, 1600, 2600])
def test_cut_view_independent_of_resolution(side: int) -> None:
    spec = ViewSpec(height=256, width=192)
    reference = cut_view(draw_hand(9.0, height=1000, width=750), spec)
    large = draw_hand(9.0, height=1000, width=750)
    method = cv2.INTER_AREA if side < 1000 else cv2.INTER_LINEAR
    resized = np.asarray(cv2.resize(large, (side * 3 // 4, side), interpolation=method), dtype=np.float32)
    assert np.abs(cut_view(resized, spec) - reference).mean() < 0.05


def test_cut_view_pads_with_darkest_level() -> None:
    spec = ViewSpec(height=100, width=100)
    view = cut_view(RADIOGRAPH, spec)
    assert np.allclose(view[:, :10], view.min(), atol=1e-5)


def test_view_transform_inverse_restores_points() -> None:
    spec = ViewSpec(height=256, width=256)
    transform = view_transform((2000, 1500), spec)
    corners = np.array([[0.0, 0.0], [1500.0, 2000.0]])
    assert np.allclose(transform.inverse().points(transform.points(corners)), corners, atol=0.01)


def test_cut_view_identity_jitter_is_bit_equal() -> None:
    spec = ViewSpec(height=128, width=96)
    assert np.array_equal(cut_view(RADIOGRAPH, spec), cut_view(RADIOGRAPH, spec, jitter=Transform()))


def test_measure_grey_bounds_the_radiograph() -> None:
    grey = measure_grey(RADIOGRAPH, "percentile")
    assert 0 <= grey.low < grey.mean < grey.high <= 1


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_cut_view_rejects_uniform_radiograph(level: float) -> None:
    with pytest.raises(Rejection) as rejection:
        cut_view(np.full((300, 200), level, dtype=np.float32), ViewSpec())
    assert rejection.value.code == "no_contrast"


# --- regions of a registered hand ---

REGIONS: tuple[Region, ...] = (*HAND_REGIONS, "surroundings")
SIZES: dict[Region, tuple[int, int]] = {
    "A": (256, 192),
    "B": (160, 176),
    "C": (96, 240),
    "D": (128, 192),
    "E": (96, 152),
    "surroundings": (240, 224),
}
"""Height and width of the views; only those of A have nearly the region's own proportions."""

SIDE = 600
"""Side length of the square radiographs with one spot, pixels."""


def spec_of(region: Region, grey: GreyRule = "minmax") -> ViewSpec:
    height, width = SIZES[region]
    return ViewSpec(region, height, width, grey)


def hand_on_radiograph(
    degrees: float, *, length: float = 300.0, mirrored: bool = False, radiograph: int = SIDE
) -> Hand:
    """A hand whose frame's middle is the radiograph's, and whose mask is the whole radiograph."""
    points_xy = np.array([[0.0, -0.6], [0.4, 0.0], [0.0, 0.4]]) * length * ((-1, 1) if mirrored else (1, 1))
    points_xy = Transform.rotation(degrees).points(points_xy) + radiograph / 2
    grid = 60
    return Hand(
        points_xy=points_xy, mask=np.ones((grid, grid), np.uint8), radiograph_to_mask=Transform.scale(grid / radiograph)
    )


def spot(at_xy: NDArray[np.float64], *, radiograph: int = SIDE, sigma: float = 4.0) -> NDArray[np.float32]:
    """A radiograph with one bright spot."""
    y, x = np.mgrid[:radiograph, :radiograph] + 0.5
    radiograph_with_spot = 0.2 + 0.6 * np.exp(-((x - at_xy[0]) ** 2 + (y - at_xy[1]) ** 2) / (2 * sigma**2))
    return np.asarray(radiograph_with_spot, np.float32)


def brightest_place(view: NDArray[np.float32]) -> tuple[float, float]:
    """The centre (x, y) of what is bright on a view."""
    weight = np.clip(view - (view.min() + view.max()) / 2, 0, None).astype(np.float64)
    y, x = np.mgrid[: view.shape[0], : view.shape[1]] + 0.5
    return float((x * weight).sum() / weight.sum()), float((y * weight).sum() / weight.sum())


@pytest.mark.parametrize("region", REGIONS)
@settings(max_examples=15, deadline=None)
@given(
    degrees=st.floats(0, 360),
    mirrored=st.booleans(),
    length=st.floats(200, 320),
    across=st.floats(0.15, 0.85),
    down=st.floats(0.15, 0.85),
)
def test_cut_view_places_spot_by_frame(
    region: Region, degrees: float, mirrored: bool, length: float, across: float, down: float
) -> None:
    box, (height, width) = BOXES[region], SIZES[region]
    hand = hand_on_radiograph(degrees, length=length, mirrored=mirrored)
    assert hand.mirrored is mirrored
    frame_xy = np.array([box.left + across * box.width, box.top + down * box.height])
    view = cut_view(spot(hand.radiograph_to_frame.inverse().points(frame_xy)), spec_of(region), hand=hand)
    # By hand: the box is zoomed until it touches two sides of the view, and centred between the others.
    zoom = min(height / box.height, width / box.width)
    x = width / 2 + (across - 0.5) * box.width * zoom
    y = height / 2 + (down - 0.5) * box.height * zoom
    assert brightest_place(view) == pytest.approx((x, y), abs=0.15)


@pytest.mark.parametrize("region", REGIONS)
def test_cut_view_composes_jitter_after_registration(region: Region) -> None:
    spec, hand = spec_of(region), hand_on_radiograph(25.0)
    box = BOXES[region]
    radiograph_xy = hand.radiograph_to_frame.inverse().points(
        np.array([box.left + box.width / 2, box.top + box.height / 2])
    )
    jitter = Transform.mirror(spec.width).then(Transform.shift(11.0, -7.0))
    view = cut_view(spot(radiograph_xy), spec, hand=hand, jitter=jitter)
    assert brightest_place(view) == pytest.approx((spec.width / 2 + 11, spec.height / 2 - 7), abs=0.15)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(REGIONS), st.integers(0, 3), st.booleans())
def test_cut_view_of_rotated_or_mirrored_radiograph(region: Region, turns: int, mirrored: bool) -> None:
    radiograph, points_xy = RADIOGRAPH, phantom_points(height=640, width=480)
    reference = cut_view(radiograph, spec_of(region), hand=_whole_radiograph(points_xy, radiograph))
    for _ in range(turns):
        radiograph, points_xy = (
            np.rot90(radiograph),
            np.stack([points_xy[:, 1], radiograph.shape[1] - points_xy[:, 0]], axis=1),
        )
    if mirrored:
        radiograph, points_xy = radiograph[:, ::-1], (radiograph.shape[1], 0) + points_xy * (-1, 1)
    view = cut_view(np.ascontiguousarray(radiograph), spec_of(region), hand=_whole_radiograph(points_xy, radiograph))
    assert np.abs(view - reference).mean() < 0.01  # OpenCV samples to 1/32 of a pixel
    assert reference.std() > 0.3


def _whole_radiograph(points_xy: NDArray[np.float64], radiograph: NDArray[np.float32]) -> Hand:
    height, width = radiograph.shape
    return Hand(points_xy, np.ones((16, 12), np.uint8), Transform.scale(12 / width, 16 / height))


# --- what lies outside the hand ---


def noise(side: int = 400) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0.1, 0.9, (side, side)).astype(np.float32)


def hand_with_disk(radius: float, *, radiograph: int = 400, grid: int = 200) -> Hand:
    """Return a hand of 300 px on a radiograph of 400 px, with a disk about the middle as its mask.

    Args:
        radius: Radius of the disk in pixels of the radiograph.
        radiograph: Side length of the radiograph.
        grid: Side length of the mask.
    """
    y, x = np.mgrid[:grid, :grid] + 0.5 - grid / 2
    mask = (np.hypot(x, y) < radius * grid / radiograph).astype(np.uint8)
    hand = hand_on_radiograph(40.0, radiograph=radiograph)
    return Hand(points_xy=hand.points_xy, mask=mask, radiograph_to_mask=Transform.scale(grid / radiograph))


def from_middle(spec: ViewSpec, hand: Hand, radiograph: int = 400) -> NDArray[np.float64]:
    """Return the distance of each pixel of a view from the middle of the radiograph, pixels of the radiograph."""
    y, x = np.mgrid[: spec.height, : spec.width] + 0.5
    radiograph_xy = view_transform((radiograph, radiograph), spec, hand).inverse().points(np.stack([x, y], axis=-1))
    return np.asarray(np.linalg.norm(radiograph_xy - radiograph / 2, axis=-1))


@pytest.mark.parametrize("region", HAND_REGIONS)
def test_cut_view_blanks_outside_widened_mask(region: Region) -> None:
    radiograph, spec, radius = noise(), spec_of(region), 150.0 if region == "E" else 70.0  # E lies far from the middle
    hand, margin = hand_with_disk(radius), MASK_MARGIN * 300
    away = from_middle(spec, hand)
    grey = measure_grey(radiograph, "percentile")
    view = cut_view(radiograph, spec, hand=hand, grey=grey)
    whole = cut_view(radiograph, spec, hand=hand_with_disk(1000.0), grey=grey)
    step = (
        2.0 + 2.0 / view_transform(radiograph.shape, spec, hand).zoom
    )  # a pixel of mask and view, and one beside each
    outside, inside = away > radius + margin + step, away < radius + margin - step
    assert outside.any()
    assert np.array_equal(view[outside], np.full(outside.sum(), grey.apply(np.array([grey.low], np.float32))[0]))
    assert np.array_equal(view[inside], whole[inside])
    assert inside[away > radius].any()  # the margin itself is shown


@pytest.mark.parametrize("region", ["radiograph", "surroundings"])
def test_cut_view_of_surroundings_blanks_nothing(region: Region) -> None:
    radiograph, spec = noise(), ViewSpec(region, 128, 112, "percentile")
    views = [cut_view(radiograph, spec, hand=hand_with_disk(radius)) for radius in (40.0, 1000.0)]
    assert np.array_equal(views[0], views[1])


@settings(max_examples=30, deadline=None)
@given(degrees=st.floats(0.0, 360.0), zoom=st.floats(0.3, 1.8), is_widened=st.booleans())
def test_mask_through_moves_mask_with_radiograph(degrees: float, zoom: float, is_widened: bool) -> None:
    radius, side = 70.0, 300
    turned = Transform.rotation(degrees).about(200.0, 200.0).then(Transform.scale(zoom))
    y, x = np.mgrid[:side, :side] + 0.5
    radiograph_xy = turned.inverse().points(np.stack([x, y], axis=-1))
    away = np.linalg.norm(radiograph_xy - 200.0, axis=-1) - (radius + is_widened * MASK_MARGIN * 300)
    inside = mask_through(hand_with_disk(radius), turned, (side, side), widened=is_widened)
    step = 4.0 + 1.0 / zoom  # two pixels of the mask, one of the target
    assert (inside[away < -step] == 1).all()
    assert (inside[away > step] == 0).all()
    assert (away < -step).any()
    assert (away > step).any()


# --- grey levels of a hand ---

ALL_VIEWS = [ViewSpec(region, 96, 80, grey) for region in ("radiograph", *REGIONS) for grey in ("percentile", "hand")]


@pytest.mark.parametrize(
    "spec", [*ALL_VIEWS, ViewSpec(height=96, width=80)], ids=lambda spec: f"{spec.region} {spec.grey}"
)
def test_cut_view_of_inverted_radiograph(spec: ViewSpec) -> None:
    radiograph = noise()
    plain = hand_with_disk(110.0)
    inverted = Hand(plain.points_xy, plain.mask, plain.radiograph_to_mask, inverted=True)
    expected = cut_view(radiograph, spec, hand=plain)
    np.testing.assert_allclose(cut_view(1 - radiograph, spec, hand=inverted), expected, rtol=0, atol=1e-5)
    assert np.abs(cut_view(1 - radiograph, spec, hand=plain) - expected).max() > 0.5  # else this would say nothing


def test_cut_view_grey_ignores_border_and_marker() -> None:
    radiograph = np.clip(noise(200), 0.2, 0.8)
    small = hand_on_radiograph(10.0, length=110.0, radiograph=200)
    y, x = np.mgrid[:100, :100] + 0.5 - 50
    disk = (np.hypot(x, y) < 30).astype(np.uint8)
    hand = Hand(small.points_xy, disk, Transform.scale(0.5))
    bordered = np.pad(radiograph, 24, constant_values=1.0)
    bordered[2:20, 2:60] = 0.0
    moved = Hand(small.points_xy + 24, disk, Transform.shift(-24, -24).then(Transform.scale(0.5)))
    spec = ViewSpec("A", 256, 192, "hand")  # larger than the hand on the radiograph: nothing is averaged down
    views = [cut_view(radiograph, spec, hand=hand), cut_view(bordered, spec, hand=moved)]
    np.testing.assert_allclose(views[1], views[0], rtol=0, atol=1e-3)  # sampled at other places by float rounding
    by_radiograph = replace(spec, grey="percentile")
    assert (
        np.abs(cut_view(radiograph, by_radiograph, hand=hand) - cut_view(bordered, by_radiograph, hand=moved)).max()
        > 0.2
    )


def test_cut_view_hand_fills_grey_scale() -> None:
    """The scale is the hand's, though the radiograph has darker and brighter parts."""
    radiograph = noise()
    y, x = np.mgrid[:400, :400] + 0.5 - 200
    inside = np.hypot(x, y) < 110
    radiograph[inside] = 0.4 + 0.2 * radiograph[inside]
    grey = measure_grey(radiograph, "hand", hand_with_disk(110.0))
    assert 0.4 < grey.low < grey.mean < grey.high < 0.6
    assert measure_grey(radiograph, "percentile").high > 0.7


def test_cut_view_rejects_uniform_or_missing_hand() -> None:
    radiograph = noise()
    radiograph[60:340, 60:340] = 0.5
    for hand in (hand_with_disk(100.0), hand_with_disk(0.0)):
        with pytest.raises(Rejection) as rejection:
            cut_view(radiograph, ViewSpec("A", 96, 80, "hand"), hand=hand)
        assert rejection.value.code == "no_contrast"


@pytest.mark.parametrize("spec", ALL_VIEWS, ids=lambda spec: f"{spec.region} {spec.grey}")
def test_cut_view_of_region_needs_hand(spec: ViewSpec) -> None:
    act = partial(cut_view, RADIOGRAPH, spec)
    if spec == ViewSpec("radiograph", 96, 80, "percentile"):
        assert not spec.needs_hand
        assert act().shape == (96, 80)
        return
    assert spec.needs_hand
    with pytest.raises(ValueError, match="needs a hand"):
        act()
    with pytest.raises(ValueError, match="needs a hand"):
        if spec.region == "radiograph":
            measure_grey(RADIOGRAPH, spec.grey)
        else:
            view_transform((640, 480), spec)


def test_view_transform_region_a_covers_the_frame() -> None:
    """Its box, centred on a view of its proportions, has the frame's corners just outside."""
    hand = hand_on_radiograph(0.0)
    spec = ViewSpec("A", 200, 150)
    corners = hand.radiograph_to_frame.inverse().points(np.array([[0.0, 0.0], [FRAME_WIDTH, FRAME_HEIGHT]]))
    view_xy = view_transform((SIDE, SIDE), spec, hand).points(corners)
    np.testing.assert_allclose(view_xy, [[-5.0, -4.0], [155.0, 204.0]], atol=1e-6)
