"""Changes of a case in the mode ``clinic``: correction of the date of birth, and deletion."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext

from boneage.clinical.ages import calendar_months
from boneage.web.accounts.audit import SYSTEM, Action, record
from boneage.web.models import FINAL, Assessment, Case, Decision, Measurements, Picture, State, User
from boneage.web.queue import jobs


@dataclass(frozen=True)
class Belongings:
    """Numbers of rows that belong to a case."""

    assessments: int
    pictures: int
    decisions: int
    measurements: int


def belongings(case: Case) -> Belongings:
    """Return the numbers of rows that would be deleted with a case."""
    return Belongings(
        assessments=Assessment.objects.filter(case=case).count(),
        pictures=Picture.objects.filter(assessment__case=case).count(),
        decisions=Decision.objects.filter(assessment__case=case).count(),
        measurements=Measurements.objects.filter(case=case).count(),
    )


@transaction.atomic
def delete_case(case: Case, user: User) -> Belongings:
    """Delete a case with its radiographs, pictures and decisions. The audit log records their numbers.

    A worker that is assessing one of the radiographs then finds nothing to answer.

    Raises:
        Http404: it is gone already.
    """
    counts = belongings(case)
    if not jobs.delete_case(case):
        raise Http404
    record(user, Action.DELETE, case, **asdict(counts))
    return counts


@transaction.atomic
def change_birth_date(case: Case, birth_date: date, user: User) -> None:
    """Correct the date of birth, in every radiograph of the case as well, and the chronological age where the study
    date is known.

    Raises:
        ValidationError: a radiograph was taken before that day, or is being assessed just now.
        Http404: the case is gone.
    """
    jobs.locked(Assessment.objects.filter(case=case))
    current = _locked(case)
    radiographs = Assessment.objects.filter(case=current)
    if current.birth_date == birth_date and not radiographs.exclude(birth_date=birth_date).exists():
        return
    if radiographs.exclude(state__in=FINAL).exists():
        raise ValidationError(gettext("A radiograph of this child is being assessed. Try again in a moment."))
    changed = give_birth_date(current, birth_date)
    Case.objects.filter(pk=current.pk).update(birth_date=birth_date, changed_at=timezone.now())
    record(user, Action.CASE_CHANGED, current, changed="birth_date", assessments=changed)


def give_birth_date(case: Case, birth_date: date) -> int:
    """Give the radiographs of a case its date of birth, and the age that follows where the study date is known.

    A radiograph that is being assessed keeps its own, since its answer will hold the age that follows from it.

    Args:
        case: the case. Its radiographs are locked already, and were before the case itself (`jobs.locked`).
        birth_date: the date of birth.

    Returns:
        Number of radiographs that have another age now.

    Raises:
        ValidationError: a radiograph was taken before that day.
    """
    others = list(Assessment.objects.filter(case=case).exclude(birth_date=birth_date))
    dated = [(one, one.study_date) for one in others if one.state in FINAL and one.study_date is not None]
    if any(study_date < birth_date for _, study_date in dated):
        raise ValidationError(gettext("A radiograph of this child was taken before this date."))
    waiting_or_final = [one.pk for one in others if one.state != State.RUNNING]
    Assessment.objects.filter(pk__in=waiting_or_final).update(birth_date=birth_date)
    for radiograph, study_date in dated:
        radiograph.save(update_fields=take_age(radiograph, birth_date, study_date))
    return len(dated)


def take_age(radiograph: Assessment, birth_date: date, study_date: date) -> list[str]:
    """Let a radiograph take the age at its study, and record it if a critical warning withdraws its decision.

    Returns:
        Names of the columns for `save`.
    """
    was_decided = radiograph.decision != ""
    columns = radiograph.take_age(calendar_months(birth_date, study_date))
    if was_decided and not radiograph.decision:
        record(SYSTEM, Action.DECISION_WITHDRAWN, radiograph)
    return columns


@transaction.atomic
def change_department(case: Case, department: str, user: User) -> None:
    """Hand a case with its radiographs to another department, which alone sees it from then on.

    Args:
        case: the case.
        department: name of the department, or `boneage.web.departments.NO_DEPARTMENT`.
        user: an administrator.

    Raises:
        ValidationError: that department has a case with the same reference.
        Http404: the case is gone.
    """
    jobs.locked(Assessment.objects.filter(case=case))
    current = _locked(case)
    if current.department == department:
        return
    if Case.objects.filter(reference=current.reference, department=department).exists():
        raise ValidationError(gettext("That department has a case with this reference already."))
    before, current.department, current.changed_at = current.department, department, timezone.now()
    current.save(update_fields=["department", "changed_at"])
    Assessment.objects.filter(case=current).update(department=department)
    record(user, Action.CASE_CHANGED, current, changed="department", before=before, after=department)


def _locked(case: Case) -> Case:
    current = Case.objects.select_for_update().filter(pk=case.pk).first()
    if current is None:
        raise Http404
    return current
