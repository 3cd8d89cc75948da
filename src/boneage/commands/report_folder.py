"""The folder of reports of ``boneage assess``, in which each radiograph has a stem of its own."""

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
    """Writes reports under names that are free, or the radiograph's own from an earlier run."""

    def __init__(self, folder: Path, evidence: Evidence, outline: bool, reserved: Iterable[Path]) -> None:
        """Make the folder, and find out whether it can be written.

        Args:
            folder: of the reports.
            evidence: of the heat maps.
            outline: draw where the hand was found.
            reserved: files that must not be overwritten: radiographs, and what else the command writes or reads.

        Raises:
            OSError: the folder cannot be written.
        """
        ensure_writable(folder / "report.json")
        self._folder = folder
        self._evidence = evidence
        self._outline = outline
        self._taken = set(map(comparable, reserved))

    def reserve(self, stem: str) -> None:
        """Keep a stem for the radiograph that has it in the table of an interrupted run."""
        if stem:
            self._taken |= self._outputs(stem)

    def write(self, path: Path, outcome: Outcome) -> str:
        """Write a radiograph's files.

        Args:
            path: of the radiograph.
            outcome: its assessment, or why there is none.

        Returns:
            The stem of the files; empty if the radiograph was rejected and has not even a checksum.

        Raises:
            OSError: a file cannot be written.
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
        """The wanted stem, numbered where another radiograph of this run or an earlier one has it."""
        free = (stem for stem in _numbered(wanted) if self._taken.isdisjoint(self._outputs(stem)))
        return next(stem for stem in free if may_write(self._folder, stem, sha256))

    def _outputs(self, stem: str) -> set[str]:
        return set(map(comparable, outputs_of(self._folder, stem)))


def comparable(path: Path) -> str:
    """Return a text by which paths of one file are the same; some file systems do not tell cases apart."""
    try:
        return os.path.realpath(path).casefold()
    except ValueError:  # a path that no file can have
        return str(path).casefold()


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1
