"""FHIR bundles are valid, and hold the values of the assessment."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, get_args

import pytest

from boneage.messages.fhir import PRIVATE, FhirVersion, fhir_bundle, fhir_transaction, retracted_transaction
from boneage.messages.result import ResultSource, StudyReference
from boneage.report.comparison import Decided
from boneage.report.content import clinical_of
from boneage.schema import AssessmentDocument
from tests.documents import bone_documents
from tests.messages.sources import FINAL, PRELIMINARY, document, unusable

STUDY = StudyReference("1.2.3", "1.2.3.8", "1.2.3.8.1", "1.2.840.10008.5.1.4.1.1.1.1", "DX")


def resources(bundle: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the resources of a bundle by their type."""
    return {entry["resource"]["resourceType"]: entry["resource"] for entry in bundle["entry"]}


@pytest.mark.parametrize("version", get_args(FhirVersion))
@pytest.mark.parametrize(
    "source",
    [
        PRELIMINARY,
        FINAL,
        replace(PRELIMINARY, patient="", accession=""),
        replace(FINAL, study=STUDY),
        replace(FINAL, study=STUDY, patient=""),
    ],
)
def test_fhir_bundle_is_valid(source: ResultSource, version: FhirVersion) -> None:
    """The models of fhir.resources accept every bundle."""
    model = import_module(f"fhir.resources{'.R4B' if version == 'R4B' else ''}.bundle").Bundle
    for made in (document(), document(bones=bone_documents()), unusable()):
        model.model_validate(fhir_bundle(made, source, version))
        model.model_validate(fhir_transaction(made, source, version, patient_system="urn:oid:1.2.3"))


def test_fhir_bundle_values() -> None:
    """Bone age, normal range, SDS and difference are those of the assessment."""
    made = document()
    observation = resources(fhir_bundle(made, PRELIMINARY))["Observation"]
    assert made.normal_range is not None
    assert made.difference is not None
    assert made.difference.months is not None
    assert made.interval_months is not None
    assert observation["valueQuantity"]["value"] == 94.3
    assert observation["valueQuantity"]["code"] == "mo"
    assert observation["code"]["coding"][0]["code"] == "85151-9"
    (normal,) = observation["referenceRange"]
    assert normal["low"]["value"] == round(made.normal_range.lower_months, 1)
    assert normal["high"]["value"] == round(made.normal_range.upper_months, 1)
    numbers = {
        one["code"]["coding"][0]["code"]: one["valueQuantity"]["value"]
        for one in observation["component"]
        if one["code"]["coding"][0]["system"] == PRIVATE
    }
    assert numbers == {
        "BA95L": round(made.interval_months[0], 1),
        "BA95U": round(made.interval_months[1], 1),
        "CA": 100.5,
        "BAMINUSCA": round(made.difference.months, 1),
        "SDS": made.sds,
    }
    assert observation["interpretation"][0]["text"] == made.determination
    assert observation["effectiveDateTime"] == "2024-05-04"


def test_fhir_bundle_state() -> None:
    """A result is preliminary until a physician decides, and then holds the physician's bone age."""
    before = resources(fhir_bundle(document(), PRELIMINARY))
    after = resources(fhir_bundle(document(), FINAL))
    for kind in ("Observation", "DiagnosticReport"):
        assert (before[kind]["status"], after[kind]["status"]) == ("preliminary", "final")
        assert before[kind]["id"] == after[kind]["id"]
        assert "performer" not in before[kind]
        assert after[kind]["performer"][0]["display"] == FINAL.reader
    assert after["Observation"]["valueQuantity"]["value"] == 100.0
    codes = [one["code"]["coding"][0]["code"] for one in after["Observation"]["component"]]
    assert "BA95L" not in codes, "the interval of the estimate is not that of a correction"
    sds = next(one for one in after["Observation"]["component"] if one["code"]["coding"][0]["code"] == "SDS")
    assert sds["valueQuantity"]["value"] == clinical_of(document(), FINAL.decided).sds


def test_fhir_bundle_unusable_number() -> None:
    """A number that must not be used is absent from every value."""
    bundle = fhir_bundle(unusable(), PRELIMINARY)
    observation = resources(bundle)["Observation"]
    assert "valueQuantity" not in observation
    assert observation["dataAbsentReason"]["text"]
    assert "94.3" not in str(bundle)
    assert [one["code"]["coding"][0]["code"] for one in observation["component"]] == ["46098-0"]


def test_fhir_bundle_references_resolve() -> None:
    """References point at resources of the bundle."""
    bundle = fhir_bundle(document(), PRELIMINARY)
    urls = {entry["fullUrl"] for entry in bundle["entry"]}
    made = resources(bundle)
    assert made["Observation"]["device"]["reference"] in urls
    assert made["DiagnosticReport"]["result"][0]["reference"] in urls


def test_fhir_bundle_study() -> None:
    """The result refers to the study of the PACS; without a patient, whom the resource requires, there is none."""
    made = resources(fhir_bundle(document(), replace(PRELIMINARY, study=STUDY)))
    study = made["ImagingStudy"]
    assert study["identifier"] == [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}]
    assert study["series"][0]["instance"][0]["uid"] == STUDY.instance_uid
    assert made["Observation"]["derivedFrom"] == [{"reference": f"urn:uuid:{study['id']}"}]
    assert "ImagingStudy" not in resources(fhir_bundle(document(), replace(PRELIMINARY, study=STUDY, patient="")))


def test_fhir_transaction_conditions() -> None:
    """Device and study are created at most once; result and report of a decision are updated in their place."""
    before, after = (
        fhir_transaction(document(), replace(one, study=STUDY), patient_system="urn:oid:1.2.3")["entry"]
        for one in (PRELIMINARY, FINAL)
    )
    assert [one["request"] for one in before] == [one["request"] for one in after]
    methods = {one["resource"]["resourceType"]: one["request"]["method"] for one in before}
    assert methods == {"Device": "POST", "ImagingStudy": "POST", "Observation": "PUT", "DiagnosticReport": "PUT"}
    for one in before:
        assert "id" not in one["resource"], "the server gives the id"
        condition = one["request"].get("ifNoneExist") or one["request"]["url"].partition("?")[2]
        assert condition.startswith("identifier=")
        assert condition.count("%7C") == 1
    subject = before[-1]["resource"]["subject"]
    assert subject == {"type": "Patient", "identifier": {"system": "urn:oid:1.2.3", "value": "4711"}}


RETRACTED_AT, REASON = datetime(2024, 5, 7, 8, tzinfo=UTC), "It must not be used."


@pytest.mark.parametrize("version", get_args(FhirVersion))
@pytest.mark.parametrize("source", [PRELIMINARY, FINAL, replace(FINAL, study=STUDY), replace(PRELIMINARY, patient="")])
@pytest.mark.parametrize("made", [document(), document(bones=bone_documents()), unusable()])
def test_retracted_transaction(made: AssessmentDocument, source: ResultSource, version: FhirVersion) -> None:
    """A retraction is valid, takes the place of the result, and states no number."""
    sent = fhir_transaction(made, source, version, patient_system="urn:oid:1.2.3")
    before = json.dumps(sent)
    retracted = retracted_transaction(sent, RETRACTED_AT, REASON)
    assert json.dumps(sent) == before, "the sent transaction is kept"
    model = import_module(f"fhir.resources{'.R4B' if version == 'R4B' else ''}.bundle").Bundle
    model.model_validate(retracted)
    for old, new in zip(sent["entry"], retracted["entry"], strict=True):
        assert (new["fullUrl"], new["request"]) == (old["fullUrl"], old["request"])
        for keyword in ("identifier", "subject", "result", "derivedFrom", "device", "code"):
            assert new["resource"].get(keyword) == old["resource"].get(keyword), keyword
    kinds = resources(retracted)
    for kind in ("Observation", "DiagnosticReport"):
        assert (kinds[kind]["status"], kinds[kind]["issued"]) == ("entered-in-error", "2024-05-07T08:00:00+00:00")
    assert kinds["DiagnosticReport"]["conclusion"] == REASON
    assert kinds["Observation"]["dataAbsentReason"]["text"] == REASON
    stated = {"valueQuantity", "component", "interpretation", "referenceRange", "note"}
    assert not stated & set(kinds["Observation"])
    assert kinds["Device"] == resources(sent)["Device"]
    assert retracted_transaction(retracted, RETRACTED_AT, REASON) == retracted


def test_fhir_components_of_single_bones() -> None:
    """Each bone has a component with its age or the reason why it has none; a corrected bone age has none of them."""
    made = document(bones=bone_documents())
    observation = resources(fhir_bundle(made, PRELIMINARY))["Observation"]
    codes = {one["code"]["coding"][0]["code"]: one for one in observation["component"]}
    for bone in made.bones:
        component = codes[f"BABONE.{bone.name}"]
        if bone.age_months is None:
            assert component["dataAbsentReason"]["text"].startswith("its bone age is uncertain")
        else:
            assert component["valueQuantity"]["value"] == round(bone.age_months, 1)
    corrected = replace(FINAL, decided=Decided(120.0, is_corrected=True))
    parts = resources(fhir_bundle(made, corrected))["Observation"]["component"]
    assert not any(one["code"]["coding"][0]["code"].startswith("BABONE") for one in parts)
