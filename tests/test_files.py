"""Files are complete or unchanged."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from boneage.files import atomic_write, ensure_writable, sha256_of, write_text


def test_atomic_write_failure(tmp_path: Path) -> None:
    """A failed write leaves the old file and nothing else."""
    path = tmp_path / "new" / "t.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_atomic_write_error_names_target(tmp_path: Path) -> None:
    """A folder takes the target's place: the temporary file is written, and cannot be renamed."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError) as caught:
        write_text(tmp_path / "taken", "text")
    assert caught.value.filename == str(tmp_path / "taken")
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"]


def test_atomic_write_error_of_another_file(tmp_path: Path) -> None:
    """An error without a file name gets the target's; one about another file keeps its own."""
    for named, reported in ((None, str(tmp_path / "t.txt")), ("other.txt", "other.txt")):
        with pytest.raises(OSError) as caught, atomic_write(tmp_path / "t.txt"):
            raise OSError(errno.ENOSPC, "No space left on device", named)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, reported)


def test_atomic_write_longest_name(tmp_path: Path) -> None:
    """The longest name that a file can have can be written."""
    path = tmp_path / ("x" * 251 + ".txt")
    write_text(path, "text")
    assert path.read_text() == "text"


def test_ensure_writable_unwritable_target(tmp_path: Path) -> None:
    """A target that cannot be written is reported before the work."""
    (tmp_path / "file").touch()
    ensure_writable(tmp_path / "new" / "t.csv")
    assert not list((tmp_path / "new").iterdir())
    for target in (tmp_path / "file" / "t.csv", tmp_path / "new"):
        with pytest.raises(OSError, match=re.escape(str(tmp_path))):
            ensure_writable(target)
    (tmp_path / "t.csv").write_text("old")
    ensure_writable(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "old"


def test_sha256_of_bytes_and_file(tmp_path: Path) -> None:
    """Bytes and the file that holds them have the same checksum (FIPS 180-4, the example "abc")."""
    file = tmp_path / "abc"
    file.write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(b"abc") == sha256_of(file) == expected
