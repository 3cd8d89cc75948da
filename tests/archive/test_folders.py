"""Sources of files: folders, lists and the index of a CD."""

from __future__ import annotations

import gc
import pickle
import warnings
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.fileset import FileSet

from boneage.archive.folders import (
    FileSource,
    dicomdir_source,
    ensure_own_results,
    ensure_reachable,
    folder_source,
    list_source,
)
from boneage.errors import Rejection, TableError
from tests.archive.parts import dicom_radiograph


def test_folder_has_all_files_below_it(archive: Path) -> None:
    """The order is that of the paths; hidden files and the index of a CD are left out."""
    source = folder_source(archive)
    names = [Path(item.locator).name for item in source.items()]
    assert sorted(names) == sorted([f"{number}.dcm" for number in range(6)] + ["copy.dcm", "no-sex.dcm", "notes.txt"])
    assert source.expected == 9
    assert [item.locator for item in folder_source(archive).items()] == [item.locator for item in source.items()]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"1")
    (tmp_path / "a" / "circle").symlink_to(tmp_path)
    assert [Path(item.locator).name for item in folder_source(tmp_path).items()] == ["1.png"]


def names_of(source: FileSource) -> list[str]:
    return [Path(item.locator).name for item in source.items()]


def write_results(out: Path) -> None:
    """Write what a run writes into the folder of the results."""
    for name in ("radiographs.csv", "radiographs.parquet/a.parquet", "report.html", "thumbnails/1.jpg", "state/lock"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"1")


@pytest.mark.parametrize("place", ["hands", "years/hands", "."])
def test_results_in_the_source_are_left_out(tmp_path: Path, place: str) -> None:
    """Results are no radiographs, wherever they lie in the folder, even beside the radiographs, and of any run."""
    out, salt = tmp_path / place, tmp_path / "years" / "key"
    write_results(out)
    write_results(tmp_path / "earlier")
    for path in (tmp_path / "1.png", tmp_path / "hands2" / "2.png", tmp_path / "earlier.salt", salt):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")
    source = folder_source(tmp_path)
    source.leave_out(salt)
    assert (names_of(source), source.expected) == (["1.png", "2.png"], 2)


def test_table_may_name_files_among_the_results(tmp_path: Path) -> None:
    write_results(tmp_path)
    table = tmp_path / "list.csv"
    table.write_text("image,sex\nthumbnails/1.jpg,F\n")
    source = list_source(table)
    source.leave_out(tmp_path / "thumbnails" / "1.jpg")
    assert names_of(source) == ["1.jpg"]


def test_results_are_left_out_through_links(tmp_path: Path) -> None:
    write_results(tmp_path / "archive" / "hands")
    (tmp_path / "archive" / "key").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    for place, salt in (("archive", "link/key"), ("link", "archive/key")):
        source = folder_source(tmp_path / place)
        source.leave_out(tmp_path / salt)
        assert names_of(source) == []


def test_radiographs_in_the_folder_of_the_results_stay(tmp_path: Path) -> None:
    """Folders that are named as those of the results hold radiographs, unless a run has written results there."""
    for name in ("state", "thumbnails", "2020"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.png").write_bytes(b"1")
    assert sorted(names_of(folder_source(tmp_path))) == ["2020.png", "state.png", "thumbnails.png"]


@pytest.mark.parametrize("name", ["radiographs.csv", "radiographs.parquet", "report.html", "thumbnails/2015/1.jpg"])
def test_files_of_the_user_are_not_replaced(tmp_path: Path, name: str) -> None:
    """A folder that holds such files, and no results of a run, is no folder for results."""
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_bytes(b"1")
    with pytest.raises(TableError, match="Give another --out") as caught:
        ensure_own_results(tmp_path / "out", [])
    assert caught.value.code == "table_exists"
    write_results(tmp_path / "other")
    ensure_own_results(tmp_path / "other", [None, tmp_path / "list.csv"])
    (tmp_path / "killed" / "state").mkdir(parents=True)
    (tmp_path / "killed" / "state" / ".lock.probe").touch()
    ensure_own_results(tmp_path / "killed", [])


@pytest.mark.parametrize("name", ["radiographs.csv", "thumbnails/list.csv"])
def test_tables_of_a_run_are_not_replaced(tmp_path: Path, name: str) -> None:
    write_results(tmp_path / "out")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for out, table in (("out", "link"), ("link", "out"), ("new", "new")):
        with pytest.raises(TableError, match="replace the table") as caught:
            ensure_own_results(tmp_path / out, [tmp_path / table / name])
        assert caught.value.code == "table_exists"


def test_two_spellings_of_a_path_are_one_item(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "1.png").write_bytes(b"1")
    table = tmp_path / "list.csv"
    table.write_text("image,sex\n1.png,F\n./1.png,F\nsub/../1.png,F\n")
    assert {item.locator for item in list_source(table).items()} == {str(tmp_path.resolve() / "1.png")}


def test_list_warns_of_what_may_be_a_mistake(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("image,sex,DOB\n1.png,F,2010-01-01\n./1.png,M,2010-01-01\n")
    assert list_source(table).warnings == (
        "nothing reads the columns DOB.",
        "1.png is listed with the sexes F and M.",
    )


def test_folder_without_files_is_not_reachable(tmp_path: Path) -> None:
    """An empty folder is what remains of a disk that is not mounted. Hidden files and folders do not count."""
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").write_bytes(b"1")
    with pytest.raises(TableError, match="mounted") as caught:
        ensure_reachable(folder_source(tmp_path))
    assert caught.value.code == "table_image_missing"
    (tmp_path / "empty" / "1.png").write_bytes(b"1")
    ensure_reachable(folder_source(tmp_path))


def test_stamp_changes_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"1")
    (before,) = folder_source(tmp_path).items()
    (tmp_path / "1.png").write_bytes(b"12")
    (after,) = folder_source(tmp_path).items()
    assert (before.locator, before.stamp) != (after.locator, after.stamp)


def test_list_states_sex_and_age(tmp_path: Path) -> None:
    """A missing file is an item that cannot be read."""
    table = tmp_path / "list.csv"
    table.write_text("image,sex,birth_date,study_date,age\n1.png,F,2010-01-01,2015-01-01,\n2.png,M,,,11y2m\n")
    first, second = list_source(table).items()
    assert (first.sex_text, str(first.age.birth_date), str(first.age.study_date)) == ("F", "2010-01-01", "2015-01-01")
    assert second.age.age is not None
    assert second.age.age.lower_months == 134
    with pytest.raises(Rejection) as caught:
        list_source(table).read(first)
    assert caught.value.code == "not_found"
    table.write_text("image,sex,age\n1.png,F,old\n")
    with pytest.raises(TableError) as rejected:
        list_source(table)
    assert rejected.value.code == "table_value"


def write_cd(folder: Path, count: int) -> Path:
    """Write radiographs as a CD burner does, and return the index."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # pydicom leaves its temporary folder to the garbage collector
        files = FileSet()
        for number in range(count):
            dataset = pydicom.dcmread(BytesIO(dicom_radiograph(number)))
            dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
            dataset.StudyTime, dataset.StudyID = "120000", str(number)
            files.add(dataset)
        files.write(folder)
        del files
        gc.collect()
    return folder / "DICOMDIR"


def test_index_of_cd(tmp_path: Path) -> None:
    """The images of the index are read from its folder."""
    source = dicomdir_source(write_cd(tmp_path, 3))
    uids = [str(pydicom.dcmread(BytesIO(source.read(item))).SOPInstanceUID) for item in source.items()]
    assert sorted(uids) == [f"1.2.3.{number}.9" for number in range(3)]


def test_index_that_leads_outside_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "cd").mkdir()
    index = write_cd(tmp_path / "cd", 1)
    name = str(next(path for path in (tmp_path / "cd").rglob("*") if path.is_file() and path != index).name)
    index.write_bytes(index.read_bytes().replace(name.encode(), b"..".ljust(len(name))))
    with pytest.raises(TableError, match="outside") as caught:
        dicomdir_source(index)
    assert caught.value.code == "table_unreadable"


@pytest.mark.parametrize(("content", "code"), [(None, "table_not_found"), (b"no index", "table_unreadable")])
def test_bad_index_is_rejected(tmp_path: Path, content: bytes | None, code: str) -> None:
    if content is not None:
        (tmp_path / "DICOMDIR").write_bytes(content)
    with pytest.raises(TableError) as caught:
        dicomdir_source(tmp_path / "DICOMDIR")
    assert caught.value.code == code


def test_workers_get_no_list_of_files(archive: Path) -> None:
    assert len(pickle.dumps(folder_source(archive))) < 500
