"""Figures and report of an archive."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest

from boneage.archive.figures import SMALLEST_GROUP, FigureCounter
from boneage.archive.page import archive_page
from boneage.archive.rows import ArchiveRow, Cell
from boneage.archive.uncertain import picture_path


def row(number: int, **changes: Cell) -> ArchiveRow:
    """Return a row of one of two devices, one of which reads 6 months older."""
    cells: ArchiveRow = {
        "id": f"{number:032x}",
        "copies": 1,
        "sex": "FM"[number % 2],
        "study_year": 2010 + number % 2,
        "manufacturer": "<b>Rays</b>",
        "model": f"Model {number % 2}",
        "age_months": 100.0 + number,
        "difference_months": 6.0 * (number % 2) + (number % 3 - 1) * 0.5,
        "sds": 0.5,
        "interval_months_low": 90.0,
        "interval_months_high": 110.0,
        "severity": "caution" if number % 4 == 0 else None,
        "warnings": "rotated" if number % 4 == 0 else None,
    }
    return cells | changes


def counted(rows: list[ArchiveRow]) -> FigureCounter:
    """Return a counter that has seen rows."""
    counter = FigureCounter()
    assert list(counter.passing(rows)) == rows
    return counter


def test_figures_by_group() -> None:
    rejected: ArchiveRow = {"id": "x", "copies": 2, "error": "no_hand"}
    figures = counted([*(row(number) for number in range(60)), rejected]).figures()
    assert (figures.all.n, figures.all.rejected, figures.all.warned, figures.items) == (61, 1, 15, 62)
    assert (figures.rejections, figures.warnings) == ({"no_hand": 1}, {"rotated": 15})
    assert [group.name for group in figures.by_year] == ["2010", "2011", "unknown"]
    first, second, unknown = figures.by_year
    assert first.difference_months == pytest.approx(0.0, abs=0.1)
    assert second.difference_months == pytest.approx(6.0, abs=0.1)
    assert unknown.difference_months is None
    assert sum(map(sum, figures.histograms[0].counts.values())) == 60


def test_small_groups_have_no_means() -> None:
    figures = counted([row(2 * number) for number in range(SMALLEST_GROUP - 1)]).figures()
    assert figures.all.difference_months is None
    assert figures.all.age_months is None


def test_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    rows = [row(number) for number in range(60)]
    path = picture_path(tmp_path, str(rows[0]["id"]))
    path.parent.mkdir()
    path.write_bytes(b"\xff\xd8picture")
    page = archive_page(counted(rows).figures(), ["Source: <a folder>."], rows[:2], tmp_path, datetime(2026, 1, 2))
    assert "<b>Rays" not in page
    assert "&lt;b&gt;Rays" in page
    assert "&lt;a folder&gt;" in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("data:image/jpeg;base64,") == 1
    assert "+6.0" in page


def test_page_of_empty_archive(tmp_path: Path) -> None:
    assert "<b>0</b>radiographs" in archive_page(FigureCounter().figures(), [], [], tmp_path)
