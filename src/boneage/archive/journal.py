"""Journal of a run: what is finished survives whatever ends the program.

Outcomes are collected and written as shards, JSON lines in ``state/rows-000001.jsonl`` and so on. A shard is written
under another name, forced to the disk and renamed, so that no shard is ever incomplete. Outcomes
that no shard holds are assessed again. One process at a time has the folder.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from boneage.archive.folders import LOCK
from boneage.archive.rows import ArchiveRow
from boneage.archive.work import Outcome
from boneage.errors import RejectionCode, TableError
from boneage.files import atomic_write, ensure_writable, write_text

if sys.platform != "win32":
    import fcntl

SHARD_ROWS = 500
"""Most outcomes of a shard."""
SHARD_SECONDS = 10.0
"""Longest time that outcomes wait for their shard: the work that a killed run loses, seconds."""
_TEMPORARY = ".rows-*"
_TRIED_AGAIN = {"internal_error", RejectionCode.NOT_FOUND.value}
"""Codes whose cause may lie outside of the radiograph: another run tries these again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """State of a finished item.

    Attributes:
        stamp: Stamp of the item when it was read.
        row_id: Identity of its row; empty for an item that is not selected, or whose row is withdrawn.
        skipped: Reason why it is not selected; empty if it is.
        image: Cell ``image`` of the item.
        is_final: False if another run tries the item again.
    """

    stamp: str
    row_id: str
    skipped: str
    image: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a row in the shards: file and offset, bytes."""

    shard: int
    offset: int


class Journal:
    """Finished items of a run, and the places of their rows.

    Attributes:
        entries: Entry by the identity of the item. The last one that was written counts.
        places: Place of each row by its identity.
        settings: Settings that all rows of the folder share.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        """Open the journal of a folder, or start it.

        Args:
            folder: Folder of the state; made if it is missing.
            settings: Settings that all rows share, such as the bundle. A journal of other settings is rejected.

        Raises:
            TableError: ``table_busy`` while another process has the folder; ``table_resume`` if its rows were made with
                other settings.
            OSError: The folder cannot be written.
        """
        self._folder = folder
        ensure_writable(folder / LOCK)
        self._lock = _locked(folder / LOCK)
        try:
            self.settings = dict(settings)
            self._check_settings()
            for temporary in folder.glob(_TEMPORARY):
                temporary.unlink()
            self.entries: dict[str, Entry] = {}
            self.places: dict[str, Place] = {}
            self._finished_images: set[str] = set()
            self._shards = 0
            self._read_shards()
        except BaseException:
            self._lock.close()
            raise
        self._waiting: list[tuple[str, Entry, bool, str]] = []
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        """Return the journal."""
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _traceback: TracebackType | None) -> None:
        """Write what waits, and give the folder back."""
        try:
            self.flush()
        finally:
            self._lock.close()

    def is_finished(self, item: str, stamp: str) -> bool:
        """Return whether an item was finished with the content that it has now, by its stamp."""
        entry = self.entries.get(item)
        return entry is not None and entry.is_final and entry.stamp == stamp

    def existing_rows(self) -> frozenset[str]:
        """Return the identities of the rows that need not be made again."""
        return frozenset(entry.row_id for entry in self.entries.values() if entry.is_final and entry.row_id)

    def outlasts(self, outcome: Outcome) -> bool:
        """Return whether a file could not be opened that was finished before, so that its row must stay.

        A list may have stated something else about it then.
        """
        is_away = outcome.row is not None and outcome.row.get("error") == RejectionCode.NOT_FOUND
        return is_away and outcome.image in self._finished_images

    def withdraw_replaced(self, items: Set[str]) -> None:
        """Take back the rows of files about which a list now states something else, once the new row is finished.

        Args:
            items: Identities of all items of the source.
        """
        finished = {entry.image for item, entry in self.entries.items() if item in items and entry.is_final}
        replaced = [
            (item, entry.image)
            for item, entry in self.entries.items()
            if item not in items and entry.image in finished and (entry.row_id or entry.skipped)
        ]
        for item, image in replaced:
            self.add(Outcome(item, "", image))
        self.flush()

    def add(self, outcome: Outcome) -> None:
        """Add an outcome. It is safe on the disk after the next `flush`, at most `SHARD_SECONDS` later."""
        row = outcome.row
        is_withdrawn = not outcome.row_id and not outcome.skipped
        is_final = not is_withdrawn and (row is None or row.get("error") not in _TRIED_AGAIN)
        entry = Entry(outcome.stamp, outcome.row_id, outcome.skipped, outcome.image, is_final)
        cells = None if row is None else {name: cell for name, cell in row.items() if cell is not None}
        line = {**asdict(entry), "item": outcome.item, "row": cells}
        text = json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
        self._waiting.append((outcome.item, entry, row is not None, text))
        if len(self._waiting) >= SHARD_ROWS or time.monotonic() - self._since >= SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the outcomes that wait as a shard.

        Raises:
            OSError: The shard cannot be written; the outcomes still wait.
        """
        if not self._waiting:
            return
        number, offset = self._shards + 1, 0
        lines = [line.encode() for *_, line in self._waiting]
        with atomic_write(self._path(number), durable=True) as temporary:
            temporary.write_bytes(b"".join(lines))
        self._shards = number
        for (item, entry, has_row, _), line in zip(self._waiting, lines, strict=True):
            self._register(item, entry, Place(number, offset), has_row=has_row)
            offset += len(line)
        self._waiting = []
        self._since = time.monotonic()

    def current_rows(self) -> dict[str, Place]:
        """Return the places of the rows that items have now, by their identities."""
        return {entry.row_id: self.places[entry.row_id] for entry in self.entries.values() if entry.row_id}

    def rows(self, places: Iterable[Place]) -> Iterator[ArchiveRow]:
        """Yield rows by their places. Empty cells are left out."""
        opened: dict[int, IO[bytes]] = {}
        try:
            for place in places:
                if place.shard not in opened:
                    if len(opened) >= 64:
                        opened.pop(next(iter(opened))).close()
                    opened[place.shard] = self._path(place.shard).open("rb")
                file = opened[place.shard]
                file.seek(place.offset)
                yield json.loads(file.readline())["row"]
        finally:
            for file in opened.values():
                file.close()

    def _read_shards(self) -> None:
        while (path := self._path(self._shards + 1)).exists():
            self._shards += 1
            offset = 0
            with path.open("rb") as file:
                for line in file:
                    value: dict[str, Any] = json.loads(line)
                    item, row = value.pop("item"), value.pop("row")
                    self._register(item, Entry(**value), Place(self._shards, offset), has_row=row is not None)
                    offset += len(line)

    def _register(self, item: str, entry: Entry, place: Place, *, has_row: bool) -> None:
        """Take up what a shard holds. Rows of equal content are equal, but one that failed is replaced."""
        if has_row and (entry.row_id not in self.places or item in self.entries):
            self.places[entry.row_id] = place
        self.entries[item] = entry
        if entry.is_final:
            self._finished_images.add(entry.image)

    def _path(self, number: int) -> Path:
        return self._folder / f"rows-{number:06d}.jsonl"

    def _check_settings(self) -> None:
        path = self._folder / "settings.json"
        try:
            written: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            write_text(path, json.dumps(self.settings, indent=2) + "\n")
            return
        for name in sorted(written.keys() | self.settings.keys()):
            before, now = written.get(name), self.settings.get(name)
            if before != now:
                raise TableError(
                    "table_resume",
                    f"The results in {self._folder.parent} were made with another {name} ({before}, now {now})."
                    " Give another folder for these.",
                )


def _locked(path: Path) -> IO[str]:
    """Return an open file that no other process has locked.

    Raises:
        TableError: ``table_busy``.
    """
    file = path.open("a", encoding="utf-8")
    if sys.platform == "win32":
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise TableError(
            "table_busy", f"Another process writes {path.parent.parent}. Wait for it, or end it."
        ) from None
    except OSError:  # a file system without locks
        return file
    return file
