from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.arrays import ByteImage
from boneage.errors import TableError
from boneage.train.mining.records import radiograph_cache
from boneage.train.mining.state import decide, read_masks, read_settings
from boneage.train.mining.tiles import (
    Grid,
    at_random,
    by_uncertainty,
    choose_masks,
    draw_tile,
    read_sheet,
    write_sheets,
)
from tests.train.mining.minings import add_pending, begin_mining


def is_line(tile: ByteImage) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Where a tile is of the outline's colour and not grey."""
    blue, red = tile[..., 0].astype(int), tile[..., 2].astype(int)
    return np.asarray(red - blue > 80)


@settings(deadline=None, max_examples=25)
@given(st.integers(60, 200), st.integers(60, 200), st.sampled_from([(150, 120), (225, 180), (300, 240)]))
def test_draw_tile_outline_at_mask_border(height: int, width: int, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).random((height, width)).astype(np.float32)
    mask = np.zeros((40, 40), np.uint8)  # a grid of its own
    mask[10:30, 10:30] = 1
    rows, columns = np.nonzero(is_line(draw_tile(pixels, mask, *size)))
    zoom = min(size[0] / height, size[1] / width)
    middle = np.array([rows.min() + rows.max() + 1, columns.min() + columns.max() + 1]) / 2
    assert np.abs(middle - np.array(size) / 2).max() <= 1.5
    assert abs(int(np.ptp(rows)) + 1 - zoom * height / 2) <= zoom * height / 40 + 4
    assert abs(int(np.ptp(columns)) + 1 - zoom * width / 2) <= zoom * width / 40 + 4


def test_draw_tile_brightens_dark_radiographs() -> None:
    """Dark radiographs are shown bright enough to judge."""
    dark = np.linspace(0, 0.02, 100 * 80, dtype=np.float32).reshape(100, 80)
    tile = draw_tile(dark, np.zeros((100, 80), np.uint8), 100, 80)
    assert tile.min() < 40
    assert tile.max() > 230
    assert not is_line(tile).any()


@pytest.fixture
def mining(tmp_path: Path, table: Path) -> Path:
    """With four pending masks and one accepted of round 1."""
    folder = begin_mining(tmp_path, table)
    add_pending(folder, {"5": 0.1, "6": 0.5, "7": 0.3, "8": 0.4, "9": 0.2})
    decide(folder, {"7": True})
    return folder


def test_choose_masks_of_each_kind(mining: Path) -> None:
    masks = read_masks(mining)
    ids = {kind: [mask.id for mask in choose_masks(masks, kind, seed=1)] for kind in ("pending", "accepted", "worst")}
    assert ids == {"pending": ["6", "8", "9", "5"], "accepted": ["7"], "worst": ["6", "8", "7", "9", "5"]}
    assert {mask.id for mask in choose_masks(masks, "random", seed=1)} == set(ids["worst"])


def test_at_random_follows_seed(mining: Path) -> None:
    pending = list(read_masks(mining).values())
    assert at_random(pending, 1) == at_random(pending, 1)
    assert at_random(pending, 1) != at_random(pending, 2)
    assert sorted(mask.id for mask in at_random(pending, 1)) == sorted(mask.id for mask in pending)
    assert [mask.uncertainty for mask in by_uncertainty(pending)][:5] == [0.5, 0.4, 0.3, 0.2, 0.1]


def test_write_sheets_with_tables(mining: Path, tmp_path: Path) -> None:
    """Sheets have their radiographs in a table beside them."""
    chosen = choose_masks(read_masks(mining), "worst", seed=0)
    cache = radiograph_cache(mining, list(read_settings(mining).read_radiographs().values()))
    paths = write_sheets(mining, tmp_path / "out", "worst", chosen, cache, Grid(2, 2, 60, 75))
    assert [path.name for path in paths] == ["worst-001.png", "worst-002.png"]
    tables = [read_sheet(path.with_suffix(".csv")) for path in paths]
    assert [list(table) for table in tables] == [["6", "8", "7", "9"], ["5"]]
    assert set(tables[0].values()) == {1}
    shapes = [np.asarray(cv2.imread(str(path))).shape for path in paths]
    assert shapes[0][0] > 2 * 75 > shapes[1][0]  # the height follows the number of masks
    assert is_line(np.asarray(cv2.imread(str(paths[1])), dtype=np.uint8)).any()


def test_write_sheets_of_nothing_rejected(mining: Path, tmp_path: Path) -> None:
    cache = radiograph_cache(mining, list(read_settings(mining).read_radiographs().values()))
    with pytest.raises(TableError) as raised:
        write_sheets(mining, tmp_path, "pending", [], cache, Grid())
    assert raised.value.code == "table_empty"


def test_radiograph_tile_missing_mask(mining: Path, tmp_path: Path) -> None:
    masks = read_masks(mining)
    (mining / masks["5"].mask).unlink()
    cache = radiograph_cache(mining, list(read_settings(mining).read_radiographs().values()))
    with pytest.raises(TableError) as raised:
        write_sheets(mining, tmp_path, "pending", [masks["5"]], cache, Grid())
    assert raised.value.code == "table_value"
