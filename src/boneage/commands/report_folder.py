"""Folder of reports of ``boneage assess`` with a unique stem for each radiograph, and an index of all reports."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from boneage.file_names import comparable, printable_name, safe_stem
from boneage.files import ensure_writable
from boneage.report.folder_index import INDEX_NAME, index_is_foreign, write_index
from boneage.report.report import Rejected, may_write, outputs_of, write_files, write_rejection

if TYPE_CHECKING:
    from boneage.explain import Evidence
    from boneage.report.page import Lines
    from boneage.report.report import Outcome

_INDEX_SECONDS = 20.0
"""Shortest time between two indices of one run, seconds."""
_INDEX_SHARE = 0.05
"""Largest share of a run's time for its indices, which take the longer the more reports a folder has."""


class ReportFolder:
    """Writer of reports under free names, or under the radiograph's name of an earlier run.

    The index is written from time to time, and at the end of the block.
    """

    def __init__(self, folder: Path, evidence: Evidence, lines: Lines, reserved: Iterable[Path]) -> None:
        """Create the folder, and check that it is writable.

        Args:
            folder: Folder for the reports.
            evidence: Evidence in the heat maps.
            lines: Lines on the pictures.
            reserved: Files that must not be overwritten: radiographs and other files of the command.

        Raises:
            OSError: If the folder is not writable.
            click.UsageError: If an index would overwrite a file that the program has not made.
        """
        ensure_writable(folder / "report.json")
        if index_is_foreign(folder):
            raise click.UsageError(f"--out {folder} would overwrite {INDEX_NAME}. Choose another folder.")
        self._folder = folder
        self._evidence = evidence
        self._lines = lines
        self._taken = {*map(comparable, reserved), comparable(folder / INDEX_NAME)}
        self._index_due = time.monotonic() + _INDEX_SECONDS

    def __enter__(self) -> Self:
        """Return the folder."""
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _traceback: TracebackType | None) -> None:
        """Write the index, also after a failure."""
        write_index(self._folder)

    def reserve(self, stem: str) -> None:
        """Reserve a stem for the radiograph that has it in the table of an interrupted run."""
        if stem:
            self._taken |= self._outputs(stem)

    def write(self, path: Path, outcome: Outcome) -> str:
        """Write a radiograph's files.

        Args:
            path: Path of the radiograph.
            outcome: Its assessment or rejection.

        Returns:
            The stem of the files; empty if the radiograph was rejected without a checksum.

        Raises:
            OSError: If a file cannot be written.
        """
        sha256 = outcome.sha256 if isinstance(outcome, Rejected) else outcome.source_sha256
        if sha256 is None and isinstance(outcome, Rejected):
            return ""
        stem = self._stem(safe_stem(path.stem), sha256)
        if isinstance(outcome, Rejected):
            write_rejection(outcome, self._folder, stem, printable_name(path.name))
        else:
            write_files(outcome, self._folder, stem, self._evidence, lines=self._lines)
        self.reserve(stem)
        self._write_due_index()
        return stem

    def _write_due_index(self) -> None:
        begun = time.monotonic()
        if begun >= self._index_due:
            write_index(self._folder)
            ended = time.monotonic()
            self._index_due = ended + max(_INDEX_SECONDS, (ended - begun) / _INDEX_SHARE)

    def _stem(self, wanted: str, sha256: str | None) -> str:
        """Return the wanted stem, with a number if another radiograph of this run or an earlier one has it."""
        free = (stem for stem in _numbered(wanted) if self._taken.isdisjoint(self._outputs(stem)))
        return next(stem for stem in free if may_write(self._folder, stem, sha256))

    def _outputs(self, stem: str) -> set[str]:
        return set(map(comparable, outputs_of(self._folder, stem)))


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1
