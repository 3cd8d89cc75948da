"""Resumption of the table of an interrupted ``boneage assess``."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from boneage.clinical.ages import StatedAge
from boneage.errors import BoneageError, Rejection, RejectionCode, TableError
from boneage.file_names import shown
from boneage.sex import Sex, is_both_sexes
from boneage.tables.csv_table import Row


@dataclass(frozen=True)
class BatchItem:
    """A radiograph to assess.

    Attributes:
        path: Path of the file.
        image: Name of the file as the user gave it, in the form of `boneage.file_names.printable_name`.
        sex_text: Sex as written.
        age: Dates and age as stated.
        rows_written: Number of its rows that an interrupted run has written, of the two of a radiograph that is read
            for both sexes.
    """

    path: Path
    image: str
    sex_text: str
    age: StatedAge = field(default_factory=StatedAge)
    rows_written: int = 0


def left_to_do(
    rows: Sequence[Row], items: Sequence[BatchItem], settings: Mapping[str, str], *, with_reports: bool
) -> list[BatchItem]:
    """Return the radiographs that are missing in a table, in their order.

    Args:
        rows: Rows of the table.
        items: All radiographs of the table. One that is named twice, or read for both sexes, has two rows.
        settings: Required values of every row, by column.
        with_reports: True if reports are written, so that every assessed radiograph of the table must have one.

    Raises:
        TableError: ``table_resume`` if the table was made with other settings, or has another radiograph or the same
            one with another sex.
    """
    missing = dict(enumerate(items))
    places: defaultdict[str, deque[int]] = defaultdict(deque)
    for place, item in missing.items():
        places[item.image].append(place)
    for row in rows:
        for column, value in settings.items():
            if row.cells[column] != value:
                raise _unlike(row, f"its {column} is {row.cells[column]!r}, not {value!r}")
        if not row.cells["error"] and bool(row.cells["report"]) is not with_reports:
            raise _unlike(row, f"there is {'no' if with_reports else 'a'} report: give --out as before")
        image = row.cells["image"]
        if not places[image]:
            raise _unlike(row, f"{image} is not among the radiographs to assess, or appears more often than there")
        place = places[image][0]
        item = missing[place]
        if not _fits(item, row):
            raise _unlike(row, f"{image} has the sex {row.cells['sex']!r}, not {item.sex_text!r}")
        if is_both_sexes(item.sex_text) and not row.cells["error"] and not item.rows_written:
            missing[place] = replace(item, rows_written=1)
        else:
            places[image].popleft()
            del missing[place]
    return list(missing.values())


def errors_of(rows: Sequence[Row]) -> list[BoneageError]:
    """Return the errors of radiographs of a table that were not assessed."""
    return [_error(row.cells["error"], row.cells["message"]) for row in rows if row.cells["error"]]


def _error(code: str, message: str) -> BoneageError:
    if code in set(RejectionCode):
        return Rejection(RejectionCode(code), message)
    return BoneageError("internal_error", message)


def _unlike(row: Row, reason: str) -> TableError:
    return TableError(
        "table_resume",
        f"{row.table} cannot be resumed: on line {row.line}, {reason}. Leave out --resume to start again.",
    )


def _fits(item: BatchItem, row: Row) -> bool:
    """Return whether a row is the next one of a radiograph, by its sex."""
    sex = row.cells["sex"]
    if is_both_sexes(item.sex_text) and not row.cells["error"]:
        return sex == tuple(Sex)[item.rows_written].value
    return _sex(item.sex_text) == _sex(sex)


def _sex(text: str) -> str:
    try:
        return Sex.parse(text).value
    except Rejection:
        return shown(text).strip()
