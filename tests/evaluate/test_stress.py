from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.evaluate.perturbations import CHANGES
from boneage.evaluate.stress import (
    UNCHANGED,
    Answer,
    Caught,
    caught_lines,
    measure_changes,
    stress_lines,
    stress_markdown,
    write_answers,
    write_stress_table,
)
from boneage.sex import Sex

months = st.floats(0, 240)
triples = st.lists(st.tuples(months, months, months), min_size=5, max_size=30)


def _answers(rows: list[tuple[float, float, float]], change: str = "mirror") -> list[Answer]:
    """Return the answers for rows of (label, unchanged, changed) months."""
    answers = []
    for number, (label, before, after) in enumerate(rows):
        answers.append(Answer(str(number), Sex.MALE, label, UNCHANGED, before))
        answers.append(Answer(str(number), Sex.MALE, label, change, after, warnings=("unlike_training",)))
    return answers


@settings(max_examples=50, deadline=None)
@given(rows=triples)
def test_measure_changes_uses_paired_radiographs(rows: list[tuple[float, float, float]]) -> None:
    before, after = measure_changes(_answers(rows), resamples=50)
    label, first, second = np.array(rows).T
    assert (before.change, after.change) == (UNCHANGED, "mirror")
    assert after.pairs == len(rows)
    value = {name: figure.value for name, figure in after.figures.items()}
    assert value["mad"] == pytest.approx(np.abs(second - label).mean())
    assert value["mad_rise"] == pytest.approx(value["mad"] - before.figures["mad"].value, abs=1e-9)
    assert value["change"] == pytest.approx(np.abs(second - first).mean())
    assert value["change_p95"] == pytest.approx(np.percentile(np.abs(second - first), 95))
    assert value["shift"] == pytest.approx((second - first).mean(), abs=1e-9)
    for figure in after.figures.values():
        assert figure.low <= figure.high
    assert before.figures["change"].value == before.figures["mad_rise"].value == 0


def test_measure_changes_interval_is_paired() -> None:
    """Every radiograph is off by 10 to 50 months, and by 1 more when changed, so the rise is exactly 1."""
    rows = [(100.0, 100.0 + error, 101.0 + error) for error in np.linspace(10, 50, 40)]
    rise = measure_changes(_answers(rows))[1].figures["mad_rise"]
    assert (rise.value, rise.low, rise.high) == pytest.approx((1.0, 1.0, 1.0))


def test_measure_changes_excludes_rejected_radiographs() -> None:
    answers = _answers([(100.0, 101.0, 103.0)] * 8)
    answers[1] = Answer("0", Sex.MALE, 100.0, "mirror", None, "no_hand")  # rejected when changed
    answers[2] = Answer("1", Sex.MALE, 100.0, UNCHANGED, None, "no_contrast")  # rejected unchanged
    before, after = measure_changes(answers, resamples=20)
    assert dict(after.errors) == {"no_hand": 1}
    assert dict(before.errors) == {"no_contrast": 1}
    assert dict(after.warnings) == {"unlike_training": 7}
    assert (after.radiographs, after.pairs, before.pairs) == (8, 6, 7)
    assert after.figures["change"].value == pytest.approx(2.0)


def test_measure_changes_few_radiographs_have_no_figures() -> None:
    after = measure_changes(_answers([(100.0, 101.0, 103.0)] * 4))[1]
    assert not after.figures
    assert after.pairs == 4


def test_measure_changes_rejects_unpaired_answers() -> None:
    answers = _answers([(100.0, 101.0, 103.0)] * 3)
    with pytest.raises(ValueError, match="two answers"):
        measure_changes([*answers, answers[1]])
    with pytest.raises(ValueError, match="not assessed unchanged"):
        measure_changes(answers[1:])


def test_stress_table_marks_values_over_limit() -> None:
    """Mirroring: the estimate may move by 1 month, and the MAD rise by 1."""
    kept = measure_changes(_answers([(100.0, 101.0, 101.5)] * 6), resamples=20)
    _, _, unchanged, mirror = stress_lines(kept, CHANGES)
    assert "**" not in mirror
    assert "mirrored" in mirror
    assert "+0.50 [+0.50, +0.50]" in mirror
    assert unchanged.startswith("| unchanged |")
    moved = measure_changes(_answers([(101.0, 100.0, 102.0)] * 6), resamples=20)
    line = stress_lines(moved, CHANGES)[3]
    assert "**2.00 [2.00, 2.00]**" in line
    assert "**+" not in line
    worse = measure_changes(_answers([(101.0, 100.0, 104.0)] * 6), resamples=20)
    assert "**+2.00 [+2.00, +2.00]**" in stress_lines(worse, CHANGES)[3]


def test_stress_table_rows_have_all_cells(tmp_path: Path) -> None:
    answers = [*_answers([(100.0, 101.0, 103.0)] * 6), *_answers([(1.0, 2.0, 3.0)] * 2, "noise")[1::2]]
    measured = measure_changes(answers, resamples=20)
    assert len({line.count("|") for line in stress_lines(measured, CHANGES)}) == 1
    text = stress_markdown(measured, CHANGES, "Radiographs under change", ["Bundle: tiny 1"])
    assert text.startswith("# Radiographs under change\n\n- Bundle: tiny 1\n\n| ")
    assert "unlike_training 6" in text


def test_stress_tables_hold_all_figures_and_answers(tmp_path: Path) -> None:
    answers = _answers([(100.0, 101.0, 103.5)] * 6)
    answers[-1] = Answer("5", Sex.MALE, 100.0, "mirror", None, "no_hand")
    measured = measure_changes(answers, resamples=20)
    write_stress_table(tmp_path / "stress.csv", measured, CHANGES)
    rows = list(csv.DictReader((tmp_path / "stress.csv").read_text().splitlines()))
    cells = {(row["change"], row["metric"]): row for row in rows}
    assert float(cells["mirror", "change"]["value"]) == pytest.approx(2.5)
    assert cells["mirror", "change"]["kind"] == "mild"
    assert cells["mirror", "error:no_hand"]["value"] == "1"
    assert cells["mirror", "warning:unlike_training"]["value"] == "5"
    write_answers(tmp_path / "radiographs.csv", answers)
    lines = list(csv.DictReader((tmp_path / "radiographs.csv").read_text().splitlines()))
    assert len(lines) == 12
    assert lines[1]["moved_months"] == "2.5"
    assert (lines[-1]["age_months"], lines[-1]["moved_months"], lines[-1]["error"]) == ("", "", "no_hand")


def test_measure_changes_counts_rejected_and_warned() -> None:
    def answer(
        radiograph: str, change: str, age: float | None, severity: str = "", half: float | None = 10.0
    ) -> Answer:
        interval = None if age is None or half is None else (age - half, age + half)
        error = "no_hand" if age is None else ""
        return Answer(radiograph, Sex.MALE, 100.0, change, age, error, (), severity, interval)

    changed = [
        answer("0", "noise", 150.0, "critical"),  # moved and marked
        answer("1", "noise", 130.0, "caution"),  # moved, its interval misses
        answer("2", "noise", 105.0, "info"),
        answer("3", "noise", 80.0, half=30.0),  # moved, unmarked, its interval holds
        answer("4", "noise", None),
        answer("5", "noise", 101.0, half=None),
    ]
    answers = [*(answer(str(number), UNCHANGED, 100.0) for number in range(6)), *changed]
    unchanged, noise = measure_changes(answers, resamples=10)
    assert unchanged.caught == Caught(0, 0, 0, 6, 0, 0, 6, 6)
    assert noise.caught == Caught(1, 1, 1, 3, 3, 1, 3, 2)
    lines = caught_lines([unchanged, noise], CHANGES)
    assert len({line.count("|") for line in lines}) == 1
    assert lines[-1].endswith("| 1 | 1 | 1 | 3 | 3 | 1 | 2 of 3 |")
