"""``boneage pack``: an archive from which another machine trains without locating hands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from boneage.cli import cli
from boneage.train.data.unpack import RECORD
from tests.bundles import tiny_bundle
from tests.train.drawn_radiographs import TINY, draw_folder
from tests.train.packed_radiographs import files_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)

PLAN = """
name = "small"
title = "A small one"
hands = "{hands}"
[[networks]]
name = "c"
recipe = "region.toml"
folds = 2
"""
REGION = TINY.replace("[view]", '[view]\nregion = "C"').replace('grey = "percentile"', 'grey = "hand"')


def run_command(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 16 radiographs, a bundle that finds their hands, a recipe and a plan."""
    folder = tmp_path_factory.mktemp("folder")
    draw_folder(folder, count=16, side=280)
    hands = tiny_bundle(folder / "finder", name="finder", views=(), hand=True, metrics={})
    (folder / "region.toml").write_text(REGION, encoding="utf-8")
    (folder / "plan.toml").write_text(PLAN.format(hands=hands), encoding="utf-8")
    return folder


def pack(folder: Path, *more: object) -> Result:
    return run_command(
        *("pack", folder / "plan.toml", "--radiographs", folder / "radiographs.csv"),
        *("--out", folder / "training.zip", "--megabytes", 0.2, *more),
    )


@pytest.fixture(scope="module")
def packed(folder: Path) -> Result:
    return pack(folder)


def test_pack_command_reports(packed: Result, folder: Path) -> None:
    assert packed.exit_code == 0, packed.output
    assert "16 radiographs, 0." in packed.stdout
    assert 0 < (folder / "training.zip").stat().st_size <= 200_000
    record = json.loads(files_of(folder / "training.zip")[RECORD])
    assert (record["plan"], record["radiographs"]) == ("small", 16)
    again = pack(folder)
    assert (again.exit_code, "--overwrite" in again.stderr) == (2, True)


def test_train_command_takes_archive(packed: Result, folder: Path, tmp_path: Path) -> None:
    """A training from the archive needs nothing else, takes the packed hands, and validates."""
    trained = run_command(
        *("train", folder / "region.toml", "--radiographs", folder / "training.zip", "--out", tmp_path / "run"),
        *("--set", f"data.hands={folder / 'finder'}", "--set", "train.epochs=2", "--set", "train.resize=[]"),
        *("--accelerator", "cpu", "--devices", 1, "--quiet"),
    )
    assert trained.exit_code == 0, trained.output
    kinds = sorted(path.name.split("-")[0] for path in (tmp_path / "cache").iterdir())
    assert kinds == ["packed", "radiographs"]  # and no hands, which would have been located again
    assert len((tmp_path / "run" / "validation.csv").read_text(encoding="utf-8").splitlines()) == 1 + 4


def test_train_command_rejects_damaged_archive(packed: Result, folder: Path, tmp_path: Path) -> None:
    content = (folder / "training.zip").read_bytes()
    damaged = tmp_path / "training.zip"
    damaged.write_bytes(content[: len(content) // 2] + b"x" + content[len(content) // 2 + 1 :])
    rejected = run_command("train", "residual", "--radiographs", damaged, "--out", tmp_path / "run")
    assert rejected.exit_code == 6
    assert rejected.stderr.splitlines()[-1].endswith("[table_archive]")
    assert not (tmp_path / "run").exists()


def test_pack_command_rejects_whole_radiographs(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    (tmp_path / "plan.toml").write_text(
        'name = "x"\ntitle = "x"\n[[networks]]\nname = "w"\nrecipe = "tiny.toml"\n', encoding="utf-8"
    )
    rejected = run_command(
        "pack", tmp_path / "plan.toml", "--radiographs", folder / "radiographs.csv", "--out", tmp_path / "x.zip"
    )
    assert rejected.exit_code == 5
    assert "whole radiographs" in rejected.stderr
    assert not (tmp_path / "x.zip").exists()
