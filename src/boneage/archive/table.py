"""Tables of a finished run: Parquet by year of study, and CSV. Equal rows give equal bytes, whatever their order was.

Rows are sorted by their identity. They pass through memory in small groups, so that an archive of any size fits.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Set
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from boneage.archive.journal import Journal
from boneage.archive.rows import ARCHIVE_COLUMNS, ArchiveRow
from boneage.tables.csv_table import write_rows

if TYPE_CHECKING:
    import pyarrow

PARTITION = "year"
"""Name of the folders into which the Parquet table is divided, by the year of the study. The column ``study_year`` has
its number."""
_UNKNOWN = "unknown"
"""Folder of the studies without a year. Hive's own name for it would be read as a null, and programs that infer the
values from the names of the folders cannot unite nulls with numbers."""
_FILE = "radiographs.parquet"
"""Name of each file of the Parquet table."""
_GROUP_ROWS = 2_000
_WAITING_ROWS = 5_000
"""Rows of all years that wait for being written."""


def final_rows(journal: Journal, items: Set[str]) -> Iterator[ArchiveRow]:
    """Yield the rows of a journal in the order of their identities, with the number of items of each.

    Items with equal content have one row. Its cell ``image`` is the first of theirs. Items that the source does not
    have any more, such as the former places of moved files, count only for a row without others.

    Args:
        journal: Journal of the run.
        items: Identities of all items of the source.
    """
    present = {entry.row_id for item, entry in journal.entries.items() if item in items}
    copies: dict[str, int] = {}
    images: dict[str, str] = {}
    for item, entry in journal.entries.items():
        if entry.row_id and (item in items or entry.row_id not in present):
            copies[entry.row_id] = copies.get(entry.row_id, 0) + 1
            images[entry.row_id] = min(images.get(entry.row_id, entry.image), entry.image)
    order = sorted(copies)
    for row_id, row in zip(order, journal.rows(journal.places[one] for one in order), strict=True):
        yield row | {"copies": copies[row_id], "image": images[row_id] or None}


def write_tables(out: Path, rows: Iterable[ArchiveRow]) -> None:
    """Write ``radiographs.csv`` and the folder ``radiographs.parquet``, each in one piece.

    Args:
        out: Folder of the results.
        rows: Rows of `final_rows`.

    Raises:
        OSError: The folder cannot be written.
    """
    new, old = out / ".radiographs.parquet.new", out / "radiographs.parquet"
    shutil.rmtree(new, ignore_errors=True)  # a killed run may have left it
    new.mkdir(parents=True)
    with _Partitions(new) as partitions:
        write_rows(out / "radiographs.csv", tuple(ARCHIVE_COLUMNS), _cells(partitions.passing(rows)))
    if old.exists():
        shutil.rmtree(old)
    new.rename(old)


def _cells(rows: Iterable[ArchiveRow]) -> Iterator[list[object]]:
    for row in rows:
        yield [row.get(column) for column in ARCHIVE_COLUMNS]


class _Partitions:
    """Parquet files by year."""

    def __init__(self, folder: Path) -> None:
        import pyarrow  # noqa: PLC0415  # belongs to the extra, and is slow to import

        self._folder = folder
        self._schema = pyarrow.schema([(name, _arrow_type(kind)) for name, kind in ARCHIVE_COLUMNS.items()])
        self._waiting: dict[str, list[ArchiveRow]] = {}
        self._writers: dict[str, pyarrow.parquet.ParquetWriter] = {}

    def __enter__(self) -> _Partitions:
        return self

    def __exit__(self, *_raised: object) -> None:
        for writer in self._writers.values():
            writer.close()

    def passing(self, rows: Iterable[ArchiveRow]) -> Iterator[ArchiveRow]:
        """Yield the rows again, and write them on the way."""
        waiting = 0
        for row in rows:
            year = row.get("study_year")
            name = _UNKNOWN if year is None else str(year)
            group = self._waiting.setdefault(name, [])
            group.append(row)
            waiting += 1
            if len(group) >= _GROUP_ROWS or waiting >= _WAITING_ROWS:
                largest = max(self._waiting, key=lambda one: (len(self._waiting[one]), one))
                waiting -= len(self._waiting[largest])
                self._write(largest)
            yield row
        if not self._writers and not self._waiting:
            self._waiting[_UNKNOWN] = []  # a table without rows has its columns
        for name in list(self._waiting):
            self._write(name)

    def _write(self, name: str) -> None:
        import pyarrow  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415

        rows = self._waiting.pop(name)
        if name not in self._writers:
            path = self._folder / f"{PARTITION}={name}" / _FILE
            path.parent.mkdir()
            self._writers[name] = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")
        arrays = [
            pyarrow.array([_value(row.get(field.name), ARCHIVE_COLUMNS[field.name]) for row in rows], type=field.type)
            for field in self._schema
        ]
        self._writers[name].write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))


def _arrow_type(kind: type) -> pyarrow.DataType:
    import pyarrow  # noqa: PLC0415

    types: Mapping[type, pyarrow.DataType] = {
        str: pyarrow.string(),
        float: pyarrow.float64(),
        int: pyarrow.int64(),
        bool: pyarrow.bool_(),
        date: pyarrow.date32(),
    }
    return types[kind]


def _value(cell: object, kind: type) -> object:
    """Return a cell in the type of its column."""
    if cell is None:
        return None
    if kind is date:
        return date.fromisoformat(str(cell))
    return kind(cell)
