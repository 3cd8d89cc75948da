"""CSV tables: strict reading into rows that know their line, and writing in one piece or row by row.

Every reader of an operator's table (radiographs, lists, predictions) uses this module, so that the same mistake gets
the same :class:`~boneage.errors.TableError` everywhere. No cell that is written runs as a formula in a spreadsheet
program: it gets an apostrophe, which reading removes.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from boneage.errors import TableError
from boneage.files import atomic_write

OLDEST_YEARS = 20.0
"""The highest bone age in years. A whole table of infants under 20 months is less likely than one in years."""
FEWEST_TO_JUDGE_UNITS = 10
"""Rows from which the unit can be judged. Fewer radiographs may well be infants'."""

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""Beginning of a text that a spreadsheet would run. With apostrophes before it, it is a marked text."""

_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")

_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        table: Path of the table.
        line: Last line of the row in the file; the header is line 1.
        cells: Stripped text by column. Columns that the reader knows have the reader's names.
    """

    table: Path
    line: int
    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        """Return a cell that must not be empty.

        Raises:
            TableError: ``table_value``.
        """
        if not self.cells[column]:
            raise self.bad_value(column, "must not be empty")
        return self.cells[column]

    def number(self, column: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a cell that must hold a finite number from `low` to `high`.

        Raises:
            TableError: ``table_value``.
        """
        try:
            value = float(self.cells[column])
        except ValueError:
            raise self.bad_value(column, "must be a number") from None
        if not math.isfinite(value):
            raise self.bad_value(column, "must be a finite number")
        if not low <= value <= high:
            raise self.bad_value(column, f"must lie between {low:g} and {high:g}")
        return value

    def bad_value(self, column: str, reason: str) -> TableError:
        """Return the error ``table_value`` for one cell of this row, for the caller to raise."""
        return TableError(
            "table_value", f"{self.table}, line {self.line}: {column} {reason}, not {self.cells[column]!r}."
        )


def read_rows(table: Path, required: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """Read a CSV file with a header (UTF-8, commas; a byte order mark is allowed).

    Empty lines, and rows of empty cells as spreadsheets leave them, are skipped.

    Args:
        table: Path of the file.
        required: Columns that must be present; other columns may be.
        optional: Further columns that the caller knows. These and the required ones match in any case, and have the
            caller's names in the rows.

    Raises:
        TableError: ``table_not_found``; ``table_unreadable`` if the file is not UTF-8 text or not CSV;
            ``table_columns`` if a column is missing or named twice; ``table_value`` if a row has too many or too few
            cells; ``table_empty`` without rows.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = parse_rows(table, file, required, optional)
    except (FileNotFoundError, NotADirectoryError):
        raise TableError("table_not_found", f"There is no table {table}.") from None
    except UnicodeDecodeError:
        raise not_utf8(table) from None
    except OSError as error:
        raise _unreadable(table, error) from error
    if not rows:
        raise TableError("table_empty", f"{table} has no rows.")
    return rows


def parse_rows(table: Path, lines: Iterable[str], required: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """Read the rows of an open table, which may have none.

    Args:
        table: Path of the table, for messages.
        lines: Lines of the table, with their ends.
        required: Required columns, as in `read_rows`.
        optional: Further known columns, as in `read_rows`.

    Raises:
        TableError: ``table_unreadable``, ``table_columns`` or ``table_value``, as in `read_rows`.
    """
    reader = csv.reader(lines, strict=True)
    try:
        columns = _header(table, next(reader, []), required, optional)
        return [_row(table, reader.line_num, columns, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise _unreadable(table, error) from error


def reject_years(rows: Sequence[Row], column: str) -> None:
    """Check that ages are not in years, which would pass for those of infants.

    Raises:
        TableError: ``table_units`` if there are `FEWEST_TO_JUDGE_UNITS` rows or more and no age is above
            `OLDEST_YEARS`.
    """
    if len(rows) < FEWEST_TO_JUDGE_UNITS:
        return
    oldest = max(row.number(column) for row in rows)
    if oldest <= OLDEST_YEARS:
        raise TableError(
            "table_units",
            f"{rows[0].table}: none of the {len(rows)} values of {column} is above {oldest:g}. They seem to be years; "
            "give them in months.",
        )


def reject_duplicates(rows: Sequence[Row], column: str) -> None:
    """Check that a column names each row differently.

    Raises:
        TableError: ``table_duplicate`` with both lines; ``table_value`` for an empty cell.
    """
    line_of: dict[str, int] = {}
    for row in rows:
        first = line_of.setdefault(row.text(column), row.line)
        if first != row.line:
            raise TableError(
                "table_duplicate",
                f"{row.table}: the {column} {row.cells[column]!r} is on line {first} and on line {row.line}.",
            )


def not_utf8(table: Path) -> TableError:
    """Return the error ``table_unreadable`` of a table in another encoding, for the caller to raise."""
    return TableError("table_unreadable", f"{table} is not UTF-8 text. In a spreadsheet, save it as 'CSV UTF-8'.")


def _unreadable(table: Path, error: Exception) -> TableError:
    reason = error.strerror if isinstance(error, OSError) else error
    return TableError("table_unreadable", f"{table} cannot be read as a CSV table: {reason}.")


def _header(table: Path, cells: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> list[str]:
    if any("\0" in cell for cell in cells):  # UTF-16 without a byte order mark passes for text
        raise not_utf8(table)
    names = {name.casefold(): name for name in (*required, *optional)}
    columns = [names.get(cell.strip().casefold(), cell.strip()) for cell in cells]
    missing = [column for column in required if column not in columns]
    separator = next((name for sign, name in _OTHER_SEPARATORS.items() if len(cells) == 1 and sign in cells[0]), None)
    if separator is not None:
        raise TableError("table_columns", f"{table} is separated by {separator}. Save it with commas.")
    if missing:
        raise TableError(
            "table_columns",
            f"{table} must have the column(s) {', '.join(missing)}; it has {', '.join(columns) or 'none'}.",
        )
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise TableError("table_columns", f"{table} has the column(s) {', '.join(map(repr, repeated))} more than once.")
    return columns


def _row(table: Path, line: int, columns: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(columns):
        raise TableError("table_value", f"{table}, line {line}: {len(cells)} cells instead of {len(columns)}.")
    return Row(table, line, dict(zip(columns, (original_cell(cell.strip()) for cell in cells), strict=True)))


def safe_cell(value: object) -> str:
    """Return a value as the text of a cell; None becomes an empty text.

    A text that a spreadsheet would run gets an apostrophe. Numbers stay unchanged, also those written as text.
    """
    text = "" if value is None else str(value)
    is_number = isinstance(value, int | float) or _NUMBER.fullmatch(text)
    return f"'{text}" if _FORMULA.match(text) and not is_number else text


def original_cell(text: str) -> str:
    """Return the text from which `safe_cell` made a cell."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV table (UTF-8, commas, line feeds) in one piece. Numbers are as short as they read back the same.

    Texts that a spreadsheet would run are marked (`safe_cell`).
    """
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(map(safe_cell, row) for row in rows)
