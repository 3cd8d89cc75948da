"""An assessment in a program: one line, a card, a row."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import boneage
from boneage.phantom import draw_hand, write_sample
from boneage.report.report import CSV_COLUMNS
from tests.bundles import tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny bundle."""
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def assessment(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> boneage.Assessment:
    """An assessment of the drawn phantom under a name that would break a page."""
    path = write_sample(tmp_path_factory.mktemp("sample") / "a<b>&.png")
    return boneage.assess(path, "F", bundle, age="8y0m")


def test_repr_is_one_line(assessment: boneage.Assessment) -> None:
    """It has the bone age and the codes of the warnings, and no arrays."""
    text = repr(assessment)
    assert "\n" not in text
    assert assessment.age_text in text
    assert all(warning.code in text for warning in assessment.warnings)
    assert len(text) < 400


def test_card_is_whole_html(assessment: boneage.Assessment) -> None:
    """Every tag is closed, warnings are inside, a critical one crosses the number out."""
    card = assessment._repr_html_()
    open_tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            open_tags.extend([] if tag == "img" else [tag])

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Reader().feed(card)
    assert open_tags == []
    assert "line-through" in card  # the phantom carries a critical warning
    assert "Chronological age" in card
    assert len(re.findall(r"<li", card)) == len(assessment.warnings)
    assert "<b>" not in card
    assert "line-through" not in replace(assessment, warnings=())._repr_html_()


def test_row_has_the_columns_of_the_command_line(assessment: boneage.Assessment) -> None:
    row = assessment.to_row()
    of_the_run = {"error", "message", "report", "program_version"}
    assert set(CSV_COLUMNS) - set(row) == of_the_run
    assert row["age_months"] == pytest.approx(assessment.age_months, abs=0.01)
    assert row["chronological_age_months"] == 96.5  # the middle of the month


def test_assess_pixels_with_spacing(bundle: Path) -> None:
    """An array has no file, and its spacing is the caller's."""
    pixels = np.rint(draw_hand() * 255).astype(np.uint8)
    assessed = boneage.assess(pixels, "M", bundle, spacing_mm=0.15)
    assert assessed.facts.spacing_mm == (0.15, 0.15)
    assert assessed.source_sha256 is assessed.source_name is None
