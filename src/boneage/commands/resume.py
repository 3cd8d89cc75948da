"""Resumption of the table of an interrupted ``boneage assess``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from boneage.clinical.ages import ChronologicalAge, StatedAge, age_at_study, latest_study_day
from boneage.errors import BoneageError, Rejection, RejectionCode, TableError
from boneage.file_names import shown
from boneage.files import sha256_of
from boneage.sex import Sex, is_both_sexes
from boneage.tables.csv_table import Row

if TYPE_CHECKING:
    from boneage.clinical.references import Reference

_RETRIED = frozenset({"not_found", "internal_error"})
"""Errors that another attempt may not have. Other rejections depend on the file alone."""

_SAME_MONTHS = 0.01
"""Tolerance between ages of the same dates, in months. Tables have two decimals."""


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
        place: Place of the radiograph among all of the command, from 0.
    """

    path: Path
    image: str
    sex_text: str
    age: StatedAge = field(default_factory=StatedAge)
    rows_written: int = 0
    place: int = 0


@dataclass(frozen=True)
class Resumption:
    """Continuation of a table.

    Attributes:
        left: Radiographs to assess, in their order.
        kept: Places of the rows of the table that stay, from 0.
        places: Place of the radiograph of each of these rows among all radiographs.
    """

    left: list[BatchItem]
    kept: list[int]
    places: list[int]


def resumption(
    rows: Sequence[Row],
    items: Sequence[BatchItem],
    settings: Mapping[str, str],
    reference: Reference,
    *,
    with_reports: bool,
) -> Resumption:
    """Return the radiographs that are missing in a table, and those whose rows must be made again.

    A row is made again if the file could not be found or the assessment failed unexpectedly, if the file has another
    content than the row was made from, or if chronological age or reference are others.

    Args:
        rows: Rows of the table.
        items: All radiographs of the table. One that is named twice, or read for both sexes, has two rows.
        settings: Required values of every row, by column.
        reference: Reference of the SDS.
        with_reports: True if reports are written, so that every assessed radiograph of the table must have one.

    Raises:
        TableError: ``table_resume`` if the table was made with other settings, or has another radiograph or the same
            one with another sex.
    """
    currency = _Currency(reference)
    missing = {place: replace(item, place=place) for place, item in enumerate(items)}
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, item in missing.items():
        places[item.image].append(place)
    rows_of: defaultdict[int, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        for column, value in settings.items():
            if row.cells[column] != value:
                raise _unlike(row, f"its {column} is {row.cells[column]!r}, not {value!r}")
        if not row.cells["error"] and bool(row.cells["report"]) is not with_reports:
            raise _unlike(row, f"there is {'no' if with_reports else 'a'} report: give --out as before")
        item = _item_of(row, [missing[place] for place in places[row.cells["image"]] if place in missing], currency)
        rows_of[item.place].append(number)
        if is_both_sexes(item.sex_text) and not row.cells["error"] and not item.rows_written:
            missing[item.place] = replace(item, rows_written=1)
        else:
            del missing[item.place]
    for place in list(rows_of):
        item = replace(items[place], place=place)
        if not all(currency.has(item, rows[number]) for number in rows_of[place]):
            missing[place] = item
            del rows_of[place]
    place_of = {number: place for place, numbers in rows_of.items() for number in numbers}
    kept = sorted(place_of)
    return Resumption([missing[place] for place in sorted(missing)], kept, [place_of[number] for number in kept])


def _item_of(row: Row, open_items: Sequence[BatchItem], currency: _Currency) -> BatchItem:
    """Return the radiograph of a row; of several that fit, the one whose first row precedes, or whose age it has."""
    image = row.cells["image"]
    if not open_items:
        raise _unlike(row, f"{image} is not among the radiographs to assess, or appears more often than there")
    fitting = [item for item in open_items if _fits(item, row)]
    if not fitting:
        raise _unlike(row, f"{image} has the sex {row.cells['sex']!r}, not {open_items[0].sex_text!r}")
    if len(fitting) == 1:
        return fitting[0]
    begun = next((item for item in fitting if item.rows_written), None)
    return begun or next((item for item in fitting if currency.has(item, row)), fitting[0])


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


class _Currency:
    """Comparison of rows with the present files, chronological ages and reference."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._files: dict[Path, _File | None] = {}

    def has(self, item: BatchItem, row: Row) -> bool:
        """Return whether a row would be the same if it were made now.

        A file that has been removed since gives no reason to make its row again.
        """
        cells = row.cells
        if cells["error"] in _RETRIED:
            return False
        if item.path not in self._files:
            self._files[item.path] = _File.read(item.path)
        file = self._files[item.path]
        if file is not None and cells["radiograph_sha256"] not in ("", file.sha256):
            return False
        if cells["error"]:
            return True
        is_same_reference = (cells["reference_id"], cells["reference_sha256"]) == (
            self._reference.id,
            self._reference.sha256,
        )
        return is_same_reference and (file is None or _has_age(row, file.age(item.age)))


@dataclass(frozen=True)
class _File:
    """Content of a file, as far as rows depend on it.

    Attributes:
        sha256: Checksum of the file.
        patient_age: DICOM's Patient's Age, or None.
        birth_date: Day of birth, or None.
        study_date: Day of the study, or None.
    """

    sha256: str
    patient_age: str | None = None
    birth_date: date | None = None
    study_date: date | None = None

    @classmethod
    def read(cls, path: Path) -> _File | None:
        """Return the content of a file; None if it cannot be read."""
        from boneage.reading.radiograph import is_dicom, read_file

        try:
            data = read_file(path)
        except Rejection:
            return None
        sha256 = sha256_of(data)
        if not is_dicom(data):
            return cls(sha256)
        from boneage.reading.dicom.bounds import quiet_pydicom
        from boneage.reading.dicom.facts import study_day
        from boneage.reading.dicom.object import parse_object
        from boneage.reading.dicom.tags import day, text
        from boneage.reading.facts import DEFAULT_LIMITS

        try:
            with quiet_pydicom():
                header = parse_object(data, DEFAULT_LIMITS)
                return cls(sha256, text(header, "PatientAge"), day(header, "PatientBirthDate"), study_day(header))
        except Exception:  # pydicom raises nearly any error for a damaged file, which was rejected
            return cls(sha256)

    def age(self, stated: StatedAge) -> ChronologicalAge | None:
        """Return the chronological age by what is stated, and by the file."""
        in_file = self.patient_age, self.birth_date, self.study_date
        return age_at_study(stated, *in_file, last_day=latest_study_day()).age


def _has_age(row: Row, age: ChronologicalAge | None) -> bool:
    """Return whether a row has a chronological age, of the same precision and source."""
    columns = ("lower_months", "upper_months", "precision", "source")
    lower, upper, *words = (row.cells[f"chronological_age_{column}"] for column in columns)
    if age is None:
        return not (lower or upper)
    try:
        gaps = abs(float(lower) - age.lower_months), abs(float(upper) - age.upper_months)
    except ValueError:
        return False
    return max(gaps) < _SAME_MONTHS and words == [age.precision.value, age.source.value]
