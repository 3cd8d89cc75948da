"""The files that describe an atlas: ``index.csv``, a table of its plates, and ``atlas.json``, read strictly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from boneage import strict
from boneage.errors import AtlasError, Rejection, TableError
from boneage.sex import Sex
from boneage.strict import Bounds, InvalidValueError
from boneage.tables.csv_table import Row, read_rows, reject_years

INDEX_NAME, ABOUT_NAME = "index.csv", "atlas.json"

OLDEST_PLATE_MONTHS = 240.0
"""Highest age of a plate."""

AgeMonths = Annotated[float, Bounds(at_least=0, at_most=OLDEST_PLATE_MONTHS)]

_AGE_COLUMNS = ("age_months", "age", "age_years")
"""Columns that may contain a plate's age; the first that is there counts."""


@dataclass(frozen=True)
class Plate:
    """One image of an atlas.

    Attributes:
        sex: sex of the hands.
        age_months: bone age that it represents, 0 to 240 months.
        file: name of its file in the atlas's folder.
        count: number of radiographs that it averages; None if it is no average.
    """

    sex: Sex
    age_months: float
    file: str
    count: int | None = None

    @property
    def key(self) -> str:
        """Stable name, such as ``F-094`` for girls of 94 months; a tenth of a month follows where there is one."""
        whole, tenths = divmod(round(10 * self.age_months), 10)
        return f"{self.sex.value}-{whole:03d}" + (f".{tenths}" if tenths else "")


@dataclass(frozen=True)
class AtlasDescription:
    """Content of ``atlas.json``; every key is optional.

    Attributes:
        name: short name of the atlas; the folder's name if it is empty.
        title: one line for people; the name if it is empty.
        made: method by which the plates were made.
        licence: terms of use.
        created: ISO 8601 date.
        radiographs: number of radiographs from which the plates were made.
        seed: seed of the choice between equally good radiographs.
        frame_box: left, top, width and height of the plates in the registered frame, frame pixels.
        left_out: reason by plate for those that were not made.
        format: layout of the file.
    """

    name: str = ""
    title: str = ""
    made: str = ""
    licence: str = ""
    created: str = ""
    radiographs: strict.Count | None = None
    seed: strict.Count | None = None
    frame_box: tuple[float, float, float, float] | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    format: Literal[1] = 1


@dataclass(frozen=True)
class _IndexRow:
    """One row of ``index.csv``: a plate, with its age in one of three columns."""

    sex: Sex
    file: strict.NotEmpty
    age_months: AgeMonths | None = None
    age: AgeMonths | None = None
    age_years: Annotated[float, Bounds(at_least=0, at_most=OLDEST_PLATE_MONTHS / 12)] | None = None
    count: Annotated[int, Bounds(at_least=1)] | None = None

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        if self.age_months is self.age is self.age_years is None:
            yield "age_months", "must not be empty"

    @property
    def months(self) -> float:
        """The plate's age, rounded to a tenth of a month."""
        given = self.age if self.age_months is None else self.age_months
        months = 12.0 * (self.age_years or 0.0) if given is None else given
        return round(10 * months) / 10


def read_description(directory: Path) -> AtlasDescription:
    """Read the description of an atlas; an empty one if there is no ``atlas.json``.

    Raises:
        AtlasError: ``atlas_invalid``, with the place of the first fault.
    """
    path = directory / ABOUT_NAME
    if not path.exists():
        return AtlasDescription()
    try:
        return strict.read(AtlasDescription, strict.parse_json(path.read_bytes()))
    except InvalidValueError as error:
        raise AtlasError("atlas_invalid", f"{path} is not valid: {error}.") from error
    except (OSError, ValueError) as error:
        raise AtlasError("atlas_invalid", f"{path} cannot be read: {error}.") from error


def read_index(directory: Path) -> list[Plate]:
    """Read the plates of an atlas from its ``index.csv``.

    Raises:
        AtlasError: ``atlas_invalid``, with the line and column of the first fault.
    """
    path = directory / INDEX_NAME
    try:
        rows = read_rows(path, ("sex", "file"), (*_AGE_COLUMNS, "count"))
        column = next((name for name in _AGE_COLUMNS if name in rows[0].cells), None)
        if column is None:
            raise AtlasError("atlas_invalid", f"{path} has no column age_months or age_years.")
        if column != "age_years":
            reject_years(rows, column)
        plates = [_plate(directory, row, column) for row in rows]
    except TableError as error:
        raise AtlasError("atlas_invalid", error.message) from error
    _reject_duplicates(directory, plates)
    return plates


def _plate(directory: Path, row: Row, age_column: str) -> Plate:
    """Read a row of the index. Columns of other names, and ages in further columns, are for other readers."""
    cells = {name: row.cells[name] for name in ("sex", "file", age_column, "count") if name in row.cells}
    try:
        read = strict.read(_IndexRow, {**cells, "sex": _sex_letter(cells["sex"])}, text=True)
    except InvalidValueError as error:
        raise AtlasError("atlas_invalid", f"{row.table}, line {row.line}: {error}.") from error
    # A web service hands these files out, so that nothing outside of the folder may be named.
    inside = (directory / read.file).resolve().is_relative_to(directory.resolve())
    if not inside or not (directory / read.file).is_file():
        raise row.bad_value("file", "must be a picture in the atlas's folder")
    return Plate(read.sex, read.months, read.file, read.count)


def _sex_letter(cell: str) -> str:
    """Return F or M for the words that people write, and anything else as it is."""
    try:
        return Sex.parse(cell).value
    except Rejection:
        return cell


def _reject_duplicates(directory: Path, plates: Sequence[Plate]) -> None:
    keys = [plate.key for plate in plates]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise AtlasError("atlas_invalid", f"{directory / INDEX_NAME} has more than one plate {', '.join(twice)}.")
