"""Predictions table, the input of every evaluation.

It is a CSV table with the columns ``id,sex,boneage,age_months`` (label and estimate, months). The optional columns
``low_95,high_95`` and ``low_80,high_80`` are the bounds of the 95 % and 80 % prediction intervals, months. Any further
column can group the figures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boneage.errors import Rejection, TableError
from boneage.evaluate.stages import Stage, stage_of
from boneage.sex import Sex
from boneage.tables.csv_table import Row, read_rows, reject_duplicates, reject_years, write_rows
from boneage.tables.radiographs import LabelledRadiograph

INTERVAL_PERCENTS = (80, 95)
"""Nominal coverage of prediction intervals, percent of the labels."""

_COLUMNS = ("id", "sex", "boneage", "age_months")
BOUNDS = {percent: (f"low_{percent}", f"high_{percent}") for percent in INTERVAL_PERCENTS}
"""Columns of the bounds of intervals."""
OWN_COLUMNS = (*_COLUMNS, *(column for pair in BOUNDS.values() for column in pair))
"""Columns of a predictions table that do not group the figures."""
AGE_RANGE_MONTHS = (0.0, 240.0)
"""Range of labels, months."""
PREDICTION_RANGE_MONTHS = (-24.0, 300.0)
"""Range of estimates of a predictions table, months. Networks can be slightly below 0 for newborns. The 11,573
out-of-fold estimates of `standard` lie between 11 and 215 months."""
ESTIMATE_RANGE_MONTHS = (-1200.0, 1200.0)
"""Range of the bounds of intervals, which may be wide, and of estimates for radiographs that may be unusable, months.
It excludes other units, such as days or milliseconds."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """N radiographs with labels and estimates.

    Attributes:
        ids: Unique names, N.
        sexes: Sexes, N.
        boneage_months: Labels in months, float64 (N,).
        age_months: Estimates in months, float64 (N,).
        groups: Texts by column, N for each.
        intervals: Bounds in months, float64 (N, 2), by nominal coverage (`INTERVAL_PERCENTS`); unknown ones are left
            out.
    """

    ids: tuple[str, ...]
    sexes: tuple[Sex, ...]
    boneage_months: NDArray[np.float64]
    age_months: NDArray[np.float64]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    intervals: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def error_months(self) -> NDArray[np.float64]:
        """Error (estimate minus label), months, (N,)."""
        return self.age_months - self.boneage_months

    def stages(self) -> tuple[Stage, ...]:
        """Return the developmental stage of each label (not of the estimate)."""
        return self._stages_of(self.boneage_months)

    def estimated_stages(self) -> tuple[Stage, ...]:
        """Return the developmental stage of each estimate."""
        return self._stages_of(self.age_months)

    def _stages_of(self, ages_months: NDArray[np.float64]) -> tuple[Stage, ...]:
        return tuple(stage_of(age, sex) for age, sex in zip(ages_months, self.sexes, strict=True))

    def group(self, column: str) -> tuple[str, ...]:
        """Return the texts of a further column. Its name is compared without case if there is no exact match.

        Raises:
            TableError: ``table_columns`` if there is no such column.
        """
        for name in (column, *(name for name in self.groups if name.casefold() == column.casefold())):
            if name in self.groups:
                return self.groups[name]
        names = ", ".join(self.groups) or "none"
        raise TableError("table_columns", f"The predictions have no column {column!r} to group by; they have {names}.")


def read_predictions(table: Path) -> Predictions:
    """Read a predictions table.

    Raises:
        TableError: Same as in `boneage.tables.csv_table.read_rows`; ``table_columns`` for one bound without the other;
            ``table_value`` with the line of a bad cell or of bounds in the wrong order; ``table_units`` for labels or
            estimates in years; ``table_duplicate`` for a duplicate id.
    """
    rows = read_rows(table, _COLUMNS, OWN_COLUMNS)
    reject_duplicates(rows, "id")
    further = [column for column in rows[0].cells if column not in OWN_COLUMNS]
    predictions = Predictions(
        ids=tuple(row.text("id") for row in rows),
        sexes=tuple(sex_of(row) for row in rows),
        boneage_months=np.array([row.number("boneage", *AGE_RANGE_MONTHS) for row in rows]),
        age_months=np.array([row.number("age_months", *PREDICTION_RANGE_MONTHS) for row in rows]),
        groups={column: tuple(row.cells[column] for row in rows) for column in further},
        intervals={
            percent: np.array([bounds_of(row, percent) for row in rows])
            for percent in INTERVAL_PERCENTS
            if has_interval(table, rows[0], percent)
        },
    )
    reject_years(rows, "boneage")
    _reject_estimates_in_years(rows, predictions)
    _ensure_nested(rows, predictions.intervals)
    return predictions


def write_predictions(table: Path, predictions: Predictions) -> None:
    """Write a predictions table atomically. Reading it returns the same values to the bit."""
    numbers = {"boneage": predictions.boneage_months, "age_months": predictions.age_months}
    for percent, bounds in predictions.intervals.items():
        numbers |= dict(zip(BOUNDS[percent], bounds.T, strict=True))
    columns = [predictions.ids, predictions.sexes, *(values.tolist() for values in numbers.values())]
    write_rows(
        table,
        ("id", "sex", *numbers, *predictions.groups),
        zip(*columns, *predictions.groups.values(), strict=True),
    )


def further_columns(
    radiographs: Sequence[LabelledRadiograph], own: Collection[str] = OWN_COLUMNS
) -> dict[str, tuple[str, ...]]:
    """Return the columns of labelled radiographs that an output takes over to group by, texts by column.

    Columns that the output has itself are left out, in any case of their names: a table with two columns of one name
    cannot be read.

    Args:
        radiographs: Radiographs of one table, at least one.
        own: Columns of the output.
    """
    reserved = {column.casefold() for column in own}
    return {
        column: tuple(radiograph.groups[column] for radiograph in radiographs)
        for column in radiographs[0].groups
        if column.casefold() not in reserved
    }


def has_interval(table: Path, row: Row, percent: int) -> bool:
    """Return True if a table has both columns of an interval.

    Args:
        table: path of the table, for the message.
        row: any row of it.
        percent: nominal coverage, one of `INTERVAL_PERCENTS`.

    Raises:
        TableError: ``table_columns`` for one bound without the other.
    """
    present = [column for column in BOUNDS[percent] if column in row.cells]
    if len(present) == 1:
        raise TableError(
            "table_columns", f"{table} has the column {present[0]}, but not the other end of its interval."
        )
    return bool(present)


def bounds_of(row: Row, percent: int) -> tuple[float, float]:
    """Return the bounds of an interval, months.

    Raises:
        TableError: ``table_value``.
    """
    low, high = BOUNDS[percent]
    ends = row.number(low, *ESTIMATE_RANGE_MONTHS), row.number(high, *ESTIMATE_RANGE_MONTHS)
    if ends[0] > ends[1]:
        raise row.bad_value(high, f"must not be below {low}")
    return ends


def _reject_estimates_in_years(rows: Sequence[Row], predictions: Predictions) -> None:
    """Check that estimates are not in years.

    Estimates of infants may all be low, although a label is high enough for `reject_years`. They are therefore checked
    only if they lie closer to the labels after multiplication by 12.

    Raises:
        TableError: ``table_units``.
    """
    as_months = 12 * predictions.age_months - predictions.boneage_months
    if np.median(np.abs(as_months)) < np.median(np.abs(predictions.error_months)):
        reject_years(rows, "age_months")


def _ensure_nested(rows: Sequence[Row], intervals: Mapping[int, NDArray[np.float64]]) -> None:
    """Check that narrower intervals lie within wider ones.

    Raises:
        TableError: ``table_value`` for the first row that has another order.
    """
    for narrow, wide in pairwise(sorted(intervals)):
        too_low = intervals[narrow][:, 0] < intervals[wide][:, 0]
        too_high = intervals[narrow][:, 1] > intervals[wide][:, 1]
        for end, is_outside, side in ((0, too_low, "below"), (1, too_high, "above")):
            if is_outside.any():
                row = rows[int(np.argmax(is_outside))]
                raise row.bad_value(BOUNDS[narrow][end], f"must not be {side} {BOUNDS[wide][end]}")


def sex_of(row: Row) -> Sex:
    """Return the sex of a row.

    Raises:
        TableError: ``table_value``.
    """
    try:
        return Sex.parse(row.cells["sex"])
    except Rejection:
        raise row.bad_value("sex", "must be F or M") from None
