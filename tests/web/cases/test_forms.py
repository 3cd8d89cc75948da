"""Forms accept radiographs or reject them by a code, and never change a case silently."""

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

from boneage.clinical.ages import calendar_months
from boneage.web.cases.forms import OLDEST_YEARS, RadiographForm
from boneage.web.models import Assessment, AuditEvent, Case, Picture
from boneage.web.queue import jobs

pytestmark = pytest.mark.django_db

BIRTH = date(2010, 3, 4)


def form_of(**fields: Any) -> RadiographForm:
    return RadiographForm({"sex": "F", **fields}, {"radiograph": SimpleUploadedFile("hand.png", b"radiograph")})


def codes(form: RadiographForm) -> list[tuple[str, str]]:
    form.is_valid()
    return [(problem["field"], problem["code"]) for problem in form.problems()]


@pytest.mark.usefixtures("open_mode")
def test_form_accepts_radiograph_and_sex() -> None:
    """A radiograph with its sex is enough."""
    form = form_of()
    assert codes(form) == []
    assessment = form.submit(client="somebody")
    assert (assessment.sex, assessment.radiograph_name, assessment.client) == ("F", "hand.png", "somebody")
    assert bytes(Picture.objects.get(assessment=assessment).data) == b"radiograph"


@pytest.mark.usefixtures("open_mode")
def test_form_requires_radiograph_and_sex() -> None:
    """Without radiograph and sex, both are requested."""
    assert codes(RadiographForm({}, {})) == [("radiograph", "radiograph_missing"), ("sex", "sex_missing")]
    assert codes(RadiographForm({"sex": "O"}, {"radiograph": SimpleUploadedFile("a.png", b"")})) == [
        ("radiograph", "radiograph_invalid"),
        ("sex", "sex_invalid"),
    ]


@pytest.mark.usefixtures("clinic")
@pytest.mark.parametrize(
    ("fields", "expected"),
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
        ({"reference": "r" * 161}, ("reference", "reference_invalid")),
        ({"reference": "two\u2028lines"}, ("reference", "reference_invalid")),
    ],
)
def test_form_rejects_by_code(fields: dict[str, str], expected: tuple[str, str]) -> None:
    """Impossible values are rejected by their code."""
    assert codes(form_of(**fields)) == [expected]


@pytest.mark.usefixtures("open_mode")
@given(
    birth=st.dates(date(1990, 1, 1), date(2020, 1, 1)),
    days=st.integers(0, int(OLDEST_YEARS * 365)),
    off=st.floats(-30, 30, allow_nan=False),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_form_age_may_differ_by_a_month(birth: date, days: int, off: float) -> None:
    """An age may differ from the dates by a month and no more."""
    study = min(birth + timedelta(days=days), timezone.now().date())
    exact = calendar_months(birth, study)
    given_months = min(max(0.0, exact + off), 12.0 * OLDEST_YEARS)
    rejected_by = codes(
        form_of(birth_date=birth.isoformat(), study_date=study.isoformat(), given_age_months=given_months)
    )
    assert rejected_by == ([] if abs(given_months - exact) <= 1 else [("given_age_months", "ages_differ")])


@pytest.mark.usefixtures("open_mode")
@pytest.mark.parametrize(
    ("years", "months", "kept", "precision"),
    [
        ("", "", None, ""),
        ("7", "", 84, "years"),
        ("", "90.5", 90.5, ""),
        ("", "90", 90, ""),
        ("7", "6", 90, "months"),
        ("7", "6.5", 90.5, ""),
        ("0", "3", 3, "months"),
    ],
)
def test_form_age_in_years_and_months(years: str, months: str, kept: float | None, precision: str) -> None:
    """An age is years and months or months alone."""
    form = form_of(given_age_years=years, given_age_months=months)
    assert codes(form) == []
    assessment = form.submit()
    assert (assessment.given_age_months, assessment.given_age_precision) == (kept, precision)


@pytest.mark.usefixtures("open_mode")
def test_form_today_in_every_time_zone() -> None:
    """Where it is tomorrow already a radiograph may be of today."""
    assert codes(form_of(study_date=timezone.now().date().isoformat())) == []
    assert codes(form_of(study_date=(timezone.now().date() + timedelta(days=2)).isoformat())) == [
        ("study_date", "date_in_future")
    ]


@pytest.mark.usefixtures("open_mode")
def test_form_open_mode_ignores_reference() -> None:
    """The mode open reads no reference."""
    form = form_of(reference="A 17")
    assert codes(form) == []
    assert form.submit().case is None
    assert not Case.objects.exists()


@pytest.mark.usefixtures("clinic")
def test_submit_joins_case_of_reference() -> None:
    """Radiographs of one reference are of one case."""
    first, second = form_of(reference=" Zo\u00eb 17 ", birth_date=BIRTH), form_of(reference="Zoe\u0308 17")
    assert codes(first) == codes(second) == []
    assert first.submit().case == second.submit().case
    case = Case.objects.get()
    assert (case.reference, case.sex, case.birth_date) == ("Zo\u00eb 17", "F", BIRTH)
    assert codes(form_of(reference="zo\u00eb 17", sex="M")) == []  # case matters: another child


@pytest.mark.usefixtures("clinic")
@pytest.mark.parametrize("other", [{"sex": "M"}, {"birth_date": "2011-03-04"}])
def test_form_rejects_reference_of_another_child(other: dict[str, str]) -> None:
    """A reference of another child is an error and changes nothing."""
    Case.objects.create(reference="A", sex="F", birth_date=BIRTH)
    assert codes(form_of(reference="A", **other)) == [("reference", "case_differs")]
    case = Case.objects.get()
    assert (case.sex, case.birth_date) == ("F", BIRTH)


@pytest.mark.usefixtures("clinic")
def test_submit_case_created_meanwhile() -> None:
    """A case that another makes meanwhile is not changed either."""
    form = form_of(reference="A")
    assert form.is_valid()
    Case.objects.create(reference="A", sex="M")
    with pytest.raises(ValidationError) as caught:
        form.submit()
    assert caught.value.code == "case_differs"
    assert not Assessment.objects.exists()


@pytest.mark.usefixtures("clinic")
def test_submit_adds_unknown_birth_date() -> None:
    """A birth date that was not known is added and logged."""
    Case.objects.create(reference="A", sex="F")
    form = form_of(reference="A", birth_date=BIRTH)
    assert codes(form) == []
    form.submit(via="pacs")
    assert Case.objects.get().birth_date == BIRTH
    event = AuditEvent.objects.get()
    assert (event.action, event.detail) == ("submit", {"via": "token pacs", "birth_date_added": True})


@pytest.mark.usefixtures("clinic")
def test_form_uses_birth_date_of_case() -> None:
    """The birth date of the case counts where none is given."""
    Case.objects.create(reference="A", sex="F", birth_date=BIRTH)
    assert codes(form_of(reference="A", study_date="2009-01-01")) == [("study_date", "study_before_birth")]
    form = form_of(reference="A", study_date="2015-01-01")
    assert codes(form) == []
    assert form.submit().birth_date == BIRTH


@pytest.mark.usefixtures("clinic")
def test_submit_rejected_leaves_nothing(settings: Settings) -> None:
    """A radiograph that is turned away leaves no case and no event."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, waiting=0)
    form = form_of(reference="A")
    assert codes(form) == []
    with pytest.raises(jobs.BusyError):
        form.submit()
    assert not Case.objects.exists()
    assert not AuditEvent.objects.exists()
