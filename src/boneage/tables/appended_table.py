"""CSV tables that grow row by row, and can be continued after the program was killed."""

from __future__ import annotations

import codecs
import csv
import io
import os
import shutil
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from boneage.errors import TableError
from boneage.file_names import shown
from boneage.files import atomic_write
from boneage.tables.csv_table import Row, not_utf8, parse_rows, safe_cell

if sys.platform != "win32":
    import fcntl


class AppendedTable:
    """A CSV table to which rows are appended. Each row is in the file, whole, before the next is made.

    A row is one line, since no cell holds a line break (`boneage.file_names.shown`), and is written at once. Only the
    last line in the file of a killed program can therefore be torn; `resume` cuts it off. One process at a time has the
    file.

    Rows that are replaced stay in a copy beside the file (`previous_table`) until the new ones are complete.

    Attributes:
        rows: Rows that the file held when it was opened.
        previous: Path of the copy with the replaced rows, which need not exist.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, resume: bool = False) -> None:
        """Open the file, or make it.

        Args:
            path: Path of the file. A missing folder is made.
            columns: The header.
            resume: Keep the existing rows, if any; otherwise the file is emptied, after it was copied.

        Raises:
            OSError: The file cannot be written. The error names `path`.
            TableError: ``table_busy`` while another process writes it. ``table_resume`` without `resume` if a copy of
                earlier rows exists already. With `resume` also ``table_resume`` if it has another header, and the
                errors of `boneage.tables.csv_table.read_rows`.
        """
        self._path, self._columns = path, tuple(columns)
        self.previous = previous_table(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            self._lock(self._file)
            self._is_regular = stat.S_ISREG(os.fstat(self._file).st_mode)
            header = _line(columns)
            # A copy with another header is not of this program, and stays.
            self._owns_previous = resume and self._is_regular and _starts_with(self.previous, header)
            kept = _whole_lines(path, header) if resume and self._is_regular else b""
            self.rows: list[Row] = parse_rows(path, io.StringIO(_text(path, kept), newline=""), columns) if kept else []
            if not resume:
                self._copy(header)
            self._cut(len(kept))
            if not kept:
                self._write(header)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        """Return the table."""
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _traceback: TracebackType | None) -> None:
        """Close the file."""
        os.close(self._file)

    def append(self, *rows: Sequence[object]) -> None:
        """Append rows, all at once.

        Raises:
            OSError: The rows cannot be written. The file still holds whole rows, and none of these.
        """
        self._write(b"".join(map(_line, rows)))

    def select(self, order: Sequence[int]) -> None:
        """Rewrite the file in one piece with some of its rows, in another order.

        A copy of the file stays beside it if rows are left out (`complete`).

        Args:
            order: Places of the rows in the file, from 0. Rows that it does not name are left out.

        Raises:
            OSError: The file or its copy cannot be written. The file is unchanged.
            TableError: ``table_busy`` if another process took the file in the meantime.
        """
        if not self._is_regular:
            return
        content = self._path.read_bytes()
        text = _text(self._path, content)
        lines = list(io.StringIO(text, newline=""))
        ends = [1, *(row.line for row in parse_rows(self._path, lines, self._columns))]
        chosen = [*lines[:1], *(line for place in order for line in lines[ends[place] : ends[place + 1]])]
        if len(order) < len(ends) - 1:
            self._copy(_line(self._columns))
        mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
        self._replace(mark + "".join(chosen).encode())

    def complete(self) -> None:
        """Remove the copy of the replaced rows, once the file holds all new ones.

        Raises:
            OSError: The copy cannot be removed.
        """
        if self._owns_previous:
            self.previous.unlink(missing_ok=True)

    def _copy(self, header: bytes) -> None:
        """Copy a file that holds more than the header, unless a copy from before an interruption is there."""
        if not self._is_regular or self._owns_previous:
            return
        content = self._path.read_bytes()
        if content in (b"", header):
            return
        if self.previous.exists():
            raise TableError(
                "table_resume",
                f"{self.previous} exists: it may hold the rows of an earlier run. Move it away"
                " first, or continue with --resume.",
            )
        with atomic_write(self.previous) as temporary:
            temporary.write_bytes(content)
        self._owns_previous = True

    def _replace(self, content: bytes) -> None:
        target = Path(os.path.realpath(self._path))  # a link stays a link
        if sys.platform == "win32":  # an open file cannot be replaced there
            os.close(self._file)
        with atomic_write(target) as temporary:
            temporary.write_bytes(content)
            shutil.copymode(target, temporary)
        opened = os.open(target, os.O_WRONLY | os.O_APPEND)
        if sys.platform != "win32":
            os.close(self._file)
        self._file = opened
        self._lock(opened)

    def _write(self, lines: bytes) -> None:
        size = os.fstat(self._file).st_size
        left = lines
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            self._cut(size)
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def _cut(self, size: int) -> None:
        if self._is_regular:
            os.ftruncate(self._file, size)

    def _lock(self, file: int) -> None:
        if sys.platform == "win32":
            return
        busy = TableError("table_busy", f"Another process writes {self._path}. Wait for it, or end it.")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        except OSError:
            return  # a file system without locks
        if not os.path.samestat(os.fstat(file), self._path.stat()):  # replaced since it was opened
            raise busy


def previous_table(path: Path) -> Path:
    """Return the path of the copy that holds the replaced rows of a table until the new ones are complete."""
    return path.with_name(f"{path.name}.previous")


def _line(cells: Sequence[object]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([safe_cell("" if cell is None else shown(str(cell))) for cell in cells])
    return text.getvalue().encode()


def _whole_lines(path: Path, header: bytes) -> bytes:
    """Return the content of a table up to the end of its last whole line.

    Nothing remains of a file that ends within its header.
    """
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if not whole and header.startswith(content):
        return b""
    first = whole.removeprefix(codecs.BOM_UTF8).partition(b"\n")[0].removesuffix(b"\r")
    if first + b"\n" != header:
        raise TableError("table_resume", f"{path} cannot be continued: it is another table, or of another version.")
    return whole


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise not_utf8(path) from None


def _starts_with(path: Path, beginning: bytes) -> bool:
    """Return whether a file exists and begins with these bytes."""
    try:
        with path.open("rb") as file:
            return file.read(len(beginning)) == beginning
    except FileNotFoundError:
        return False
