"""Results of the service as FHIR and HL7: valid, in the caller's language, with the decision that counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from fhir.resources.R4B.bundle import Bundle
from hl7apy.parser import parse_message  # type: ignore[import-untyped]
from pytest_django.fixtures import Settings

from boneage.web.cases.corrections import assess_again
from boneage.web.cases.decisions import DecisionInput, decide
from boneage.web.models import BOTH, ApiToken, Case, Role, Verdict
from tests.web.conftest import answer_with

Maker = Callable[..., Any]


@pytest.fixture
def caller(make_user: Maker, settings: Settings) -> Client:
    """Return a program with a token of a reader, in the mode ``clinic``."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="clinic")
    _, token = ApiToken.issue(make_user(Role.READER), "ward")
    return Client(headers={"Authorization": f"Bearer {token}"})


def observation_of(client: Client, path: str, **headers: str) -> dict[str, Any]:
    """Return the Observation of a FHIR bundle that the API gives, after its validation."""
    response = client.get(path, headers=headers)
    assert (response.status_code, response["Content-Type"]) == (200, "application/fhir+json")
    bundle = json.loads(response.content)
    Bundle.model_validate(bundle)
    resource: dict[str, Any] = bundle["entry"][1]["resource"]
    return resource


def test_fhir_and_hl7_before_and_after_a_decision(caller: Client, done_assessment: Maker, make_user: Maker) -> None:
    """Both are preliminary, then final with the physician's bone age and name."""
    case = Case.objects.create(reference="4711", sex="F")
    assessment = done_assessment(answer_with(age_months=94.0), case=case)
    path = f"/api/assessments/{assessment.pk}"
    before = observation_of(caller, f"{path}/fhir")
    assert (before["status"], before["subject"]["identifier"]["value"]) == ("preliminary", "4711")
    assert before["valueQuantity"]["value"] == 94.0
    decide(assessment, DecisionInput(Verdict.CORRECTED, 100.0, "seen"), make_user(Role.READER, "curie"))
    after = observation_of(caller, f"{path}/fhir")
    assert (after["status"], after["valueQuantity"]["value"]) == ("final", 100.0)
    message = parse_message(caller.get(f"{path}/hl7").content.decode())
    bone_age = message.oru_r01_patient_result.oru_r01_order_observation.oru_r01_observation[0].obx
    assert (bone_age.obx_5.value, bone_age.obx_11.value) == ("100", "F")


def test_fhir_language_and_version(caller: Client, done_assessment: Maker) -> None:
    """Sentences are in the language of the request, and an unknown version is an error."""
    assessment = done_assessment(answer_with(age_months=94.0))
    path = f"/api/assessments/{assessment.pk}/fhir"
    english = observation_of(caller, path)
    german = observation_of(caller, path, **{"Accept-Language": "de"})
    assert english["note"][-1] != german["note"][-1]
    assert english["valueQuantity"] == german["valueQuantity"]
    bundle = json.loads(caller.get(path, {"version": "R5"}).content)
    assert "name" in bundle["entry"][0]["resource"]
    assert caller.get(path, {"version": "DSTU2"}).status_code == 422


@pytest.mark.parametrize("form", ["fhir", "hl7"])
def test_messages_of_both_sexes(caller: Client, done_assessment: Maker, form: str) -> None:
    """A radiograph that was read by both sexes has no one result."""
    assessment = done_assessment(answer_with(age_months=94.0))
    type(assessment).objects.filter(pk=assessment.pk).update(sex=BOTH)
    response = caller.get(f"/api/assessments/{assessment.pk}/{form}")
    assert (response.status_code, response.json()["code"]) == (409, "both_sexes")


@pytest.mark.parametrize("form", ["report.pdf", "fhir", "hl7"])
def test_superseded_result_has_no_message(caller: Client, done_assessment: Maker, make_user: Maker, form: str) -> None:
    """A result of the wrong sex leaves the service neither as report nor as message; its JSON names the replacement."""
    case = Case.objects.create(reference="4711", sex="F")
    assessment = done_assessment(answer_with(age_months=94.0), case=case)
    reviewer = make_user(Role.REVIEWER, "curie")
    decide(assessment, DecisionInput(Verdict.ACCEPTED), reviewer)
    path = f"/api/assessments/{assessment.pk}"
    assert caller.get(f"{path}/{form}").status_code == 200
    again = assess_again(assessment, reviewer, "M")
    response = caller.get(f"{path}/{form}")
    assert (response.status_code, response.json()["code"]) == (409, "superseded")
    assert str(again.pk) in response.json()["message"]
    assert caller.get(f"{path}/result").json()["superseded_by"] == str(again.pk)
    body = {"verdict": "accepted"}
    response = caller.post(f"{path}/decision", body, content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (409, "superseded")
