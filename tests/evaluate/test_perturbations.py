from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.evaluate import perturbations as changes
from boneage.evaluate.perturbations import CHANGES, to_png
from boneage.phantom import draw_hand
from boneage.reading.radiograph import read_radiograph

PHANTOM = draw_hand(10.0, height=400, width=300)


@pytest.mark.parametrize("name", CHANGES)
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 99),
    height=st.integers(32, 150),
    width=st.integers(32, 150),
    level=st.sampled_from([1.0, 0.2, 0.0]),
)
def test_change_returns_new_radiograph(name: str, seed: int, height: int, width: int, level: float) -> None:
    radiograph = np.random.default_rng(seed).random((height, width), dtype=np.float32) * np.float32(level)
    before = radiograph.copy()
    changed = CHANGES[name].apply(radiograph)
    assert changed.dtype == np.float32
    assert changed.flags.c_contiguous
    assert changed.ndim == 2
    assert 0 <= changed.min() <= changed.max() <= 1
    assert not np.shares_memory(changed, radiograph)
    assert np.array_equal(radiograph, before)
    assert np.array_equal(changed, CHANGES[name].apply(radiograph))


@pytest.mark.parametrize("name", CHANGES)
def test_change_modifies_the_radiograph(name: str) -> None:
    changed = CHANGES[name].apply(PHANTOM)
    assert changed.shape != PHANTOM.shape or np.abs(changed - PHANTOM).max() > 0.05


def test_quarter_turns_are_exact_and_clockwise() -> None:
    radiograph = np.zeros((40, 30), np.float32)
    radiograph[0, 0] = 1.0  # the upper left corner goes to the upper right one
    assert CHANGES["rotate_90"].apply(radiograph)[0, -1] == 1
    assert CHANGES["rotate_180"].apply(radiograph)[-1, -1] == 1
    assert CHANGES["rotate_270"].apply(radiograph)[-1, 0] == 1
    there_and_back = CHANGES["rotate_270"].apply(CHANGES["rotate_90"].apply(PHANTOM))
    assert np.array_equal(there_and_back, PHANTOM)


@settings(max_examples=25, deadline=None)
@given(degrees=st.floats(-180, 180), x=st.floats(0.2, 0.8), y=st.floats(0.2, 0.8))
def test_rotation_keeps_content_and_is_clockwise(degrees: float, x: float, y: float) -> None:
    """A spot appears at its position rotated about the centre."""
    height, width = 160, 120
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    radiograph = np.exp(-((columns - x * width) ** 2 + (rows - y * height) ** 2) / 18).astype(np.float32)
    changed = changes.rotated(radiograph, degrees)
    assert changed.sum() == pytest.approx(radiograph.sum(), rel=0.02)
    spot_row, spot_column = np.unravel_index(changed.argmax(), changed.shape)
    angle = np.radians(degrees)
    dx, dy = (x - 0.5) * width, (y - 0.5) * height
    assert spot_column + 0.5 == pytest.approx(changed.shape[1] / 2 + np.cos(angle) * dx - np.sin(angle) * dy, abs=1.5)
    assert spot_row + 0.5 == pytest.approx(changed.shape[0] / 2 + np.sin(angle) * dx + np.cos(angle) * dy, abs=1.5)


def test_rotation_fills_with_border_grey() -> None:
    radiograph = np.full((60, 60), 0.4, np.float32)
    radiograph[20:40, 20:40] = 0.9
    np.testing.assert_allclose(changes.rotated(radiograph, 30)[0, 0], 0.4, atol=1e-6)


def test_mirror_and_negative_undo_themselves() -> None:
    for name in ("mirror", "invert"):
        twice = CHANGES[name].apply(CHANGES[name].apply(PHANTOM))
        np.testing.assert_allclose(twice, PHANTOM, atol=1e-6)


@pytest.mark.parametrize(("name", "grey"), [("frame_white", 1.0), ("frame_black", 0.0), ("collimator", 0.0)])
def test_borders_hold_the_whole_radiograph(name: str, grey: float) -> None:
    changed = CHANGES[name].apply(PHANTOM)
    wide = (changed.shape[0] - PHANTOM.shape[0]) // 2
    assert wide >= 0.07 * 400
    assert np.array_equal(changed[wide:-wide, wide:-wide], PHANTOM)
    assert (changed[0] == grey).all()
    assert (changed[:, -1] == grey).all()
    if name == "collimator":
        assert changed[wide - 1, wide:-wide].min() > 0.4


@pytest.mark.parametrize("name", ["marker_beside", "marker_over"])
def test_markers_change_one_block_only(name: str) -> None:
    changed = CHANGES[name].apply(PHANTOM)
    rows, columns = np.nonzero(changed != PHANTOM)
    assert np.ptp(rows) < 0.13 * 300
    assert np.ptp(columns) < 0.13 * 300
    assert changed.max() >= 0.9
    block = PHANTOM[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    touched = (block > 0.2).mean()  # share of the block
    assert touched < 0.1 if name == "marker_beside" else 0.1 < touched < 0.9


def test_grey_changes_match_their_names() -> None:
    radiograph = np.clip(PHANTOM, 0.1, 0.6)
    assert CHANGES["brightness_70"].apply(radiograph).mean() == pytest.approx(0.7 * radiograph.mean(), rel=1e-4)
    assert CHANGES["brightness_130"].apply(radiograph).mean() == pytest.approx(1.3 * radiograph.mean(), rel=1e-4)
    flat = CHANGES["contrast_70"].apply(radiograph)
    assert flat.std() == pytest.approx(0.7 * radiograph.std(), rel=1e-3)
    assert flat.mean() == pytest.approx(radiograph.mean(), rel=1e-3)
    assert (
        CHANGES["gamma_0.7"].apply(radiograph).mean()
        > radiograph.mean()
        > CHANGES["gamma_1.4"].apply(radiograph).mean()
    )


def test_sizes_shrink_by_their_share() -> None:
    assert CHANGES["half_size"].apply(PHANTOM).shape == (200, 150)
    assert CHANGES["quarter_size"].apply(PHANTOM).shape == (100, 75)


def test_jpeg_and_noise_change_a_radiograph_a_little() -> None:
    for name in ("jpeg_30", "noise"):
        difference = CHANGES[name].apply(PHANTOM) - PHANTOM
        assert 0.002 < difference.std() < 0.05
        assert abs(difference.mean()) < 0.01


def test_change_limits_match_table() -> None:
    """One month more for what an ordinary radiograph may have gone through, three for the rest."""
    mild = {name for name, change in CHANGES.items() if change.kind == "mild"}
    assert mild == {"rotate_30", "rotate_-30", "mirror", "invert", "contrast_130", "contrast_70", "half_size"}
    assert {CHANGES[name].rise_limit_months for name in mild} == {1.0}
    assert {CHANGES[name].rise_limit_months for name in set(CHANGES) - mild} == {3.0}
    assert CHANGES["rotate_90"].change_limit_months == 1.5
    assert CHANGES["marker_over"].change_limit_months == 1.0


@pytest.mark.parametrize("levels", [255, 65535])
def test_png_keeps_a_radiograph_to_the_bit(levels: int) -> None:
    radiograph = (np.random.default_rng(0).integers(0, levels + 1, (80, 70)) / np.float32(levels)).astype(np.float32)
    read = read_radiograph(to_png(radiograph))
    assert np.array_equal(read.pixels, radiograph)
    assert read.facts.bits_stored == 16


def test_marker_over_hand_on_dark_radiograph() -> None:
    radiograph = 0.1 * PHANTOM
    radiograph[280:340, 2:40] = 1.0  # a marker at the radiograph's edge
    changed = CHANGES["marker_over"].apply(radiograph)
    _, columns = np.nonzero(changed != radiograph)
    assert columns.min() > 45


@pytest.mark.parametrize("times", [1.5, 3.0])
def test_on_canvas_shows_radiograph_once(times: float) -> None:
    places = set()
    for seed in range(5):
        canvas = changes.on_canvas(PHANTOM, times, 0.5, np.random.default_rng(seed))
        assert canvas.shape == (round(times * 400),) * 2
        rows, columns = np.nonzero(canvas != np.float32(0.5))
        top, left = int(rows.min()), int(columns.min())
        assert np.array_equal(canvas[top : top + 400, left : left + 300], PHANTOM)
        places.add((top, left))
    assert len(places) > 1


@pytest.mark.parametrize("shape", [(400, 300), (2400, 900), (200, 700)])
def test_screenshot_shows_the_radiograph_in_its_window(shape: tuple[int, int]) -> None:
    radiograph = draw_hand(height=shape[0], width=shape[1])
    screen = changes.screenshot(radiograph)
    assert screen.shape == (1080, 1920)
    zoom = min(1000 / shape[0], 1100 / shape[1])
    height, width = int(shape[0] * zoom), int(shape[1] * zoom)
    top, left = 64 + (1000 - height) // 2, 420 + (1100 - width) // 2
    shown = screen[top : top + height, left : left + width]
    expected = cv2.resize(radiograph, (width, height), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.9
    assert (screen[100:900, 24:300] > 0.8).mean() > 0.05  # text beside
