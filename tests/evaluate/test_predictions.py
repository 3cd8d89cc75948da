from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.errors import TableError
from boneage.evaluate.predictions import INTERVAL_PERCENTS, Predictions, read_predictions, write_predictions
from boneage.evaluate.stages import Stage
from boneage.sex import Sex

_RADIOGRAPHS = st.lists(
    st.tuples(
        st.sampled_from(Sex), st.floats(20.5, 240), st.floats(20.5, 300), st.sampled_from(["half", "mid", "a,b", ""])
    ),
    min_size=1,
    max_size=20,
)


@given(radiographs=_RADIOGRAPHS, percents=st.sets(st.sampled_from(INTERVAL_PERCENTS)), reach=st.floats(0, 100))
def test_predictions_read_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory,
    radiographs: list[tuple[Sex, float, float, str]],
    percents: set[int],
    reach: float,
) -> None:
    sexes, labels, estimates, groups = zip(*radiographs, strict=True)
    written = Predictions(
        tuple(f"radiograph {n}" for n in range(len(radiographs))),
        sexes,
        np.array(labels),
        np.array(estimates),
        {"resolution": groups},
        {percent: np.stack([np.array(estimates) - reach, np.array(estimates) + reach], 1) for percent in percents},
    )
    table = tmp_path_factory.mktemp("p") / "predictions.csv"
    write_predictions(table, written)
    read = read_predictions(table)
    assert (read.ids, read.sexes, read.groups) == (written.ids, written.sexes, written.groups)
    np.testing.assert_array_equal(read.boneage_months, written.boneage_months)
    np.testing.assert_array_equal(read.age_months, written.age_months)
    assert set(read.intervals) == percents
    for percent in percents:
        np.testing.assert_array_equal(read.intervals[percent], written.intervals[percent])


def test_write_predictions_columns(tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    write_predictions(table, Predictions(("x",), (Sex.FEMALE,), np.array([30.0]), np.array([31.25])))
    assert table.read_text() == "id,sex,boneage,age_months\nx,F,30.0,31.25\n"
    bounds = {95: np.array([[20.0, 42.5]]), 80: np.array([[25.0, 37.5]])}
    radiographs = Predictions(("x",), (Sex.FEMALE,), np.array([30.0]), np.array([31.25]), {"site": ("a",)}, bounds)
    write_predictions(table, radiographs)
    assert table.read_text() == (
        "id,sex,boneage,age_months,low_95,high_95,low_80,high_80,site\nx,F,30.0,31.25,20.0,42.5,25.0,37.5,a\n"
    )


@pytest.mark.parametrize(
    ("columns", "cells", "code"),
    [
        ("low_80", "1", "table_columns"),
        ("high_95", "1", "table_columns"),
        ("low_80,high_80", "12,11", "table_value"),
        ("low_80,high_80", "12,", "table_value"),
        ("LOW_80,High_80", "12,nan", "table_value"),
        ("low_95,low_80,high_80,high_95", "5,4,20,21", "table_value"),
        ("low_95,low_80,high_80,high_95", "5,6,20,19", "table_value"),
        ("low_95,low_80,high_80,high_95", "8,2,30,20", "table_value"),
    ],
)
def test_read_predictions_rejects_invalid_intervals(tmp_path: Path, columns: str, cells: str, code: str) -> None:
    table = tmp_path / "p.csv"
    table.write_text(f"id,sex,boneage,age_months,{columns}\na,M,10,10,{cells}\n")
    with pytest.raises(TableError) as caught:
        read_predictions(table)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("b,,10,10", "table_value"),
        ("b,O,10,10", "table_value"),
        ("b,F,300,10", "table_value"),
        ("b,F,10,", "table_value"),
        ("b,F,10,nan", "table_value"),
        ("b,F,10,99999", "table_value"),
        ("b,F,10,-50", "table_value"),
        ("b,F,10,301", "table_value"),
        (",F,10,10", "table_value"),
        ("a,F,10,10", "table_duplicate"),
    ],
)
def test_read_predictions_names_line_of_bad_row(tmp_path: Path, row: str, code: str) -> None:
    table = tmp_path / "p.csv"
    table.write_text(f"id,sex,boneage,age_months\na,M,10,10\n{row}\n")
    with pytest.raises(TableError, match="line 3") as caught:
        read_predictions(table)
    assert caught.value.code == code


def test_labels_in_years_are_rejected(tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    table.write_text("id,sex,boneage,age_months\n" + "".join(f"{n},F,{n},{12 * n}\n" for n in range(12)))
    with pytest.raises(TableError, match="years") as caught:
        read_predictions(table)
    assert caught.value.code == "table_units"


def test_estimates_in_years_are_rejected(tmp_path: Path) -> None:
    """The labels are in months, and so high that the estimates cannot be."""
    table = tmp_path / "p.csv"
    rows = [f"{n},F,{12 * n},{n + 0.5}" for n in range(2, 19)]
    table.write_text("\n".join(["id,sex,boneage,age_months", *rows, "x,F,24,20"]) + "\n")
    with pytest.raises(TableError, match="age_months") as caught:
        read_predictions(table)
    assert caught.value.code == "table_units"


def test_estimates_of_infants_are_read(tmp_path: Path) -> None:
    """All estimates are below 20 months, some below 0, and a few labels above; equal bounds are in order."""
    table = tmp_path / "p.csv"
    columns = "id,sex,boneage,age_months,low_95,low_80,high_80,high_95"
    rows = [f"{n},F,{2 * n},{1.5 * n - 4},-5,-5,{2 * n},{2 * n}" for n in range(14)]
    table.write_text("\n".join([columns, *rows]) + "\n")
    assert read_predictions(table).age_months.min() == -4


def test_read_predictions_ignores_case(tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    table.write_text("Id,Sex,BoneAge,Age_Months,Site,site\na,F,50,52,x,y\n")
    radiographs = read_predictions(table)
    assert radiographs.ids == ("a",)
    assert [radiographs.group(column) for column in ("Site", "site", "SITE")] == [("x",), ("y",), ("x",)]


def test_errors_stages_and_groups_follow_the_radiographs() -> None:
    radiographs = Predictions(
        ("a", "b"),
        (Sex.FEMALE, Sex.MALE),
        np.array([170.0, 170.0]),
        np.array([10.0, 175.0]),
        {"site": ("x", "y")},
    )
    assert len(radiographs) == 2
    np.testing.assert_array_equal(radiographs.error_months, [-160.0, 5.0])
    assert radiographs.stages() == (Stage.LATE_PUBERTY, Stage.LATE_PUBERTY)
    assert radiographs.group("site") == ("x", "y")
    with pytest.raises(TableError, match="site"):
        radiographs.group("reader")
