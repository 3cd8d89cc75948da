"""Files are whole or as they were."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from boneage.files import atomic_write, ensure_writable, sha256_of, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "t.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_names_the_target_and_not_the_temporary_file(tmp_path: Path) -> None:
    """A folder in the target's place: the temporary file is written, and cannot take the name."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError) as caught:
        write_text(tmp_path / "taken", "text")
    assert caught.value.filename == str(tmp_path / "taken")
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"]


def test_an_error_without_a_name_gets_the_targets_and_one_about_another_file_keeps_its_own(tmp_path: Path) -> None:
    for named, told in ((None, str(tmp_path / "t.txt")), ("other.txt", "other.txt")):
        with pytest.raises(OSError) as caught, atomic_write(tmp_path / "t.txt"):
            raise OSError(errno.ENOSPC, "No space left on device", named)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, told)


def test_the_longest_name_that_a_file_can_have_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".txt")
    write_text(path, "text")
    assert path.read_text() == "text"


def test_a_target_that_cannot_be_written_is_known_before_the_work(tmp_path: Path) -> None:
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
