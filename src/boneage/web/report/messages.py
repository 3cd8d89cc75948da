"""A result of the service as FHIR bundle and HL7 message."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from boneage.messages.fhir import FhirVersion, fhir_bundle
from boneage.messages.hl7 import oru_r01
from boneage.messages.result import ResultSource, StudyReference
from boneage.web.cases.earlier import decided, earlier_of
from boneage.web.cases.exports import last_decision
from boneage.web.models import Assessment
from boneage.web.report.content import name_of


def fhir_of(assessment: Assessment, version: FhirVersion) -> dict[str, Any]:
    """Return a finished assessment as a FHIR bundle in the active language.

    Args:
        assessment: a finished one, of a known sex.
        version: version of FHIR.
    """
    return fhir_bundle(assessment.finished, source_of(assessment), version)


def hl7_of(assessment: Assessment) -> bytes:
    """Return a finished assessment as an HL7 message in the active language, UTF-8.

    Args:
        assessment: a finished one, of a known sex.
    """
    return oru_r01(assessment.finished, source_of(assessment)).encode()


def source_of(assessment: Assessment) -> ResultSource:
    """Return the origin of a result.

    Args:
        assessment: a finished one, of a known sex.
    """
    decision, earlier = last_decision(assessment), earlier_of(assessment)
    # Identifiers of a radiograph of the PACS (`boneage.web.node`, which is above this room); None for an upload.
    received = assessment.instances.values("patient_id", "issuer", "accession", "header_values").first()
    reference = "" if assessment.case is None else assessment.case.reference
    issued = (assessment.finished_at or assessment.submitted_at) if decision is None else decision.decided_at
    return ResultSource(
        id=str(assessment.pk),
        patient=reference if received is None else received["patient_id"],
        accession="" if received is None else received["accession"],
        issued=timezone.localtime(issued),
        decided=decided(assessment),
        reader="" if decision is None or decision.decided_by is None else name_of(decision.decided_by),
        earlier=None if earlier is None else earlier.reading,
        issuer="" if received is None else received["issuer"],
        study=None if received is None else _study(received["header_values"]),
    )


def _study(header: dict[str, Any] | None) -> StudyReference | None:
    if header is None:
        return None
    keys = ("study_uid", "series_uid", "sop_instance_uid", "sop_class_uid", "modality")
    return StudyReference(*(header[key] for key in keys))
