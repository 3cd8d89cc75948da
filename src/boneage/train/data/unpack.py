"""Training archives: one ZIP file with radiographs cut to the hand, their labels and the hands on them.

`boneage.train.data.pack` makes an archive, and this module opens it on another machine. An archive has these files:

* ``README.txt``, for people;
* ``archive.json``, an `ArchiveRecord`, whose checksum covers all other files;
* ``radiographs.csv``, a table of labelled radiographs (`boneage.tables.radiographs`);
* ``images/000001.webp`` and so on, the radiographs; a file is empty if the original could not be read;
* ``hands/``, the table of hands (`boneage.train.data.hands`), if the plan's networks need hands.

Archives come from other machines. Only these names are unpacked, and nothing is written outside of the new folder.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from boneage import strict
from boneage.errors import TableError
from boneage.files import sha256_of
from boneage.strict import Count, Matching, NotNegative
from boneage.tables.radiographs import read_radiographs
from boneage.train.data.hands import HANDS_FOLDER, HandTable

ARCHIVE_FORMAT: Final = 1
"""Version of the archive's format."""

RECORD, TABLE, README, IMAGES_FOLDER = "archive.json", "radiographs.csv", "README.txt", "images"

MOST_UNPACKED_BYTES = 4 * 2**30
"""Largest total size of the unpacked files. RSNA's 12,611 radiographs take 0.2 GB."""

_NAME = re.compile(
    rf"{re.escape(TABLE)}|{re.escape(README)}"
    rf"|{IMAGES_FOLDER}/[0-9]{{6,9}}\.webp"
    rf"|{HANDS_FOLDER}/(?:hands\.json|(?:numbers|masks|joints)\.npy)"
)
"""Names of the files other than the record."""

_ZIP_BEGINNING = b"PK\x03\x04"

_PLAIN_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class ArchiveRecord:
    """Content of ``archive.json``.

    Attributes:
        format: version of the format.
        boneage: version of the program that made the archive.
        plan: name of the plan whose views the archive is for.
        hand_pixels: length from the capitate to the tip of the middle finger to which longer hands were reduced.
        quality: WebP quality of the radiographs, 0 to 100.
        radiographs: number of radiographs.
        sha256: checksum of all other files (`checksum_of`).
    """

    format: Literal[1]
    boneage: str
    plan: str
    hand_pixels: NotNegative
    quality: Count
    radiographs: Count
    sha256: Annotated[str, Matching(re.compile(r"[0-9a-f]{64}"), "64 hexadecimal digits")]


def checksum_of(files: Iterable[tuple[str, bytes]]) -> str:
    """Return the SHA-256 checksum over names, sizes and contents of files, which come sorted by name."""
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def is_archive(path: Path) -> bool:
    """Return True if a file is a ZIP file by its name or its first bytes."""
    try:
        with path.open("rb") as file:
            return path.suffix.lower() == ".zip" or file.read(len(_ZIP_BEGINNING)) == _ZIP_BEGINNING
    except OSError:  # the reader of tables reports missing files
        return False


def unpacked_table(path: Path, cache_folder: Path) -> Path:
    """Return the path of a table of radiographs, which is unpacked first if `path` is a training archive.

    An archive is unpacked once, into a folder below `cache_folder` that has the archive's checksum in its name. The
    folder appears complete. If two processes unpack the same archive, the later one uses the folder of the first.

    Args:
        path: table of radiographs, which is returned as it is, or archive of `boneage.train.data.pack`.
        cache_folder: folder of decoded radiographs and located hands.

    Raises:
        TableError: ``table_archive`` if the file is no training archive of this format, is damaged, or has files that
            do not belong in one.
        OSError: The archive cannot be read, or its files cannot be written.
    """
    if not is_archive(path):
        return path
    folder = cache_folder / f"packed-{sha256_of(path)[:16]}"
    if not (folder / TABLE).exists():
        _unpack(path, folder)
    return folder / TABLE


def _unpack(path: Path, folder: Path) -> None:
    temporary = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.partial")
    temporary.mkdir(parents=True)
    try:
        with zipfile.ZipFile(path) as archive:
            _write_files(path, archive, temporary)
        _check_content(path, temporary)
        temporary.rename(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _rejected(path, "is damaged") from error
    except OSError:
        if not (folder / TABLE).exists():  # another process may have been faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_files(path: Path, archive: zipfile.ZipFile, folder: Path) -> None:
    """Write the files of an archive into an empty folder, and compare their checksum with the record's."""
    members = {member.filename: member for member in archive.infolist()}
    unknown = sorted(name for name in members if name != RECORD and not _NAME.fullmatch(name))
    if unknown or len(members) != len(archive.infolist()):
        raise _rejected(path, f"has a file that does not belong in it: {(unknown or sorted(members))[0]!r}")
    if RECORD not in members or TABLE not in members:
        raise _rejected(path, "is no training archive")
    if any(member.compress_type not in _PLAIN_METHODS or member.flag_bits & _ENCRYPTED for member in members.values()):
        raise _rejected(path, "is compressed or encrypted in another way")
    if sum(member.file_size for member in members.values()) > MOST_UNPACKED_BYTES:
        raise _rejected(path, f"holds more than {MOST_UNPACKED_BYTES // 2**30} GiB")
    record = _record(path, archive.read(members.pop(RECORD)))
    for subfolder in (IMAGES_FOLDER, HANDS_FOLDER):
        (folder / subfolder).mkdir()

    def written() -> Iterator[tuple[str, bytes]]:
        for name in sorted(members):
            content = archive.read(members[name])
            (folder / name).write_bytes(content)
            yield name, content

    if checksum_of(written()) != record.sha256:
        raise _rejected(path, "is damaged: its checksum is not that of its record")


def _record(path: Path, content: bytes) -> ArchiveRecord:
    try:
        values = json.loads(content)
        if isinstance(values, dict) and values.get("format") not in (None, ARCHIVE_FORMAT):
            raise _rejected(path, f"has the format {values['format']!r}, and this version reads {ARCHIVE_FORMAT}")
        return strict.read(ArchiveRecord, values)
    except ValueError as error:  # JSON, encoding, and `boneage.strict.InvalidValueError`
        raise _rejected(path, f"has an invalid {RECORD}: {error}") from error


def _check_content(path: Path, folder: Path) -> None:
    """Check that table and hands can be read, and name nothing outside of the archive."""
    images = folder / IMAGES_FOLDER
    for radiograph in read_radiographs(folder / TABLE):
        if radiograph.image.parent != images:
            raise _rejected(path, f"names an image outside of it: {radiograph.image.name!r}")
    if not (folder / HANDS_FOLDER / "hands.json").exists():
        return
    try:
        hands = HandTable(folder / HANDS_FOLDER)
        for radiograph_id in hands.ids:
            hands.hand(radiograph_id)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _rejected(path, f"has an invalid table of hands: {error}") from error


def _rejected(path: Path, reason: str) -> TableError:
    return TableError("table_archive", f"{path} {reason}. Make it again with `boneage pack`, or copy it again.")
