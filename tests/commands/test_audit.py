"""The command ``boneage audit``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from boneage.bundle.estimate import AgeEstimate
from boneage.cli import cli
from boneage.evaluate.audit_table import read_audit_table, write_audit_table
from boneage.phantom import sample_png
from boneage.tables.radiographs import LabelledRadiograph
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


def readings(folder: Path, ages: list[str], **columns: str) -> Path:
    """Write a table of readings with chronological ages, and further columns with the same text in all cells."""
    (folder / "hand.png").touch()
    rows = [f"{n},{100 + n},{n % 2 == 0},hand.png,{age}" for n, age in enumerate(ages)]
    heads = ",".join(["id,boneage,male,image,chronological_age_months", *columns])
    table = folder / "readings.csv"
    table.write_text("\n".join([heads, *(",".join([row, *columns.values()]) for row in rows)]) + "\n", encoding="utf-8")
    return table


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ("10y", "line 13: chronological_age_months must be a number, not '10y'"),
        ("-5", "line 13: chronological_age_months must lie between 0 and 1560, not '-5'"),
        ("inf", "line 13: chronological_age_months must be a finite number, not 'inf'"),
        ("5000", "line 13: chronological_age_months must lie between 0 and 1560, not '5000'"),
    ],
)
def test_audit_checks_ages_first(last: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong age is named with its line before any radiograph is assessed."""
    monkeypatch.setattr("boneage.commands.audit.open_for_many", never)
    table = readings(tmp_path, ["100"] * 11 + [last])
    ran = CliRunner().invoke(cli, ["audit", "--radiographs", str(table), "--out", str(tmp_path / "out")])
    assert ran.exit_code == 6, ran.output
    assert message in ran.stderr
    assert "[table_value]" in ran.stderr


def test_audit_rejects_ages_in_years(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boneage.commands.audit.open_for_many", never)
    for ages in ([str(8 + n / 2) for n in range(12)], ["", *(str(8 + n / 2) for n in range(11))]):
        table = readings(tmp_path, ages)
        ran = CliRunner().invoke(cli, ["audit", "--radiographs", str(table), "--out", str(tmp_path / "out")])
        assert ran.exit_code == 6, ran.output
        assert "values of chronological_age_months is above 13" in ran.stderr
        assert "[table_units]" in ran.stderr


def never(*_: object) -> None:
    raise AssertionError("the radiographs were assessed")


def test_audit_columns_of_the_output_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adult's age is accepted in both tables, and columns that the output has itself are left out of it."""
    manifest = SimpleNamespace(name="drawn", version="7")
    monkeypatch.setattr("boneage.commands.audit.open_for_many", lambda name: SimpleNamespace(manifest=manifest))
    monkeypatch.setattr("boneage.commands.audit.assess_each", drawn_results)
    table = readings(tmp_path, ["100"] * 39 + ["245"], sex="x", Error="y", severity="z", low_95="1", ward="A")
    out = tmp_path / "out"
    ran = CliRunner().invoke(cli, ["audit", "--radiographs", str(table), "--by", "ward", "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    again = CliRunner().invoke(cli, ["audit", str(out / "assessed.csv"), "--out", str(tmp_path / "again")])
    assert again.exit_code == 0, again.output
    assessed = read_audit_table(out / "assessed.csv")
    assert list(assessed.groups) == ["ward"]
    assert assessed.chronological_months[-1] == 245.0


def drawn_results(
    radiographs: Sequence[LabelledRadiograph], bundle: object, *, quiet: bool
) -> Iterator[tuple[LabelledRadiograph, SimpleNamespace]]:
    """Yield estimates that are half a year too old."""
    for one in radiographs:
        age = one.boneage_months + 6
        estimate = AgeEstimate(age, {"network": age}, 6.0, (age - 9, age + 9), (age - 5, age + 5))
        reading = SimpleNamespace(chronological_age=None)
        yield one, SimpleNamespace(estimate=estimate, warnings=[], reading=reading)
