"""Folder of reports of ``boneage assess`` with a unique stem for each radiograph."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from boneage.file_names import printable_name, safe_stem
from boneage.files import ensure_writable
from boneage.report.report import Rejected, may_write, outputs_of, write_files, write_rejection

if TYPE_CHECKING:
    from boneage.explain import Evidence
    from boneage.report.report import Outcome


class ReportFolder:
    """Writer of reports under free names, or under the radiograph's name of an earlier run."""

    def __init__(self, folder: Path, evidence: Evidence, outline: bool, reserved: Iterable[Path]) -> None:
        """Create the folder, and check that it is writable.

        Args:
            folder: Folder for the reports.
            evidence: Evidence in the heat maps.
            outline: True to draw the outline of the hand.
            reserved: Files that must not be overwritten: radiographs and other files of the command.

        Raises:
            OSError: If the folder is not writable.
        """
        ensure_writable(folder / "report.json")
        self._folder = folder
        self._evidence = evidence
        self._outline = outline
        self._taken = set(map(comparable, reserved))

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
            write_files(outcome, self._folder, stem, self._evidence, outline=self._outline)
        self.reserve(stem)
        return stem

    def _stem(self, wanted: str, sha256: str | None) -> str:
        """Return the wanted stem, with a number if another radiograph of this run or an earlier one has it."""
        free = (stem for stem in _numbered(wanted) if self._taken.isdisjoint(self._outputs(stem)))
        return next(stem for stem in free if may_write(self._folder, stem, sha256))

    def _outputs(self, stem: str) -> set[str]:
        return set(map(comparable, outputs_of(self._folder, stem)))


def comparable(path: Path) -> str:
    """Return a text that is equal for all paths of one file, also on file systems that ignore case."""
    try:
        return os.path.realpath(path).casefold()
    except ValueError:  # the path is impossible for a file
        return str(path).casefold()


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1
