"""The command ``boneage audit``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from boneage.cli import cli
from boneage.evaluate.audit_table import read_audit_table, write_audit_table
from boneage.phantom import sample_png
from tests.evaluate.drawn_audit import drawn_table


def test_command_on_table(tmp_path: Path) -> None:
    """The command writes all files and prints the verdict."""
    write_audit_table(tmp_path / "assessed.csv", drawn_table(80))
    ran = CliRunner().invoke(
        cli, ["audit", str(tmp_path / "assessed.csv"), "--by", "ward", "--out", str(tmp_path / "out")]
    )
    assert ran.exit_code == 0, ran.output
    assert "By ward" in ran.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["audit.csv", "audit.html", "audit.md"]


@pytest.mark.parametrize("given", [[], ["table.csv", "--radiographs", "x.csv"], ["table.csv", "--bundle", "fast"]])
def test_command_needs_one_source(given: list[str], tmp_path: Path) -> None:
    assert CliRunner().invoke(cli, ["audit", *given, "--out", str(tmp_path)]).exit_code == 2


def test_command_assesses_radiographs(tmp_path: Path) -> None:
    """Rejected radiographs are counted, ages are taken from the table, and columns are kept."""
    (tmp_path / "hand.png").write_bytes(sample_png())
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((400, 300), 40, np.uint8))
    (tmp_path / "readings.csv").write_text(
        "id,boneage,male,image,chronological_age_months,ward\n1,100,False,hand.png,99,A\n2,120,True,empty.png,,B\n",
        encoding="utf-8",
    )
    out = tmp_path / "out"
    ran = CliRunner().invoke(
        cli,
        [
            "audit",
            "--radiographs",
            str(tmp_path / "readings.csv"),
            "--bundle",
            "fast",
            "--by",
            "ward",
            "--out",
            str(out),
        ],
    )
    assert ran.exit_code == 0, ran.output
    assert "Too few radiographs" in ran.output
    table = read_audit_table(out / "assessed.csv")
    assert (table.errors, np.isnan(table.age_months).tolist()) == (("", "no_contrast"), [False, True])
    assert table.chronological_months[0] == 99.0
    assert table.group("ward") == ("A", "B")
