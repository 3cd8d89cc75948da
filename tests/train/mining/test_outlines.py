from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.errors import RecipeError, TableError
from boneage.train.data.annotations import load_mask
from boneage.train.mining.outlines import Polygon, mask_shape, rasterised, read_outlines, start, write_mask
from boneage.train.mining.state import Settings, Status, read_masks
from tests.train.mining.minings import TRIANGLE, begin_mining, write_outlines


def square(low: float, high: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([[low, low], [high, low], [high, high], [low, high]])


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(20, 60), st.integers(20, 60))
def test_rasterised_rectangle_covers_centres(left: int, top: int, height: int, width: int) -> None:
    """A rectangle covers the pixels whose centres it holds."""
    corners = np.array([[left, top], [width - 3, top], [width - 3, height - 4], [left, height - 4]])
    mask = rasterised([Polygon(corners / (width, height))], height, width)
    expected = np.zeros((height, width), np.uint8)
    expected[top : height - 4, left : width - 3] = 1
    # Filling covers what the outline touches, on a grid four times finer: no whole pixel more.
    assert np.array_equal(mask, expected)


def test_rasterised_polygons_join_with_holes() -> None:
    """Several polygons are one mask and holes stay open."""
    ring = Polygon(square(0.1, 0.5), (square(0.2, 0.4),))
    mask = rasterised([ring, Polygon(square(0.6, 0.9))], 100, 100)
    assert mask[15, 15] == 1
    assert mask[30, 30] == 0
    assert mask[75, 75] == 1
    assert mask[55, 55] == 0
    assert rasterised([ring, Polygon(square(0.1, 0.5))], 100, 100)[30, 30] == 1  # another polygon covers the hole


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_mask_shape_keeps_aspect(height: int, width: int) -> None:
    """Masks keep the aspect of the radiograph and its pixels where they are few."""
    rows, columns = mask_shape((height, width))
    assert max(rows, columns) == min(512, max(height, width))
    assert abs(rows * width - columns * height) <= 0.5 * max(height, width) + 1 or min(rows, columns) == 1


def test_write_mask_one_bit_per_pixel(tmp_path: Path) -> None:
    mask = (np.random.default_rng(0).random((37, 53)) > 0.5).astype(np.uint8)
    write_mask(tmp_path / "deep" / "mask.png", mask)
    assert np.array_equal(load_mask(tmp_path / "deep" / "mask.png"), mask)
    header = (tmp_path / "deep" / "mask.png").read_bytes()
    assert header[24] == 1  # bit depth, in the IHDR chunk


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{", "table_unreadable"),
        ("[1]", "table_unreadable"),
        ('{"1": [{"interior": []}]}', "table_unreadable"),
        ('{"1": [{"exterior": [["a", 1]]}]}', "table_unreadable"),
        ('{"1": [{"exterior": [[0, 1], [2]]}]}', "table_unreadable"),
        ("{}", "table_empty"),
        ('{"1": []}', "table_value"),
        ('{"1": [{"exterior": [[0.1, 0.1], [0.2, 0.2]]}]}', "table_value"),
        ('{"1": [{"exterior": [[10, 10], [20, 200], [200, 20]]}]}', "table_value"),
        ('{"1": [{"exterior": [[0.1, 0.1], [0.2, NaN], [0.3, 0.3]]}]}', "table_value"),
    ],
)
def test_read_outlines_rejects_other_files(tmp_path: Path, content: str, code: str) -> None:
    (tmp_path / "outlines.json").write_text(content)
    with pytest.raises(TableError) as raised:
        read_outlines(tmp_path / "outlines.json")
    assert raised.value.code == code


def test_read_outlines_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TableError) as raised:
        read_outlines(tmp_path / "none.json")
    assert raised.value.code == "table_not_found"


def test_start_holds_outlines_out(tmp_path: Path, table: Path) -> None:
    folder = begin_mining(tmp_path, table, outlines=5, held_out=2)
    masks = read_masks(folder)
    statuses = [mask.status for mask in masks.values()]
    assert [statuses.count(status) for status in Status] == [3, 2, 0, 0, 0, 7]
    for number in range(5):
        mask = load_mask(folder / masks[str(number)].mask)
        assert mask.shape == (160, 120)  # the phantoms'
        assert np.array_equal(mask, rasterised([Polygon(np.array(TRIANGLE))], 160, 120))


def test_start_follows_seed(tmp_path: Path, table: Path) -> None:
    outlines = write_outlines(tmp_path / "outlines.json", 12)
    drawn = [
        {mask.id for mask in masks.values() if mask.status is Status.HELD_OUT}
        for masks in (
            start(tmp_path / name, Settings(table, None, seed), outlines, 4)
            for name, seed in (("a", 1), ("b", 1), ("c", 2))
        )
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_start_rejects_existing_mining(tmp_path: Path, table: Path) -> None:
    """A mining project is not begun twice but after a killed start."""
    folder = begin_mining(tmp_path, table)
    chosen = Settings(table, None, 0)
    with pytest.raises(RecipeError) as raised:
        start(folder, chosen, tmp_path / "outlines.json", 1)
    assert raised.value.code == "recipe_changed"
    (folder / "mining.json").unlink()
    start(folder, chosen, tmp_path / "outlines.json", 1)


@pytest.mark.parametrize(("outlines", "held_out"), [(3, 3), (3, 4), (3, 0)])
def test_start_needs_training_outlines(tmp_path: Path, table: Path, outlines: int, held_out: int) -> None:
    with pytest.raises(TableError) as raised:
        begin_mining(tmp_path, table, outlines=outlines, held_out=held_out)
    assert raised.value.code == "table_split"


def test_start_ignores_other_outlines(tmp_path: Path, table: Path) -> None:
    polygons = {radiograph_id: [{"exterior": TRIANGLE}] for radiograph_id in ("0", "1", "elsewhere")}
    (tmp_path / "outlines.json").write_text(json.dumps(polygons))
    masks = start(tmp_path / "mining", Settings(table, None, 0), tmp_path / "outlines.json", 1)
    assert {radiograph_id for radiograph_id, mask in masks.items() if mask.mask} == {"0", "1"}


@pytest.mark.data
def test_rasterised_rsna_outlines_hold_bone(data_folder: Path, tmp_path: Path) -> None:
    from boneage.reading.radiograph import read_radiograph
    from boneage.tables.radiographs import read_radiographs

    outlines = read_outlines(data_folder / "annotations" / "hand_outlines.json")
    assert len(outlines) == 100
    radiographs = {
        radiograph.id: radiograph for radiograph in read_radiographs(data_folder / "rsna" / "radiographs.csv")
    }
    for radiograph_id in list(outlines)[:10]:
        pixels = read_radiograph(radiographs[radiograph_id].image).pixels
        mask = rasterised(outlines[radiograph_id], *mask_shape((pixels.shape[0], pixels.shape[1])))
        small = cv2.resize(pixels, mask.shape[::-1], interpolation=cv2.INTER_AREA)
        assert small[mask == 1].mean() > small[mask == 0].mean()
