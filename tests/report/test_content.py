"""One content of a report for all outputs, in every language."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boneage.assessment import Assessment
from boneage.bundle.bundle import Bundle
from boneage.clinical.ages import exact_age
from boneage.clinical.documents import read_again
from boneage.clinical.intended_use import INTENDED_USE, Contraindication
from boneage.clinical.sds import WithheldReason
from boneage.composition import assess
from boneage.report.comparison import Decided
from boneage.report.content import NO_SDS, ReportContent, bone_rows, intended_use, report_content
from boneage.report.numbers import result_numbers
from boneage.report.page import page
from boneage.report.report import CSV_COLUMNS, csv_rows, csv_settings, json_text, report_text, text
from boneage.schema import AssessmentDocument, BoneDocument, NearestPlatesDocument, PlateDocument
from boneage.severity import Severity
from boneage.sex import Sex
from boneage.warnings_ import ResultWarning, WarningCode
from boneage.words import languages, use_language
from tests.bundles import tiny_bundle
from tests.documents import assessment_document
from tests.radiograph_files import dicom_dataset, dicom_file


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


def drawn_dicom(**elements: str) -> bytes:
    """Return a drawn radiograph as DICOM: a bright patch with some texture, and not the phantom."""
    rows, columns = np.mgrid[:400, :300]
    distance = np.hypot(rows / 400 - 0.5, columns / 300 - 0.4)
    noise = np.random.default_rng(3).random((400, 300))
    drawn = np.clip(0.1 + 0.7 * np.exp(-((distance / 0.22) ** 4)) + 0.05 * noise, 0, 1)
    return dicom_file(dicom_dataset(np.rint(drawn * 255).astype(np.uint8), 8, **elements))


class _Words(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.words = ""
        self.feed(source)
        self.words = " ".join(self.words.split())

    def handle_data(self, data: str) -> None:
        self.words += data


def outputs(assessment: Assessment, bundle: Bundle) -> tuple[dict[str, Any], dict[str, str], str, str]:
    """Return JSON, the row of the table, the printed text and the words of the page."""
    header = io.StringIO()
    csv.writer(header).writerow(CSV_COLUMNS)
    row = dict(zip(CSV_COLUMNS, *csv_rows("x", assessment, csv_settings(bundle)), strict=True))
    return json.loads(json_text(assessment)), row, text("x", assessment), _Words(page(assessment)).words


DATES = {"PatientBirthDate": "20110310", "StudyDate": "20200601", "PatientAge": ""}
WHOLE_YEARS = {"PatientBirthDate": "", "StudyDate": "20200601", "PatientAge": "009Y"}
NO_AGE = {"PatientBirthDate": "", "StudyDate": "20200601", "PatientAge": ""}


def test_outputs_agree_for_dates(bundle: Bundle) -> None:
    document, row, lines, words = outputs(assess(drawn_dicom(**DATES), "F", bundle), bundle)
    age = document["chronological_age"]
    assert (age["years"], age["completed_months"], age["precision"], age["source"]) == (9, 2, "days", "dates")
    assert row["chronological_age_months"] == str(age["months"])
    assert row["difference_months"] == str(document["difference"]["months"])
    assert (row["sds"], row["determination"]) == (str(document["sds"]), str(document["determination"]))
    assert [row["sds_interval_80_low"], row["sds_interval_80_high"]] == [
        str(bound) for bound in document["sds_interval_80"]
    ]
    assert row["reference_id"] == document["reference"]["id"] == "gp-brush-sd"
    assert document["difference"]["months"] == pytest.approx(document["age_months"] - age["months"], abs=0.011)
    sds = f"SDS {document['sds']:+.2f}".replace("-", "\N{MINUS SIGN}")
    for output in (lines, words):
        assert "Chronological age: 9 years 2 months" in output
        assert sds in output
        assert "Greulich & Pyle (mean = chronological age, SD of Brush Foundation)" in output


def test_outputs_agree_for_an_age_in_whole_years(bundle: Bundle) -> None:
    document, row, lines, words = outputs(assess(drawn_dicom(**WHOLE_YEARS), "F", bundle), bundle)
    age = document["chronological_age"]
    assert (age["lower_months"], age["months"], age["upper_months"]) == (108.0, 114.0, 120.0)
    assert (document["sds"], document["determination"]) == (None, None)
    assert document["determination_reason"] == row["determination_reason"] == "age_in_whole_years"
    assert document["difference"]["months"] is None
    assert document["sds_range"] is not None
    assert (row["sds"], row["difference_months"], row["chronological_age_precision"]) == ("", "", "years")
    assert "age_in_whole_years" in [warning["code"] for warning in document["warnings"]]
    assert "age_in_whole_years" in row["warnings"].split()
    for output in (lines, words):
        assert "Chronological age: 9 years (9 years 0 months to 9 years 11 months)" in output
        assert "since the age is known in whole years only" in output


def test_outputs_agree_without_an_age(bundle: Bundle) -> None:
    document, row, lines, words = outputs(assess(drawn_dicom(**NO_AGE), "F", bundle), bundle)
    assert document["chronological_age"] is None
    assert document["difference"] is None
    assert document["determination_reason"] == row["determination_reason"] == "age_unknown"
    assert (row["chronological_age_months"], row["sds"], row["determination"]) == ("", "", "")
    for output in (lines, words):
        assert "No SDS: the chronological age is unknown" in output
        assert "Chronological age:" not in output


def test_report_text_states_each_warning_once(bundle: Bundle) -> None:
    """Cautions follow the four lines, and so do critical warnings that these do not state."""
    file = assess(drawn_dicom(**DATES), "F", bundle)
    caution = ResultWarning.of(WarningCode.SEX_DIFFERS_FROM_FILE, given="F", said="M")
    critical = ResultWarning.of(WarningCode.OUTSIDE_TRAINING_RANGE, oldest_months=228)
    noted = report_text(replace(file, warnings=(caution,))).splitlines()
    assert noted[:4] == report_text(replace(file, warnings=())).splitlines()
    assert noted[4:] == ["Caution: The sex was given as female, but the file says male."]
    void = report_text(replace(file, warnings=(critical, caution)))
    assert void.count(critical.message) == 1 and void.splitlines()[4:] == [
        "Caution: The sex was given as female, but the file says male."
    ]


@pytest.mark.parametrize("elements", [DATES, WHOLE_YEARS, NO_AGE])
def test_report_text_has_four_lines_and_no_patient(bundle: Bundle, elements: dict[str, str]) -> None:
    named = assess(drawn_dicom(**elements, PatientName="Doe^Jane", PatientID="4711"), "F", bundle, name="Doe.dcm")
    for language in languages():
        with use_language(language):
            lines = report_text(named)
        assert len(lines.splitlines()) == 4 + sum(one.severity is not Severity.INFO for one in named.warnings)
        assert "Greulich & Pyle" in lines
        assert not any(secret in lines for secret in ("Doe", "4711", "2011", "2020"))


@pytest.mark.parametrize("language", languages())
def test_report_in_every_language(language: str) -> None:
    """Every sentence is translated, and the numbers stay the same."""

    def made() -> ReportContent:
        return report_content(assessment_document(chronological_months=90.0))

    english = made()
    with use_language(language):
        translated = made()
    assert (translated == english) == (language == "en")
    if language != "en":
        assert not set(english.answer) & set(translated.answer)
        assert not set(english.report_text) & set(translated.report_text)


def test_correction_has_its_own_sds() -> None:
    document = assessment_document(94.0, chronological_months=90.0)
    estimated, accepted = report_content(document), report_content(document, Decided(94.0, is_corrected=False))
    corrected = report_content(document, Decided(112.0, is_corrected=True))
    assert accepted.sds == estimated.sds
    assert corrected.age == "9 years 4 months"
    assert corrected.sds.startswith("SDS +2.")
    assert corrected.sds.endswith(": advanced")
    assert corrected.estimate == "Estimated bone age: 7 years 10 months (94.0 months)"
    of_estimate = (corrected.likely_range, corrected.consensus_range, corrected.wide_range, corrected.error)
    assert of_estimate == ("", "", "", "")
    assert corrected.likely_range not in corrected.answer
    assert accepted.likely_range in accepted.answer


def test_near_maturity_is_a_warning_of_the_bone_age_that_counts() -> None:
    """A correction below it takes the warning away, and one up to it brings the warning."""
    near, far = (assessment_document(months, chronological_months=150.0) for months in (190.0, 150.0))
    near = read_again(near, exact_age(150.0))

    def warned(document: AssessmentDocument, decided: Decided | None = None) -> bool:
        content = report_content(document, decided)
        sentences = [sentence for group in content.warnings for sentence in group.sentences]
        return any("at or near skeletal maturity" in sentence for sentence in sentences)

    assert warned(near)
    assert warned(near, Decided(190.0, is_corrected=False))
    assert not warned(near, Decided(150.0, is_corrected=True))
    assert not warned(far)
    assert warned(far, Decided(190.0, is_corrected=True))


def test_differences_have_no_negative_zero() -> None:
    """A difference of some hundredths of a month is 0, not -0."""
    document = assessment_document(90.0, chronological_months=90.003)
    assert document.difference is not None and document.difference.months is not None
    assert math.copysign(1, document.difference.months) == 1
    slightly = assessment_document(90.0, chronological_months=90.03)
    (number,) = [one for one in result_numbers(slightly, slightly, None) if one.code == "BAMINUSCA"]
    assert math.copysign(1, number.value) == 1


def test_most_probable_plates_in_words() -> None:
    plates = tuple(
        PlateDocument(key=f"F-{age:03d}", age_months=age, probability=p) for age, p in ((96, 0.484), (84, 0.3))
    )
    document = assessment_document(94.0, nearest_plates=NearestPlatesDocument(atlas="open", plates=plates))
    content = report_content(document)
    assert content.plates == "Most probable plates of the atlas: 8 years (48 %), 7 years (30 %)"
    assert content.plates in content.answer
    assert report_content(replace(document, is_meaningless=True)).plates == ""


def test_near_maturity_is_open_above() -> None:
    content = report_content(assessment_document(190.0, chronological_months=170.0))
    assert "and above" in content.likely_range
    assert (content.difference, content.consensus_range, content.wide_range) == ("", "", "")
    assert content.sds == "No SDS: the hand is at or near skeletal maturity"


def test_every_reason_has_a_sentence() -> None:
    assert set(NO_SDS) == {reason.value for reason in WithheldReason}


def test_intended_use_states_the_limits_of_the_clinical_package() -> None:
    use, contraindications = intended_use()
    years = {sex: round(months / 12) for sex, months in INTENDED_USE.oldest_months.items()}
    assert f"{round(INTENDED_USE.youngest_months / 12)} to {years[Sex.FEMALE]} years (girls)" in use
    assert f"to {years[Sex.MALE]} years (boys)" in use
    assert INTENDED_USE.projection in use
    assert len(contraindications.split(",")) == len(Contraindication) - 1  # the last two are joined by "or"


def test_study_date_in_facts() -> None:
    document = assessment_document()
    facts = replace(document.facts, study_date=date(2024, 6, 15))
    assert ("Study date", "June 15, 2024") in report_content(replace(document, facts=facts)).facts


def test_files_of_reports_speak_the_language(bundle: Bundle, tmp_path: Path) -> None:
    assessment = assess(drawn_dicom(**DATES), "F", bundle)
    with use_language("pt_BR"):
        source = page(assessment)
    assert '<html lang="pt-BR">' in source
    assert "Idade cronológica: 9 anos e 2 meses" in _Words(source).words


def test_bone_rows_state_age_or_reason() -> None:
    read = BoneDocument(name="pip_3", age_months=99.5, interval_months=None, weight=0.5, unreadable=None, corners=())
    cut = replace(read, name="ulna", age_months=None, unreadable="cut_off")
    assert list(bone_rows(replace(assessment_document(), bones=(read, cut)))) == [
        ("proximal interphalangeal joint 3", "8 years 4 months (99.5 months)"),
        ("ulna", "cut off by the edge of the radiograph"),
    ]
