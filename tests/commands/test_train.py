"""``boneage train``, ``export`` and ``curve``: from a table of radiographs to a bundle that assesses, by commands
alone."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from boneage.bundle.manifest import read_manifest
from boneage.cli import cli
from boneage.evaluate.predictions import read_predictions
from tests.train.drawn_radiographs import TINY, draw_folder

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)


def run_command(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def error_of(result: Result) -> str:
    """The one line on standard error."""
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``radiographs.csv``, the pictures in ``radiographs``, and ``tiny.toml``."""
    folder = tmp_path_factory.mktemp("workplace")
    draw_folder(folder)
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    return folder


def train(workplace: Path, out: Path, *more: object) -> Result:
    return run_command(
        *("train", workplace / "tiny.toml", "--radiographs", workplace / "radiographs.csv", "--out", out),
        *("--set", "train.epochs=2", "--accelerator", "cpu", "--devices", 1, "--quiet", *more),
    )


@pytest.fixture(scope="module")
def trained(workplace: Path) -> Result:
    """Result of ``boneage train``; the run lies in ``runs/tiny``."""
    return train(workplace, workplace / "runs" / "tiny")


@pytest.fixture(scope="module")
def run(workplace: Path, trained: Result) -> Path:
    assert trained.exit_code == 0, trained.stderr
    return workplace / "runs" / "tiny"


@pytest.fixture(scope="module")
def exported(workplace: Path, run: Path) -> Result:
    """Result of ``boneage export``; the bundle lies in ``bundles/Small``."""
    return run_command(
        *("export", run, "--out", workplace / "bundles" / "Small", "--radiographs", workplace / "radiographs.csv"),
        *("--data", "drawn phantoms", "--licence", "Apache-2.0"),
    )


# --- train ---


def test_train_command_reports_errors(trained: Result, run: Path) -> None:
    with (run / "metrics.csv").open(newline="") as file:
        errors = [float(row["mad_months"]) for row in csv.DictReader(file)]
    assert len(errors) == 2
    assert trained.stdout.splitlines()[-1] == (
        f"{run}: 2 epochs, validation MAD, months: {errors[-1]:.4g} after the last, {min(errors):.4g} after the best"
    )


def test_train_command_folder_contents(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    files = {"metrics.csv", "validation.csv", "curve.png", "tensorboard"}
    assert names == {"recipe.json", "last.ckpt", "best.ckpt", "run.lock", *files}


def test_train_command_validation_table_has_reported_error(run: Path) -> None:
    with (run / "metrics.csv").open(newline="") as file:
        curve = [float(row["mad_months"]) for row in csv.DictReader(file)][-1]
    predictions = read_predictions(run / "validation.csv")
    assert np.abs(predictions.error_months).mean() == pytest.approx(curve, abs=0.01)


def test_train_command_finished_run_repeats_report(workplace: Path, trained: Result, run: Path) -> None:
    assert train(workplace, run).stdout == trained.stdout


@pytest.mark.parametrize(
    ("change", "code", "status"),
    [("train.epochs=3", "recipe_changed", 5), ("train.epoch=3", "recipe_invalid", 5), ("epochs", "recipe_invalid", 5)],
)
def test_train_command_wrong_recipe(workplace: Path, run: Path, change: str, code: str, status: int) -> None:
    result = train(workplace, run, "--set", change)
    assert result.exit_code == status
    assert error_of(result).endswith(f"[{code}]")


def test_train_command_missing_table(workplace: Path, tmp_path: Path) -> None:
    result = run_command(
        "train", workplace / "tiny.toml", "--radiographs", tmp_path / "none.csv", "--out", tmp_path / "run"
    )
    assert result.exit_code == 6
    assert error_of(result).endswith("[table_not_found]")


def test_train_command_reports_rejected_radiographs(workplace: Path, tmp_path: Path) -> None:
    shutil.copytree(workplace / "radiographs", tmp_path / "radiographs")
    (tmp_path / "radiographs" / "4.png").write_bytes(b"no picture")
    result = train(workplace, tmp_path / "run", "--images", tmp_path / "radiographs", "--set", "train.resize=[]")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-2] == "1 radiograph(s) were rejected and left out: unreadable (1)"


def test_train_command_unknown_accelerator(workplace: Path, tmp_path: Path) -> None:
    result = train(workplace, tmp_path / "run", "--accelerator", "abacus")
    assert result.exit_code == 2
    assert not (tmp_path / "run").exists()


# --- export ---


def test_export_command_reports_figures(exported: Result, workplace: Path) -> None:
    assert exported.exit_code == 0, exported.stderr
    folder = workplace / "bundles" / "Small"
    metrics = read_manifest(folder).metrics
    figures, parity, size = exported.stdout.splitlines()
    assert figures == (
        f"validation MAD {metrics['mad_months']:.2f} months, CCC {metrics['ccc']:.3f}, {metrics['radiographs']} "
        f"radiographs"
    )
    assert metrics["radiographs"] == 6
    assert parity.startswith("torch and ONNX Runtime differ by at most 0.0")
    assert size.startswith(f"{folder}: 1 member(s), 0.")


def test_export_command_bundle_checks_and_assesses(exported: Result, workplace: Path) -> None:
    """An exported bundle passes its check and assesses."""
    assert exported.exit_code == 0, exported.stderr
    folder = workplace / "bundles" / "Small"
    assert run_command("bundle", "check", folder).exit_code == 0
    result = run_command("assess", workplace / "radiographs" / "3.png", "--sex", "F", "--bundle", folder, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["bundle"] == {"name": "small", "version": "1", "repeat_sd_months": None}


def test_export_command_renews_with_repeat_sd(exported: Result, workplace: Path) -> None:
    """Only the manifest changes: version, date and the standard deviation of repeated readings."""
    assert exported.exit_code == 0, exported.stderr
    folder, renewed = workplace / "bundles" / "Small", workplace / "bundles" / "renewed"
    options = ("--repeat-sd", "1.3", "--version", "2", "--out", renewed)
    result = run_command("export", "--renew", folder, *options)
    assert result.exit_code == 0, result.stderr
    before, after = read_manifest(folder), read_manifest(renewed)
    assert after == replace(before, version="2", created=after.created, repeat_sd_months=1.3)
    for graph in folder.glob("*.onnx"):
        assert (renewed / graph.name).read_bytes() == graph.read_bytes()


def test_export_command_fewer_radiographs_without_mirror(workplace: Path, run: Path, tmp_path: Path) -> None:
    kept = json.loads((run / "recipe.json").read_text(encoding="utf-8"))["validation"]
    header, *rows = (workplace / "radiographs.csv").read_text(encoding="utf-8").splitlines()
    table = tmp_path / "some.csv"
    table.write_text("\n".join([header, *(row for row in rows if row.split(",")[0] in kept[:4])]) + "\n")
    result = run_command(
        *(
            "export",
            run,
            "--out",
            tmp_path / "some",
            "--radiographs",
            table,
            "--images",
            workplace / "radiographs",
            "--no-mirror",
        )
    )
    assert result.exit_code == 0, result.stderr
    assert ", 4 of the 6 radiographs" in result.stdout
    assert not any(member.mirror for member in read_manifest(tmp_path / "some").members)


def test_export_command_does_not_overwrite(exported: Result, workplace: Path, run: Path) -> None:
    """A bundle that is there is not overwritten unasked."""
    assert exported.exit_code == 0, exported.stderr
    result = run_command("export", run, "--out", workplace / "bundles" / "Small")
    assert result.exit_code == 4
    assert error_of(result).endswith("[bundle_exists]")


def test_export_command_missing_run(tmp_path: Path) -> None:
    result = run_command("export", tmp_path / "none", "--out", tmp_path / "bundle")
    assert result.exit_code == 5
    assert error_of(result).endswith("[recipe_invalid]")
    assert list(tmp_path.iterdir()) == []


# --- curve ---


def test_curve_command_draws_image(run: Path, tmp_path: Path) -> None:
    result = run_command("curve", run, "--out", tmp_path / "curve.png")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{tmp_path / 'curve.png'}\n"
    picture = np.asarray(cv2.imread(str(tmp_path / "curve.png")))
    assert picture.ndim == 3
    assert picture.std() > 1


def test_curve_command_runs_of_one_name(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / run.name
    other.mkdir()
    (other / "metrics.csv").write_text("epoch,mad_months\n1,20.5\n", encoding="utf-8")
    drawn: dict[str, object] = {}
    monkeypatch.setattr("boneage.train.run.curve.draw_curve", lambda histories, _path: drawn.update(histories))
    assert run_command("curve", run, other, "--out", tmp_path / "curve.png").exit_code == 0
    assert list(drawn) == [str(run), str(other)]
    assert drawn[str(other)] == [{"epoch": 1.0, "mad_months": 20.5}]


def test_curve_command_missing_run(tmp_path: Path) -> None:
    result = run_command("curve", tmp_path / "none", "--out", tmp_path / "curve.png")
    assert result.exit_code == 6
    assert error_of(result).endswith("[table_not_found]")
