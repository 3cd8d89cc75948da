from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.csv_table import read_rows, write_rows
from boneage.errors import TableError

_CELLS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z"))).map(str.strip)


def _code(table: Path, required: tuple[str, ...] = ("a", "b")) -> str:
    with pytest.raises(TableError) as caught:
        read_rows(table, required)
    assert str(table) in caught.value.message
    return caught.value.code


@given(rows=st.lists(st.tuples(_CELLS, _CELLS), min_size=1, max_size=8))
def test_written_tables_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    table = tmp_path_factory.mktemp("t") / "table.csv"
    write_rows(table, ("a", "b"), rows)
    assert [(row.cells["a"], row.cells["b"]) for row in read_rows(table, ("a", "b"))] == rows


def test_rows_know_their_line_past_empty_ones_and_a_byte_order_mark(tmp_path: Path) -> None:
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
        (b"a,b,a\n1,2,3\n", "table_columns"),
        (b"a,b\n", "table_empty"),
        (b"a,b\n1\n", "table_value"),
        (b"a,b\n1,2,3\n", "table_value"),
        (b"a,b\n\xff,2\n", "table_unreadable"),
        (b'a,b\n"1" x,2\n', "table_unreadable"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "table_unreadable"),
    ],
)
def test_bad_tables_are_refused_by_name(tmp_path: Path, content: bytes, code: str) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(content)
    assert _code(table) == code


def test_missing_tables_and_folders_are_refused_by_name(tmp_path: Path) -> None:
    assert _code(tmp_path / "none.csv") == "table_not_found"
    assert _code(tmp_path) == "table_unreadable"


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-1", "11", "1,5"])
def test_numbers_out_of_range_name_line_and_column(tmp_path: Path, text: str) -> None:
    table = tmp_path / "t.csv"
    write_rows(table, ("a", "b"), [(5, ""), (text, "")])
    rows = read_rows(table, ("a", "b"))
    assert rows[0].number("a", 0, 10) == 5.0
    with pytest.raises(TableError, match="line 3: a") as caught:
        rows[1].number("a", 0, 10)
    assert caught.value.code == "table_value"
