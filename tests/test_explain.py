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
    mark_hand,
    on_hand,
    overlay,
    paint,
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
    return HeatMap.of(paint(grid, radiograph_shape, to_radiograph, spec, cells or even(grid, spec)), evidence)


def test_heat_map_respects_cell_offset() -> None:
    """The first cell of strided convolutions with padding is centred on the first pixel."""
    grid = np.zeros((4, 4), np.float32)
    grid[2, 1] = 1.0
    heat = on_radiograph(grid, (64, 64), cells=CellGrid(16.0, 0.5))
    y, x = np.unravel_index(heat.values.argmax(), heat.values.shape)
    assert abs(x + 0.5 - 16.5) <= 1 and abs(y + 0.5 - 32.5) <= 1


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
    cell = 8 * max(height, width) / 64
    assert abs(found_x + 0.5 - x) <= 1 + cell / 16 and abs(found_y + 0.5 - y) <= 1 + cell / 16
    assert heat.values.shape == (height, width) and heat.values.dtype == np.float32
    assert heat.values.max() == 1.0 and heat.peak_months > 0


@given(seed=st.integers(0, 1000), height=SIDES, width=SIDES)
def test_heat_map_values_lie_in_minus_1_to_1(seed: int, height: int, width: int) -> None:
    grid = np.random.default_rng(seed).normal(0, 5, (4, 6)).astype(np.float32)
    heat = on_radiograph(grid, (height, width))
    assert np.abs(heat.values).max() == 1 and heat.peak_months > 0


@given(seed=st.integers(0, 1000), height=SIDES, rows=st.integers(2, 12))
def test_painted_months_sum_to_those_of_the_map(seed: int, height: int, rows: int) -> None:
    """The same evidence gives the same map with coarse and with fine cells."""
    grid = np.random.default_rng(seed).uniform(1, 3, (rows, rows)).astype(np.float32)
    painted = paint(grid, (height, height), view_transform((height, height), SPEC).inverse(), SPEC, even(grid))
    assert painted.mean() * 100 == pytest.approx(grid.sum(), rel=0.03)


def test_heat_map_scale_ignores_padding() -> None:
    """A tall radiograph takes the middle of a square view: the strongest cell lies in the padding, others on the
    radiograph."""
    grid = np.zeros((8, 8), np.float32)
    grid[4, 0] = 9.0
    grid[1:4, 3:6] = 1.5
    heat = on_radiograph(grid, (400, 200))
    assert heat.values.max() == 1.0
    assert heat.peak_months == pytest.approx(1.5 * 8 * 4 / 100, rel=0.02)  # the radiograph shows 8 x 4 cells
    drawn = overlay(np.full((400, 200), 90, np.uint8), heat, scale_bar=False)
    assert np.abs(drawn.astype(int) - 90).max() > 40
    grid[1:4, 3:6] = 0.0
    assert on_radiograph(grid, (400, 200)).is_empty


def test_heat_map_evidence_that_lowers_the_age() -> None:
    grid = np.repeat(np.array([[-9.0, 0.0], [1.0, 0.0]], np.float32), 3, axis=0).repeat(3, axis=1)
    heat = on_radiograph(grid, (100, 100))
    assert heat.values[:30, :30].min() < -0.9 and heat.peak_months == pytest.approx(9.0 * 36 / 100, rel=0.01)
    raising = on_radiograph(grid, (100, 100), evidence="raising")
    assert raising.values[80:, :30].max() > 0.9 and raising.peak_months == pytest.approx(36 / 100, rel=0.01)
    assert not raising.values[:40].any()  # no evidence of the other sign surrounds it


@pytest.mark.parametrize(("value", "evidence"), [(0.0, "both"), (0.0, "raising"), (-1.0, "raising")])
def test_heat_map_without_evidence_is_empty(value: float, evidence: Evidence) -> None:
    heat = on_radiograph(np.full((4, 4), value, np.float32), (50, 40), evidence=evidence)
    assert heat.is_empty and not heat.values.any() and heat.peak_months == 0.0


@pytest.mark.parametrize("grid", [np.full((4, 4), np.nan), np.full((4, 4), np.inf), np.zeros((0, 4)), np.zeros(4)])
def test_heat_map_rejects_non_finite_values(grid: FloatArray) -> None:
    with pytest.raises(BundleError) as caught:
        on_radiograph(grid.astype(np.float32), (50, 40))
    assert caught.value.code == "bundle_output"


def test_paint_fades_out_at_the_view() -> None:
    view_to_radiograph = Transform.scale(0.5).then(
        Transform.shift(100, 40)
    )  # the view's 64 pixels cover 32 of the radiograph
    painted = paint(np.ones((4, 4), np.float32), (120, 200), view_to_radiograph, SPEC, CellGrid(16.0, 8.0))
    inside = np.zeros((120, 200), bool)
    inside[40:72, 100:132] = True
    assert painted[50:62, 110:122].min() == pytest.approx(painted.max())
    assert not painted[~inside].any()


@given(edge=st.integers(70, 230), first=st.floats(-5, 5), second=st.floats(-5, 5))
@settings(max_examples=40, deadline=None)
def test_paint_shows_no_straight_edges(edge: int, first: float, second: float) -> None:
    """Even maps of overlapping views change between neighbouring pixels by a small part of the strongest."""
    spec, grids = ViewSpec(height=150, width=150), (np.full((3, 3), one, np.float32) for one in (first, second))
    painted = sum(
        paint(grid, (300, 300), Transform.shift(x, 60), spec, CellGrid(50.0, 25.0))
        for grid, x in zip(grids, (20, edge - 150), strict=True)
    )
    strongest = max(float(np.abs(painted).max()), 1e-6)
    steps = [float(np.abs(np.diff(painted, axis=axis)).max()) for axis in (0, 1)]
    assert max(steps) <= 0.16 * max(strongest, (abs(first) + abs(second)) * 0.36)


def test_map_of_a_bone_is_round() -> None:
    spec = ViewSpec("bones", 64, 64, "hand")
    painted = paint(np.ones((4, 4), np.float32), (100, 100), Transform.shift(18, 18), spec, CellGrid(16.0, 8.0))
    assert painted[50, 50] == painted.max() > painted[50, 24] > painted[22, 22] == 0


@given(zoom=st.floats(0.3, 2))
@settings(max_examples=20, deadline=None)
def test_on_hand_ends_at_the_outline(zoom: float) -> None:
    hand, _ = drawn_hand(0.0, mirrored=False)
    side = round(720 * zoom)
    share = on_hand(hand, Transform.scale(side / 720), (side, side))
    mask = np.zeros((side, side), bool)
    mask[round(160 * zoom) : round(560 * zoom), round(240 * zoom) : round(480 * zoom)] = True
    assert share[mask].mean() > 0.9
    assert share[~mask].sum() < 0.04 * share.sum()
    assert share[round(360 * zoom), round(360 * zoom)] == 1 and not share[: round(140 * zoom)].any()


@given(seed=st.integers(0, 100))
def test_levels_and_back(seed: int) -> None:
    values = np.random.default_rng(seed).uniform(-1, 1, (6, 8)).astype(np.float32)
    values[0, :3] = 1, -1, 0
    again = HeatMap.from_levels(HeatMap(values, 3.0).levels)
    np.testing.assert_allclose(again.values, values, atol=0.5 / 127 + 1e-6)
    assert again.values[0, :3].tolist() == [1, -1, 0] and not again.is_empty
    assert HeatMap.from_levels(np.full((2, 2), 128, np.uint8)).is_empty


@given(
    degrees=st.floats(-180, 180),
    mirrored=st.booleans(),
    region=st.sampled_from(HAND_REGIONS),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_heat_map_of_registered_view(degrees: float, mirrored: bool, region: Region, data: st.DataObject) -> None:
    """Also of hands that are turned or mirrored: a hot cell well inside a region's view is drawn where the radiograph
    shows it."""
    box, cells_high = BOXES[region], 12
    cells_wide = round(box.width * cells_high / box.height)
    side = max(box.height / cells_high, box.width / cells_wide)  # frame pixels: the box fits the view
    row = data.draw(st.integers(3, cells_high - 4))
    column = data.draw(st.integers(3, cells_wide - 4))
    centre = np.array([box.left + box.width / 2, box.top + box.height / 2])
    frame_xy = centre + side * np.array([column + 0.5 - cells_wide / 2, row + 0.5 - cells_high / 2])

    hand, frame_to_radiograph = drawn_hand(degrees, mirrored)
    spec = ViewSpec(region, 4 * cells_high, 4 * cells_wide)
    grid = np.zeros((cells_high, cells_wide), np.float32)
    grid[row, column] = 2.0
    to_radiograph = view_transform(RADIOGRAPH, spec, hand).inverse()
    painted = paint(grid, RADIOGRAPH, to_radiograph, spec, CellGrid(4.0, 2.0))
    found_y, found_x = np.unravel_index(painted.argmax(), painted.shape)
    x, y = frame_to_radiograph.points(frame_xy)
    within = 1.5 + 0.1 * side / 4  # a tenth of a cell on the radiograph, which shows the frame at a quarter
    assert abs(found_x + 0.5 - x) <= within and abs(found_y + 0.5 - y) <= within
    beside = frame_to_radiograph.points(np.array([box.left - 40.0, box.top - 40.0]))
    assert painted[int(beside[1]), int(beside[0])] == 0


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
    lowered = overlay(picture, HeatMap(-values, 2.0), scale_bar=False)
    assert drawn.shape == (200, 256, 3)
    assert (drawn[:, :18] == 90).all()
    change = np.abs(drawn[0].astype(int) - 90).sum(axis=1)
    assert change[-1] > change[128] > change[40] > 0
    (red, _, blue), (other_red, _, other_blue) = drawn[0, -1].astype(int), lowered[0, -1].astype(int)
    assert red > blue + 60 and other_blue > other_red + 60


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
    assert bar[60, 0] > bar[60, 2] and bar[580, 0] < bar[580, 2]  # orange at the top, blue at the bottom
    assert np.ptp(bar[320]) < 12


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


def test_colours_differ_for_every_colour_vision() -> None:
    """The ends differ most in blue, which people without red or green cones see, and in lightness against bone."""
    colours = scale_colours(11)
    (red, _, blue), (other_red, _, other_blue) = colours[0], colours[-1]
    assert other_red - red > 120 and blue - other_blue > 120
    lightness = [0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in colours]
    assert lightness[5:] == sorted(lightness[5:]) and lightness[:5] == sorted(lightness[:5], reverse=True)
