"""Reading of the published tables, which lie as CSV beside this module."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FOLDER = Path(__file__).parent


def read_table(name: str) -> list[dict[str, str]]:
    """Return the rows of a shipped table by column name, without its comment lines.

    Args:
        name: file name in the folder of this module, such as ``"rwt_1975.csv"``.
    """
    text = (_FOLDER / name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


@dataclass(frozen=True)
class AgeTable:
    """Published values at increasing ages, linear between two neighbouring ages and undefined outside them.

    Attributes:
        ages_months: shape (n,), strictly increasing.
        values: shape (n, k), the k columns of values at each age.
    """

    ages_months: NDArray[np.float64]
    values: NDArray[np.float64]

    @property
    def first_month(self) -> float:
        """The lowest age of the table in months."""
        return float(self.ages_months[0])

    @property
    def last_month(self) -> float:
        """The highest age of the table in months."""
        return float(self.ages_months[-1])

    def holds(self, age_months: float) -> bool:
        """Return True where the age lies within the table, both ends included."""
        return self.first_month <= age_months <= self.last_month

    def at(self, age_months: float) -> tuple[float, ...]:
        """Return the k values at an age, interpolated linearly.

        Raises:
            ValueError: the age lies outside the table. Nothing is extrapolated.
        """
        if not self.holds(age_months):
            raise ValueError(f"{age_months} months is outside the table of {self.first_month} to {self.last_month}")
        return tuple(float(np.interp(age_months, self.ages_months, column)) for column in self.values.T)


def age_tables(
    rows: Sequence[Mapping[str, str]], keys: Sequence[str], age: str, columns: Sequence[str]
) -> dict[tuple[str, ...], AgeTable]:
    """Split rows into one table for each combination of the key columns.

    Args:
        rows: rows of :func:`read_table`.
        keys: columns that tell the tables apart, such as ``("sex", "group")``.
        age: column of the age in months.
        columns: columns of the values.

    Raises:
        ValueError: the ages of a table do not increase strictly.
    """
    grouped: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for row in rows:
        grouped.setdefault(tuple(row[key] for key in keys), []).append(row)
    tables = {}
    for key, members in grouped.items():
        ages = np.asarray([float(row[age]) for row in members])
        if np.any(np.diff(ages) <= 0):
            raise ValueError(f"the ages of the table {key} do not increase")
        tables[key] = AgeTable(ages, np.asarray([[float(row[column]) for column in columns] for row in members]))
    return tables
