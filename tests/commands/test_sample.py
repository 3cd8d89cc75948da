"""Command `boneage sample`."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from boneage.phantom import SAMPLE_GAMMA, draw_hand
from boneage.tables.radiographs import read_radiographs
from tests.bundles import tiny_bundle
from tests.program_runs import boneage


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def test_sample_plate_is_assessed_near_its_age(tmp_path: Path) -> None:
    """The first thing that a newcomer sees is an estimate near a known age, without a warning."""
    path = tmp_path / "hand.png"
    result = boneage("sample", path, "--plate", "M-108")
    assert result.exit_code == 0 and "boys of 9 years" in result.stdout
    words = result.stdout.split("Try it: boneage ")[1].split()
    result = boneage(*words, "--json", "--bundle", "fast")
    document = json.loads(result.stdout)
    assert document["warnings"] == []
    assert abs(document["difference"]["months"]) < 8


def test_sample_unknown_plate(tmp_path: Path) -> None:
    """A plate that does not exist is an error, and nothing is written."""
    result = boneage("sample", tmp_path / "hand.png", "--plate", "F-1")
    assert result.exit_code == 7
    assert list(tmp_path.iterdir()) == []


def test_sample_states_that_it_is_meaningless(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "hand.png"
    result = boneage("sample", path, "--phantom")
    assert result.exit_code == 0 and "has no meaning" in result.stdout
    assert boneage("sample", path, "--phantom").exit_code == 0  # the same file again
    result = boneage("assess", path, "--sex", "F", "--bundle", bundle)
    assert result.exit_code == 0 and "this number has no meaning" in result.stdout


def test_sample_replaces_files_only_with_force(tmp_path: Path) -> None:
    path = tmp_path / "precious.png"
    path.write_bytes(b"precious")
    assert boneage("sample", path).exit_code == 2 and path.read_bytes() == b"precious"
    assert boneage("sample", path, "--phantom", "--force").exit_code == 0
    picture = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    np.testing.assert_array_equal(picture, np.rint(draw_hand() ** 0.7 * 255).astype(np.uint8))


def test_sample_draws_a_table_for_training(tmp_path: Path) -> None:
    """Each label belongs to the picture of its row, and a folder with files is left as it is."""
    folder = tmp_path / "drawn"
    result = boneage("sample", folder, "--training", 5)
    assert result.exit_code == 0 and "no meaning" in result.stdout
    radiographs = read_radiographs(folder / "radiographs.csv")
    assert [radiograph.boneage_months for radiograph in radiographs] == [36, 78, 120, 162, 204]
    assert {radiograph.sex.value for radiograph in radiographs} == {"F", "M"}
    drawn = np.rint(255 * draw_hand(10.0, height=800, width=600, seed=2) ** SAMPLE_GAMMA).astype(np.uint8)
    np.testing.assert_array_equal(cv2.imread(str(radiographs[2].image), cv2.IMREAD_UNCHANGED), drawn)
    assert boneage("sample", folder, "--training", 2).exit_code == 2
    assert len(list(folder.rglob("*.png"))) == 5


@pytest.mark.parametrize("options", [["--training", 3, "--phantom"], ["--training", 1]])
def test_sample_rejects_contradictions(tmp_path: Path, options: list[object]) -> None:
    assert boneage("sample", tmp_path / "new", *options).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_sample_needs_a_file_name(tmp_path: Path) -> None:
    assert boneage("sample", tmp_path).exit_code == 2
