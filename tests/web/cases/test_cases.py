"""Changes of a case: its birth date is corrected, and everything of it is deleted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
from django.core.exceptions import ValidationError
from django.http import Http404

from boneage.clinical.ages import calendar_months
from boneage.web.cases.cases import Belongings, belongings, change_birth_date, delete_case
from boneage.web.cases.decisions import DecisionInput, decide
from boneage.web.models import Assessment, AuditEvent, Case, Decision, Picture, PictureKind, Role, State, User, Verdict
from tests.web.conftest import CRITICAL, answer_of_phantom, answer_with

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clinic")]


@pytest.fixture
def child() -> Case:
    return Case.objects.create(reference="P-1", sex="F", birth_date=date(2015, 1, 1))


def test_delete_case_deletes_all_and_nothing_else(
    child: Case, done_assessment: Callable[..., Assessment], make_user: Callable[..., User]
) -> None:
    """Deleting takes everything and nothing else."""
    user = make_user(Role.REVIEWER)
    deleted = [done_assessment(case=child), done_assessment(case=child)]
    kept = done_assessment(case=Case.objects.create(reference="P-2", sex="F"))
    for radiograph in (*deleted, kept):
        Decision.objects.create(assessment=radiograph, verdict=Verdict.ACCEPTED, age_months=94)
    assert belongings(child) == Belongings(2, 2 * len(PictureKind), decisions=2, measurements=0)
    delete_case(child, user)
    assert list(Case.objects.values_list("reference", flat=True)) == ["P-2"]
    assert list(Assessment.objects.all()) == [kept]
    assert Picture.objects.count() == len(PictureKind)
    assert Decision.objects.count() == 1
    event = AuditEvent.objects.get()
    assert (event.user_name, event.action, event.object_type, event.object_id) == (
        "reviewer",
        "delete",
        "case",
        str(child.pk),
    )
    assert event.detail == {"assessments": 2, "pictures": 2 * len(PictureKind), "decisions": 2, "measurements": 0}
    with pytest.raises(Http404):
        delete_case(child, user)
    assert AuditEvent.objects.count() == 1


def test_change_birth_date_updates_dated_radiographs(
    child: Case, done_assessment: Callable[..., Assessment], make_user: Callable[..., User]
) -> None:
    """A birth date moves the radiographs whose day is known."""
    taken, born = date(2023, 5, 4), date(2016, 2, 1)
    dated = done_assessment(case=child, study_date=taken, birth_date=date(2015, 1, 1))
    undated = done_assessment(case=child)
    change_birth_date(child, born, make_user(Role.REVIEWER))
    for radiograph in (dated, undated, child):
        radiograph.refresh_from_db()
    assert child.birth_date == dated.birth_date == undated.birth_date == born
    assert dated.chronological_age_months == pytest.approx(calendar_months(born, taken))
    age = dated.finished.chronological_age
    assert age is not None
    assert age.months == pytest.approx(calendar_months(born, taken), abs=0.006)
    assert undated.chronological_age_months == 90.0
    assert AuditEvent.objects.get().detail == {"changed": "birth_date", "assessments": 1}
    change_birth_date(child, born, User.objects.get())
    assert AuditEvent.objects.count() == 1


@pytest.mark.parametrize("fields", [{"state": State.QUEUED}, {"state": State.DONE, "study_date": date(2016, 1, 1)}])
def test_change_birth_date_rejects_impossible_date(
    child: Case,
    fields: dict[str, object],
    done_assessment: Callable[..., Assessment],
    make_user: Callable[..., User],
) -> None:
    """A birth date that cannot be."""
    radiograph = done_assessment(case=child)
    Assessment.objects.filter(pk=radiograph.pk).update(**fields)
    with pytest.raises(ValidationError):
        change_birth_date(child, date(2016, 2, 1), make_user(Role.REVIEWER))
    child.refresh_from_db()
    assert child.birth_date == date(2015, 1, 1)
    assert not AuditEvent.objects.exists()


def test_birth_date_that_was_entered_reaches_radiographs_without_one(
    child: Case, done_assessment: Callable[..., Assessment], make_user: Callable[..., User]
) -> None:
    """The same date again gives it to a radiograph that came without one."""
    late = done_assessment(case=child, study_date=date(2023, 1, 1), answer=answer_of_phantom(chronological=None))
    assert late.sds is None
    change_birth_date(child, date(2015, 1, 1), make_user(Role.REVIEWER))
    late.refresh_from_db()
    assert late.birth_date == child.birth_date
    assert late.chronological_age_months == 96.0
    assert late.sds is not None


def test_critical_warning_by_another_birth_date_withdraws_decision(
    child: Case, done_assessment: Callable[..., Assessment], make_user: Callable[..., User]
) -> None:
    """A child under two years has no bone age by the hand, whoever accepted it when the child was thought older."""
    user = make_user(Role.REVIEWER)
    one = done_assessment(case=child, study_date=date(2023, 1, 1), birth_date=child.birth_date)
    decide(one, DecisionInput(Verdict.ACCEPTED), user)
    change_birth_date(child, date(2021, 6, 1), user)
    one.refresh_from_db()
    assert (one.decision, one.decided_months, one.is_void, one.sds) == ("", None, True, None)
    assert one.decisions.count() == 1
    assert AuditEvent.objects.filter(action="decision_withdrawn", object_id=str(one.pk)).count() == 1
    change_birth_date(child, date(2015, 1, 1), user)
    one.refresh_from_db()
    assert (one.decision, one.is_void) == ("", False)


def test_another_critical_warning_withdraws_a_confirmed_decision(
    child: Case, done_assessment: Callable[..., Assessment], make_user: Callable[..., User]
) -> None:
    """Who confirmed one critical warning did not know of the next."""
    user = make_user(Role.REVIEWER)
    one = done_assessment(answer_with(CRITICAL), case=child, study_date=date(2023, 1, 1), birth_date=child.birth_date)
    decide(one, DecisionInput(Verdict.ACCEPTED, confirms_critical=True), user)
    change_birth_date(child, date(2014, 1, 1), user)
    one.refresh_from_db()
    assert one.decision == Verdict.ACCEPTED
    change_birth_date(child, date(2021, 6, 1), user)
    one.refresh_from_db()
    assert (one.decision, one.decided_months) == ("", None)
