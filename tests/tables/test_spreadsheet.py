"""Tables for spreadsheets: nothing runs, nothing is lost."""

from __future__ import annotations

import csv
from io import StringIO

from hypothesis import given
from hypothesis import strategies as st

from boneage.tables.csv_table import safe_cell
from boneage.tables.spreadsheet import BYTE_ORDER_MARK, csv_lines

cells = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.tuples(cells, cells), max_size=5))
def test_csv_lines_round_trip(rows: list[tuple[str, str]]) -> None:
    text = "".join(csv_lines(["a", "b"], rows))
    assert text.startswith(BYTE_ORDER_MARK)
    read = list(csv.reader(StringIO(text.removeprefix(BYTE_ORDER_MARK), newline="")))
    assert read == [["a", "b"], *([safe_cell(a), safe_cell(b)] for a, b in rows)]
