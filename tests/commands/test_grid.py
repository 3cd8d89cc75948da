"""``boneage grid``: processes, tables, exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from boneage.commands.grid import grid
from tests.bundles import tiny_bundle
from tests.evaluate.drawn_grid import drawn_grid, write_tables
from tests.train.drawn_radiographs import draw_folder

SMALL = [
    *("--set", "network.options.widths=[4, 8]", "--set", "network.options.hidden=[8]"),
    *("--set", "train.batch_size=4", "--set", "train.precision=32-true"),
]


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(grid, [str(argument) for argument in arguments])


def test_grid_command_trains_and_reports_failures(tmp_path: Path) -> None:
    table, out = draw_folder(tmp_path), tmp_path / "runs" / "grid"
    tiny_bundle(tmp_path / "hands", hand=True)
    damaged = out / "runs" / "regression-females-b" / "last.ckpt"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"no weights")
    result = _run(
        *("--radiographs", table, "--images", tmp_path / "radiographs", "--out", out, "--epochs", 1, "--jobs", 2),
        *("--only", "regression-*males-b", "--hands", tmp_path / "hands", "--accelerator", "cpu", *SMALL),
    )
    assert result.exit_code == 5, result.output
    assert "regression-males-b: done in" in result.stdout
    assert "regression-males-b: epoch 1: " in result.stdout
    assert "regression-females-b: FAILED (5)" in result.stdout
    assert "last.ckpt is damaged" in result.stdout
    assert "1 training(s) failed: regression-females-b" in result.stderr
    assert (out / "predictions" / "regression-males-b.csv").exists()
    assert "Missing networks (17 of 18)" in (out / "grid.md").read_text(encoding="utf-8")
    assert (out / "plots" / "grid.png").exists()


def test_grid_command_tables_without_radiographs(tmp_path: Path) -> None:
    write_tables(tmp_path / "predictions", drawn_grid(60))
    write_tables(tmp_path / "out_of_fold", drawn_grid(80, seed=2))
    result = _run("--out", tmp_path, "--no-plots")
    assert result.exit_code == 0, result.output
    assert "; paper 6.10" in result.stdout
    assert not (tmp_path / "plots").exists()
    assert {path.name for path in tmp_path.glob("*.csv")} == {"grid.csv", "stages.csv", "orders.csv", "weights.csv"}


def test_grid_command_weights_need_all_folds(tmp_path: Path) -> None:
    tables = drawn_grid(60)
    write_tables(tmp_path / "predictions", tables)
    write_tables(tmp_path / "out_of_fold", dict(list(tables.items())[:2]))
    assert _run("--out", tmp_path, "--no-plots").exit_code == 0
    assert not (tmp_path / "weights.csv").exists()
    assert "No weighted ensemble" in (tmp_path / "grid.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--scale", "0.1"], "Without --radiographs"),
        (["--radiographs", "x.csv", "--scale", "D=0.1"], "--scale"),
        (["--radiographs", "x.csv", "--scale", "A=1/8,B=1/8,C=2"], "--scale"),
        (["--radiographs", "x.csv", "--scale", "A=1,B=1,C=1,D=1"], "--scale"),
        (["--radiographs", "x.csv", "--scale", "1/0"], "--scale"),
        (["--radiographs", "x.csv", "--epochs", "0"], "--epochs"),
        (["--radiographs", "x.csv", "--epochs", "mixed=1,mixed=2,males=3"], "--epochs"),
        (["--radiographs", "x.csv", "--only", "regression-mixed-d"], "regression-mixed-d"),
        (["--radiographs", "x.csv", "--folds", "1"], "--folds"),
    ],
)
def test_grid_command_wrong_usage(tmp_path: Path, arguments: list[str], word: str) -> None:
    result = _run("--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert word in result.stderr
    assert not (tmp_path / "out").exists()


def test_grid_command_empty_folder(tmp_path: Path) -> None:
    result = _run("--out", tmp_path)
    assert getattr(result.exception, "code", None) == "table_not_found"
