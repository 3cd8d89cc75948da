"""The page of a child, the comparison of its radiographs and its adult height, as a browser gets them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from boneage.web.cases.decisions import DecisionInput, decide
from boneage.web.models import BOTH, Assessment, AuditEvent, Case, Measurements, PictureKind, Role, State, User, Verdict
from tests.web.conftest import answer_of_phantom, with_result

pytestmark = [pytest.mark.django_db]

CASES = "/cases/"


@pytest.fixture
def child() -> Case:
    return Case.objects.create(reference="P-0042", sex="F", birth_date=date(2015, 1, 1))


@pytest.fixture
def two_radiographs(child: Case, done_assessment: Callable[..., Assessment]) -> list[Assessment]:
    """At 7 and at 8 years, a year apart."""
    return [
        done_assessment(
            case=child,
            study_date=date(2022 + at, 1, 1),
            radiograph_sha256=str(at) * 64,
            answer=answer_of_phantom(90.0 + 14 * at, chronological=84.0 + 12 * at),
        )
        for at in (0, 1)
    ]


def test_case_page(
    clinic: None, log_in: Callable[..., Client], child: Case, done_assessment: Callable[..., Assessment]
) -> None:
    """The page lists radiographs by age, plots those with an age, and states how fast the bones matured."""
    later = done_assessment(
        case=child, answer=answer_of_phantom(110.0, chronological=102.0), radiograph_sha256="1" * 64
    )
    first = done_assessment(case=child, answer=answer_of_phantom(94.0, chronological=90.0))
    unknown = done_assessment(case=child, answer=answer_of_phantom(99.0, chronological=None))
    Assessment.objects.create(case=child, sex="F", radiograph_bytes=1, state=State.REJECTED, code="no_hand")
    Assessment.objects.filter(pk=later.pk).update(decision=Verdict.ACCEPTED, decided_months=110.0)
    text = log_in(Role.REVIEWER).get(f"/cases/{child.pk}/").content.decode()
    places = [text.index(f"/assessments/{radiograph.pk}/thumbnail.jpg") for radiograph in (first, later, unknown)]
    assert places == sorted(places)
    assert text.count('<g class="radiograph estimated"><title>Age 7 years 6 months: bone age 7 years 10 months') == 1
    assert "). 95 % prediction interval: 6 years 3 months to 9 years 5 months.</title>" in text
    assert text.count("80 % prediction interval: 6 years 10 months to 8 years 10 months") == 1
    assert text.count('class="bar inner"') == 3  # two radiographs and the legend
    assert text.count('<g class="radiograph accepted"><title>') == 2  # on both plots
    assert text.count("Not on the plot: the chronological age is unknown.") == 1
    assert "Change: +16.0 months (95 % interval +12.4 to +19.6) in 12.0 months" in text
    assert "Gain: 16.0 months per year (95 % interval 12.4 to 19.6), faster than 12 months per year" in text
    assert "Age 7 years 6 months: SDS +0.40 (80 % interval" in text
    assert text.count('loading="lazy"') == 3
    assert "style=" not in text
    event = AuditEvent.objects.get()
    assert (event.action, event.object_id) == ("view", str(child.pk))


def test_case_page_without_radiographs(clinic: None, log_in: Callable[..., Client], child: Case) -> None:
    """A child without radiographs."""
    text = log_in().get(f"/cases/{child.pk}/").content.decode()
    assert "There is no radiograph of this child." in text
    assert "<figure" not in text


def test_meaningless_number_not_on_plot(
    clinic: None, log_in: Callable[..., Client], child: Case, done_assessment: Callable[..., Assessment]
) -> None:
    """A number that is no bone age is not on the plot."""
    answer = with_result(answer_of_phantom(94.0), is_meaningless=True)
    done_assessment(case=child, answer=answer)
    assert "<figure" not in log_in().get(f"/cases/{child.pk}/").content.decode()


@pytest.mark.parametrize(
    ("birth_date", "text"),
    [("", "required"), ("x", "valid date"), ("2200-01-01", "1900"), ("1899-12-31", "1900"), ("2022-06-01", "before")],
)
def test_invalid_birth_date(
    clinic: None,
    log_in: Callable[..., Client],
    child: Case,
    done_assessment: Callable[..., Assessment],
    birth_date: str,
    text: str,
) -> None:
    """A bad birth date."""
    done_assessment(case=child, study_date=date(2022, 5, 1))
    answer = log_in(Role.REVIEWER).post(f"/cases/{child.pk}/", {"birth_date": birth_date})
    assert answer.status_code == 422
    assert 'class="errorlist"' in answer.content.decode()
    assert text in answer.content.decode()
    child.refresh_from_db()
    assert child.birth_date == date(2015, 1, 1)


def test_change_birth_date(
    clinic: None, log_in: Callable[..., Client], child: Case, done_assessment: Callable[..., Assessment]
) -> None:
    """A birth date is changed."""
    done_assessment(case=child, study_date=date(2022, 5, 1))
    user = log_in(Role.REVIEWER)
    answer = user.post(f"/cases/{child.pk}/", {"birth_date": "2014-05-01"}, follow=True)
    assert answer.redirect_chain == [(f"/cases/{child.pk}/", 302)]
    assert "8 years" in answer.content.decode()
    assert 'value="2014-05-01"' in answer.content.decode()


def test_delete_case_asks_first(
    clinic: None, log_in: Callable[..., Client], child: Case, done_assessment: Callable[..., Assessment]
) -> None:
    """Deleting asks first, and takes the measurements along."""
    done_assessment(case=child)
    Measurements.objects.create(case=child, height_cm=128.0)
    user = log_in(Role.REVIEWER)
    text = user.get(f"/cases/{child.pk}/delete").content.decode()
    assert "1 assessment<" in text
    assert f"{len(PictureKind)} radiographs and pictures" in text
    assert "measurements" in text
    assert Case.objects.exists()
    assert user.post(f"/cases/{child.pk}/delete").headers["Location"] == CASES
    assert not Case.objects.exists()
    assert not Measurements.objects.exists()
    assert not Assessment.objects.exists()
    assert user.get(f"/cases/{child.pk}/").status_code == 404
    assert user.post(f"/cases/{child.pk}/delete").status_code == 404


def test_case_page_states_mixed_methods(
    clinic: None,
    log_in: Callable[..., Client],
    child: Case,
    two_radiographs: list[Assessment],
    make_user: Callable[..., User],
) -> None:
    """A correction is a physician's reading: the band is wider, and the mixture is stated."""
    decide(two_radiographs[1], DecisionInput(Verdict.CORRECTED, 110.0, "read again"), make_user(Role.REVIEWER))
    text = log_in().get(f"/cases/{child.pk}/").content.decode()
    assert "Change: +20.0 months (95 % interval +6.0 to +34.0) in 12.0 months" in text
    assert "compatible with 12 months per year" in text
    assert "One of the bone ages is an automatic estimate, the other a physician&#x27;s" in text


def test_compare_registers_both_hands(
    clinic: None, log_in: Callable[..., Client], child: Case, two_radiographs: list[Assessment]
) -> None:
    """Both stored pictures are drawn through their transforms; each view is audited."""
    client = log_in()
    text = client.get(f"/cases/{child.pk}/compare").content.decode()
    for one in two_radiographs:
        assert f'<image href="/assessments/{one.pk}/radiograph.jpg"' in text
        assert AuditEvent.objects.filter(action="view", object_id=str(one.pk), detail__page="compare").count() == 1
    assert text.count('transform="matrix(') == 2
    assert "Change: +14.0 months" in text
    assert "style=" not in text
    swapped = client.get(f"/cases/{child.pk}/compare?later={two_radiographs[0].pk}")
    assert swapped.status_code == 200
    assert client.get(f"/cases/{child.pk}/compare?later={uuid4()}").status_code == 404


def test_compare_needs_two_hands(
    clinic: None, log_in: Callable[..., Client], child: Case, done_assessment: Callable[..., Assessment]
) -> None:
    """One radiograph, or a hand that was not located, cannot be compared."""
    done_assessment(case=child)
    done_assessment(case=child, answer=with_result(answer_of_phantom(), hand=None))
    assert log_in().get(f"/cases/{child.pk}/compare").status_code == 404


MEASURED: dict[str, Any] = {
    "height_cm": "128",
    "height_date": "2023-01-01",
    "weight_kg": "26.5",
    "mother_cm": "165",
    "mother_source": "measured",
    "father_cm": "178",
    "father_source": "reported",
    "menarche": "no",
    "contraindications": ["none"],
}


def test_measurements_give_adult_height(
    clinic: None, log_in: Callable[..., Client], child: Case, two_radiographs: list[Assessment]
) -> None:
    """All methods side by side with ranges, by the bone age of the radiograph of that day; audited by name only."""
    client = log_in()
    answer = client.post(f"/cases/{child.pk}/measurements", MEASURED)
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/cases/{child.pk}/#height")
    text = client.get(f"/cases/{child.pk}/").content.decode()
    for method in ("Bayley &amp; Pinneau 1952", "Khamis &amp; Roche 1995", "Target height", "For boys only"):
        assert method in text
    assert "165.0 cm" in text  # the target height
    assert "Bone age of the radiograph at 8 years: 8 years 8 months." in text
    assert "Height SDS for the chronological age (WHO 2007): +0.2" in text
    event = AuditEvent.objects.get(action="case_changed")
    assert event.detail["changed"] == "measurements"
    assert "height_cm" in event.detail["values"]
    assert "128" not in str(event.detail)
    client.post(f"/cases/{child.pk}/measurements", MEASURED)
    assert AuditEvent.objects.filter(action="case_changed").count() == 1  # nothing changed


def test_contraindication_withholds_methods(
    clinic: None, log_in: Callable[..., Client], child: Case, two_radiographs: list[Assessment]
) -> None:
    """Under treatment no method is offered; target height and SDS are."""
    client = log_in()
    client.post(f"/cases/{child.pk}/measurements", {**MEASURED, "contraindications": ["under_treatment"]})
    text = client.get(f"/cases/{child.pk}/").content.decode()
    assert text.count("Not offered: a condition is present for which no prediction is valid") == 4
    assert "165.0 cm" in text
    assert Measurements.objects.get().contraindications == ["under_treatment"]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"height_cm": "1.28"}, "This looks like metres."),
        ({"height_cm": "220"}, "not plausible at this age"),
        ({"weight_kg": "26500"}, "This looks like grams."),
        ({"mother_cm": "16"}, "not possible"),
        ({"menarche_age_years": "8"}, "does not agree"),
        ({"height_date": "2014-01-01"}, "after the birth"),
        ({"contraindications": ["none", "turner_syndrome"]}, "contradicts"),
    ],
)
def test_invalid_measurements(
    clinic: None,
    log_in: Callable[..., Client],
    child: Case,
    two_radiographs: list[Assessment],
    changed: dict[str, Any],
    text: str,
) -> None:
    """Nothing is stored, and the reason stands at its field."""
    answer = log_in().post(f"/cases/{child.pk}/measurements", {**MEASURED, **changed})
    assert answer.status_code == 422
    assert text in answer.content.decode()
    assert not Measurements.objects.exists()


def test_adult_height_by_sex(clinic: None, log_in: Callable[..., Client]) -> None:
    """The form for boys has no menarche; there is no method for an unknown sex; both need an age."""
    client = log_in()
    boy = Case.objects.create(reference="P-1", sex="M")
    text = client.get(f"/cases/{boy.pk}/").content.decode()
    assert "Menarche" not in text
    assert "The chronological age is unknown" in text
    unknown = Case.objects.create(reference="P-2", sex=BOTH)
    assert "there is none for an unknown or other sex" in client.get(f"/cases/{unknown.pk}/").content.decode()


def test_case_page_leaves_intervals_open_near_maturity(
    clinic: None, log_in: Callable[..., Client], child: Case, done_assessment: Callable[..., Assessment]
) -> None:
    """Near skeletal maturity no interval has an upper bound, as in the report."""
    answer = with_result(answer_of_phantom(190.0, chronological=160.0))
    done_assessment(case=child, answer=answer, radiograph_sha256="1" * 64)
    text = log_in(Role.REVIEWER).get(f"/cases/{child.pk}/").content.decode()
    assert "80 % prediction interval: 14 years 10 months and above" in text
    assert "95 % prediction interval:" not in text


def test_case_page_orders_by_date(
    clinic: None, log_in: Callable[..., Client], child: Case, done_assessment: Callable[..., Assessment]
) -> None:
    """Radiographs without an age stand in the order of their dates, not of their submission."""
    later, first = (
        done_assessment(
            case=child,
            study_date=date(year, 1, 1),
            radiograph_sha256=str(year) * 16,
            answer=answer_of_phantom(94.0, chronological=None),
        )
        for year in (2024, 2022)
    )
    text = log_in(Role.REVIEWER).get(f"/cases/{child.pk}/").content.decode()
    places = [text.index(f"/assessments/{radiograph.pk}/thumbnail.jpg") for radiograph in (first, later)]
    assert places == sorted(places)
