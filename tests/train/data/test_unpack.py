"""Training archives are unpacked once, whole and within their folder, or rejected with a code."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boneage.errors import TableError
from boneage.train.data import unpack
from boneage.train.data.unpack import RECORD, TABLE, is_archive, unpacked_table
from tests.train.packed_radiographs import archive_of, draw_table, files_of


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    return draw_table(folder / "drawn", count=2).pack(folder / "training.zip")


def rejection_of(act: Callable[[], object]) -> str:
    with pytest.raises(TableError) as caught:
        act()
    assert caught.value.code == "table_archive"
    return caught.value.message


def all_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_unpacked_table_of_table_unchanged(tmp_path: Path) -> None:
    table = tmp_path / "radiographs.csv"
    assert unpacked_table(table, tmp_path / "cache") == table  # the reader of tables reports that it is missing
    table.write_text("id,boneage,male\n", encoding="utf-8")
    assert unpacked_table(table, tmp_path / "cache") == table
    assert not is_archive(tmp_path)
    assert not (tmp_path / "cache").exists()


def test_unpacked_table_once_by_content(archive: Path, tmp_path: Path) -> None:
    """The same content is unpacked once, whatever the file's name."""
    table = unpacked_table(archive, tmp_path / "cache")
    assert table.name == TABLE
    expected = files_of(archive)
    del expected[RECORD]
    assert all_files(table.parent) == expected
    times = {path: path.stat().st_mtime_ns for path in table.parent.rglob("*")}
    (tmp_path / "renamed").write_bytes(archive.read_bytes())
    assert unpacked_table(tmp_path / "renamed", tmp_path / "cache") == table
    assert times == {path: path.stat().st_mtime_ns for path in table.parent.rglob("*")}


def test_unpacked_table_by_several_at_once(archive: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(lambda _: unpacked_table(archive, tmp_path), range(4)))
    assert len(set(tables)) == 1
    assert list(tmp_path.iterdir()) == [tables[0].parent]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255), cut=st.booleans())
def test_unpacked_table_of_damaged_archive(
    archive: Path, tmp_path_factory: pytest.TempPathFactory, place: float, value: int, cut: bool
) -> None:
    """A changed or missing byte gives a rejection, or changes nothing of what is unpacked."""
    content = bytearray(archive.read_bytes())
    position = int(place * len(content))
    if cut:
        del content[position:]
    else:
        content[position] ^= value
    folder = tmp_path_factory.mktemp("damaged")
    damaged = folder / "training.zip"
    damaged.write_bytes(content)
    try:
        table = unpacked_table(damaged, folder / "cache")
    except TableError as error:
        assert error.code == "table_archive"
        assert not list((folder / "cache").iterdir())
        return
    expected = files_of(archive)
    del expected[RECORD]
    assert all_files(table.parent) == expected


@pytest.mark.parametrize(
    "name",
    [
        *("../outside.webp", "/tmp/outside.webp", "images/../../outside.webp", "images\\..\\outside.webp"),
        *("images/000001.webp/", "images/x.webp", "images/000001.png", "C:outside.webp", "code.py", "hands/x.npy"),
    ],
)
def test_unpacked_table_rejects_other_names(name: str, archive: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile.zip"
    hostile.write_bytes(archive_of({**files_of(archive), name: b"content"}))
    assert "does not belong" in rejection_of(lambda: unpacked_table(hostile, tmp_path / "cache"))
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["hostile.zip"]
    assert list((tmp_path / "cache").iterdir()) == []


def test_unpacked_table_rejects_name_twice(archive: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile.zip"
    hostile.write_bytes(archive.read_bytes())
    with zipfile.ZipFile(hostile, "a") as opened, pytest.warns(UserWarning, match="Duplicate"):
        opened.writestr(TABLE, "id,boneage,male,image\n")
    assert "does not belong" in rejection_of(lambda: unpacked_table(hostile, tmp_path / "cache"))


def test_unpacked_table_writes_links_as_files(archive: Path, tmp_path: Path) -> None:
    """A symbolic link in an archive is a file of its text, which is no radiograph."""
    buffer = io.BytesIO(archive_of(files_of(archive)))
    with zipfile.ZipFile(buffer) as opened:
        members = {member.filename: opened.read(member) for member in opened.infolist()}
    hostile = tmp_path / "hostile.zip"
    with zipfile.ZipFile(hostile, "w") as opened:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            opened.writestr(member, content)
    table = unpacked_table(hostile, tmp_path / "cache")
    assert not any(path.is_symlink() for path in table.parent.rglob("*"))


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        (TABLE, b"images/000001.webp", b"/etc/hostname", "outside"),
        (TABLE, b"images/000001.webp", b"images/../README.txt", "outside"),
        (TABLE, b"images/000001.webp", b"README.txt", "outside"),
        ("hands/hands.json", b'"ids"', b'"other"', "table of hands"),
        ("hands/hands.json", b'"ids": [', b'"ids": ["x", "y", "z", ', "table of hands"),
        ("hands/numbers.npy", b"NUMPY", b"numpy", "table of hands"),
        (RECORD, b'"format": 1', b'"format": 2', "format 2"),
        (RECORD, b'"quality"', b'"other"', "invalid archive.json"),
        (RECORD, b"{", b"[{", "invalid archive.json"),
    ],
)
def test_unpacked_table_rejects_invalid_content(
    name: str, old: bytes, new: bytes, reason: str, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(archive)
    assert old in files[name]
    changed = tmp_path / "changed.zip"
    files[name] = files[name].replace(old, new, 1)
    if name == RECORD:
        with zipfile.ZipFile(changed, "w") as opened:
            for one, content in files.items():
                opened.writestr(one, content)
    else:
        changed.write_bytes(archive_of(files))
    assert reason in rejection_of(lambda: unpacked_table(changed, tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_unpacked_table_rejects_table_with_its_own_code(archive: Path, tmp_path: Path) -> None:
    files = files_of(archive)
    files[TABLE] = files[TABLE].replace(b",True,", b",perhaps,")
    (tmp_path / "changed.zip").write_bytes(archive_of(files))
    with pytest.raises(TableError) as caught:
        unpacked_table(tmp_path / "changed.zip", tmp_path / "cache")
    assert caught.value.code == "table_value"
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("missing", [RECORD, TABLE])
def test_unpacked_table_rejects_other_zip_file(missing: str, archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as opened:
        for name, content in files_of(archive).items():
            if name != missing:
                opened.writestr(name, content)
    assert "is no training archive" in rejection_of(lambda: unpacked_table(tmp_path / "other.zip", tmp_path / "cache"))
    (tmp_path / "no.zip").write_bytes(b"no archive")
    assert "is damaged" in rejection_of(lambda: unpacked_table(tmp_path / "no.zip", tmp_path / "cache"))


def test_unpacked_table_rejects_bombs(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes and methods are checked before anything is unpacked."""
    (tmp_path / "bomb.zip").write_bytes(archive_of(files_of(archive), method=zipfile.ZIP_LZMA))
    assert "compressed" in rejection_of(lambda: unpacked_table(tmp_path / "bomb.zip", tmp_path / "cache"))
    monkeypatch.setattr(unpack, "MOST_UNPACKED_BYTES", 1000)
    assert "holds more" in rejection_of(lambda: unpacked_table(archive, tmp_path / "cache"))
    assert json.loads(files_of(archive)[RECORD])["radiographs"] == 4
