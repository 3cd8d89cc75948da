"""Sources of files: a folder with all that lies below it, a list, and the index of a CD (DICOMDIR)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
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
STATE = "state"
"""Folder of the state of a run, in the folder of the results."""
LOCK = "lock"
"""First file of that folder, which the process that has the folder locks."""
RESULT_NAMES = ("radiographs.csv", "radiographs.parquet", "report.html", "thumbnails", STATE)
"""Names of the files and folders that a run writes into the folder of the results."""
SALT_SUFFIX = ".salt"
"""Ending of the file with the key of the pseudonyms, which lies beside the folder of the results."""
_RECORDS = "DirectoryRecordSequence"


@dataclass
class FileSource:
    """Files by their paths. The paths are absolute, so that workers in other folders find them.

    Attributes:
        description: Kind of source.
        expected: Number of files.
        folder: The folder, if the files were found by a walk through it.
        table: The list that names the files, if there is one.
        warnings: Sentences on the list, for the user.
    """

    description: str
    expected: int | None
    _items: Sequence[ArchiveItem] = field(repr=False)
    folder: Path | None = field(default=None, repr=False)
    table: Path | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = field(default=(), repr=False)

    def items(self) -> Iterator[ArchiveItem]:
        """Yield the files in their order."""
        return iter(self._items)

    def read(self, item: ArchiveItem) -> bytes:
        """Return the content of a file.

        Raises:
            Rejection: ``not_found``, ``too_large``.
        """
        return read_file(Path(item.locator))

    def leave_out(self, salt: Path) -> None:
        """Leave out the key of the pseudonyms, if it lies in the folder of the source.

        Args:
            salt: File with the key.
        """
        if self.folder is None or not salt.resolve().is_relative_to(root := self.folder.resolve()):
            return
        own = str(self.folder.absolute() / salt.resolve().relative_to(root))  # written like the items
        self._items = [one for one in self._items if one.locator != own]
        self.expected = len(self._items)

    def __getstate__(self) -> dict[str, object]:
        """Leave out the items and their origin, which workers do not need."""
        return vars(FileSource(self.description, self.expected, ()))


def has_results(folder: Path) -> bool:
    """Return whether a folder is the folder of the results of a run, which may have just begun."""
    return (folder / STATE / LOCK).is_file()


def _is_begun(path: Path) -> bool:
    """Return whether a path is the folder of a state that a run was about to make when it was killed."""
    return path.name == STATE and path.is_dir() and all(one.name.startswith(".") for one in path.iterdir())


def ensure_own_results(out: Path, tables: Iterable[Path | None]) -> None:
    """Check that a run destroys no file of the user's, before it writes anything.

    Args:
        out: Folder of the results.
        tables: Tables that the run reads, which it must not replace.

    Raises:
        TableError: ``table_exists`` if the folder holds files of these names that no run has written, or one of the
            tables.
    """
    names = [name for name in RESULT_NAMES if os.path.lexists(out / name) and not _is_begun(out / name)]
    if names and not has_results(out):
        raise TableError(
            "table_exists",
            f"{out} holds {', '.join(names)} already, which no run of this command has written. Give another --out, or"
            " move them away. Nothing was changed.",
        )
    written = [(out / name).resolve() for name in RESULT_NAMES]
    for table in tables:
        if table is not None and any(table.resolve().is_relative_to(path) for path in written):
            raise TableError(
                "table_exists", f"The results would replace the table {table}. Give another --out. Nothing was changed."
            )


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

    Hidden files and folders are left out, and files with the name DICOMDIR, which hold no radiograph. So are the
    results of all runs in these folders, with their keys. Links to folders are not followed, since they may lead in a
    circle.

    Args:
        folder: An existing folder.

    Raises:
        OSError: The folder cannot be listed.
    """
    items: list[ArchiveItem] = []
    for root, folders, files in os.walk(folder.absolute(), onerror=_raise):
        own = set(RESULT_NAMES) if has_results(Path(root)) else set()
        own |= {DICOMDIR, *(f"{name}{SALT_SUFFIX}" for name in folders if has_results(Path(root, name)))}
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in own)
        names = sorted(name for name in files if not name.startswith(".") and name not in own)
        items += [_item(Path(root, name)) for name in names]
    return FileSource("a folder", len(items), items, folder)


def list_source(table: Path) -> FileSource:
    """Return the radiographs of a list, each with its sex, dates and age (`boneage.tables.radiographs.read_list`).

    Raises:
        TableError: As in `read_list`; ``table_value`` for an age that cannot be read.
    """
    content = read_list(table)
    items = [_listed_item(one) for one in content.radiographs]
    warnings = tuple(content.warnings())
    return FileSource("a list", len(items), items, table=table, warnings=warnings)


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
    path = listed.image.absolute()
    if ".." in path.parts:  # two spellings of one path are one file
        path = path.parent.resolve() / path.name
    return _item(path, listed.sex_text, listed_age(listed))


def _raise(error: OSError) -> None:
    raise error


def not_opened() -> Rejection:
    """Return the rejection of a file that cannot be opened, without its name, which may identify a patient."""
    return Rejection(RejectionCode.NOT_FOUND, "The file cannot be opened.")
