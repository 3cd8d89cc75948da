"""Table of assessed radiographs with readings, the input of an audit.

It is a predictions table (`boneage.evaluate.predictions`) in which a rejected radiograph has no estimate. The columns
are ``id,sex,boneage,age_months``, optionally ``low_80,high_80,low_95,high_95``, and three more. ``error`` holds the
code of a rejection, ``severity`` the highest severity among the warnings, and ``chronological_age_months`` the age at
the study. Any further column can group the figures.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boneage.clinical.ages import OLDEST_MONTHS
from boneage.errors import TableError
from boneage.evaluate.predictions import (
    AGE_RANGE_MONTHS,
    BOUNDS,
    ESTIMATE_RANGE_MONTHS,
    OWN_COLUMNS,
    bounds_of,
    has_interval,
    sex_of,
)
from boneage.severity import Severity
from boneage.sex import Sex
from boneage.tables.csv_table import Row, read_rows, reject_duplicates, reject_years, write_rows

_AGE_COLUMN = "chronological_age_months"
_LARGEST_RATIO = 4.0
"""Largest ratio of median readings to median chronological ages in months; with ages in years it is about 12."""
_REQUIRED = ("id", "sex", "boneage", "age_months")
_UNKNOWN = (math.nan, math.nan)
AUDIT_COLUMNS = (*OWN_COLUMNS, "error", "severity", _AGE_COLUMN)
"""Columns of a table of assessed radiographs that do not group the figures."""


@dataclass(frozen=True, eq=False)
class AuditTable:
    """N radiographs with readings, assessed or rejected.

    Attributes:
        ids: unique names, N.
        sexes: sexes, N.
        boneage_months: readings, months, float64 (N,).
        age_months: estimates, months, float64 (N,); NaN for a rejected radiograph.
        intervals: bounds of prediction intervals by nominal coverage, percent, float64 (N, 2); NaN likewise.
        errors: codes of rejections, N; empty for an assessed radiograph.
        severities: highest severities of the warnings, N; None without any.
        chronological_months: chronological ages, months, float64 (N,); NaN where unknown.
        groups: texts by column, N for each.
    """

    ids: tuple[str, ...]
    sexes: tuple[Sex, ...]
    boneage_months: NDArray[np.float64]
    age_months: NDArray[np.float64]
    intervals: Mapping[int, NDArray[np.float64]]
    errors: tuple[str, ...]
    severities: tuple[Severity | None, ...]
    chronological_months: NDArray[np.float64]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def group(self, column: str) -> tuple[str, ...]:
        """Return the texts of a column.

        Raises:
            TableError: ``table_columns`` if there is no such column.
        """
        if column not in self.groups:
            names = ", ".join(self.groups) or "none"
            raise TableError("table_columns", f"The table has no column {column!r} to group by; it has {names}.")
        return self.groups[column]


def read_audit_table(path: Path) -> AuditTable:
    """Read a table of assessed radiographs.

    Raises:
        TableError: the errors of `boneage.tables.csv_table.read_rows`; ``table_value`` with the line of a bad cell;
            ``table_columns`` for one bound without the other; ``table_units`` if the readings or the chronological ages
            seem to be years;
            ``table_duplicate`` for a duplicate id.
    """
    rows = read_rows(path, _REQUIRED, AUDIT_COLUMNS)
    reject_duplicates(rows, "id")
    reject_years(rows, "boneage")
    estimates = np.array([_number(row, "age_months", ESTIMATE_RANGE_MONTHS) for row in rows])
    intervals = {
        percent: np.array([bounds_of(row, percent) if row.cells["age_months"] else _UNKNOWN for row in rows])
        for percent in BOUNDS
        if has_interval(path, rows[0], percent)
    }
    further = [column for column in rows[0].cells if column not in AUDIT_COLUMNS]
    return AuditTable(
        ids=tuple(row.text("id") for row in rows),
        sexes=tuple(sex_of(row) for row in rows),
        boneage_months=np.array([row.number("boneage", *AGE_RANGE_MONTHS) for row in rows]),
        age_months=estimates,
        intervals=intervals,
        errors=tuple(row.cells.get("error", "") for row in rows),
        severities=tuple(_severity(row) for row in rows),
        chronological_months=np.array(_chronological_ages(rows)),
        groups={column: tuple(row.cells[column] for row in rows) for column in further},
    )


def read_chronological_ages(table: Path, ids: Collection[str]) -> dict[str, float]:
    """Read the column ``chronological_age_months`` of a table of labelled radiographs before they are assessed.

    Args:
        table: Table of `boneage.tables.radiographs.read_radiographs`.
        ids: Radiographs whose ages are read.

    Returns:
        Ages in months by the radiograph's id, without those that have none.

    Raises:
        TableError: ``table_value`` with the line of an age that is not a number of months from 0 to 1560;
            ``table_units`` if the ages seem to be years.
    """
    rows = [row for row in read_rows(table, ("id", "boneage"), (_AGE_COLUMN,)) if row.cells["id"] in ids]
    ages = zip(rows, _chronological_ages(rows), strict=True)
    return {row.cells["id"]: age for row, age in ages if not math.isnan(age)}


def _chronological_ages(rows: Sequence[Row]) -> list[float]:
    """Return the chronological ages of rows, months; NaN where unknown.

    Raises:
        TableError: As in `read_chronological_ages`.
    """
    ages = [_number(row, _AGE_COLUMN, (0.0, OLDEST_MONTHS)) for row in rows]
    with_age = [row for row in rows if row.cells.get(_AGE_COLUMN)]
    readings, months = ([row.number(column) for row in with_age] for column in ("boneage", _AGE_COLUMN))
    if with_age and np.median(readings) > _LARGEST_RATIO * np.median(months):  # infants are of few months by both
        reject_years(with_age, _AGE_COLUMN)
    return ages


def write_audit_table(path: Path, table: AuditTable) -> None:
    """Write a table of assessed radiographs atomically. Reading it returns the same values."""
    numbers = {"boneage": table.boneage_months, "age_months": table.age_months}
    for percent, bounds in table.intervals.items():
        numbers |= dict(zip(BOUNDS[percent], bounds.T, strict=True))
    numbers[_AGE_COLUMN] = table.chronological_months
    columns: Sequence[Sequence[object]] = [
        table.ids,
        table.sexes,
        *(["" if math.isnan(value) else value for value in values.tolist()] for values in numbers.values()),
        table.errors,
        ["" if severity is None else severity.value for severity in table.severities],
        *table.groups.values(),
    ]
    write_rows(path, ("id", "sex", *numbers, "error", "severity", *table.groups), zip(*columns, strict=True))


def _number(row: Row, column: str, limits: tuple[float, float]) -> float:
    """Return a cell that may be empty or missing: then NaN."""
    return row.number(column, *limits) if row.cells.get(column) else math.nan


def _severity(row: Row) -> Severity | None:
    text = row.cells.get("severity", "")
    if not text:
        return None
    try:
        return Severity(text)
    except ValueError:
        raise row.bad_value("severity", "must be info, caution or critical") from None
