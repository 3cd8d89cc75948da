"""Operations on results as messages of hospital systems: FHIR and HL7 version 2."""

from __future__ import annotations

import json

from django.http import HttpRequest, HttpResponse

from boneage.messages.fhir import FhirVersion
from boneage.web.accounts import audit
from boneage.web.api.application import AssessmentId, api, record_access, result_by_one_sex
from boneage.web.api.description import Good, operation
from boneage.web.report.downloads import file_of
from boneage.web.report.messages import fhir_of, hl7_of

_CODES = ("not_found", "not_finished", "no_result", "superseded", "both_sexes")
_FHIR, _HL7 = "application/fhir+json", "x-application/hl7-v2+er7"


@api.get(
    "/assessments/{uuid:assessment_id}/fhir",
    tags=["results"],
    summary="Fetch the result as FHIR",
    **operation(
        {200: Good("A bundle of Device, Observation and DiagnosticReport, R4B or R5.", (_FHIR,))},
        *_CODES,
        "request_invalid",
    ),
)
def fhir(request: HttpRequest, assessment_id: AssessmentId, version: FhirVersion = "R4B") -> HttpResponse:
    """Return the result as a FHIR bundle: preliminary until a physician decides, then final."""
    assessment = result_by_one_sex(request, assessment_id)
    data = json.dumps(fhir_of(assessment, version), ensure_ascii=False).encode()
    record_access(request, assessment, audit.Action.EXPORT, form="fhir")
    return file_of(assessment, data, _FHIR, ".fhir.json", is_shown=True)


@api.get(
    "/assessments/{uuid:assessment_id}/hl7",
    tags=["results"],
    summary="Fetch the result as HL7",
    **operation({200: Good("A message ORU^R01 of HL7 2.5.1, UTF-8.", (_HL7,))}, *_CODES),
)
def hl7(request: HttpRequest, assessment_id: AssessmentId) -> HttpResponse:
    """Return the result as an HL7 message: preliminary until a physician decides, then final."""
    assessment = result_by_one_sex(request, assessment_id)
    data = hl7_of(assessment)
    record_access(request, assessment, audit.Action.EXPORT, form="hl7")
    return file_of(assessment, data, _HL7, ".hl7", is_shown=False)
