"""Tables of radiographs: labelled ones for training and evaluation, and plain lists to assess.

A labelled table is either in RSNA's own layout, a folder of ``<id>.png`` with a CSV ``id,boneage,male``, or a CSV that
names the image of each row in a column ``image``. It may have a column ``split`` and further ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np

from boneage.errors import Rejection, TableError
from boneage.file_names import comparable, name_of, printable_name, shown
from boneage.sex import BOTH_SEXES, Sex, is_both_sexes
from boneage.tables.csv_table import Row, read_rows, reject_duplicates, reject_years, write_rows

LARGEST_AGE_MONTHS = 240.0
"""Highest label. One above 20 years is a mistake, since the hand is mature before."""

_SEX_OF_MALE = {"true": Sex.MALE, "false": Sex.FEMALE}
_REQUIRED_COLUMNS = ("id", "boneage", "male")
_OPTIONAL_COLUMNS = ("split", "image")
_LIST_COLUMNS = ("image", "sex")
_AGE_COLUMNS = ("birth_date", "study_date", "age")
_MISSING_SHOWN = 3


@dataclass(frozen=True)
class LabelledRadiograph:
    """A radiograph with a known bone age.

    Attributes:
        id: Identifier, unique in its table.
        image: Path of an existing file.
        sex: Sex of the patient.
        boneage_months: The label, months, 0 to 240.
        split: ``train``, ``validation`` or another part; None if the table has no such column.
        groups: All further columns, as text.
    """

    id: str
    image: Path
    sex: Sex
    boneage_months: float
    split: str | None = None
    groups: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ListedRadiograph:
    """A row of a list to assess, as written. A bad row is rejected on its own and not with the list.

    Attributes:
        image: Path of the radiograph, not checked yet; the list's own folder if the row names none.
        sex_text: Text for :meth:`boneage.sex.Sex.parse`.
        image_text: The path as the list has it; empty if the row names none.
        birth_date: Cell ``birth_date``; None if it is empty.
        study_date: Cell ``study_date``; None if it is empty.
        age_text: Cell ``age``, years or years and months; empty without one.
    """

    image: Path
    sex_text: str
    image_text: str
    birth_date: date | None = None
    study_date: date | None = None
    age_text: str = ""

    @property
    def name(self) -> str:
        """The image's name as written in the list, unless it is unsafe to print."""
        text = self.image_text
        return text if shown(text) == text else printable_name(text)


@dataclass(frozen=True)
class RadiographList:
    """A list of radiographs to assess.

    Attributes:
        radiographs: The rows, in the order of the table.
        unused_columns: Columns that the list has and nothing reads.
    """

    radiographs: tuple[ListedRadiograph, ...]
    unused_columns: tuple[str, ...]

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for whatever in the list may be a mistake: unknown columns, a file with several sexes."""
        if self.unused_columns:
            yield f"nothing reads the columns {shown(', '.join(self.unused_columns))}."
        rows_of: dict[str, list[ListedRadiograph]] = {}
        for row in filter(lambda one: one.image_text, self.radiographs):
            rows_of.setdefault(comparable(row.image), []).append(row)
        for same in rows_of.values():
            sexes = dict.fromkeys(sex for row in same if (sex := _stated_sex(row.sex_text)))
            if len(sexes) > 1:
                yield f"{same[0].name} is listed with the sexes {' and '.join(sexes)}."


def _stated_sex(text: str) -> str:
    """Return a sex as ``F``, ``M`` or ``both``; empty for a text that states none."""
    try:
        return BOTH_SEXES if is_both_sexes(text) else Sex.parse(text).value
    except Rejection:
        return ""


def read_radiographs(csv: Path, images: Path | None = None) -> list[LabelledRadiograph]:
    """Read a table of labelled radiographs.

    Args:
        csv: Table with the columns ``id,boneage,male`` (months; True or False) and, if each row names its file,
            ``image``. ``split`` and any others may follow.
        images: Folder of the files. By default it is the table's own folder if there is a column ``image``, else the
            folder of the same name as the table (``boneage-training-dataset.csv``:
            ``boneage-training-dataset/<id>.png``).

    Returns:
        The radiographs in the order of the table.

    Raises:
        TableError: The errors of :func:`boneage.tables.csv_table.read_rows`; ``table_value`` with the line of a bad
            cell; ``table_units`` if the ages seem to be years; ``table_duplicate`` for an id that occurs twice;
            ``table_image_missing`` with the first missing files and their count.
    """
    rows = read_rows(csv, _REQUIRED_COLUMNS, _OPTIONAL_COLUMNS)
    reject_duplicates(rows, "id")
    by_column = "image" in rows[0].cells
    folder = images or (csv.parent if by_column else csv.with_suffix(""))
    radiographs = [_labelled(row, folder, by_column) for row in rows]
    reject_years(rows, "boneage")
    _reject_missing_images(csv, folder, radiographs)
    return radiographs


def write_radiographs(csv: Path, radiographs: Sequence[LabelledRadiograph]) -> None:
    """Write a table that `read_radiographs` reads as these radiographs, with their images relative to its folder.

    Args:
        csv: Path of the table.
        radiographs: Radiographs of one table, whose images lie below the folder of `csv`.

    Raises:
        ValueError: An image lies elsewhere.
    """
    split = any(radiograph.split is not None for radiograph in radiographs)
    groups = list(dict.fromkeys(column for radiograph in radiographs for column in radiograph.groups))
    columns = (*_REQUIRED_COLUMNS, *(("split",) if split else ()), *groups, "image")
    rows = [
        (
            radiograph.id,
            f"{radiograph.boneage_months:.15g}",
            radiograph.sex is Sex.MALE,
            *((radiograph.split,) if split else ()),
            *(radiograph.groups.get(column) for column in groups),
            radiograph.image.relative_to(csv.parent).as_posix(),
        )
        for radiograph in radiographs
    ]
    write_rows(csv, columns, rows)


def _labelled(row: Row, folder: Path, by_column: bool) -> LabelledRadiograph:
    sex = _SEX_OF_MALE.get(row.text("male").lower())
    if sex is None:
        raise row.bad_value("male", "must be True or False")
    name = row.text("image") if by_column else f"{row.text('id')}.png"
    return LabelledRadiograph(
        id=row.text("id"),
        image=folder / name,
        sex=sex,
        boneage_months=row.number("boneage", 0.0, LARGEST_AGE_MONTHS),
        split=row.text("split") if "split" in row.cells else None,
        groups={
            column: cell for column, cell in row.cells.items() if column not in (*_REQUIRED_COLUMNS, *_OPTIONAL_COLUMNS)
        },
    )


def _reject_missing_images(csv: Path, folder: Path, radiographs: Sequence[LabelledRadiograph]) -> None:
    missing = [radiograph.image for radiograph in radiographs if not radiograph.image.is_file()]
    if missing:
        names = ", ".join(image.name for image in missing[:_MISSING_SHOWN])
        more = ", ..." if len(missing) > _MISSING_SHOWN else ""
        raise TableError(
            "table_image_missing",
            f"{len(missing)} of the {len(radiographs)} images of {csv} {'is' if len(missing) == 1 else 'are'} not in "
            f"{folder}: {names}{more}.",
        )


def read_list(csv: Path) -> RadiographList:
    """Read a list of radiographs to assess. Rows without a path or a sex are kept: each is rejected on its own.

    Args:
        csv: Table with the columns ``image`` and ``sex``, or in RSNA's layout with ``id`` and ``male``. Paths are
            absolute or relative to the table. If no such file exists, the escapes of
            :func:`boneage.file_names.printable_name` are resolved. In RSNA's layout the file is ``<id>.png`` in the
            folder of the table's name, or in the table's own folder if there is none. The columns ``birth_date`` and
            ``study_date`` (``YYYY-MM-DD``) and ``age`` may be present, with empty cells.

    Raises:
        TableError: The errors of :func:`boneage.tables.csv_table.read_rows`; ``table_value`` for a cell that is no
            date, and for a column ``male`` in which no cell is True or False.
    """
    columns: tuple[str, ...] = (*_LIST_COLUMNS, *_AGE_COLUMNS, *_REQUIRED_COLUMNS)
    rows = read_rows(csv, (), columns)
    cells = rows[0].cells
    is_rsna = {"id", "male"} <= cells.keys() and not set(_LIST_COLUMNS) <= cells.keys()
    if not is_rsna:
        rows, columns = read_rows(csv, _LIST_COLUMNS, _AGE_COLUMNS), (*_LIST_COLUMNS, *_AGE_COLUMNS)
    else:
        _reject_other_booleans(rows)
    return RadiographList(
        tuple(_listed(row, csv, is_rsna) for row in rows), tuple(column for column in cells if column not in columns)
    )


def _reject_other_booleans(rows: Sequence[Row]) -> None:
    """Check that a column ``male`` is not written in another way throughout, such as 0 and 1, or in another language.

    A single cell that states no sex is rejected with its radiograph, and not with the list.
    """
    stated = [row for row in rows if row.cells["male"]]
    if stated and not any(_states_sex(row.cells["male"]) for row in stated):
        raise stated[0].bad_value("male", "must be True or False")


def _states_sex(male: str) -> bool:
    try:
        return male.lower() in _SEX_OF_MALE or is_both_sexes(male) or bool(Sex.parse(male))
    except Rejection:
        return False


def _listed(row: Row, csv: Path, is_rsna: bool) -> ListedRadiograph:
    cells = row.cells
    if is_rsna:
        named = csv.with_suffix("")
        folder, image = named if named.is_dir() else csv.parent, cells.get("image") or f"{cells['id']}.png"
        sex = _SEX_OF_MALE.get(cells["male"].lower())
        sex_text = cells["male"] if sex is None else sex.value
    else:
        folder, image, sex_text = csv.parent, cells["image"], cells["sex"]
    return ListedRadiograph(
        _listed_path(folder, image),
        sex_text,
        image,
        _listed_date(row, "birth_date"),
        _listed_date(row, "study_date"),
        cells.get("age", ""),
    )


def _listed_date(row: Row, column: str) -> date | None:
    text = row.cells.get(column, "")
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise row.bad_value(column, "must be a date such as 2014-03-10") from None


def _listed_path(folder: Path, text: str) -> Path:
    return folder / (text if os.path.lexists(folder / text) else name_of(text))


def radiographs_of_split(radiographs: Sequence[LabelledRadiograph], split: str) -> list[LabelledRadiograph]:
    """Return the radiographs of one part of a table.

    Raises:
        TableError: ``table_split`` if the table has no such part.
    """
    chosen = [radiograph for radiograph in radiographs if radiograph.split == split]
    if not chosen:
        parts = sorted({radiograph.split for radiograph in radiographs if radiograph.split is not None})
        raise TableError(
            "table_split",
            f"No radiograph has the split {split!r}; the table has {', '.join(parts) if parts else 'no column split'}.",
        )
    return chosen


def split_radiographs(
    radiographs: Sequence[LabelledRadiograph], validation_share: float = 0.2, seed: int = 0
) -> tuple[list[LabelledRadiograph], list[LabelledRadiograph]]:
    """Divide radiographs into training and validation, by the table's column ``split`` if it has one, else at random.

    The random division is that of Souza & Oliveira (section IV-B: 80 % and 20 %). It depends on the ids and the seed,
    and not on the order of the table.

    Args:
        radiographs: Radiographs of one table.
        validation_share: Share of the random validation part, above 0 and below 1.
        seed: Seed of the random division.

    Returns:
        Training and validation radiographs, each in the order given. With a column ``split``, radiographs of parts
        other than ``train`` and ``validation`` are in neither.

    Raises:
        TableError: ``table_split`` if either part would be empty.
        ValueError: `validation_share` is out of range.
    """
    if not 0.0 < validation_share < 1.0:
        raise ValueError(f"validation_share must lie between 0 and 1, not {validation_share}")
    if any(radiograph.split is not None for radiograph in radiographs):
        return radiographs_of_split(radiographs, "train"), radiographs_of_split(radiographs, "validation")
    ids = sorted(radiograph.id for radiograph in radiographs)
    chosen_count = round(len(ids) * validation_share)
    if not 0 < chosen_count < len(ids):
        raise TableError(
            "table_split",
            f"{len(ids)} {'radiograph' if len(ids) == 1 else 'radiographs'} cannot be divided with "
            f"{validation_share:.0%} for validation.",
        )
    order = np.random.default_rng(seed).permutation(len(ids))
    chosen = {ids[place] for place in order[:chosen_count]}
    training = [radiograph for radiograph in radiographs if radiograph.id not in chosen]
    return training, [radiograph for radiograph in radiographs if radiograph.id in chosen]
