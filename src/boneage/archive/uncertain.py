"""The most uncertain radiographs of an archive: their order, and the pictures that are kept."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable
from pathlib import Path

from boneage.archive.rows import ArchiveRow
from boneage.archive.work import Outcome
from boneage.files import atomic_write
from boneage.severity import Severity

_OWN = re.compile(r"[0-9a-f]{32}\.jpg")
"""Names of the pictures, by the identities of the rows."""

SHEET_SIZE = 24
"""Number of the most uncertain radiographs that are shown."""

Uncertainty = tuple[int, int, float, str]
"""Severity of the gravest warning, number of warnings, width of the 95 % interval in months, identity of the row."""

_RANKS = {severity.value: 1 + severity.rank for severity in Severity}


def uncertainty_of(row: ArchiveRow) -> Uncertainty | None:
    """Return the rank of an assessed radiograph by its uncertainty; None for a rejected one, which has no age."""
    if row.get("error"):
        return None
    low, high = row.get("interval_months_low"), row.get("interval_months_high")
    width = high - low if isinstance(low, float) and isinstance(high, float) else 0.0
    warnings = len(str(row.get("warnings") or "").split())
    return _RANKS.get(str(row.get("severity") or ""), 0), warnings, width, str(row["id"])


class UncertainSheet:
    """Keeper of pictures: of all radiographs, or of the most uncertain so far.

    A picture is written before its row, so that every row on the sheet has its picture, whatever ends the program.
    """

    def __init__(self, folder: Path, rows: Iterable[ArchiveRow] = (), *, keep_all: bool = False) -> None:
        """Take up the rows of earlier runs.

        Args:
            folder: Folder of the pictures; made with the first of them.
            rows: Rows that exist already.
            keep_all: True to keep a picture of every assessed radiograph.
        """
        self._folder = folder
        self._keep_all = keep_all
        self._heap: list[Uncertainty] = []
        for row in rows:
            self._push(uncertainty_of(row))

    def offer(self, outcome: Outcome) -> None:
        """Keep the picture of an outcome if it belongs among the kept ones, and remove one that no longer does.

        Raises:
            OSError: The folder cannot be written.
        """
        uncertainty = None if outcome.row is None else uncertainty_of(outcome.row)
        if uncertainty is None:
            return
        is_on_sheet = len(self._heap) < SHEET_SIZE or uncertainty > self._heap[0]
        if outcome.thumbnail and (self._keep_all or is_on_sheet):
            with atomic_write(picture_path(self._folder, uncertainty[-1])) as temporary:
                temporary.write_bytes(outcome.thumbnail)
        dropped = self._push(uncertainty) if is_on_sheet else None
        if dropped is not None and not self._keep_all:
            picture_path(self._folder, dropped[-1]).unlink(missing_ok=True)

    def finish(self) -> list[str]:
        """Return the identities of the rows on the sheet, the most uncertain first. All other pictures are removed,
        unless all are kept.
        """
        sheet = [uncertainty[-1] for uncertainty in sorted(self._heap, reverse=True)]
        if not self._keep_all:
            kept = {picture_path(self._folder, row_id) for row_id in sheet}
            for picture in self._folder.glob("*/*.jpg"):
                if picture not in kept and _OWN.fullmatch(picture.name):
                    picture.unlink()
        return sheet

    def _push(self, uncertainty: Uncertainty | None) -> Uncertainty | None:
        """Add to the sheet, and return what leaves it."""
        if uncertainty is None or uncertainty in self._heap:
            return None
        if len(self._heap) < SHEET_SIZE:
            heapq.heappush(self._heap, uncertainty)
            return None
        return heapq.heappushpop(self._heap, uncertainty)


def picture_path(folder: Path, row_id: str) -> Path:
    """Return the path of the picture of a row. Folders of two digits keep each of them small."""
    return folder / row_id[:2] / f"{row_id}.jpg"
