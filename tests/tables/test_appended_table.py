"""A table that grows holds whole rows, however the program ends."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from boneage.errors import TableError
from boneage.tables.appended_table import AppendedTable, previous_table
from boneage.tables.csv_table import read_rows

COLUMNS = ("image", "age")
ROWS = [("ä\n1.png", "7"), ("=1+1", "8"), ('a "b", c', ""), ("\udcff", "9")]


def written(path: Path) -> bytes:
    with AppendedTable(path, COLUMNS) as table:
        for row in ROWS:
            table.append(row)
    return path.read_bytes()


def test_append_writes_at_once(tmp_path: Path) -> None:
    """Each row is in the file before the next one is made."""
    path = tmp_path / "new" / "t.csv"
    with AppendedTable(path, COLUMNS) as table:
        assert table.rows == [] and path.read_text() == "image,age\n"
        for count, row in enumerate(ROWS, 1):
            table.append(row)
            assert len(read_rows(path, COLUMNS)) == count
    assert [row.cells["image"] for row in read_rows(path, COLUMNS)] == ["ä\\x0a1.png", "=1+1", 'a "b", c', "\\xff"]
    assert len(path.read_bytes().splitlines()) == 1 + len(ROWS)


def test_resume_table_torn_at_any_byte(tmp_path: Path) -> None:
    """Whole rows stay, a torn one is made again, and the file ends up complete."""
    path = tmp_path / "t.csv"
    whole = written(path)
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        with AppendedTable(path, COLUMNS, resume=True) as table:
            assert len(table.rows) == max(whole[:size].count(b"\n") - 1, 0)
            for row in ROWS[len(table.rows) :]:
                table.append(row)
        assert path.read_bytes() == whole


def test_open_without_resume_empties_file(tmp_path: Path) -> None:
    written(tmp_path / "t.csv")
    with AppendedTable(tmp_path / "t.csv", COLUMNS) as table:
        assert table.rows == []
    assert (tmp_path / "t.csv").read_text() == "image,age\n"


def test_open_without_resume_keeps_previous_rows(tmp_path: Path) -> None:
    """The earlier table stays beside the new one until the new one is complete, and another start does not touch it."""
    path = tmp_path / "t.csv"
    whole, previous = written(path), previous_table(path)
    assert not previous.exists()
    with AppendedTable(path, COLUMNS) as table:
        table.append(ROWS[0])
    assert previous.read_bytes() == whole
    begun = path.read_bytes()
    with pytest.raises(TableError, match="exists") as caught:
        AppendedTable(path, COLUMNS)
    assert caught.value.code == "table_resume"
    assert (path.read_bytes(), previous.read_bytes()) == (begun, whole)
    with AppendedTable(path, COLUMNS, resume=True) as table:
        table.append(ROWS[1])
        assert previous.read_bytes() == whole
        table.complete()
    assert not previous.exists() and len(read_rows(path, COLUMNS)) == 2


def test_foreign_file_with_the_name_of_the_copy_stays(tmp_path: Path) -> None:
    """A file that somebody else has named so is neither overwritten nor deleted."""
    path = tmp_path / "t.csv"
    for content, resume in ((b"my notes", True), (b"image,age\na,1\n", False)):
        path.unlink(missing_ok=True)
        previous_table(path).write_bytes(content)
        with AppendedTable(path, COLUMNS, resume=resume) as table:
            table.append(ROWS[0])
            table.complete()
        assert previous_table(path).read_bytes() == content


def test_select_reorders_and_leaves_out_rows(tmp_path: Path) -> None:
    """The file stays locked, keeps its mark and mode, and grows on."""
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffimage,age\r\na,1\r\n,\r\nb,2\r\nc,3\r\n".encode())
    path.chmod(0o640)
    before = path.read_bytes()
    with AppendedTable(path, COLUMNS, resume=True) as table:
        table.select([2, 0])
        assert previous_table(path).read_bytes() == before
        with pytest.raises(TableError):
            AppendedTable(path, COLUMNS, resume=True)
        table.append(("d", "4"))
        table.complete()
    assert path.read_bytes() == "\ufeffimage,age\r\nc,3\r\na,1\r\nd,4\n".encode()
    assert path.stat().st_mode & 0o777 == 0o640 and sorted(tmp_path.iterdir()) == [path]


def test_select_all_rows_makes_no_copy(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    written(path)
    (tmp_path / "link.csv").symlink_to(path)
    with AppendedTable(tmp_path / "link.csv", COLUMNS, resume=True) as table:
        table.select([3, 2, 1, 0])
    assert [row.cells["age"] for row in read_rows(path, COLUMNS)] == ["9", "", "8", "7"]
    assert len(list(tmp_path.iterdir())) == 2


def test_resume_missing_table(tmp_path: Path) -> None:
    """Resuming a missing table makes it."""
    with AppendedTable(tmp_path / "t.csv", COLUMNS, resume=True) as table:
        assert table.rows == []
    assert (tmp_path / "t.csv").read_text() == "image,age\n"


def test_resume_table_saved_by_spreadsheet(tmp_path: Path) -> None:
    """A table that a spreadsheet saved is resumed."""
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffimage,age\r\nä.png,7\r\n".encode())
    with AppendedTable(path, COLUMNS, resume=True) as table:
        assert [dict(row.cells) for row in table.rows] == [{"image": "ä.png", "age": "7"}]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"my notes", "table_resume"),
        (b"id,age\n1,2\n", "table_resume"),
        (b"image,age,more\n", "table_resume"),
        (b"image,age\na,b,c\n", "table_value"),
        (b"image,age\n\xff,1\n", "table_unreadable"),
        (b'image,age\n"a"b,1\n', "table_unreadable"),
    ],
)
def test_resume_other_file(tmp_path: Path, content: bytes, code: str) -> None:
    """Another file is not resumed and stays unchanged."""
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(TableError) as caught:
        AppendedTable(path, COLUMNS, resume=True)
    assert caught.value.code == code and path.read_bytes() == content


def test_open_busy_table(tmp_path: Path) -> None:
    """One process at a time writes a table."""
    path = tmp_path / "t.csv"
    with AppendedTable(path, COLUMNS) as table:
        table.append(ROWS[0])
        for resume in (True, False):
            with pytest.raises(TableError) as caught:
                AppendedTable(path, COLUMNS, resume=resume)
            assert caught.value.code == "table_busy"
    assert len(read_rows(path, COLUMNS)) == 1


def test_append_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a row goes onto the disk, and the rest does not."""
    path = tmp_path / "t.csv"
    write, calls = os.write, []

    def full(file: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 1:
            return write(file, data[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    with AppendedTable(path, COLUMNS) as table:
        table.append(ROWS[0])
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space") as caught:
            table.append(ROWS[1])
        monkeypatch.undo()
    assert caught.value.filename == str(path) and len(calls) == 2
    assert [row.cells["age"] for row in read_rows(path, COLUMNS)] == ["7"]


def test_append_to_device() -> None:
    """A device keeps no rows, so that nothing is resumed."""
    with AppendedTable(Path(os.devnull), COLUMNS, resume=True) as table:
        table.append(ROWS[0])
        assert table.rows == []
