"""Predictions compared row by row: gains are paired, order and strangers do not matter, faults are rejected."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.cli import cli
from boneage.errors import TableError
from boneage.evaluate.comparison import compare, comparison_lines
from boneage.evaluate.predictions import Predictions, write_predictions
from tests.evaluate.drawn_predictions import drawn_predictions


def nearer(predictions: Predictions, share: float) -> Predictions:
    """Errors shrunk to this share."""
    return replace(predictions, age_months=predictions.boneage_months + share * predictions.error_months)


def only(predictions: Predictions, kept: range) -> Predictions:
    return Predictions(
        tuple(predictions.ids[row] for row in kept),
        tuple(predictions.sexes[row] for row in kept),
        predictions.boneage_months[list(kept)],
        predictions.age_months[list(kept)],
    )


@settings(max_examples=10, deadline=None)
@given(share=st.floats(0.1, 0.9), seed=st.integers(0, 99))
def test_gain_is_paired_difference_with_narrower_interval(share: float, seed: int) -> None:
    first = drawn_predictions(200, seed)
    comparison = compare({"first": first, "second": nearer(first, share)}, resamples=200)
    before, after = comparison.rows
    assert before.gain is None
    assert after.gain is not None
    assert after.gain.value == pytest.approx(after.mad.value - before.mad.value)
    assert after.gain.value == pytest.approx((share - 1) * before.mad.value)
    assert after.gain.high < 0
    assert after.gain.high - after.gain.low < before.mad.high - before.mad.low


def test_compare_uses_common_radiographs_in_any_order() -> None:
    whole = drawn_predictions(60)
    part = only(whole, range(50, 9, -1))
    comparison = compare({"whole": whole, "part": part}, resamples=50)
    assert (comparison.radiographs, comparison.left_out) == (41, 19)
    assert comparison.rows[0].mad == comparison.rows[1].mad
    assert comparison.rows[1].gain is not None
    assert comparison.rows[1].gain.value == 0.0


def test_tables_of_other_radiographs_or_labels_are_rejected() -> None:
    first = drawn_predictions(20)
    with pytest.raises(TableError) as empty:
        compare({"a": only(first, range(10)), "b": only(first, range(10, 20))})
    with pytest.raises(
        TableError, match=r"Only 1 radiograph is common to all tables\. A comparison needs at least 5\."
    ):
        compare({"a": only(first, range(11)), "b": only(first, range(10, 20))})
    with pytest.raises(TableError, match="Only 4 radiographs are common"):
        compare({"a": only(first, range(4))})
    assert compare({"a": only(first, range(5))}, resamples=10).radiographs == 5
    assert empty.value.code == "table_empty"
    with pytest.raises(TableError) as other:
        compare({"a": first, "b": replace(first, boneage_months=first.boneage_months + 1)})
    assert other.value.code == "table_value"


def test_comparison_lines_one_for_each_row() -> None:
    first = drawn_predictions(30)
    lines = comparison_lines(compare({"L1": first, "better": nearer(first, 0.5)}, resamples=50))
    assert len(lines) == 4
    assert "| L1 |" in lines[2]
    assert lines[2].rstrip(" |").count("|") < lines[3].rstrip(" |").count("|")  # no gain in the first row
    assert "[-" in lines[3]


def test_compare_command_prints_and_writes_rows(tmp_path: Path) -> None:
    first = drawn_predictions(40)
    write_predictions(tmp_path / "a.csv", first)
    write_predictions(tmp_path / "b.csv", nearer(first, 0.5))
    result = CliRunner().invoke(
        cli,
        ["compare", f"plain={tmp_path / 'a.csv'}", str(tmp_path / "b.csv"), "--out", str(tmp_path / "rows.csv")],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    assert "| plain |" in result.output
    assert "40 radiographs." in result.output
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["plain", (tmp_path / "b").as_posix()]
    assert rows[0]["gain"] == ""
    assert float(rows[1]["gain"]) == pytest.approx(-np.abs(first.error_months).mean() / 2, abs=1e-3)


def test_compare_command_rejects_duplicate_names(tmp_path: Path) -> None:
    write_predictions(tmp_path / "a.csv", drawn_predictions(10))
    result = CliRunner().invoke(cli, ["compare", f"x={tmp_path / 'a.csv'}", f"x={tmp_path / 'a.csv'}"])
    assert result.exit_code == 2
    assert "Two tables" in result.output
