"""Outputs of a radiograph that was read for both sexes."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import boneage
from boneage.assessment import BothSexesAssessment
from boneage.bundle.bundle import Bundle
from boneage.checks import radiograph as checks
from boneage.clinical.ages import exact_age
from boneage.hand.registration import Hand
from boneage.phantom import draw_hand
from boneage.report.both_sexes import BothSexesContent, both_sexes_content, content_of
from boneage.report.comparison import Decided
from boneage.report.page import overlay_png, page
from boneage.report.report import (
    CSV_COLUMNS,
    csv_rows,
    csv_settings,
    json_text,
    may_write,
    report_text,
    text,
    write_files,
)
from boneage.warnings_ import ResultWarning, WarningCode
from tests.bundles import tiny_bundle
from tests.radiograph_files import dicom_dataset, dicom_file


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", hand=True))


@pytest.fixture(scope="module")
def png(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawn") / "hand.png"
    cv2.imwrite(str(path), np.rint(draw_hand(height=640, width=480) * 255).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def both(png: Path, bundle: Bundle) -> BothSexesAssessment:
    """A drawn hand that is not recognised as the phantom."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "phantom_similarity", lambda *_: 0.0)
        return boneage.assess_for_both_sexes(png, bundle, age=exact_age(100.0))


@pytest.fixture
def content(both: BothSexesAssessment) -> BothSexesContent:
    made = content_of(both)
    assert isinstance(made, BothSexesContent)
    return made


def test_both_sexes_are_readings_by_one_sex(png: Path, bundle: Bundle, both: BothSexesAssessment) -> None:
    """Each reading is the assessment by that sex, without what needs a sex of the child."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "phantom_similarity", lambda *_: 0.0)
        for reading in both.readings:
            alone = boneage.assess(png, reading.sex, bundle, age=exact_age(100.0))
            assert reading.estimate == alone.estimate
            assert reading.region_ages_months == alone.region_ages_months
            assert (alone.document().sds is None, reading.document().sds is None) == (False, True)
    assert both.female.age_months != both.male.age_months


def test_both_sexes_locate_the_hand_once(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, locate = [], Bundle.find_hand

    def counted(*given: Any) -> Hand:
        calls.append(given)
        return locate(*given)

    monkeypatch.setattr(Bundle, "find_hand", counted)
    both = boneage.assess_for_both_sexes(png, bundle)
    assert len(calls) == 1
    assert both.female.hand is both.male.hand


def test_sex_of_the_file_contradicts_no_reading(bundle: Bundle) -> None:
    """A file that states a sex raises no warning that the other was given."""
    pixels = np.rint(draw_hand(height=640, width=480) * 255).astype(np.uint8)
    file = dicom_file(dicom_dataset(pixels, 8, PatientSex="F"))
    assert boneage.assess(file, "M", bundle).has_warning(WarningCode.SEX_DIFFERS_FROM_FILE)
    for reading in boneage.assess_for_both_sexes(file, bundle).readings:
        assert reading.facts.sex == "F"
        assert not reading.has_warning(WarningCode.SEX_DIFFERS_FROM_FILE)


def test_json_has_both_readings(both: BothSexesAssessment) -> None:
    document = json.loads(json_text(both, "a/hand.png"))
    assert (document["sex"], document["image"]) == ("both", "a/hand.png")
    assert document["radiograph"]["sha256"] == both.source_sha256
    for sex, reading in zip("FM", both.readings, strict=True):
        assert document["by_sex"][sex] == reading.to_json()
    assert both.to_json() == {**document, "image": "hand.png"}


def test_csv_has_a_row_for_each_reading(both: BothSexesAssessment, bundle: Bundle) -> None:
    rows = [dict(zip(CSV_COLUMNS, row, strict=True)) for row in csv_rows("x", both, csv_settings(bundle), "hand")]
    assert [row["sex"] for row in rows] == ["F", "M"]
    assert {row["determination_reason"] for row in rows} == {"sex_unknown"}
    assert {(row["image"], row["report"], row["sds"]) for row in rows} == {("x", "hand", "")}


def test_text_and_page_have_every_line_once(both: BothSexesAssessment, content: BothSexesContent) -> None:
    """Both readings stand in full; what they share is not repeated."""
    printed, shown = text("hand.png", both), html.unescape(page(both))
    assert printed.startswith(f"hand.png: {content.explanation}\n")
    for reading in content.readings:
        for line in (reading.heading.split(" (")[0], reading.age, *reading.lines):
            assert line in printed
            assert line in shown
    assert (printed.count(content.chronological_age), shown.count(f"<p>{content.chronological_age}</p>")) == (1, 1)
    assert shown.count("<figure>") == 3
    brief = text("hand.png", both, is_brief=True).splitlines()[0]
    assert all(reading.age in brief for reading in content.readings)


def test_text_has_parts_of_both_readings(both: BothSexesAssessment) -> None:
    """Regions are printed below the sex that they belong to, also below the one line of a list."""
    female = replace(both.female, region_ages_months={"A": 100.0})
    male = replace(both.male, region_ages_months={"A": 110.0})
    read = replace(both, female=female, male=male)
    for is_brief in (True, False):
        lines = text("hand.png", read, is_brief=is_brief, regions=True).splitlines()
        places = [lines.index(f"    A · whole hand: {age}") for age in _WHOLE_HAND]
        heads = [lines.index(line) for line in lines if line.startswith(("  Female", "  Male"))]
        assert heads[0] < places[0] < heads[1] < places[1]
    assert "whole hand" not in text("hand.png", read)


_WHOLE_HAND = ("8 years 4 months (100.0 months)", "9 years 2 months (110.0 months)")


def test_report_text_has_four_lines_and_the_caution(both: BothSexesAssessment, content: BothSexesContent) -> None:
    lines = report_text(both).splitlines()
    assert len(lines) == 5 and lines[4].startswith("Caution: The sex is unknown")
    assert all(reading.age in lines[1] for reading in content.readings)
    assert "No SDS" in lines[2]


def test_report_text_has_the_decision_first(both: BothSexesAssessment) -> None:
    """A bone age that a physician entered precedes both estimates."""
    decided = both_sexes_content(both.female.document(), both.male.document(), Decided(121.0, is_corrected=True))
    assert decided.report_text[1].startswith("Bone age: 10 years 1 month. Female standards: ")
    assert "decided by a physician" in decided.report_text[0]


def test_critical_reading_is_struck_out_alone(both: BothSexesAssessment) -> None:
    """The other reading keeps its number, and the warnings of both are listed once."""
    critical = ResultWarning.of(WarningCode.OUTSIDE_TRAINING_RANGE, oldest_months=228)
    girls = replace(both.female, warnings=(critical, *both.female.warnings))
    content = content_of(BothSexesAssessment(girls, both.male))
    assert isinstance(content, BothSexesContent)
    assert [reading.is_void for reading in content.readings] == [True, False]
    assert not content.is_void
    sentences = [sentence for group in content.warnings for sentence in group.sentences]
    assert len(sentences) == len(set(sentences))


def test_overlay_shows_both_maps(both: BothSexesAssessment) -> None:
    one, two = (
        cv2.imdecode(np.frombuffer(overlay_png(assessed), np.uint8), cv2.IMREAD_COLOR)
        for assessed in (both.female, both)
    )
    assert one is not None and two is not None
    assert two.shape == (one.shape[0], 2 * one.shape[1], 3)
    assert (two[:, : one.shape[1]] == one).all()


def test_files_identify_the_radiograph(both: BothSexesAssessment, tmp_path: Path) -> None:
    write_files(both, tmp_path, "hand")
    assert may_write(tmp_path, "hand", both.source_sha256)
    assert not may_write(tmp_path, "hand", "0" * 64)
