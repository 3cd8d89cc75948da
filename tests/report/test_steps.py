"""Pictures of the steps: which there are, what they show, and the command that writes them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.atlas import Atlas
from boneage.cli import cli
from boneage.composition import assess
from boneage.hand.bones import TILE_COLUMNS, TILE_ROWS
from boneage.hand.views import ViewSpec
from boneage.phantom import draw_hand
from boneage.reading.radiograph import read_radiograph
from boneage.report.steps import STEP_FILE, Step, draw_original, draw_sheet, draw_steps, write_steps
from tests.bundles import REGION_VIEWS, tiny_bundle
from tests.hand_graphs import picture_without_hand

SOME_STEPS = {"01_original.png", "02_mask.png"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of bundles and radiographs."""
    folder = tmp_path_factory.mktemp("steps")
    tiny_bundle(folder / "regions", views=[*REGION_VIEWS, ViewSpec("A", 32, 24, "hand")], hand=True)
    tiny_bundle(folder / "whole", hand=True)
    tiny_bundle(folder / "plain")
    drawn = np.rint(draw_hand(height=800, width=600) * 255).astype(np.uint8)
    empty = picture_without_hand(300, 240)
    for name, picture in {"hand": drawn, "turned": 255 - np.rot90(drawn, 2), "empty": empty}.items():
        assert cv2.imwrite(str(folder / f"{name}.png"), picture)
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    return folder


def steps_of(folder: Path, radiograph: str, bundle: str) -> dict[str, Step]:
    pixels = read_radiograph(folder / radiograph).pixels
    return {step.name: step for step in draw_steps(pixels, assess(folder / radiograph, "F", folder / bundle))}


def boneage(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


# --- what is drawn ---


def test_draw_steps_each_step_and_view_once(folder: Path) -> None:
    steps = steps_of(folder, "hand.png", "regions")
    assert list(steps) == [
        *("original", "mask", "normalised", "registered"),
        *("view_A", "view_A_2", "view_B", "view_C"),
        *("map_A", "map_A_2", "map_B", "map_C", "map"),
    ]
    assert all(step.picture.dtype == np.uint8 and step.picture.ndim in (2, 3) for step in steps.values())


def test_regions_that_no_network_reads_are_left_out(folder: Path) -> None:
    """Nobody takes a region for a part of the estimate of networks that see something else."""
    steps = steps_of(folder, "hand.png", "whole")
    assert [name for name in steps if "view" in name] == ["view_radiograph"]
    assert [name for name in steps if "map" in name] == ["map_radiograph", "map"]
    assert steps["registered"].title == "registered"
    assert steps_of(folder, "hand.png", "regions")["registered"].title == "registered, with regions"


def test_tiles_of_single_bones_are_drawn() -> None:
    """A bundle that reads single bones has a picture of their tiles, with the map on the tiles that were read."""
    atlas = Atlas.open()
    plate = atlas.plate("F-132")
    assessment = assess(atlas.picture_bytes(plate)[0], plate.sex, "fast")
    pixels = read_radiograph(atlas.picture_bytes(plate)[0]).pixels
    steps = {step.name: step for step in draw_steps(pixels, assessment)}
    assert [name for name in steps if name.startswith(("view", "map"))] == ["view_bones", "map_bones", "map"]
    assert steps["registered"].title == "registered, with tiles of bones"
    view, tinted = steps["view_bones"].picture, steps["map_bones"].picture
    is_tinted = (tinted.max(axis=2) - tinted.min(axis=2)) > 20
    height, width = view.shape[0] // TILE_ROWS, view.shape[1] // TILE_COLUMNS
    for index, bone in enumerate(assessment.bones):
        row, column = divmod(index, TILE_COLUMNS)
        tile = (slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width))
        assert view[tile].std() > 20, bone.name
        away_from_middle = np.add.outer(abs(np.arange(height) - height / 2), abs(np.arange(width) - width / 2))
        assert not is_tinted[tile][away_from_middle > 0.9 * height].any(), bone.name
    assert is_tinted.any()


def test_draw_steps_rotated_negative_gives_same_hand(folder: Path) -> None:
    upright, turned = (steps_of(folder, radiograph, "regions") for radiograph in ("hand.png", "turned.png"))
    for name in ("normalised", "registered", "view_A", "view_B", "view_C"):
        first, second = upright[name].picture, turned[name].picture
        assert similarity(first, first[::-1, ::-1]) < 0.8  # or anything would pass
        assert (
            similarity(first, second[::-1, ::-1] if name == "normalised" else second) > 0.95
        )  # the first lies as it did


def similarity(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Correlation of two pictures."""
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_draw_steps_masked_background_is_black(folder: Path) -> None:
    normalised = steps_of(folder, "hand.png", "regions")["normalised"].picture
    height, width = normalised.shape
    assert not normalised[: height // 10].any()  # air, and the letters of the phantom
    assert normalised[height // 2, width // 2] > 60


def test_draw_steps_needs_hand_of_same_radiograph(folder: Path) -> None:
    pixels = read_radiograph(folder / "hand.png").pixels
    with pytest.raises(ValueError, match="on which the hand was found"):
        draw_steps(pixels, assess(folder / "hand.png", "F", folder / "plain"))
    with pytest.raises(ValueError, match="that was assessed"):
        draw_steps(pixels[:-1], assess(folder / "hand.png", "F", folder / "whole"))


@given(
    shapes=st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900), st.booleans()), min_size=1, max_size=9),
)
@settings(max_examples=30, deadline=None)
def test_draw_sheet_images_of_any_shape(shapes: list[tuple[int, int, bool]]) -> None:
    steps = [
        Step("x", "", np.full((height, width, 3) if colour else (height, width), 255, np.uint8))
        for height, width, colour in shapes
    ]
    sheet = draw_sheet(steps)
    columns = min(4, len(steps))
    tile_height, tile_width = sheet.shape[0] // -(-len(steps) // columns), sheet.shape[1] // columns
    for number in range(len(steps)):
        row, column = divmod(number, columns)
        tile = sheet[row * tile_height :, column * tile_width :][34:tile_height, :tile_width]
        assert (tile == 255).all(axis=2).any()


# --- files ---


def test_write_steps_numbers_files_and_removes_old_ones(folder: Path, tmp_path: Path) -> None:
    steps = draw_steps(read_radiograph(folder / "hand.png").pixels, assess(folder / "hand.png", "F", folder / "whole"))
    (tmp_path / "99_notes.png").touch()
    written = write_steps(tmp_path / "new", steps)
    assert [path.name for path in written][:5] == [
        "01_original.png",
        "02_mask.png",
        "03_normalised.png",
        "04_registered.png",
        "05_view_radiograph.png",
    ]
    assert written[-1].name == "steps.png" and all(STEP_FILE.fullmatch(path.name) for path in written)
    assert sorted(written) == sorted((tmp_path / "new").iterdir())
    (tmp_path / "new" / "99_notes.png").touch()
    write_steps(tmp_path / "new", steps[:1])
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"01_original.png", "steps.png", "99_notes.png"}
    with pytest.raises(ValueError, match="no step"):
        write_steps(tmp_path / "new", [])


def test_draw_original_shows_radiograph_as_read() -> None:
    ramp = np.tile(np.linspace(0.2, 0.8, 700, dtype=np.float32), (800, 1))
    picture = draw_original(ramp).picture
    assert picture[:, 0].max() < 5 and picture[:, -1].min() > 250


# --- the command ---


def test_assess_steps_of_one_radiograph(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "steps"
    result = boneage(
        "assess", folder / "turned.png", "--sex", "F", "--bundle", folder / "regions", "--steps", out, "--out", out
    )
    assert result.exit_code == 0, result.stderr
    names = {path.name for path in out.iterdir()}
    assert {"01_original.png", "04_registered.png", "steps.png", "turned.json", "turned.overlay.png"} <= names
    assert sum(bool(STEP_FILE.fullmatch(name)) for name in names) == 14
    assert "A whole hand" not in result.stdout  # it is the phantom, whose ages mean nothing


def test_assess_steps_of_rejected_radiograph(folder: Path, tmp_path: Path) -> None:
    arguments = ("--sex", "F", "--bundle", folder / "regions", "--steps", tmp_path)
    result = boneage("assess", folder / "empty.png", *arguments)
    assert result.exit_code == 3 and "[no_hand]" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"01_original.png", "02_mask.png", "steps.png"}
    original, masked = (cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED) for name in sorted(SOME_STEPS))
    assert original is not None and masked is not None
    dots = (slice(97, None, 24), slice(97, None, 24))
    assert (cv2.resize(original, (240, 300))[dots] > 100).all() and (cv2.resize(masked, (240, 300))[dots] > 100).all()
    result = boneage("assess", folder / "bad.png", *arguments)
    assert result.exit_code == 3 and "[unreadable]" in result.stderr


@pytest.mark.parametrize(
    ("radiographs", "bundle", "message"),
    [
        (["hand.png", "turned.png"], "regions", "of one radiograph, not of 2"),
        (["hand.png"], "plain", "does not locate the hand"),
    ],
)
def test_assess_steps_wrong_usage(
    folder: Path, tmp_path: Path, radiographs: list[str], bundle: str, message: str
) -> None:
    paths = [folder / radiograph for radiograph in radiographs]
    result = boneage("assess", *paths, "--sex", "F", "--bundle", folder / bundle, "--steps", tmp_path / "steps")
    assert result.exit_code == 2 and message in result.stderr
    assert not (tmp_path / "steps").exists()


def test_assess_steps_never_overwrite_radiograph(folder: Path, tmp_path: Path) -> None:
    radiograph = tmp_path / "01_original.png"
    radiograph.write_bytes((folder / "hand.png").read_bytes())
    result = boneage("assess", radiograph, "--sex", "F", "--bundle", folder / "regions", "--steps", tmp_path)
    assert result.exit_code == 2 and "overwrite the radiograph" in result.stderr
    assert radiograph.read_bytes() == (folder / "hand.png").read_bytes()


def test_assess_outline_can_be_disabled(folder: Path, tmp_path: Path) -> None:
    for option in ("--outline", "--no-outline"):
        result = boneage(
            "assess",
            *(folder / "hand.png", "--sex", "F", "--bundle", folder / "regions"),
            *("--out", tmp_path / option, option),
        )
        assert result.exit_code == 0, result.stderr
    drawn, bare = ((tmp_path / option / "hand.overlay.png").read_bytes() for option in ("--outline", "--no-outline"))
    assert drawn != bare
