from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boneage.evaluate.candidates import RESPECTS, Candidate, report_lines, stage_mads, steps, write_report
from boneage.evaluate.grid_orders import Verdict
from boneage.evaluate.metrics import mean_absolute_difference
from boneage.evaluate.tables import SMALLEST_GROUP
from tests.evaluate.drawn_predictions import drawn_predictions

RADIOGRAPHS = drawn_predictions(300)


def _candidate(name: str, spread: float, paper: float | None) -> Candidate:
    """Candidate with errors of a spread in months, the same draw for all names."""
    errors = np.random.default_rng(4).normal(0, spread, len(RADIOGRAPHS))
    predictions = replace(RADIOGRAPHS, age_months=RADIOGRAPHS.boneage_months + errors)
    return Candidate(
        name, predictions, 4_331_873, (128, 128), 11_612, 15, 9.5, 0.75, "boneage 1, commit abc", paper, 50
    )


def test_steps_by_paired_intervals() -> None:
    """B is better than A as in the paper, C equals B, and D is worse than C against the paper."""
    drawn = [
        _candidate("A", 20, 20.47),
        _candidate("B", 12, 10.47),
        _candidate("C", 12, 16.61),
        _candidate("D", 16, 12.0),
    ]
    tested = steps([*drawn, _candidate("Inception-V3", 9, None)])
    assert [(step.first, step.second, step.verdict) for step in tested] == [
        ("A", "B", Verdict.CONFIRMED),
        ("B", "C", Verdict.UNDECIDED),
        ("C", "D", Verdict.CONTRADICTED),
    ]
    assert tested[0].ours.value < 0 < tested[2].ours.value
    assert tested[0].paper_months == pytest.approx(-10.0)


def test_steps_without_neighbours() -> None:
    assert steps([_candidate("A", 20, 20.47), _candidate("C", 12, 16.61)]) == []
    assert set(RESPECTS) == {(first, second) for first, second in zip("ABCDEFG", "BCDEFGH", strict=True)}


def test_stage_mads_part_the_radiographs() -> None:
    candidate = _candidate("A", 20, 20.47)
    mads = stage_mads(candidate.predictions)
    assert sum(count for count, _ in mads.values()) == len(RADIOGRAPHS)
    assert all((mad is None) == (count < SMALLEST_GROUP) for count, mad in mads.values())
    large = [(count, mad.value) for count, mad in mads.values() if mad is not None]
    whole = mean_absolute_difference(RADIOGRAPHS.boneage_months, candidate.predictions.age_months)
    weighted = sum(count * mad for count, mad in large) / sum(count for count, _ in large)
    assert weighted == pytest.approx(float(whole), rel=0.1)


def test_report_states_scale_and_paper(tmp_path: Path) -> None:
    candidates = [_candidate("A", 20, 20.47), _candidate("Inception-V3", 9, None)]
    text = "\n".join(report_lines(candidates, ["A note"]))
    assert "- A, Inception-V3: views of 128 x 128 px, 11612 training radiographs, boneage 1, commit abc" in text
    assert "- A note" in text
    row = next(line for line in text.splitlines() if line.startswith("| A | 4.33 M | 15 |"))
    assert row.endswith("| 9.50 | 0.75 | 20.47 | 50 |")
    assert "No two neighbouring columns" in text
    write_report(tmp_path, candidates)
    assert {path.name for path in tmp_path.iterdir()} == {"candidates.md", "candidates.csv", "stages.csv", "steps.csv"}
    with (tmp_path / "candidates.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["column"], row["paper_mad_months"]) for row in rows] == [("A", "20.47"), ("Inception-V3", "")]
