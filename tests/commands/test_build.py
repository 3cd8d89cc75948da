"""``boneage build``: processes, what it says, exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from boneage.bundle.bundle import Bundle
from boneage.commands.build import build
from tests.train.drawn_radiographs import TINY, draw_folder

PLAN = """
name = "small"
title = "A small one"
[[networks]]
name = "whole"
recipe = "tiny.toml"
folds = 2
"""


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(build, [str(argument) for argument in arguments])


def test_build_command_makes_bundle(tmp_path: Path) -> None:
    table = draw_folder(tmp_path, count=40)
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    short = ("--set", "train.epochs=1", "--set", "train.resize=[]", "--accelerator", "cpu", "--jobs", 2)
    result = _run(
        tmp_path / "plan.toml",
        "--radiographs",
        table,
        "--images",
        tmp_path / "radiographs",
        "--out",
        tmp_path / "small",
        *short,
    )
    assert result.exit_code == 0, result.output
    for name in ("whole-fold-1", "whole-fold-2"):
        assert f"{name}: done in" in result.stdout
        assert f"{name}: epoch 1: " in result.stdout
        assert (tmp_path / "small-runs" / name / "log.txt").exists()
    assert "out of fold: MAD" in result.stdout
    assert "validation MAD" in result.stdout
    assert "2 member(s)" in result.stdout
    assert Bundle.open(tmp_path / "small").manifest.name == "small"
    assert (tmp_path / "cache").is_dir()


@pytest.mark.parametrize("plan", ["no-plan", "full"])
def test_build_command_reports_faults_first(plan: str, tmp_path: Path) -> None:
    result = _run(plan, "--radiographs", tmp_path / "none.csv", "--out", tmp_path / "small")
    assert result.exit_code != 0
    assert list(tmp_path.iterdir()) == []
