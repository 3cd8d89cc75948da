"""Corrections of what was submitted with a radiograph in the mode ``clinic``: its sex, and its case."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Q
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from boneage.web.accounts.audit import Action, record
from boneage.web.cases.cases import give_birth_date, take_age
from boneage.web.cases.forms import LONGEST_REFERENCE, composed_reference
from boneage.web.models import BOTH, Assessment, Case, PictureKind, Role, User, configuration
from boneage.web.queue import jobs, same_radiograph

_AGAIN = {
    "F": gettext_lazy("Assess again as female"),
    "M": gettext_lazy("Assess again as male"),
    BOTH: gettext_lazy("Assess again for both sexes"),
}
"""Labels of `other_sexes`."""


def other_sexes(assessment: Assessment) -> dict[str, Any]:
    """Return the sexes as which a radiograph can be assessed again, with their labels."""
    return {sex: label for sex, label in _AGAIN.items() if sex != assessment.sex}


class MoveForm(forms.Form):
    """Reference of the case to which a radiograph is moved."""

    reference = forms.CharField(
        label=gettext_lazy("Patient reference"),
        max_length=LONGEST_REFERENCE,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        error_messages={"required": gettext_lazy("Enter the reference of the case.")},
    )

    def clean_reference(self) -> str:
        """Return the reference in the form in which references are compared.

        Raises:
            ValidationError: ``reference_invalid``.
        """
        return composed_reference(self.cleaned_data["reference"])


def may_change(assessment: Assessment, user: User | None) -> bool:
    """Return whether this user may change sex or case of a radiograph: only reviewers once it is decided."""
    if configuration().is_open or user is None or not assessment.is_final or assessment.superseded_by_id is not None:
        return False
    return user.may(Role.REVIEWER if assessment.decision else Role.READER)


def can_be_assessed_again(assessment: Assessment) -> bool:
    """Return whether the file is still stored."""
    return assessment.pictures.filter(kind=PictureKind.UPLOAD).exists()


@transaction.atomic
def assess_again(assessment: Assessment, user: User, sex: str) -> Assessment:
    """Queue the stored radiograph as another sex, and mark this assessment as superseded.

    The case takes that sex, too, if it has no other radiograph.

    Args:
        assessment: a final one.
        user: the user.
        sex: one of `other_sexes`.

    Returns:
        The new assessment.

    Raises:
        Http404: it was deleted meanwhile, or its file is no longer stored.
        PermissionDenied: this user may not.
        ValidationError: ``case_differs`` if the case has radiographs of the present sex.
        BusyError: ``busy``.
    """
    current = _locked(assessment, user)
    upload = current.pictures.filter(kind=PictureKind.UPLOAD).values_list("data", flat=True).first()
    if upload is None:
        raise Http404
    if current.case_id is not None:
        _change_sex(current, sex, user)
    again = jobs.submit(
        jobs.Submission(
            radiograph=bytes(upload),
            radiograph_name=current.radiograph_name,
            sex=sex,
            birth_date=current.birth_date,
            study_date=current.study_date,
            given_age_months=current.given_age_months,
            given_age_precision=current.given_age_precision,
            note=current.note,
            case=current.case,
            department=current.department,
            user=user,
        )
    )
    current.superseded_by = again
    current.save(update_fields=["superseded_by"])
    record(user, Action.SUPERSEDED, current, by=str(again.pk), sex=sex)
    record(user, Action.SUBMIT, again)
    return again


@transaction.atomic
def move(assessment: Assessment, reference: str, user: User) -> Case:
    """Move a radiograph to the case with a reference in its department, which is created if there is none.

    The radiograph takes the date of birth of that case, and with it the chronological age. A case without a date of
    birth takes that of the radiograph, and so do its other radiographs.

    Raises:
        Http404: it was deleted meanwhile.
        PermissionDenied: this user may not.
        ValidationError: ``case_differs`` if that case has another sex; ``same_case`` if the radiograph is in it.
    """
    same_radiograph.hold([assessment.pixels_sha256])
    named = Case.objects.filter(reference=reference, department=assessment.department)
    jobs.locked(Assessment.objects.filter(Q(pk=assessment.pk) | Q(case__in=named)))  # all at once: see `jobs.locked`
    current = _locked(assessment, user)
    case, _is_new = Case.objects.select_for_update().get_or_create(
        reference=reference,
        department=current.department,
        defaults={"sex": current.sex, "birth_date": current.birth_date},
    )
    if case.pk == current.case_id:
        raise ValidationError(gettext("The radiograph is in this case already."), "same_case")
    if case.sex != current.sex:
        raise ValidationError(gettext("The case with this reference has another sex."), "case_differs")
    before = current.case
    current.case = case
    if case.birth_date is None and current.birth_date is not None:
        case.birth_date = current.birth_date
        give_birth_date(case, case.birth_date)
    _take_birth_date(current, case)
    current.derive()
    current.save()
    same_radiograph.mark([current.pixels_sha256])
    case.changed_at = timezone.now()
    case.save(update_fields=["birth_date", "changed_at"])
    if before is not None:
        Case.objects.filter(pk=before.pk).update(changed_at=timezone.now())
    old = "" if before is None else str(before.pk)
    record(user, Action.CASE_CHANGED, current, changed="case", before=old, after=str(case.pk))
    return case


def _locked(assessment: Assessment, user: User) -> Assessment:
    """Return the assessment as it is now, locked."""
    jobs.locked(Assessment.objects.filter(pk=assessment.pk))
    current = Assessment.objects.select_related("case").filter(pk=assessment.pk).first()
    if current is None:
        raise Http404
    if not may_change(current, user):
        raise PermissionDenied
    return current


def _change_sex(assessment: Assessment, sex: str, user: User) -> None:
    """Change the sex of a case whose only radiograph this is."""
    case = Case.objects.select_for_update().get(assessments=assessment)
    others = Assessment.objects.filter(case=case, superseded_by=None).exclude(pk=assessment.pk)
    if others.exists():
        raise ValidationError(
            gettext("Other radiographs of this case have the same sex. Move this radiograph to another case first."),
            "case_differs",
        )
    case.sex = sex
    case.save(update_fields=["sex"])
    record(user, Action.CASE_CHANGED, case, changed="sex")


def _take_birth_date(assessment: Assessment, case: Case) -> None:
    """Let a radiograph take the date of birth of its case, and read its result by the age that follows."""
    if case.birth_date is None or case.birth_date == assessment.birth_date:
        return
    study_date = assessment.study_date
    if study_date is not None and study_date < case.birth_date:
        raise ValidationError(gettext("The radiograph is dated before the birth."), "study_before_birth")
    assessment.birth_date = case.birth_date
    if study_date is not None:
        take_age(assessment, case.birth_date, study_date)
