from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.errors import TableError
from boneage.tables.csv_table import original_cell, read_rows, reject_years, safe_cell, write_rows

_CELLS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z"))).map(str.strip)
_MARKED = st.builds(str.__add__, st.text("'=+-@", max_size=4), _CELLS)


def _code(table: Path, required: tuple[str, ...] = ("a", "b")) -> str:
    with pytest.raises(TableError) as caught:
        read_rows(table, required)
    assert str(table) in caught.value.message
    return caught.value.code


@given(rows=st.lists(st.tuples(_MARKED, _CELLS).filter(any), min_size=1, max_size=8))
def test_write_rows_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    table = tmp_path_factory.mktemp("t") / "table.csv"
    write_rows(table, ("a", "b"), rows)
    assert [(row.cells["a"], row.cells["b"]) for row in read_rows(table, ("a", "b"))] == rows


@given(_MARKED | st.text("\t\r='", max_size=3))
def test_safe_cell_no_formula(text: str) -> None:
    """No text that is written runs as a formula."""
    cell = safe_cell(text)
    assert original_cell(cell) == text
    if cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        float(cell.replace(",", "."))


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1-1", "@SUM(A1)", "-x", "\t=1", "\r=1", "-1\n", "-", "+e5", "'=1"])
def test_safe_cell_apostrophe(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize(
    ("value", "cell"),
    [(None, ""), (-3.5, "-3.5"), ("-3,5", "-3,5"), ("+12", "+12"), (0, "0"), (-1e-9, "-1e-09"), (-math.inf, "-inf")],
)
def test_safe_cell_numbers(value: object, cell: str) -> None:
    assert safe_cell(value) == cell


def test_read_rows_line_numbers(tmp_path: Path) -> None:
    """Rows know their line after empty rows and a byte order mark."""
    table = tmp_path / "t.csv"
    table.write_bytes("\ufeffa , b\r\n1,2\r\n\r\n 3 ,4\r\n".encode())
    rows = read_rows(table, ("a", "b"))
    assert [row.line for row in rows] == [2, 4]
    assert rows[1].cells == {"a": "3", "b": "4"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "table_columns"),
        (b"a;b\n1;2\n", "table_columns"),
        (b"a,A,b\n1,2,3\n", "table_columns"),
        (b"a,b\n,\n", "table_empty"),
        (b"a,b,a\n1,2,3\n", "table_columns"),
        (b"a,b\n", "table_empty"),
        (b"a,b\n1\n", "table_value"),
        (b"a,b\n1,2,3\n", "table_value"),
        (b"a,b\n\xff,2\n", "table_unreadable"),
        (b'a,b\n"1" x,2\n', "table_unreadable"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "table_unreadable"),
    ],
)
def test_read_rows_bad_table(tmp_path: Path, content: bytes, code: str) -> None:
    """Bad tables are rejected by name."""
    table = tmp_path / "t.csv"
    table.write_bytes(content)
    assert _code(table) == code


def _message(table: Path, content: bytes) -> str:
    table.write_bytes(content)
    with pytest.raises(TableError) as caught:
        read_rows(table, ("a", "b"))
    return caught.value.message


@pytest.mark.parametrize(("content", "separator"), [(b"a;b\n1;2\n", "semicolons"), (b"a\tb\n1\t2\n", "tabs")])
def test_read_rows_other_separator(tmp_path: Path, content: bytes, separator: str) -> None:
    message = _message(tmp_path / "t.csv", content)
    assert message.endswith(f"is separated by {separator}. Save it with commas.")


def test_read_rows_other_separator_optional_columns(tmp_path: Path) -> None:
    """A decimal comma in a row is not the first thing that is reported of a table with semicolons."""
    table = tmp_path / "t.csv"
    table.write_text("image;sex;age\na.png;F;9,5\n")
    with pytest.raises(TableError) as caught:
        read_rows(table, (), ("image", "sex", "age"))
    assert caught.value.message.endswith("is separated by semicolons. Save it with commas.")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_read_rows_other_encoding(tmp_path: Path, encoding: str) -> None:
    """The message on another encoding says how to save the table."""
    assert "save it as 'CSV UTF-8'" in _message(tmp_path / "t.csv", "a,b\nJürgen,2\n".encode(encoding))


def test_read_rows_empty_rows(tmp_path: Path) -> None:
    """Rows of empty cells are skipped in any number."""
    table = tmp_path / "t.csv"
    table.write_text("a,b\n,\n1,2\n , \n,,,\n3,\n")
    assert [(row.line, row.cells["a"]) for row in read_rows(table, ("a", "b"))] == [(3, "1"), (6, "3")]


def test_read_rows_column_case(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("Image,SEX,Split,Site\nx.png,F,train,Here\n")
    (row,) = read_rows(table, ("image", "sex"), ("split",))
    assert row.cells == {"image": "x.png", "sex": "F", "split": "train", "Site": "Here"}


@pytest.mark.parametrize(("ages", "rejected"), [([20.0] * 10, True), ([20.0] * 9 + [20.5], False), ([8.0] * 9, False)])
def test_reject_years_ten_ages(tmp_path: Path, ages: list[float], rejected: bool) -> None:
    """Ten ages that could all be years are rejected."""
    table = tmp_path / "t.csv"
    write_rows(table, ("a", "b"), [(age, "") for age in ages])
    rows = read_rows(table, ("a", "b"))
    if not rejected:
        reject_years(rows, "a")
        return
    with pytest.raises(TableError, match="give them in months") as caught:
        reject_years(rows, "a")
    assert caught.value.code == "table_units"


def test_read_rows_missing_table(tmp_path: Path) -> None:
    """A missing table or folder is rejected by name."""
    assert _code(tmp_path / "none.csv") == "table_not_found"
    assert _code(tmp_path) == "table_unreadable"


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-1", "11", "1,5"])
def test_row_number_out_of_range(tmp_path: Path, text: str) -> None:
    """An error on a number out of range names line and column."""
    table = tmp_path / "t.csv"
    write_rows(table, ("a", "b"), [(5, "x"), (text, "x")])
    rows = read_rows(table, ("a", "b"))
    assert rows[0].number("a", 0, 10) == 5.0
    with pytest.raises(TableError, match="line 3: a") as caught:
        rows[1].number("a", 0, 10)
    assert caught.value.code == "table_value"
