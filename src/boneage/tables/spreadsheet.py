"""Tables for spreadsheet programs: CSV line by line, in which no text of a user runs as a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence

from boneage.tables.csv_table import safe_cell

BYTE_ORDER_MARK = "\ufeff"
"""Mark of UTF-8. Without it Excel assumes the machine's own code page."""


class _Line:
    """File that `csv.writer` writes to; it returns each line."""

    def write(self, text: str) -> str:
        return text


def csv_lines(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield the table's lines one by one, for responses that are sent while they are made."""
    writer = csv.writer(_Line(), lineterminator="\r\n")
    yield BYTE_ORDER_MARK + writer.writerow(columns)
    for row in rows:
        yield writer.writerow([safe_cell(value) for value in row])
