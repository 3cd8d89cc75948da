"""``boneage atlas``: what it prints, writes and rejects."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from boneage.atlas import Atlas
from boneage.bundle.bundle import Bundle
from boneage.commands.atlas import atlas as command
from boneage.composition import assess
from boneage.errors import AtlasError
from tests.atlases import AGES_MONTHS, draw_atlas
from tests.bundles import REGION_VIEWS, tiny_bundle
from tests.hand_graphs import picture_without_hand


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_atlas(tmp_path_factory.mktemp("atlases") / "own")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "regions", views=REGION_VIEWS, hand=True)


def test_list_atlases_and_plates(folder: Path) -> None:
    assert run("list").stdout.startswith("open: ")
    (line,) = run("list", "--json").stdout.splitlines()
    assert json.loads(line) == {
        "name": "open",
        "title": Atlas.open().title,
        "plates": len(Atlas.open().plates),
    }
    assert len(run("list", folder).stdout.splitlines()) == 2 * len(AGES_MONTHS)
    lines = run("list", "open").stdout.splitlines()
    plate = Atlas.open().plates[3]
    assert lines[3] == f"{plate.key}: {plate.age_months:g} months, {plate.file}, average of {plate.count} radiographs"
    assert [json.loads(line)["key"] for line in run("list", folder, "--json").stdout.splitlines()] == [
        plate.key for plate in Atlas.open(folder).plates
    ]


def test_check_prints_ages_and_means_by_sex(folder: Path, bundle: Path, tmp_path: Path) -> None:
    result = run("check", folder, "--bundle", bundle, "--csv", tmp_path / "ages.csv")
    assert result.exit_code == 0, result.output
    plates = Atlas.open(folder).plates
    ages = {p.key: assess(folder / p.file, p.sex, bundle).age_months for p in plates}
    lines = result.stdout.splitlines()
    for plate, line in zip(plates, lines, strict=False):
        assert line.startswith(f"{plate.key}: assessed {ages[plate.key]:6.1f} months,")
    girls = [(abs(ages[p.key] - p.age_months), p.key) for p in plates if p.sex == "F"]
    (summary,) = (line for line in lines if line.startswith("F:"))
    assert f"mean absolute difference {np.mean([off for off, _ in girls]):.2f} months over 5 plates" in summary
    assert f"worst {max(girls)[1]} {max(girls)[0]:.1f}" in summary
    assert lines[-1] == "10 plates assessed, 0 rejected"
    rows = list(csv.DictReader((tmp_path / "ages.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["plate"]: float(row["assessed_months"]) for row in rows} == pytest.approx(ages, abs=0.01)


def test_check_rejected_plates_exit_with_3(bundle: Path, tmp_path: Path) -> None:
    folder = draw_atlas(tmp_path / "own", (12, 18), "F")
    cv2.imwrite(str(folder / "12.png"), picture_without_hand(320, 240))
    result = run("check", folder, "--bundle", bundle)
    assert result.exit_code == 3
    assert "F-012: rejected: " in result.stdout
    assert "F: no plates of 2 to 17 years" in result.stdout
    assert "1 plates assessed, 1 rejected" in result.stdout


def test_sheet_is_a_png(folder: Path, tmp_path: Path) -> None:
    result = run("sheet", folder, "--out", tmp_path / "sheet.png", "--columns", 5, "--height", 64)
    assert result.exit_code == 0, result.output
    sheet = cv2.imread(str(tmp_path / "sheet.png"), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None
    assert sheet.shape == (2 * (64 + 18), 5 * 48)
    assert run("sheet", folder, "--out", tmp_path / "sheet.jpg").exit_code == 2
    assert not (tmp_path / "sheet.jpg").exists()


def test_embed_stores_the_embeddings_of_all_bundles(
    folder: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny_bundle(tmp_path / "plain")
    result = run("embed", folder, "--bundle", bundle, "--bundle", other)
    assert result.exit_code == 0, result.output
    path = folder / "embeddings.npz"
    with np.load(path) as arrays:
        first = dict(arrays)
    np.savez_compressed(path, allow_pickle=False, **{key: rows + 1 for key, rows in first.items()})
    assert run("embed", folder, "--bundle", bundle, "--bundle", other).exit_code == 0
    with np.load(path) as arrays:  # the stored ones are not taken over
        assert all(np.array_equal(rows, first[key]) for key, rows in arrays.items())
    monkeypatch.setattr(Bundle, "run", None)
    for name in (bundle, other):
        assert len(Atlas.open(folder).embeddings(Bundle.open(name))) == 2 * len(AGES_MONTHS)
    path.unlink()


@pytest.mark.parametrize("verb", ["check", "list", "embed"])
def test_atlas_not_found(verb: str, tmp_path: Path) -> None:
    result = run(verb, tmp_path / "nowhere")
    assert isinstance(result.exception, AtlasError)
    assert result.exception.code == "atlas_not_found"


def test_make_replaces_an_atlas_only(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for place, more in ((folder, ()), (other, ()), (other, ("--overwrite",))):
        result = run("make", "--radiographs", tmp_path / "radiographs.csv", "--out", place, *more)
        assert result.exit_code == 2, result.output
        assert "exists already" in result.output
    assert len(Atlas.open(folder).plates) == 2 * len(AGES_MONTHS)
