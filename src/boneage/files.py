"""Files written in one piece, and the checksum that names a file's content."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to, and rename it to `path` if the block ends without an error.

    The temporary name keeps the suffix, from which some libraries recognise the format. A missing folder is made.

    Args:
        path: Path of the file.
        durable: True to have the file on the disk before the block's end returns, so that it survives a power cut.

    Raises:
        OSError: Writing failed. The error names `path` and not the temporary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        if durable:
            _synchronise(temporary)
        temporary.replace(path)
        if durable:
            _synchronise(path.parent)
    except OSError as error:
        if error.filename not in (None, str(temporary), temporary):
            raise  # the error concerns another file
        # OSError picks the subclass that belongs to the number.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with line feeds, in one piece.

    Raises:
        OSError: Writing failed, as in `atomic_write`.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def sha256_of(content: bytes | Path) -> str:
    """Return the SHA-256 checksum of bytes, or of a file's content.

    Args:
        content: the bytes themselves, or the path of the file.

    Returns:
        64 hexadecimal digits, in lower case.

    Raises:
        OSError: The file cannot be read.
    """
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ensure_writable(path: Path) -> None:
    """Check before long work that `path` can be written at its end. Its folder is made; the file is not.

    Raises:
        OSError: The path cannot be written. The error names `path`, or the folder that cannot be made.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    probe = _beside(path)
    try:
        probe.touch(exist_ok=False)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        probe.unlink(missing_ok=True)


def _synchronise(path: Path) -> None:
    """Have a file, or the names in a folder, written to the disk."""
    if path.is_dir() and sys.platform == "win32":  # Windows cannot open folders, and needs no such call
        return
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _beside(path: Path) -> Path:
    """Return a new hidden name in the same folder, with the same suffix."""
    return path.with_name(f".{path.stem[:32]}-{secrets.token_hex(4)}{path.suffix}")
