"""What is accepted of a radiograph, what is not and by which code, and that a case is never changed in silence."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from boneage.web.cases.forms import OLDEST_YEARS, RadiographForm
from boneage.web.models import Assessment, AuditEvent, Case, Picture
from boneage.web.queue import jobs

pytestmark = pytest.mark.django_db

BIRTH = date(2010, 3, 4)


def form_of(**said: Any) -> RadiographForm:
    return RadiographForm({"sex": "F", **said}, {"radiograph": SimpleUploadedFile("hand.png", b"radiograph")})


def codes(form: RadiographForm) -> list[tuple[str, str]]:
    form.is_valid()
    return [(problem["field"], problem["code"]) for problem in form.problems()]


@pytest.mark.usefixtures("open_mode")
def test_a_radiograph_with_its_sex_is_enough() -> None:
    form = form_of()
    assert codes(form) == []
    assessment = form.submit(client="somebody")
    assert (assessment.sex, assessment.radiograph_name, assessment.client) == ("F", "hand.png", "somebody")
    assert bytes(Picture.objects.get(assessment=assessment).data) == b"radiograph"


@pytest.mark.usefixtures("open_mode")
def test_without_radiograph_and_sex_both_are_asked_for() -> None:
    assert codes(RadiographForm({}, {})) == [("radiograph", "radiograph_missing"), ("sex", "sex_missing")]
    assert codes(RadiographForm({"sex": "O"}, {"radiograph": SimpleUploadedFile("a.png", b"")})) == [
        ("radiograph", "radiograph_invalid"),
        ("sex", "sex_invalid"),
    ]


@pytest.mark.usefixtures("clinic")
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"birth_date": "04/03/2010"}, ("birth_date", "birth_date_invalid")),
        ({"birth_date": "2010-02-30"}, ("birth_date", "birth_date_invalid")),
        ({"study_date": "2999-01-01"}, ("study_date", "date_in_future")),
        ({"birth_date": "2999-01-01"}, ("birth_date", "date_in_future")),
        ({"birth_date": "2010-03-04", "study_date": "2010-03-03"}, ("study_date", "study_before_birth")),
        ({"birth_date": "1970-03-04", "study_date": "2010-03-03"}, ("study_date", "too_old")),
        ({"given_age_months": "-1"}, ("given_age_months", "given_age_months_invalid")),
        ({"given_age_months": "nan"}, ("given_age_months", "given_age_months_invalid")),
        ({"given_age_months": "1e999"}, ("given_age_months", "given_age_months_invalid")),
        ({"given_age_years": "26"}, ("given_age_years", "given_age_years_invalid")),
        ({"given_age_years": "9" * 5000}, ("given_age_years", "given_age_years_invalid")),
        ({"given_age_years": "25", "given_age_months": "1"}, ("given_age_years", "too_old")),
        ({"given_age_years": "7", "given_age_months": "12"}, ("given_age_months", "age_invalid")),
        ({"note": "n" * 2001}, ("note", "note_invalid")),
        ({"note": "a\0b"}, ("note", "note_invalid")),
        ({"reference": "r" * 65}, ("reference", "reference_invalid")),
        ({"reference": "two\u2028lines"}, ("reference", "reference_invalid")),
    ],
)
def test_what_cannot_be_is_rejected_by_its_code(said: dict[str, str], expected: tuple[str, str]) -> None:
    assert codes(form_of(**said)) == [expected]


@pytest.mark.usefixtures("open_mode")
@given(
    birth=st.dates(date(1990, 1, 1), date(2020, 1, 1)),
    days=st.integers(0, int(OLDEST_YEARS * 365)),
    off=st.floats(-30, 30, allow_nan=False),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_an_age_may_differ_from_the_dates_by_a_month_and_no_more(birth: date, days: int, off: float) -> None:
    study = min(birth + timedelta(days=days), timezone.now().date())
    exact = (study - birth).days / (365.25 / 12)
    given_months = min(max(0.0, exact + off), 12.0 * OLDEST_YEARS)
    found = codes(form_of(birth_date=birth.isoformat(), study_date=study.isoformat(), given_age_months=given_months))
    assert found == ([] if abs(given_months - exact) <= 1 else [("given_age_months", "ages_differ")])


@pytest.mark.usefixtures("open_mode")
@pytest.mark.parametrize(
    ("years", "months", "kept"), [("", "", None), ("7", "", 84), ("", "90.5", 90.5), ("7", "6", 90), ("0", "3", 3)]
)
def test_an_age_is_years_and_months_or_months_alone(years: str, months: str, kept: float | None) -> None:
    form = form_of(given_age_years=years, given_age_months=months)
    assert codes(form) == []
    assert form.submit().given_age_months == kept


@pytest.mark.usefixtures("open_mode")
def test_where_it_is_tomorrow_already_a_radiograph_may_be_of_today() -> None:
    assert codes(form_of(study_date=timezone.now().date().isoformat())) == []
    assert codes(form_of(study_date=(timezone.now().date() + timedelta(days=2)).isoformat())) == [
        ("study_date", "date_in_future")
    ]


@pytest.mark.usefixtures("open_mode")
def test_the_mode_open_reads_no_reference() -> None:
    form = form_of(reference="A 17")
    assert codes(form) == []
    assert form.submit().case is None
    assert not Case.objects.exists()


@pytest.mark.usefixtures("clinic")
def test_radiographs_of_one_reference_are_of_one_case() -> None:
    first, second = form_of(reference=" Zo\u00eb 17 ", birth_date=BIRTH), form_of(reference="Zoe\u0308 17")
    assert codes(first) == codes(second) == []
    assert first.submit().case == second.submit().case
    case = Case.objects.get()
    assert (case.reference, case.sex, case.birth_date) == ("Zo\u00eb 17", "F", BIRTH)
    assert codes(form_of(reference="zo\u00eb 17", sex="M")) == []  # case matters: another child


@pytest.mark.usefixtures("clinic")
@pytest.mark.parametrize("other", [{"sex": "M"}, {"birth_date": "2011-03-04"}])
def test_a_reference_of_another_child_is_an_error_and_changes_nothing(other: dict[str, str]) -> None:
    Case.objects.create(reference="A", sex="F", birth_date=BIRTH)
    assert codes(form_of(reference="A", **other)) == [("reference", "case_differs")]
    case = Case.objects.get()
    assert (case.sex, case.birth_date) == ("F", BIRTH)


@pytest.mark.usefixtures("clinic")
def test_a_case_that_another_makes_meanwhile_is_not_changed_either() -> None:
    form = form_of(reference="A")
    assert form.is_valid()
    Case.objects.create(reference="A", sex="M")
    with pytest.raises(ValidationError) as caught:
        form.submit()
    assert caught.value.code == "case_differs"
    assert not Assessment.objects.exists()


@pytest.mark.usefixtures("clinic")
def test_a_birth_date_that_was_not_known_is_added_and_logged() -> None:
    Case.objects.create(reference="A", sex="F")
    form = form_of(reference="A", birth_date=BIRTH)
    assert codes(form) == []
    form.submit(via="pacs")
    assert Case.objects.get().birth_date == BIRTH
    event = AuditEvent.objects.get()
    assert (event.action, event.detail) == ("submit", {"via": "token pacs", "birth_date_added": True})


@pytest.mark.usefixtures("clinic")
def test_the_birth_date_of_the_case_counts_where_none_is_given() -> None:
    Case.objects.create(reference="A", sex="F", birth_date=BIRTH)
    assert codes(form_of(reference="A", study_date="2009-01-01")) == [("study_date", "study_before_birth")]
    form = form_of(reference="A", study_date="2015-01-01")
    assert codes(form) == []
    assert form.submit().birth_date == BIRTH


@pytest.mark.usefixtures("clinic")
def test_a_radiograph_that_is_turned_away_leaves_no_case_and_no_event(settings: Settings) -> None:
    settings.CONFIGURATION = replace(settings.CONFIGURATION, waiting=0)
    form = form_of(reference="A")
    assert codes(form) == []
    with pytest.raises(jobs.BusyError):
        form.submit()
    assert not Case.objects.exists()
    assert not AuditEvent.objects.exists()
