"""The earlier radiograph of a child."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
from django.test import Client

from boneage.web.cases.earlier import earlier_of
from boneage.web.models import Assessment, Case, Role
from boneage.web.report.content import content_of
from boneage.web.report.messages import fhir_of
from tests.web.conftest import CRITICAL, answer_of_phantom, answer_with, with_result

pytestmark = pytest.mark.django_db

MakeAssessment = Callable[..., Assessment]


def test_earlier_is_last_usable_before(clinic: None, done_assessment: MakeAssessment) -> None:
    """Neither a later radiograph, nor one that must not be used, nor the same file counts."""
    case = Case.objects.create(reference="P1", sex="F", birth_date=date(2012, 1, 1))
    ages = ((60.0, date(2017, 1, 1)), (84.0, date(2019, 1, 1)), (120.0, date(2022, 1, 1)))
    first, second, last = (
        done_assessment(
            answer_of_phantom(months, chronological=months), case=case, study_date=day, radiograph_sha256=str(day)
        )
        for months, day in ages
    )
    done_assessment(answer_with(CRITICAL), case=case, study_date=date(2021, 1, 1), radiograph_sha256="critical")
    done_assessment(case=case, study_date=date(2021, 6, 1), radiograph_sha256=last.radiograph_sha256)
    for one, expected in ((last, second), (second, first), (first, None)):
        earlier = earlier_of(one)
        assert (None if earlier is None else earlier.assessment) == expected
    assert "radiograph of January 1, 2019: bone age 7 years" in content_of(last).report_text[3]


def test_earlier_without_case(open_mode: None, done_assessment: MakeAssessment) -> None:
    """A radiograph of no case has none."""
    done_assessment()
    assert earlier_of(done_assessment()) is None


def test_date_that_was_entered_counts(
    clinic: None, done_assessment: MakeAssessment, log_in: Callable[..., Client]
) -> None:
    """All outputs compare by the date of the radiograph that was entered, whatever the files say."""
    case = Case.objects.create(reference="P1", sex="F", birth_date=date(2014, 1, 1))

    def made(months: float, chronological: float, entered: date, in_file: date) -> Assessment:
        answer = answer_of_phantom(months, chronological=chronological)
        facts = replace(answer.results[0].facts, study_date=in_file)
        answer = with_result(answer, facts=facts)
        return done_assessment(answer, case=case, study_date=entered, radiograph_sha256=f"{months:064}")

    made(94.0, 96.0, date(2022, 1, 1), date(2022, 1, 1))
    later = made(120.0, 120.0, date(2024, 1, 1), date(2020, 1, 1))
    assert later.finished.facts.study_date == date(2024, 1, 1)
    assert "in 24.0 months" in content_of(later).report_text[3]
    client = log_in(Role.REVIEWER)
    for page in ("", "report/", "report.pdf"):
        assert client.get(f"/assessments/{later.pk}/{page}").status_code == 200
    (observation,) = [
        entry["resource"]
        for entry in fhir_of(later, "R4B")["entry"]
        if entry["resource"]["resourceType"] == "Observation"
    ]
    assert observation["effectiveDateTime"] == "2024-01-01"
