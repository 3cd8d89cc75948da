"""Pictures of the most uncertain radiographs are kept, in whatever order these arrive."""

from __future__ import annotations

import random
from pathlib import Path

from boneage.archive.rows import ArchiveRow
from boneage.archive.uncertain import SHEET_SIZE, UncertainSheet, picture_path, uncertainty_of
from boneage.archive.work import Outcome


def outcome(number: int) -> Outcome:
    """Return an outcome that is the more uncertain the higher its number."""
    row: ArchiveRow = {
        "id": f"{number:032x}",
        "severity": ("", "info", "caution", "critical")[number // 25],
        "interval_months_low": 0.0,
        "interval_months_high": float(number),
    }
    return Outcome("item", "", "", f"{number:032x}", row, thumbnail=b"picture")


def test_sheet_does_not_depend_on_order(tmp_path: Path) -> None:
    """A run that was interrupted takes up the rows of before."""
    outcomes = [outcome(number) for number in range(100)]
    wanted = [f"{number:032x}" for number in range(99, 99 - SHEET_SIZE, -1)]
    for seed in range(3):
        random.Random(seed).shuffle(outcomes)
        folder = tmp_path / str(seed)
        first = UncertainSheet(folder)
        for one in outcomes[:40]:
            first.offer(one)
        second = UncertainSheet(folder, [one.row for one in outcomes[:40] if one.row is not None])
        for one in outcomes[30:]:  # some come twice
            second.offer(one)
        assert second.finish() == wanted
        assert sorted(path.stem for path in folder.glob("*/*.jpg")) == sorted(wanted)


def test_all_pictures_are_kept_on_request(tmp_path: Path) -> None:
    sheet = UncertainSheet(tmp_path, keep_all=True)
    for number in range(60):
        sheet.offer(outcome(number))
    sheet.finish()
    assert picture_path(tmp_path, f"{0:032x}").read_bytes() == b"picture"
    assert len(list(tmp_path.glob("*/*.jpg"))) == 60


def test_rejected_radiograph_is_not_uncertain() -> None:
    assert uncertainty_of({"id": "1", "error": "no_hand"}) is None
