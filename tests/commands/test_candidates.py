"""``boneage candidates``: processes, tables, exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from boneage.commands.candidates import candidates
from tests.train.drawn_radiographs import draw_folder

SMALL = [
    *("--set", "network.options.hidden=[8]", "--set", "train.batch_size=8", "--set", "train.precision=32-true"),
    *("--set", "train.workers=0", "--accelerator", "cpu"),
]


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(candidates, [str(argument) for argument in arguments])


def test_candidates_command_trains_and_reports_failures(tmp_path: Path) -> None:
    table, out = draw_folder(tmp_path), tmp_path / "runs" / "candidates"
    damaged = out / "runs" / "souza-b" / "last.ckpt"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"no weights")
    result = _run(
        *("--radiographs", table, "--images", tmp_path / "radiographs", "--out", out, "--side", 32, "--epochs", 1),
        *("--only", "souza-[ab]", "--jobs", 2, *SMALL),
    )
    assert result.exit_code == 5, result.output
    assert "souza-a: epoch 1: " in result.stdout
    assert "souza-b: FAILED (5)" in result.stdout
    assert "1 training(s) failed: souza-b" in result.stderr
    assert "| A | " in (out / "candidates.md").read_text(encoding="utf-8")
    assert (out / "plots" / "curves.png").exists()
    tables = _run("--out", out)
    assert tables.exit_code == 0
    assert "| A | " in tables.stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--side", "64"], "Without --radiographs"),
        (["--radiographs", "x.csv", "--epochs", "flat=3"], "--epochs"),
        (["--radiographs", "x.csv", "--epochs", "0"], "--epochs"),
        (["--radiographs", "x.csv", "--only", "souza-i"], "souza-i"),
    ],
)
def test_candidates_command_wrong_usage(tmp_path: Path, arguments: list[str], word: str) -> None:
    result = _run("--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert word in result.stderr
    assert not (tmp_path / "out").exists()


def test_candidates_command_empty_folder(tmp_path: Path) -> None:
    result = _run("--out", tmp_path)
    assert result.exit_code == 0
    assert "there are no tables" in result.stderr
