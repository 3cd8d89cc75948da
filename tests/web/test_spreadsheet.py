"""Tables for spreadsheets: nothing runs, nothing is lost."""

from __future__ import annotations

import csv
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.web.spreadsheet import BYTE_ORDER_MARK, csv_lines, safe_cell


@given(st.text(max_size=20))
def test_no_text_is_a_formula(text: str) -> None:
    """What begins like one and is no number gets an apostrophe; everything else stays."""
    cell = safe_cell(text)
    if cell != text:
        assert cell == f"'{text}"
        assert text[0] in "=+-@\t\r"
    elif text[:1] in ("=", "+", "-", "@", "\t", "\r"):
        float(text.replace(",", "."))


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1-1", "@SUM(A1)", "-x", "\t=1", "\r=1", "-1\n", "-", "+1e5"])
def test_formulas_are_disarmed(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize(("value", "cell"), [(None, ""), (-3.5, "-3.5"), ("-3,5", "-3,5"), ("+12", "+12"), (0, "0")])
def test_numbers_stay(value: object, cell: str) -> None:
    assert safe_cell(value) == cell


cells = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.tuples(cells, cells), max_size=5))
def test_lines_are_read_back(rows: list[tuple[str, str]]) -> None:
    text = "".join(csv_lines(["a", "b"], rows))
    assert text.startswith(BYTE_ORDER_MARK)
    read = list(csv.reader(StringIO(text.removeprefix(BYTE_ORDER_MARK), newline="")))
    assert read == [["a", "b"], *([safe_cell(a), safe_cell(b)] for a, b in rows)]
