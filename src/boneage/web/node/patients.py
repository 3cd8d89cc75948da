"""The patient of a received radiograph: the case by issuer and Patient ID, the sex, and contradictions."""

from __future__ import annotations

from django.db.models import Q

from boneage.node.instance import InstanceHeader
from boneage.web.cases.forms import composed_reference
from boneage.web.models import BOTH, Assessment, Case

_AUTHORITY = "^^^"
"""Separator of an identifier and its assigning authority, as in the data type CX of HL7."""


def reference_of(patient_id: str, issuer: str) -> str:
    """Return the reference of a patient's case: the Patient ID, with its issuer if there is one.

    Args:
        patient_id: Patient ID; empty if it is unknown.
        issuer: Issuer of Patient ID.

    Returns:
        ``4711`` or ``4711^^^HOSPITAL``; empty without a Patient ID.
    """
    if not patient_id:
        return ""
    return composed_reference(f"{patient_id}{_AUTHORITY}{issuer}" if issuer else patient_id)


def find_case(header: InstanceHeader, department: str) -> Case | None:
    """Return the case of a radiograph's patient in a department, locked; None if there is none."""
    reference = reference_of(header.patient_id, header.issuer)
    return (
        Case.objects.select_for_update().filter(reference=reference, department=department).first()
        if reference
        else None
    )


def make_case(header: InstanceHeader, sex: str, department: str) -> Case | None:
    """Return the case of a radiograph's patient, which is created if there is none; None without a Patient ID.

    Args:
        header: header of the radiograph.
        sex: sex of a new case, one of `boneage.web.models.SEXES`.
        department: department of the radiograph.
    """
    reference = reference_of(header.patient_id, header.issuer)
    if not reference:
        return None
    defaults = {"sex": sex, "birth_date": header.birth_date}
    cases = Case.objects.select_for_update()
    return cases.get_or_create(reference=reference, department=department, defaults=defaults)[0]


def sex_of(header: InstanceHeader, case: Case | None) -> str:
    """Return the sex by which a radiograph is read; empty if nobody has stated it, or two statements contradict.

    It is never guessed: it stands in the header, or it is known of the patient.
    """
    stated = header.sex if header.sex in {"F", "M"} else ""
    of_case = "" if case is None or (case.sex == BOTH and not stated) else case.sex
    if stated and of_case:
        return stated if stated == of_case else ""
    return stated or of_case


def complete(case: Case, header: InstanceHeader, sex: str, replaced: Assessment | None) -> bool:
    """Let a case without other radiographs take sex and birth date of this one. Return whether the sexes agree.

    A birth date that the case lacks is added in any case.

    Args:
        case: a locked case.
        header: header of the radiograph.
        sex: sex by which the radiograph is read.
        replaced: assessment of the same radiograph that is replaced, if there is one.
    """
    others = case.assessments.filter(superseded_by=None).exclude(Q(pk=None if replaced is None else replaced.pk))
    is_alone = not others.exists()
    if case.sex != sex and not is_alone:
        return False
    if case.birth_date is None or (is_alone and header.birth_date is not None):
        case.birth_date = header.birth_date
    case.sex = sex
    case.save(update_fields=["sex", "birth_date"])
    return True
