"""A child whose sex is unknown, or neither female nor male: both readings side by side, and no SDS."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from boneage.clinical.ages import StatedAge
from boneage.composition import assess_for_both_sexes
from boneage.phantom import draw_hand
from boneage.report.both_sexes import BothSexesContent
from boneage.report.report import json_text
from boneage.web.cases import exports
from boneage.web.cases.cases import change_birth_date
from boneage.web.cases.decisions import DecisionError, DecisionInput, decide
from boneage.web.models import BOTH, Assessment, Case, Role, User, Verdict
from boneage.web.queue import jobs, work
from boneage.web.report.content import report_of
from tests.atlases import draw_atlas
from tests.bundles import tiny_bundle
from tests.radiograph_files import dicom_dataset, dicom_file
from tests.web.pdf_text import words_in_pdf

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clinic")]


@cache
def radiograph() -> bytes:
    """A drawn hand as DICOM, made once for all tests."""
    pixels = np.rint(draw_hand(height=640, width=480) * 255).astype(np.uint8)
    return dicom_file(dicom_dataset(pixels, 8, PatientAge="", StudyDate="20240615"))


@pytest.fixture
def read(settings: Settings, tmp_path: Path) -> Assessment:
    """A radiograph that a worker has read for both sexes."""
    bundle, atlas = tiny_bundle(tmp_path / "tiny", hand=True), draw_atlas(tmp_path / "atlas")
    settings.CONFIGURATION = replace(settings.CONFIGURATION, bundle=str(bundle), atlas=str(atlas))
    child = Case.objects.create(reference="P-7", sex=BOTH, birth_date=date(2014, 6, 15))
    submitted = jobs.submit(jobs.Submission(radiograph(), "a.dcm", BOTH, case=child, birth_date=child.birth_date))
    assert jobs.run(str(submitted.pk), worker="w", assess=work.assess_bytes)
    submitted.refresh_from_db()
    return submitted


def test_both_readings_are_stored(read: Assessment) -> None:
    """One result for each sex, none that counts, and the reason for the missing SDS."""
    girls, boys = read.readings
    assert (girls.sex, boys.sex) == ("F", "M")
    assert girls.age_months != boys.age_months
    for reading in read.readings:
        assert (reading.sds, reading.determination, reading.normal_range) == (None, None, None)
        assert "sex_unknown" in [warning.code for warning in reading.warnings]
    assert (read.stored, read.age_months, read.current_months, read.sds) == (None, None, None, None)
    assert read.determination_reason == "sex_unknown"
    assert read.pictures.count() >= 2


def test_both_readings_are_shown(read: Assessment, log_in: Callable[..., Client]) -> None:
    """On the page, in the worklist, as JSON and as two rows of a table, on the report and in the PDF."""
    client = log_in(Role.REVIEWER)
    page = client.get(f"/assessments/{read.pk}/").content.decode()
    for text in ("Female standards", "Male standards", "there is no SDS"):
        assert text in page
    assert "Accept " not in page
    assert "two readings" in client.get("/cases/?sex=both").content.decode()
    document = client.get(f"/assessments/{read.pk}/result.json").json()
    assert document["sex"] == "both"
    assert list(document["by_sex"]) == ["F", "M"]
    assert "age_months" not in document
    table = client.get(f"/assessments/{read.pk}/result.csv").content.decode("utf-8-sig")
    assert [row["sex"] for row in csv.DictReader(io.StringIO(table))] == ["F", "M"]
    report = client.get(f"/assessments/{read.pk}/report/").content.decode()
    pdf = words_in_pdf(b"".join(client.get(f"/assessments/{read.pk}/report.pdf")))
    content = report_of(read).content
    assert isinstance(content, BothSexesContent)
    for reading in content.readings:
        for line in (reading.heading, reading.age, *reading.lines, content.chronological_age):
            assert html.escape(line) in report
            assert "".join(line.split()) in pdf
    assert "<img" in report
    assert client.get(f"/assessments/{read.pk}/copy.png").status_code == 200
    assert "SDS +" not in report


def test_both_readings_of_the_hand_are_one_search(read: Assessment) -> None:
    """The hand is located, and the views are cut, once."""
    girls, boys = read.readings
    assert girls.hand == boys.hand
    assert girls.timings_ms["find"] == boys.timings_ms["find"]
    assert boys.timings_ms["cut"] < girls.timings_ms["cut"]


def test_both_readings_agree_with_command_line(read: Assessment, settings: Settings) -> None:
    """The JSON is that of the command line, but for what the service adds."""
    age = StatedAge(date(2014, 6, 15), read.study_date)
    both = assess_for_both_sexes(radiograph(), settings.CONFIGURATION.bundle, name="a.dcm", age=age)
    by_service = exports.json_value(read)
    by_command = json.loads(json_text(both))
    assert set(by_service) - set(by_command) == {"id", "state", "decision", "superseded_by"}
    for sex, reading in by_command["by_sex"].items():
        stored = by_service["by_sex"][sex]
        assert set(stored) - set(reading) == {"plates"}
        assert {key for key, value in reading.items() if stored[key] != value} <= {"timings_ms", "nearest_plates"}


def test_both_readings_decision(read: Assessment, make_user: Callable[..., User]) -> None:
    """Neither reading can be accepted; a bone age can be entered, and has no SDS."""
    user = make_user(Role.REVIEWER)
    with pytest.raises(DecisionError, match="no bone age"):
        decide(read, DecisionInput(Verdict.ACCEPTED, confirms_critical=True), user)
    decide(read, DecisionInput(Verdict.CORRECTED, 120.0, "by the standard for girls"), user)
    read.refresh_from_db()
    assert (read.current_months, read.sds, read.determination_reason) == (120.0, None, "sex_unknown")


def test_both_readings_decided_on_page(read: Assessment, log_in: Callable[..., Client]) -> None:
    """The form on the page stores a bone age, with and without a script; the radiograph is assessed again as a sex."""
    client = log_in(Role.REVIEWER)
    form = {"verdict": "corrected", "years": "10", "months": "0", "reason": "by the standard for girls"}
    answer = client.post(f"/assessments/{read.pk}/decide", form, headers={"HX-Request": "true"})
    assert "10 years" in answer.content.decode()
    assert client.post(f"/assessments/{read.pk}/decide", {"verdict": "accepted"}).status_code == 409
    again = client.post(f"/assessments/{read.pk}/again", {"sex": "M"})
    assert again.status_code == 302
    read.refresh_from_db()
    assert read.superseded_by is not None
    assert (read.superseded_by.sex, Case.objects.get().sex) == ("M", "M")


def test_both_readings_birth_date(read: Assessment, make_user: Callable[..., User]) -> None:
    """A corrected date of birth changes both readings, and gives neither an SDS."""
    assert read.case is not None
    change_birth_date(read.case, date(2015, 6, 15), make_user(Role.REVIEWER))
    read.refresh_from_db()
    for reading in read.readings:
        assert reading.chronological_age is not None
        assert reading.chronological_age.months == pytest.approx(108)
        assert reading.sds is None
