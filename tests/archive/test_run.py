"""A run continues wherever it was interrupted, and gives the same tables as an undisturbed one."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow.dataset
import pyarrow.parquet
import pytest

from boneage.archive.folders import folder_source, list_source
from boneage.archive.items import ArchiveItem
from boneage.archive.journal import Journal
from boneage.archive.pseudonyms import open_salt
from boneage.archive.rows import ARCHIVE_COLUMNS
from boneage.archive.run import ArchiveOptions, read_archive
from boneage.archive.table import write_tables
from boneage.archive.work import Settings, Worker
from boneage.errors import TableError
from tests.archive.parts import dicom_radiograph, draw_archive, run_through, settings, tables_of
from tests.archive.processes import children_of
from tests.program_runs import rows_of


def test_interrupted_run_equals_undisturbed(archive: Path, bundle_folder: Path, tmp_path: Path) -> None:
    """Whatever the number of interruptions, tables are equal to the byte, with one row for each content."""
    source = folder_source(archive)
    worker = Worker(source, settings(bundle_folder))
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    run_through(source, whole, worker)
    for stop_after in (2, 0, 1, 3):
        with pytest.raises(KeyboardInterrupt):
            run_through(source, pieces, worker, stop_after)
    counts = run_through(source, pieces, worker)
    assert counts.done == 3
    assert tables_of(pieces) == tables_of(whole)
    rows = rows_of(whole / "radiographs.csv")
    assert len({row["id"] for row in rows}) == len(rows) == 8
    assert sorted(row["copies"] for row in rows) == ["1"] * 7 + ["2"]
    assert sorted(row["error"] for row in rows if row["error"]) == ["sex_missing", "unreadable"]


def test_moved_and_changed_files(bundle_folder: Path, tmp_path: Path) -> None:
    """A moved file is recognised by its content; a changed one is read again, and only its new row remains."""
    archive, out = draw_archive(tmp_path / "archive", count=2), tmp_path / "out"
    worker = Worker(folder_source(archive), settings(bundle_folder))
    run_through(folder_source(archive), out, worker)
    with Journal(out / "state", {"salt": "fixed"}) as journal:
        existing = journal.existing_rows()
    shutil.move(archive / "no-sex.dcm", archive / "moved.dcm")
    (archive / "notes.txt").write_text("other words")
    worker = Worker(folder_source(archive), settings(bundle_folder, existing_rows=existing))
    counts = run_through(folder_source(archive), out, worker)
    assert (counts.done, counts.copies, dict(counts.rejected)) == (2, 1, {"unreadable": 1})
    tables_of(out, map(worker.item_key, folder_source(archive).items()))
    rows = rows_of(out / "radiographs.csv")
    assert sorted(row["copies"] for row in rows) == ["1", "1", "1", "2"]  # a file that was moved is one file


def test_files_that_are_away_keep_their_rows(bundle_folder: Path, tmp_path: Path) -> None:
    """A finished file that cannot be opened keeps its row; without any file, nothing changes."""
    for number in range(2):
        (tmp_path / f"{number}.dcm").write_bytes(dicom_radiograph(number))
    table, out = tmp_path / "list.csv", tmp_path / "out"
    table.write_text("image,sex\n0.dcm,F\n1.dcm,M\n")
    run_through(list_source(table), out, Worker(list_source(table), settings(bundle_folder)))
    before = tables_of(out)
    (tmp_path / "0.dcm").rename(tmp_path / "away")
    counts = run_through(list_source(table), out, Worker(list_source(table), settings(bundle_folder)))
    assert (counts.done, counts.unreachable) == (0, 1)
    assert tables_of(out) == before
    (tmp_path / "1.dcm").unlink()
    with pytest.raises(TableError) as caught:
        read_archive(list_source(table), tmp_path / "new", ArchiveOptions(tmp_path / "salt", str(bundle_folder)))
    assert caught.value.code == "table_image_missing"
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "salt").exists()


def test_results_within_the_source_are_not_read(bundle_folder: Path, tmp_path: Path) -> None:
    """A second run finds nothing new, and one whose radiographs are away fails although its results are there."""
    archive, out = tmp_path / "archive", tmp_path / "archive" / "hands"
    archive.mkdir()
    (archive / "0.dcm").write_bytes(dicom_radiograph(0))
    options = ArchiveOptions(archive / "hands.salt", str(bundle_folder), thumbnails=True, workers=1)
    assert read_archive(folder_source(archive), out, options).done == 1
    before = (out / "radiographs.csv").read_bytes()
    counts = read_archive(folder_source(archive), out, options)
    assert (counts.before, counts.done) == (1, 0)
    assert (out / "radiographs.csv").read_bytes() == before
    (archive / "0.dcm").unlink()
    with pytest.raises(TableError) as caught:
        read_archive(folder_source(archive), out, options)
    assert caught.value.code == "table_image_missing"


def test_empty_pacs_gives_empty_tables(bundle_folder: Path, tmp_path: Path) -> None:
    """A PACS that answers without any object is reachable. No engine is started without work."""
    options = ArchiveOptions(tmp_path / "salt", str(bundle_folder))
    counts = read_archive(EmptySource(), tmp_path / "out", options)
    assert counts.done == 0
    assert rows_of(tmp_path / "out" / "radiographs.csv") == []
    assert "<b>0</b>radiographs" in (tmp_path / "out" / "report.html").read_text()


class EmptySource:
    """A PACS without objects."""

    description = "a PACS"
    expected = 0

    def items(self) -> Iterator[ArchiveItem]:
        return iter(())

    def read(self, item: ArchiveItem) -> bytes:
        raise AssertionError(item)


def test_corrected_list_replaces_the_row(bundle_folder: Path, tmp_path: Path) -> None:
    """A file has one row, by what the list states now, once it can be read; a list may also go back to what it had."""
    table, out, file = tmp_path / "list.csv", tmp_path / "out", tmp_path / "0.dcm"
    file.write_bytes(dicom_radiograph(0))

    def run(sex: str) -> list[str]:
        table.write_text(f"image,sex,birth_date\n0.dcm,{sex},2009-01-01\n")
        source = list_source(table)
        with Journal(out / "state", {"salt": "fixed"}) as journal:
            existing = journal.existing_rows()
        run_through(source, out, Worker(source, settings(bundle_folder, existing_rows=existing)))
        tables_of(out)
        return [row["sex"] for row in rows_of(out / "radiographs.csv")]

    assert run("F") == ["F"]
    file.rename(tmp_path / "away")
    assert run("M") == ["F"]
    (tmp_path / "away").rename(file)
    assert run("M") == ["M"]
    assert run("M") == ["M"]
    assert run("F") == ["F"]


def test_parquet_equals_csv(archive: Path, bundle_folder: Path, tmp_path: Path) -> None:
    """Both hold the same cells; Parquet has types, and a folder for each year."""
    source = folder_source(archive)
    run_through(source, tmp_path, Worker(source, settings(bundle_folder)))
    tables_of(tmp_path)
    years = {path.name for path in (tmp_path / "radiographs.parquet").iterdir()}
    assert years == {f"year={year}" for year in (*range(2015, 2020), "unknown")}
    opened = pyarrow.parquet.read_table(tmp_path / "radiographs.parquet")
    assert sorted(set(opened["year"].to_pylist())) == [*map(str, range(2015, 2020)), "unknown"]
    table = pyarrow.dataset.dataset(tmp_path / "radiographs.parquet", partitioning="hive").to_table()
    kinds = {
        name: str(table.schema.field(name).type)
        for name in ("age_months", "copies", "hand_mirrored", "id", "study_year")
    }
    assert kinds == {
        "age_months": "double",
        "copies": "int64",
        "hand_mirrored": "bool",
        "id": "string",
        "study_year": "int64",
    }
    by_id = {row["id"]: row for row in table.to_pylist()}
    with (tmp_path / "radiographs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert list(row) == list(ARCHIVE_COLUMNS)
            assert row == {
                name: "" if (cell := by_id[row["id"]][name]) is None else str(cell) for name in ARCHIVE_COLUMNS
            }


@pytest.mark.parametrize("count", [0, 3])
def test_parquet_without_years_opens(tmp_path: Path, count: int) -> None:
    """A table without any year of study, or without any row, opens without options and has every column."""
    write_tables(tmp_path, ({"id": str(number), "copies": 1} for number in range(count)))
    folder = tmp_path / "radiographs.parquet"
    for table in (pyarrow.parquet.read_table(folder), pyarrow.dataset.dataset(folder, partitioning="hive").to_table()):
        assert table.column_names == [*ARCHIVE_COLUMNS, "year"]
        assert table["id"].to_pylist() == [str(number) for number in range(count)]
        assert table["study_year"].to_pylist() == [None] * count


PROGRAM = """
import boneage.archive.journal as journal
journal.SHARD_ROWS = 3
from boneage.cli import main
main()
"""
"""The program with small shards, so that a short run has many."""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
def test_killed_processes_cost_time_only(bundle_folder: Path, tmp_path: Path) -> None:
    """Workers and the program itself are killed; the table is that of a run within this process."""
    archive, out, salt = draw_archive(tmp_path / "archive", count=30), tmp_path / "out", tmp_path / "salt"
    options = [archive, "--out", out, "--bundle", bundle_folder, "--salt", salt, "--workers", 1, "--quiet"]
    command = [sys.executable, "-c", PROGRAM, "archive", *map(str, options)]
    with (tmp_path / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for_rows(out, 1, process)
        for child in children_of(process.pid):  # the worker; Dask starts another
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        wait_for_rows(out, 3, process)
        process.kill()
        process.wait()
        assert not (out / "radiographs.csv").exists()
        assert subprocess.run(command, stdout=log, stderr=log, check=False, timeout=200).returncode == 0
    source = folder_source(archive)
    whole = tmp_path / "whole"
    run_through(source, whole, Worker(source, Settings(str(bundle_folder), open_salt(salt))))
    assert tables_of(whole)["csv"] == (out / "radiographs.csv").read_bytes()
    assert len(rows_of(out / "radiographs.csv")) == 32
    assert "unreadable" in (out / "report.html").read_text()


def wait_for_rows(out: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the journal has a number of shards."""
    deadline = time.monotonic() + 90
    while len(list(out.glob("state/rows-*"))) < count:
        assert process.poll() is None, "the program has ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)
