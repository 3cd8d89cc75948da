"""The result as a FHIR bundle: Device, Observation and DiagnosticReport, R4B or R5.

Growth charts read the Observation with the code 85151-9. It is preliminary until a physician decides.
"""

from __future__ import annotations

import uuid
from importlib.metadata import version as version_of
from typing import Any, Literal

from boneage.messages.result import ResultSource, ResultValues, result_values
from boneage.report.numbers import Number
from boneage.schema import AssessmentDocument

FhirVersion = Literal["R4B", "R5"]
LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
PRIVATE = "urn:oid:2.25.329908701176733708142438661200270644208"
"""System of the codes that no public scheme has; those of the scheme 99BONEAGE in DICOM objects."""
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_UNITS = {"mo": "months", "1": "1"}


def fhir_bundle(document: AssessmentDocument, source: ResultSource, version: FhirVersion = "R4B") -> dict[str, Any]:
    """Return a result as a FHIR bundle of the type ``collection``, as plain JSON in the current language.

    A number that must not be used is absent, with a reason (``dataAbsentReason``).

    Args:
        document: the assessment.
        source: its origin.
        version: version of FHIR.

    Raises:
        ClinicalError: the reference of the setting ``BONEAGE_REFERENCE`` cannot be read.
    """
    values = result_values(document, source)
    device = _device(document, source, version)
    observation = _observation(document, source, values)
    report = _report(source, values)
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": source.issued.isoformat(timespec="seconds"),
        "entry": [{"fullUrl": f"urn:uuid:{one['id']}", "resource": one} for one in (device, observation, report)],
    }


def _id(source: ResultSource, kind: str) -> str:
    """Return the reproducible identifier of a resource."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{PRIVATE} {source.id} {kind}"))


def _device(document: AssessmentDocument, source: ResultSource, version: FhirVersion) -> dict[str, Any]:
    name = {"value" if version == "R5" else "name": "boneage", "type": "user-friendly-name"}
    program, bundle = version_of("boneage"), f"{document.bundle.name} {document.bundle.version}"
    return {
        "resourceType": "Device",
        "id": _id(source, "device"),
        "manufacturer": "The boneage developers",
        "deviceName" if version == "R4B" else "name": [name],
        "version": [{"value": program}, {"value": bundle}],
    }


def _observation(document: AssessmentDocument, source: ResultSource, values: ResultValues) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resourceType": "Observation",
        "id": _id(source, "observation"),
        "identifier": [{"value": source.id}],
        "status": "final" if source.is_final else "preliminary",
        "category": [_concept(f"{_TERMINOLOGY}/observation-category", "imaging", "Imaging")],
        "code": _concept(LOINC, "85151-9", "Bone age"),
        **_context(source, values),
        "bodySite": _concept(SNOMED, "85562004", "Hand"),
        "method": {"text": document.method},
        "device": {"reference": f"urn:uuid:{_id(source, 'device')}"},
        "component": [*map(_component, values.numbers), _sex(values.sex)],
    }
    if values.months is None:
        reason = _concept(f"{_TERMINOLOGY}/data-absent-reason", "error", "Error")
        made["dataAbsentReason"] = {**reason, "text": values.content.stamp}
    else:
        made["valueQuantity"] = _quantity(values.months, "mo")
    if values.interpretation is not None:
        interpretation = _concept(f"{_TERMINOLOGY}/v3-ObservationInterpretation", values.interpretation, "")
        made["interpretation"] = [{**interpretation, "text": values.determination}]
    if values.normal_range is not None:
        low, high = (_quantity(bound, "mo") for bound in values.normal_range)
        made["referenceRange"] = [{"low": low, "high": high, "text": values.clinical.reference.name}]
    notes = [{"text": sentence} for group in values.content.warnings for sentence in group.sentences]
    made["note"] = [*notes, {"text": " ".join(values.content.notice)}]
    return made


def _report(source: ResultSource, values: ResultValues) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "id": _id(source, "report"),
        "identifier": [{"value": source.id}],
        "status": "final" if source.is_final else "preliminary",
        "category": [_concept(f"{_TERMINOLOGY}/v2-0074", "RAD", "Radiology")],
        "code": _concept(LOINC, "37362-1", "XR Bone age"),
        **_context(source, values),
        "result": [{"reference": f"urn:uuid:{_id(source, 'observation')}"}],
        "conclusion": "\n".join(values.content.report_text),
    }
    if source.accession:
        accession = _concept(f"{_TERMINOLOGY}/v2-0203", "ACSN", "Accession ID")
        made["identifier"].append({"type": accession, "value": source.accession})
    return made


def _context(source: ResultSource, values: ResultValues) -> dict[str, Any]:
    """Return subject, times and performer, which both resources share; unknown ones are left out."""
    made: dict[str, Any] = {"issued": source.issued.isoformat(timespec="seconds")}
    if source.patient:
        made["subject"] = {"type": "Patient", "identifier": {"value": source.patient}}
    if values.study_date is not None:
        made["effectiveDateTime"] = values.study_date.isoformat()
    if source.reader:
        made["performer"] = [{"type": "Practitioner", "display": source.reader}]
    return made


def _component(number: Number) -> dict[str, Any]:
    return {
        "code": _concept(PRIVATE, number.code, number.name),
        "valueQuantity": _quantity(number.value, number.unit),
    }


def _sex(code: str) -> dict[str, Any]:
    gender = {"F": "female", "M": "male"}[code]
    return {
        "code": _concept(LOINC, "46098-0", "Sex"),
        "valueCodeableConcept": _concept("http://hl7.org/fhir/administrative-gender", gender, gender.capitalize()),
    }


def _quantity(value: float, unit: str) -> dict[str, Any]:
    return {"value": value, "unit": _UNITS[unit], "system": UCUM, "code": unit}


def _concept(system: str, code: str, display: str) -> dict[str, Any]:
    coding = {"system": system, "code": code, **({"display": display} if display else {})}
    return {"coding": [coding]}
