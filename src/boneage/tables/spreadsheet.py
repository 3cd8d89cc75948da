"""Tables for spreadsheet programs: CSV line by line, in which no text of a user runs as a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence

from boneage.tables.csv_table import safe_cell

BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel takes UTF-8 for the machine's own code page."""


class _Line:
    """What `csv.writer` needs of a file, giving each line back."""

    def write(self, text: str) -> str:
        return text


def csv_lines(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The table's lines, one by one, for answers that are sent while they are made."""
    writer = csv.writer(_Line(), lineterminator="\r\n")
    yield BYTE_ORDER_MARK + writer.writerow(columns)
    for row in rows:
        yield writer.writerow([safe_cell(value) for value in row])
