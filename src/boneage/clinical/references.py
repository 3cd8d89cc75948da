"""References: mean and standard deviation (SD) of bone age in healthy children, by sex and chronological age.

Two are shipped. Both use the children of the Brush Foundation study, as Greulich & Pyle (1959) print them in Tables III
(boys) and IV (girls). ``gp-brush-sd``, the default, takes the chronological age as the mean, as a reader of the atlas
does, and the SD of Brush. ``brush`` takes mean and SD of Brush, whose children were up to 0.66 SD ahead of the scale.

An operator's own reference is a CSV file with the columns ``sex,age_months,mean,sd``, all ages in months. Lines that
start with ``#`` are comments. Those of the form ``# name: ...``, ``# population: ...`` and ``# citation: ...`` describe
the reference. Values between two ages of a table are interpolated linearly, and none exist beyond its ends.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boneage.clinical.errors import ClinicalError
from boneage.errors import Rejection
from boneage.sex import Sex

DEFAULT_REFERENCE = "gp-brush-sd"
SHIPPED_REFERENCES = (DEFAULT_REFERENCE, "brush")
"""Identifiers of the shipped references, the default first."""

REFERENCE_SETTING = "BONEAGE_REFERENCE"
"""Environment variable that names the reference: a shipped identifier, or the path of a CSV file."""

MOST_BYTES = 1_000_000
"""Largest reference file; a table by month of age has under 20,000 bytes."""

_COLUMNS = ("sex", "age_months", "mean", "sd")
_LIMITS_MONTHS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"age_months": (0.0, 240.0), "mean": (0.0, 240.0), "sd": (0.01, 48.0)}
)
_FARTHEST_MEAN_MONTHS = 36.0
"""Largest distance of a mean from its chronological age; in the Brush tables it is 6.6 months."""
_OLDEST_YEARS = 24.0
"""A table that ends at or below this number must be in years: no SDS is given under 24 months."""
_SMALLEST_SD_MONTHS = 2.0
"""Smallest plausible SD from `_CHILD_MONTHS` on, where it is at least 7.31 months in the Brush tables."""
_CHILD_MONTHS = 60.0

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_COMMENT = re.compile(r"#\s*(name|population|citation)\s*:\s*(.+?)\s*")

_BRUSH_POPULATION = "healthy children of the Brush Foundation study, Cleveland, Ohio, 1931 to 1942"
_BRUSH_CITATION = (
    "Greulich WW, Pyle SI. Radiographic Atlas of Skeletal Development of the Hand and Wrist. 2nd ed. Stanford:"
    " Stanford University Press; 1959. Tables III and IV."
)


class ReferenceNode(NamedTuple):
    """One row of a reference; all values in months.

    Attributes:
        age_months: chronological age.
        mean_months: mean bone age of healthy children of this age.
        sd_months: standard deviation of their bone age.
    """

    age_months: float
    mean_months: float
    sd_months: float


@dataclass(frozen=True)
class Reference:
    """A reference by which a bone age is judged.

    Attributes:
        id: short stable identifier, stored with results.
        name: name for people, in English.
        population: the children that were studied; empty if unknown.
        citation: publication; empty if unknown.
        nodes: rows by sex, at least two for each sex, rising by age. A sex may be missing.
        sha256: checksum of the file that gave the numbers, 64 hexadecimal digits.
    """

    id: str
    name: str
    population: str
    citation: str
    nodes: Mapping[Sex, tuple[ReferenceNode, ...]]
    sha256: str

    def range_months(self, sex: Sex) -> tuple[float, float] | None:
        """Return the youngest and the oldest age that the reference covers, in months, or None without this sex."""
        nodes = self.nodes.get(sex)
        return None if nodes is None else (nodes[0].age_months, nodes[-1].age_months)

    def covers(self, sex: Sex, age_months: float) -> bool:
        """Return True if the reference has values at an age; both ends belong to the range."""
        bounds = self.range_months(sex)
        return bounds is not None and bounds[0] <= age_months <= bounds[1]

    def at(self, sex: Sex, age_months: float) -> ReferenceNode | None:
        """Return mean and SD at an age, or None where the reference has none.

        Args:
            sex: sex of the child.
            age_months: exact chronological age.
        """
        if not self.covers(sex, age_months):
            return None
        means, deviations = self.curve(sex, age_months)
        return ReferenceNode(age_months, float(means), float(deviations))

    def curve(self, sex: Sex, ages_months: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return means and SDs in months, interpolated linearly, for a plot.

        Args:
            sex: sex of the children.
            ages_months: chronological ages, any shape.

        Returns:
            Two arrays of the shape of `ages_months`; NaN where the reference has no values.
        """
        at = np.asarray(ages_months, dtype=np.float64)
        nodes = self.nodes.get(sex)
        if nodes is None:
            return np.full(at.shape, np.nan), np.full(at.shape, np.nan)
        ages, means, deviations = np.asarray(nodes, dtype=np.float64).T
        return (
            np.asarray(np.interp(at, ages, means, left=np.nan, right=np.nan)),
            np.asarray(np.interp(at, ages, deviations, left=np.nan, right=np.nan)),
        )


@cache
def shipped_reference(identifier: str = DEFAULT_REFERENCE) -> Reference:
    """Return a shipped reference.

    Args:
        identifier: one of `SHIPPED_REFERENCES`.

    Raises:
        ClinicalError: ``reference_not_found``.
    """
    if identifier not in SHIPPED_REFERENCES:
        raise ClinicalError(
            "reference_not_found", f"There is no reference {identifier!r}; shipped are {', '.join(SHIPPED_REFERENCES)}."
        )
    data = (Path(__file__).parent / "brush.csv").read_bytes()
    nodes, _ = _parse(data, "brush.csv")
    name = "Brush Foundation (mean and SD)"
    if identifier == DEFAULT_REFERENCE:
        name = "Greulich & Pyle (mean = chronological age, SD of Brush Foundation)"
        nodes = {sex: tuple(node._replace(mean_months=node.age_months) for node in rows) for sex, rows in nodes.items()}
    checksum = hashlib.sha256(data).hexdigest()
    return Reference(identifier, name, _BRUSH_POPULATION, _BRUSH_CITATION, MappingProxyType(nodes), checksum)


def load_reference(path: str | Path) -> Reference:
    """Read an operator's own reference; its identifier is the file's name without the ending.

    Args:
        path: CSV file as the module describes it.

    Raises:
        ClinicalError: ``reference_not_found``, ``reference_unreadable``, ``reference_columns``, ``reference_value``,
            ``reference_order``, ``reference_units`` or ``reference_empty``; the message names line and reason.
    """
    path = Path(path)
    if not _IDENTIFIER.fullmatch(path.stem) or path.stem in SHIPPED_REFERENCES:
        raise ClinicalError(
            "reference_value",
            f"The reference file {path.name!r} must be named by up to 64 letters, digits, dots, hyphens and"
            " underscores, and not like a shipped reference.",
        )
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ClinicalError("reference_not_found", f"There is no reference file {path.name!r}.") from None
    except OSError as error:
        raise ClinicalError("reference_unreadable", f"{path.name} cannot be read: {error.strerror}.") from error
    nodes, comments = _parse(data, path.name)
    return Reference(
        id=path.stem,
        name=comments.get("name", path.stem),
        population=comments.get("population", ""),
        citation=comments.get("citation", ""),
        nodes=MappingProxyType(nodes),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def find_reference(setting: str | None) -> Reference:
    """Return the reference that a setting names: a shipped identifier, or the path of a CSV file.

    Args:
        setting: text of the setting; None or an empty text for the default.

    Raises:
        ClinicalError: as `load_reference`.
    """
    if not setting:
        return shipped_reference()
    return shipped_reference(setting) if setting in SHIPPED_REFERENCES else load_reference(setting)


def configured_reference() -> Reference:
    """Return the reference of the setting ``BONEAGE_REFERENCE``; a file is read once for each process.

    Raises:
        ClinicalError: as `load_reference`.
    """
    return _reference_of(os.environ.get(REFERENCE_SETTING, "").strip())


@cache
def _reference_of(setting: str) -> Reference:
    return find_reference(setting)


Nodes = dict[Sex, tuple[ReferenceNode, ...]]


def _parse(data: bytes, name: str) -> tuple[Nodes, dict[str, str]]:
    """Return rows by sex and the comments by key."""
    if len(data) > MOST_BYTES:
        raise ClinicalError("reference_unreadable", f"{name} has more than {MOST_BYTES:,} bytes.")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ClinicalError("reference_unreadable", f"{name} is not UTF-8. Save it as CSV in UTF-8.") from None
    comments = {match[1]: match[2] for line in lines if (match := _COMMENT.fullmatch(line.strip()))}
    numbered = [(at, line) for at, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")]
    if len(numbered) < 2:
        raise ClinicalError("reference_empty", f"{name} has no rows.")
    order = _column_order(_cells(numbered[0][1]), f"{name}, line {numbered[0][0]}")
    rows: dict[Sex, list[ReferenceNode]] = {}
    for at, line in numbered[1:]:
        _add_row(rows, _cells(line), order, f"{name}, line {at}")
    for sex, nodes in rows.items():
        _check_table(nodes, f"{name}, sex {sex.value}")
    return {sex: tuple(nodes) for sex, nodes in rows.items()}, comments


def _cells(line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], strict=True))]
    except csv.Error:
        return [line]  # the check of the columns names the line


def _column_order(header: list[str], place: str) -> list[int]:
    """Return the position of each of `_COLUMNS` in a header."""
    if sorted(header) != sorted(_COLUMNS):
        raise ClinicalError("reference_columns", f"{place}: the columns must be {','.join(_COLUMNS)}.")
    return [header.index(column) for column in _COLUMNS]


def _add_row(rows: dict[Sex, list[ReferenceNode]], cells: list[str], order: list[int], place: str) -> None:
    if len(cells) != len(order):
        raise ClinicalError("reference_columns", f"{place}: {len(order)} cells are needed, not {len(cells)}.")
    text = {column: cells[at] for column, at in zip(_COLUMNS, order, strict=True)}
    try:
        sex = Sex.parse(text["sex"])
    except Rejection:
        raise ClinicalError("reference_value", f"{place}: sex must be F or M, not {text['sex']!r}.") from None
    node = ReferenceNode(*(_number(text[column], column, place) for column in _COLUMNS[1:]))
    before = rows.setdefault(sex, [])
    if before and node.age_months <= before[-1].age_months:
        raise ClinicalError("reference_order", f"{place}: the ages of a sex must rise from row to row.")
    if abs(node.mean_months - node.age_months) > _FARTHEST_MEAN_MONTHS:
        raise ClinicalError(
            "reference_value", f"{place}: the mean lies more than {_FARTHEST_MEAN_MONTHS:g} months from the age."
        )
    before.append(node)


def _number(text: str, column: str, place: str) -> float:
    low, high = _LIMITS_MONTHS[column]
    if not _NUMBER.fullmatch(text) or not low <= float(text) <= high:
        raise ClinicalError(
            "reference_value", f"{place}: {column} must be a number from {low:g} to {high:g}, not {text!r}."
        )
    return float(text)


def _check_table(nodes: list[ReferenceNode], place: str) -> None:
    if len(nodes) < 2:
        raise ClinicalError("reference_empty", f"{place}: at least two rows are needed.")
    in_years = nodes[-1].age_months <= _OLDEST_YEARS
    if in_years or any(n.age_months >= _CHILD_MONTHS and n.sd_months < _SMALLEST_SD_MONTHS for n in nodes):
        raise ClinicalError("reference_units", f"{place}: ages, means and SDs must be in months, not in years.")
    if any(later.mean_months < earlier.mean_months for earlier, later in pairwise(nodes)):
        raise ClinicalError("reference_value", f"{place}: the means must not fall with age.")
