"""The result as a FHIR bundle: Device, ImagingStudy, Observation and DiagnosticReport, R4B or R5.

Growth charts read the Observation with the code 85151-9. It is preliminary until a physician decides.
"""

from __future__ import annotations

import uuid
from copy import deepcopy
from datetime import datetime
from importlib.metadata import version as version_of
from typing import Any, Literal
from urllib.parse import quote

from boneage import words
from boneage.messages.result import ResultSource, ResultValues, bone_code, bone_label, result_values
from boneage.report.numbers import Number
from boneage.schema import AssessmentDocument, BoneDocument

FhirVersion = Literal["R4B", "R5"]
LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
PRIVATE = "urn:oid:2.25.329908701176733708142438661200270644208"
"""System of the codes that no public scheme has; those of the scheme 99BONEAGE in DICOM objects."""
RESULTS, DEVICES = f"{PRIVATE}.1", f"{PRIVATE}.2"
"""Systems of the identifiers of results and of devices."""
DICOM_UIDS = "urn:dicom:uid"
_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_UNITS = {"mo": "months", "1": "1"}
_STATEMENTS = ("component", "interpretation", "referenceRange", "note")
"""Elements of an Observation, besides its value, that a retracted one has no longer."""


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
    made = _resources(document, source, version)
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": source.issued.isoformat(timespec="seconds"),
        "entry": [{"fullUrl": f"urn:uuid:{one['id']}", "resource": one} for one in made],
    }


def fhir_transaction(
    document: AssessmentDocument,
    source: ResultSource,
    version: FhirVersion = "R4B",
    *,
    patient_system: str = "",
    find_patient: bool = False,
) -> dict[str, Any]:
    """Return a result as a FHIR bundle of the type ``transaction``, which may be sent any number of times.

    Device and ImagingStudy are created unless the server has them (conditional create, by identifier), so that those of
    the PACS stay as they are. Observation and DiagnosticReport are created or updated (conditional update), so that
    the result after a decision takes the place of the preliminary one.

    Args:
        document: the assessment.
        source: its origin.
        version: version of FHIR.
        patient_system: system of the patient's identifier at the server.
        find_patient: the subject is the server's patient with this identifier, which the server looks up.

    Raises:
        ClinicalError: the reference of the setting ``BONEAGE_REFERENCE`` cannot be read.
    """
    entries = []
    for one in _resources(document, source, version):
        kind, full_url = one["resourceType"], f"urn:uuid:{one.pop('id')}"  # the server gives the id
        identifier = one["identifier"][0]
        condition = f"identifier={quote(identifier['system'], '')}%7C{quote(identifier['value'], '')}"
        if "subject" in one:
            one["subject"] = _subject(source.patient, patient_system, is_found=find_patient)
        if kind in {"Device", "ImagingStudy"}:
            request = {"method": "POST", "url": kind, "ifNoneExist": condition}
        else:
            request = {"method": "PUT", "url": f"{kind}?{condition}"}
        entries.append({"fullUrl": full_url, "resource": one, "request": request})
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def retracted_transaction(sent: dict[str, Any], issued: datetime, reason: str) -> dict[str, Any]:
    """Return the transaction that retracts the result of another one.

    Its entries have the identifiers of the first one, so that they take the place of what the server holds. Observation
    and DiagnosticReport are entered in error, and state no number. A retracted transaction stays as it is, apart from
    moment and reason.

    Args:
        sent: transaction that the server has (`fhir_transaction`).
        issued: moment of the retraction, with a time zone.
        reason: sentence for people, which says that the result must not be used.
    """
    made = deepcopy(sent)
    for entry in made["entry"]:
        resource = entry["resource"]
        if resource["resourceType"] not in {"Observation", "DiagnosticReport"}:
            continue
        resource |= {"status": "entered-in-error", "issued": issued.isoformat(timespec="seconds")}
        if resource["resourceType"] == "DiagnosticReport":
            resource["conclusion"] = reason
            continue
        for name in [name for name in resource if name.startswith("value") or name in _STATEMENTS]:
            del resource[name]
        absent = _concept(f"{_TERMINOLOGY}/data-absent-reason", "error", "Error")
        resource["dataAbsentReason"] = {**absent, "text": reason}
    return made


def _resources(document: AssessmentDocument, source: ResultSource, version: FhirVersion) -> list[dict[str, Any]]:
    """Return the resources of a result, each after those to which it refers."""
    values = result_values(document, source)
    study = _study(source, version)
    observation, report = _observation(document, source, values), _report(source, values)
    if study is not None:
        reference = {"reference": f"urn:uuid:{study['id']}"}
        observation["derivedFrom"] = [reference]
        report["study" if version == "R5" else "imagingStudy"] = [reference]
    made = [_device(document, source, version), study, observation, report]
    return [one for one in made if one is not None]


def _subject(patient: str, system: str, *, is_found: bool = False) -> dict[str, Any]:
    if is_found:
        return {"reference": f"Patient?identifier={quote(system, '')}%7C{quote(patient, '')}"}
    return {"type": "Patient", "identifier": {**({"system": system} if system else {}), "value": patient}}


def _study(source: ResultSource, version: FhirVersion) -> dict[str, Any] | None:
    """Return the study of the radiograph; None for an upload, and without a patient, whom the resource requires."""
    study = source.study
    if study is None or not source.patient:
        return None
    modality: dict[str, Any] = {"system": _DICOM, "code": study.modality}
    sop_class = {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{study.sop_class_uid}"}
    return {
        "resourceType": "ImagingStudy",
        "id": _id(source, "study"),
        "identifier": [{"system": DICOM_UIDS, "value": f"urn:oid:{study.study_uid}"}],
        "status": "available",
        "subject": _subject(source.patient, ""),
        "series": [
            {
                "uid": study.series_uid,
                "modality": {"coding": [modality]} if version == "R5" else modality,
                "instance": [{"uid": study.instance_uid, "sopClass": sop_class}],
            }
        ],
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
        "identifier": [{"system": DEVICES, "value": f"boneage {program} {bundle}"}],
        "manufacturer": "The boneage developers",
        "deviceName" if version == "R4B" else "name": [name],
        "version": [{"value": program}, {"value": bundle}],
    }


def _observation(document: AssessmentDocument, source: ResultSource, values: ResultValues) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resourceType": "Observation",
        "id": _id(source, "observation"),
        "identifier": [{"system": RESULTS, "value": source.id}],
        "status": "final" if source.is_final else "preliminary",
        "category": [_concept(f"{_TERMINOLOGY}/observation-category", "imaging", "Imaging")],
        "code": _concept(LOINC, "85151-9", "Bone age"),
        **_context(source, values),
        "bodySite": _concept(SNOMED, "85562004", "Hand"),
        "method": {"text": document.method},
        "device": {"reference": f"urn:uuid:{_id(source, 'device')}"},
        "component": [*map(_component, values.numbers), _sex(values.sex), *map(_bone, values.bones)],
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
        "identifier": [{"system": RESULTS, "value": source.id}],
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
        made["subject"] = _subject(source.patient, "")
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


def _bone(bone: BoneDocument) -> dict[str, Any]:
    code = _concept(PRIVATE, bone_code(bone), bone_label(bone))
    if bone.age_months is not None:
        return {"code": code, "valueQuantity": _quantity(round(bone.age_months, 1), "mo")}
    reason = _concept(f"{_TERMINOLOGY}/data-absent-reason", "error", "Error")
    text = {} if bone.unreadable is None else {"text": words.unreadable(bone.unreadable)}
    return {"code": code, "dataAbsentReason": {**reason, **text}}


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
