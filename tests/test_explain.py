import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.errors import BundleError
from boneage.explain import (
    Evidence,
    HeatMap,
    display_picture,
    display_size,
    encode_picture,
    heat_map,
    mark_hand,
    mean_heat_map,
    overlay,
    scale_colours,
)
from boneage.geometry import Transform
from boneage.hand.registration import BOXES, FRAME_HEIGHT, FRAME_WIDTH, HAND_REGIONS, Hand, Region
from boneage.hand.views import CellGrid, ViewSpec, view_transform

FloatArray = NDArray[np.float32]
SPEC = ViewSpec(height=64, width=64)
SIDES = st.integers(min_value=60, max_value=300)


def even(grid: FloatArray, spec: ViewSpec = SPEC) -> CellGrid:
    side = spec.height / max(grid.shape[0], 1)
    return CellGrid(side, side / 2)


def on_radiograph(
    grid: FloatArray,
    radiograph_shape: tuple[int, int],
    spec: ViewSpec = SPEC,
    cells: CellGrid | None = None,
    evidence: Evidence = "both",
) -> HeatMap:
    to_radiograph = view_transform(radiograph_shape, spec).inverse()
    return heat_map(grid, radiograph_shape, to_radiograph, spec, cells or even(grid, spec), evidence)


def test_heat_map_respects_cell_offset() -> None:
    """The first cell of strided convolutions with padding is centred on the first pixel."""
    grid = np.zeros((4, 4), np.float32)
    grid[2, 1] = 1.0
    heat = on_radiograph(grid, (64, 64), cells=CellGrid(16.0, 0.5))
    y, x = np.unravel_index(heat.values.argmax(), heat.values.shape)
    assert (x + 0.5, y + 0.5) == (16.5, 32.5)


@given(height=SIDES, width=SIDES, row=st.integers(2, 5), column=st.integers(2, 5))
def test_heat_map_places_cell_by_view(height: int, width: int, row: int, column: int) -> None:
    cell_xy = np.array([(column + 0.5) * 8, (row + 0.5) * 8])
    to_radiograph = view_transform((height, width), SPEC).inverse()
    x, y = to_radiograph.points(cell_xy)
    if not (2 < x < width - 2 and 2 < y < height - 2):
        return  # in the padding: nothing of it is on the radiograph
    grid = np.zeros((8, 8), np.float32)
    grid[row, column] = 3.0
    heat = on_radiograph(grid, (height, width))
    found_y, found_x = np.unravel_index(heat.values.argmax(), heat.values.shape)
    assert abs(found_x + 0.5 - x) <= 1.0 and abs(found_y + 0.5 - y) <= 1.0
    assert heat.values.shape == (height, width) and heat.values.dtype == np.float32
    assert (
        heat.values.max() == 1.0 and 2.0 < heat.peak_months <= 3.0 + 1e-5
    )  # a coarse radiograph may miss the cell's centre


@given(seed=st.integers(0, 1000), height=SIDES, width=SIDES)
def test_heat_map_values_lie_in_0_to_1(seed: int, height: int, width: int) -> None:
    grid = np.random.default_rng(seed).normal(0, 5, (4, 6)).astype(np.float32)
    heat = on_radiograph(grid, (height, width))
    assert heat.values.min() >= 0 and heat.values.max() == 1
    assert 0 < heat.peak_months <= np.abs(grid).max() * (1 + 1e-6)


def test_heat_map_scale_ignores_padding() -> None:
    """A tall radiograph takes the middle of a square view: the strongest cell lies in the padding, the next on the
    radiograph."""
    grid = np.zeros((8, 8), np.float32)
    grid[4, 0], grid[2, 4] = 9.0, 1.5
    heat = on_radiograph(grid, (400, 200))
    assert heat.values.max() == 1.0 and heat.peak_months == pytest.approx(1.5, rel=0.02)
    drawn = overlay(np.full((400, 200), 90, np.uint8), heat, scale_bar=False)
    assert np.abs(drawn.astype(int) - 90).max() > 40
    grid[2, 4] = 0.0
    assert on_radiograph(grid, (400, 200)).is_empty


def test_heat_map_evidence_that_lowers_the_age() -> None:
    grid = np.array([[-9.0, 0.0], [1.0, 0.0]], np.float32)
    heat = on_radiograph(grid, (100, 100))
    assert heat.values[:30, :30].max() > 0.9 and heat.peak_months == 9.0
    raising = on_radiograph(grid, (100, 100), evidence="raising")
    assert raising.values[70:, :30].max() > 0.9 and raising.peak_months == 1.0
    assert raising.values[:20, 80:].max() < 0.02  # cubic interpolation rings a little


@pytest.mark.parametrize(("value", "evidence"), [(0.0, "both"), (0.0, "raising"), (-1.0, "raising")])
def test_heat_map_without_evidence_is_empty(value: float, evidence: Evidence) -> None:
    heat = on_radiograph(np.full((4, 4), value, np.float32), (50, 40), evidence=evidence)
    assert heat.is_empty and not heat.values.any() and heat.peak_months == 0.0


@pytest.mark.parametrize("grid", [np.full((4, 4), np.nan), np.full((4, 4), np.inf), np.zeros((0, 4)), np.zeros(4)])
def test_heat_map_rejects_non_finite_values(grid: FloatArray) -> None:
    with pytest.raises(BundleError) as caught:
        on_radiograph(grid.astype(np.float32), (50, 40))
    assert caught.value.code == "bundle_output"


def test_heat_map_is_empty_outside_the_view() -> None:
    view_to_radiograph = Transform.scale(0.5).then(
        Transform.shift(100, 40)
    )  # the view's 64 pixels cover 32 of the radiograph
    heat = heat_map(np.ones((4, 4), np.float32), (120, 200), view_to_radiograph, SPEC, CellGrid(16.0, 8.0))
    inside = np.zeros((120, 200), bool)
    inside[40:72, 100:132] = True
    assert heat.values[inside].min() == pytest.approx(1.0)
    assert not heat.values[~inside].any()


def test_mean_heat_map_averages_months() -> None:
    left = HeatMap(np.array([[1.0, 0.0]], np.float32), 4.0)
    right = HeatMap(np.array([[0.0, 1.0]], np.float32), 2.0)
    mean = mean_heat_map([left, right], [1.0, 3.0])
    assert mean.peak_months == pytest.approx(1.5)  # 3/4 of 2 beats 1/4 of 4
    np.testing.assert_allclose(mean.values, [[1.0 / 1.5, 1.0]], rtol=1e-6)
    assert mean_heat_map([left], [7.0]) is left
    nothing = HeatMap(np.zeros((1, 2), np.float32), 0.0)
    assert mean_heat_map([nothing, nothing], [1.0, 1.0]).is_empty


@given(first=st.floats(0.1, 5), second=st.floats(0.1, 5), weight=st.floats(0.1, 10), peak=st.sampled_from([0.0, 3.0]))
def test_mean_heat_map_of_covering_views(first: float, second: float, weight: float, peak: float) -> None:
    left, right = np.array([[True, True, False, False]]), np.array([[False, True, True, False]])
    maps = [
        HeatMap(left.astype(np.float32), first, left),
        HeatMap(right.astype(np.float32) * np.float32(peak > 0), second if peak else 0.0, right),
    ]
    mean = mean_heat_map(maps, [1.0, weight])
    shared = (first + weight * (second if peak else 0.0)) / (1 + weight)
    expected = np.array([[first, shared, second if peak else 0.0, 0.0]])
    np.testing.assert_allclose(mean.values * mean.peak_months, expected, rtol=1e-5)
    assert mean.covered is not None
    np.testing.assert_array_equal(mean.covered, left | right)


@given(first=st.floats(0.1, 5), second=st.floats(0.1, 5), weight=st.floats(0.1, 10), edge=st.integers(30, 170))
@settings(max_examples=40, deadline=None)
def test_mean_heat_map_blends_view_borders(first: float, second: float, weight: float, edge: int) -> None:
    """A mean of even maps changes between neighbouring pixels by at most a ramp over 1/25 of the radiograph."""
    whole, part = np.ones((40, 200), bool), np.zeros((40, 200), bool)
    part[:, :edge] = True
    maps = [HeatMap(held.astype(np.float32), peak, held) for held, peak in ((whole, first), (part, second))]
    mean = mean_heat_map(maps, [1.0, weight])
    row = mean.values[20] * mean.peak_months
    assert np.abs(np.diff(row)).max() <= abs(first - second) * max(weight, 1.0) / (0.04 * 200) + 1e-5


@given(
    degrees=st.floats(-180, 180),
    mirrored=st.booleans(),
    region=st.sampled_from(HAND_REGIONS),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_heat_map_of_registered_view(degrees: float, mirrored: bool, region: Region, data: st.DataObject) -> None:
    """Also of hands that are turned or mirrored: a hot cell of a region's view is drawn where the radiograph shows
    it."""
    box, cells_high = BOXES[region], 12
    cells_wide = round(box.width * cells_high / box.height)
    side = max(box.height / cells_high, box.width / cells_wide)  # frame pixels: the box fits the view
    row = data.draw(st.integers(1, cells_high - 2))
    column = data.draw(st.integers(1, cells_wide - 2))
    centre = np.array([box.left + box.width / 2, box.top + box.height / 2])
    frame_xy = centre + side * np.array([column + 0.5 - cells_wide / 2, row + 0.5 - cells_high / 2])

    hand, frame_to_radiograph = drawn_hand(degrees, mirrored)
    spec = ViewSpec(region, 4 * cells_high, 4 * cells_wide)
    grid = np.zeros((cells_high, cells_wide), np.float32)
    grid[row, column] = 2.0
    to_radiograph = view_transform(RADIOGRAPH, spec, hand).inverse()
    heat = heat_map(grid, RADIOGRAPH, to_radiograph, spec, CellGrid(4.0, 2.0))
    found_y, found_x = np.unravel_index(heat.values.argmax(), heat.values.shape)
    x, y = frame_to_radiograph.points(frame_xy)
    assert abs(found_x + 0.5 - x) <= 1.5 and abs(found_y + 0.5 - y) <= 1.5
    assert heat.covered is not None
    beside = frame_to_radiograph.points(np.array([box.left - 40.0, box.top - 40.0]))
    assert not heat.covered[int(beside[1]), int(beside[0])]


RADIOGRAPH = (720, 720)
"""Large enough for the frame at a quarter, turned by any angle."""


def drawn_hand(degrees: float, mirrored: bool) -> tuple[Hand, Transform]:
    """A hand on a radiograph of shape `RADIOGRAPH`, and the way from the registered frame to that radiograph."""
    zoom = 0.25
    upright = Transform.shift(-FRAME_WIDTH / 2, -FRAME_HEIGHT / 2).then(
        Transform.scale(-zoom if mirrored else zoom, zoom)
    )
    frame_to_radiograph = upright.then(Transform.rotation(degrees)).then(
        Transform.shift(RADIOGRAPH[1] / 2, RADIOGRAPH[0] / 2)
    )
    points_xy = frame_to_radiograph.points(np.array([[800.0, 100.0], [1500.0, 900.0], [800.0, 1600.0]]))
    mask = np.zeros((90, 90), np.uint8)
    mask[20:70, 30:60] = 1
    return Hand(points_xy=points_xy, mask=mask, radiograph_to_mask=Transform.scale(1 / 8)), frame_to_radiograph


@given(degrees=st.floats(-180, 180), mirrored=st.booleans())
@settings(max_examples=20, deadline=None)
def test_mark_hand_follows_the_hand(degrees: float, mirrored: bool) -> None:
    hand, frame_to_radiograph = drawn_hand(degrees, mirrored)
    picture = np.full((360, 360), 50, np.uint8)  # the radiograph at a half
    drawn = mark_hand(picture, hand, Transform.scale(0.5), ["B", "radiograph"])
    assert (picture == 50).all() and drawn.shape == (360, 360, 3)
    changed = (drawn != 50).any(axis=2)
    assert changed[90:270, 117:124].any(axis=1).all()  # the mask's left border
    assert not changed[140:220, 124:230].all()
    assert changed.mean() < 0.05  # lines are thin
    box = BOXES["B"]
    x, y = frame_to_radiograph.points(np.array([box.left + box.width / 2, box.top])) / 2
    assert changed[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].any()
    for x, y in hand.points_xy / 2:
        ring = changed[int(y) - 7 : int(y) + 8, int(x) - 7 : int(x) + 8]
        assert ring.sum() > 15


def test_encode_picture_keeps_colours() -> None:
    red = np.zeros((20, 30, 3), np.uint8)
    red[..., 0] = 200
    decoded = cv2.imdecode(np.frombuffer(encode_picture(".png", red), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None and decoded[0, 0].tolist() == [0, 0, 200]
    grey = cv2.imdecode(np.frombuffer(encode_picture(".jpg", red[..., 0]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert grey is not None and grey.shape == (20, 30)


@given(height=st.integers(50, 4000), width=st.integers(50, 4000), longest=st.integers(200, 2000))
def test_display_size_keeps_limit_and_aspect(height: int, width: int, longest: int) -> None:
    shown = display_size((height, width), longest)
    assert max(shown) <= longest
    assert max(shown) >= min(640, longest)
    assert shown[0] / height == pytest.approx(shown[1] / width, abs=1.0 / min(height, width))


def test_display_picture_stretches_dark_radiographs() -> None:
    ramp = np.linspace(0.1, 0.2, 300 * 200, dtype=np.float32).reshape(300, 200)
    picture = display_picture(ramp)
    assert picture.dtype == np.uint8 and picture.min() == 0 and picture.max() == 255
    assert not display_picture(np.zeros((100, 100), np.float32)).any()


def test_overlay_strength_follows_value() -> None:
    picture = np.full((200, 256), 90, np.uint8)
    values = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (200, 1))
    drawn = overlay(picture, HeatMap(values, 2.0), scale_bar=False)
    assert drawn.shape == (200, 256, 3)
    assert (drawn[:, :18] == 90).all()
    change = np.abs(drawn[0].astype(int) - 90).sum(axis=1)
    assert change[-1] > change[128] > change[40] > 0
    red, _, blue = drawn[0, -1]
    assert red > blue + 60  # the strongest is warm


def test_overlay_keeps_bone_visible() -> None:
    picture = np.full((50, 60), 60, np.uint8)
    picture[:, 30:] = 220
    drawn = overlay(picture, HeatMap(np.ones((50, 60), np.float32), 1.0), scale_bar=False).astype(int)
    assert (drawn[:, 40].sum(axis=1) - drawn[:, 10].sum(axis=1) > 100).all()


def test_scale_is_drawn_beside_radiograph() -> None:
    picture = np.zeros((640, 480), np.uint8)
    heat = HeatMap(np.ones((640, 480), np.float32), 1.0)
    drawn = overlay(picture, heat)
    assert drawn.shape[0] == 640 and drawn.shape[1] > 480
    np.testing.assert_array_equal(drawn[:, :480], overlay(picture, heat, scale_bar=False))
    panel = drawn[:, 480:].astype(int)
    bar = panel[:, 20]
    assert bar[60].sum() > bar[320].sum() > bar[635].sum()  # light at the top, as the strongest


@given(height=st.integers(16, 1024), width=st.integers(16, 1024), empty=st.booleans())
@settings(max_examples=60, deadline=None)
def test_scale_of_any_height(height: int, width: int, empty: bool) -> None:
    picture = np.zeros((height, width), np.uint8)
    heat = HeatMap(np.full((height, width), 0.0 if empty else 1.0, np.float32), 0.0 if empty else 1.0)
    drawn = overlay(picture, heat)
    np.testing.assert_array_equal(drawn[:, :width], overlay(picture, heat, scale_bar=False))
    assert (drawn.shape[1] > width) == (height >= 80)


def test_overlay_of_empty_map_is_grey() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (640, 480), dtype=np.uint8)
    drawn = overlay(picture, HeatMap(np.zeros((640, 480), np.float32), 0.0))
    np.testing.assert_array_equal(drawn[:, :480], np.repeat(picture[..., None], 3, axis=2))
    panel = drawn[:, 480:]
    assert panel.max() > 150  # words
    assert np.ptp(panel.astype(int), axis=2).max() < 12  # and no colours that would look like a scale


def test_overlay_resizes_map() -> None:
    picture = np.zeros((100, 80), np.uint8)
    heat = HeatMap(np.ones((1000, 800), np.float32), 1.0)
    assert overlay(picture, heat, scale_bar=False).shape == (100, 80, 3)


def test_colour_scale_lightness_increases() -> None:
    lightness = [0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in scale_colours(12)]
    assert lightness == sorted(lightness)
