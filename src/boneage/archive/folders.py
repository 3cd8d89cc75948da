"""Sources of files: a folder with all that lies below it, a list, and the index of a CD (DICOMDIR)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boneage.archive.items import ArchiveItem, Source
from boneage.clinical.ages import StatedAge
from boneage.errors import Rejection, RejectionCode, TableError
from boneage.listed_age import listed_age
from boneage.reading.radiograph import read_file
from boneage.tables.radiographs import ListedRadiograph, read_list

DICOMDIR = "DICOMDIR"
"""Name of the index of a CD (PS3.10, 8.6)."""
RESULT_NAMES = ("radiographs.csv", "radiographs.parquet", "report.html", "thumbnails", "state")
"""Names of the files and folders that a run writes into the folder of the results."""
_RECORDS = "DirectoryRecordSequence"


@dataclass
class FileSource:
    """Files by their paths. The paths are absolute, so that workers in other folders find them.

    Attributes:
        description: Kind of source.
        expected: Number of files.
        folder: The folder, if the files were found by a walk through it.
    """

    description: str
    expected: int | None
    _items: Sequence[ArchiveItem] = field(repr=False)
    folder: Path | None = field(default=None, repr=False)

    def items(self) -> Iterator[ArchiveItem]:
        """Yield the files in their order."""
        return iter(self._items)

    def read(self, item: ArchiveItem) -> bytes:
        """Return the content of a file.

        Raises:
            Rejection: ``not_found``, ``too_large``.
        """
        return read_file(Path(item.locator))

    def leave_out_results(self, out: Path, salt: Path) -> None:
        """Leave out what earlier runs wrote into the folder of the source. Files that a table names stay.

        Args:
            out: Folder of the results. The entries that a run writes are left out, if an earlier run has written them.
            salt: File with the key of the pseudonyms.
        """
        if self.folder is None:
            return
        root, results = self.folder.resolve(), out.resolve()
        has_run = any((results / "state").glob("rows-*.jsonl"))
        written = [results / name for name in RESULT_NAMES] if has_run else []
        inside = [path for path in (*written, salt.resolve()) if path.is_relative_to(root)]
        own = [str(self.folder.absolute() / path.relative_to(root)) for path in inside]  # written like the items
        below = tuple(path + os.sep for path in own)
        self._items = [one for one in self._items if one.locator not in own and not one.locator.startswith(below)]
        self.expected = len(self._items)

    def __getstate__(self) -> dict[str, object]:
        """Leave out the items and the folder, which workers do not need."""
        return {"description": self.description, "expected": self.expected, "_items": (), "folder": None}


def ensure_reachable(source: Source) -> None:
    """Check that at least one file of a source is at its place: a disk that is not mounted has none.

    A folder without files counts as well, since the mount point of such a disk is an empty folder.

    Raises:
        TableError: ``table_image_missing``.
    """
    if isinstance(source, FileSource) and not any(item.stamp for item in source.items()):
        raise TableError(
            "table_image_missing",
            f"No file of the source, {source.description}, can be found. Check that the disk is mounted."
            " Nothing was changed.",
        )


def folder_source(folder: Path) -> FileSource:
    """Return all files below a folder, in the order of their paths.

    Hidden files and folders are left out, and files with the name DICOMDIR, which hold no radiograph. Links to folders
    are not followed, since they may lead in a circle.

    Args:
        folder: An existing folder.

    Raises:
        OSError: The folder cannot be listed.
    """
    items: list[ArchiveItem] = []
    for root, folders, files in os.walk(folder.absolute(), onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = sorted(name for name in files if not name.startswith(".") and name != DICOMDIR)
        items += [_item(Path(root, name)) for name in names]
    return FileSource("a folder", len(items), items, folder)


def list_source(table: Path) -> FileSource:
    """Return the radiographs of a list, each with its sex, dates and age (`boneage.tables.radiographs.read_list`).

    Raises:
        TableError: As in `read_list`; ``table_value`` for an age that cannot be read.
    """
    items = [_listed_item(one) for one in read_list(table).radiographs]
    return FileSource("a list", len(items), items)


def dicomdir_source(index: Path) -> FileSource:
    """Return the images that the index of a CD lists (PS3.3, annex F), in its order.

    Args:
        index: File DICOMDIR. The images lie in its folder or below it.

    Raises:
        TableError: ``table_unreadable`` if it is no such index, or names a file outside of its folder.
    """
    import pydicom  # noqa: PLC0415  # slow to import

    try:
        dataset = pydicom.dcmread(index)
        records = [record for record in dataset[_RECORDS].value if record.DirectoryRecordType == "IMAGE"]
        names = [record.ReferencedFileID for record in records if "ReferencedFileID" in record]
    except FileNotFoundError:
        raise TableError("table_not_found", f"There is no file {index}.") from None
    except Exception:  # pydicom raises nearly any error for a damaged file
        raise TableError("table_unreadable", f"{index} cannot be read as the index of a CD (DICOMDIR).") from None
    paths = [_inside(index, [names_of] if isinstance(names_of, str) else list(names_of)) for names_of in names]
    items = [_item(path) for path in dict.fromkeys(paths)]
    return FileSource("the index of a CD (DICOMDIR)", len(items), items)


def _inside(index: Path, parts: Sequence[str]) -> Path:
    """Return the path of a file of the index. Some CDs have its name in lower case."""
    folder = index.absolute().parent
    path = folder.joinpath(*map(str, parts))
    if any(str(part) in {"", ".", ".."} or "/" in str(part) or "\\" in str(part) for part in parts):
        raise TableError("table_unreadable", f"{index} names a file outside of its folder.")
    lower = folder.joinpath(*(str(part).lower() for part in parts))
    return lower if not path.exists() and lower.exists() else path


def _item(path: Path, sex_text: str | None = None, age: StatedAge | None = None) -> ArchiveItem:
    """Return the item of a file. A missing file has an empty stamp, and is rejected when it is read."""
    try:
        status = path.stat()
        stamp = f"{status.st_size}:{status.st_mtime_ns}"
    except (OSError, ValueError):
        stamp = ""
    return ArchiveItem(str(path), stamp, sex_text, age or StatedAge())


def _listed_item(listed: ListedRadiograph) -> ArchiveItem:
    return _item(listed.image.absolute(), listed.sex_text, listed_age(listed))


def _raise(error: OSError) -> None:
    raise error


def not_opened() -> Rejection:
    """Return the rejection of a file that cannot be opened, without its name, which may identify a patient."""
    return Rejection(RejectionCode.NOT_FOUND, "The file cannot be opened.")
