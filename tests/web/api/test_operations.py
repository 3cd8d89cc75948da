"""The REST API in both modes: what it answers, whom it answers, and that its description says the same."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.utils import timezone
from django.utils.crypto import get_random_string
from pytest_django.fixtures import Settings

from boneage.bundle.bundle import Bundle
from boneage.composition import assess
from boneage.phantom import sample_png
from boneage.web.api import waiting
from boneage.web.api.schemas import Decided, StateName, Submission
from boneage.web.cases.forms import OWN_CODES, RadiographForm
from boneage.web.codes import CODES, SUBMISSION_CODES
from boneage.web.models import (
    Assessment,
    Picture,
    PictureKind,
    Role,
    State,
    Verdict,
)
from boneage.web.queue import work
from tests.atlases import draw_atlas
from tests.bundles import tiny_bundle
from tests.web.api.programs import CORRECTION, RADIOGRAPH, Api, Maker, problem_of, reject, work_off
from tests.web.conftest import CRITICAL, answer_with

pytestmark = pytest.mark.django_db


# --- submitting and waiting -------------------------------------------------------------------------------------------


def test_submit_and_fetch(in_open: Api) -> None:
    """A radiograph is taken and its answer fetched."""
    answer = in_open.submit(sex="F", given_age_months="90.5", note="left")
    assert (answer.status_code, answer["Retry-After"]) == (202, "1")
    document = answer.json()
    assert (document["state"], document["result"], document["code"]) == ("queued", None, None)
    kept = Assessment.objects.get(pk=document["id"])
    assert (kept.sex, kept.given_age_months, kept.note, kept.radiograph_name) == ("F", 90.5, "left", "anna.png")
    assert bytes(kept.pictures.get().data) == RADIOGRAPH
    assert in_open.get(f"assessments/{kept.pk}").status_code == 202
    assert work_off() == 1
    done = in_open.get(f"assessments/{kept.pk}")
    assert done.status_code == 200
    assert done.json()["result"] == in_open.get(f"assessments/{kept.pk}/result").json()
    assert (done.json()["state"], done.json()["age_months"]) == ("done", 94.0)
    assert done.json()["expires_at"] is not None


def test_assessment_rejected(in_open: Api) -> None:
    """A rejected radiograph says why."""
    key = in_open.submit(sex="M").json()["id"]
    work_off(reject)
    answer = in_open.get(f"assessments/{key}")
    document = answer.json()
    assert (answer.status_code, document["state"], document["code"]) == (200, "rejected", "no_hand")
    assert (document["message"], document["result"]) == ("There is no hand.", None)
    for part in ("result", "radiograph.jpg", "heat.png", "overlay.png", "report.pdf", "fhir", "hl7"):
        response = in_open.get(f"assessments/{key}/{part}")
        assert problem_of(response) == (409, "no_result")
        assert "no_hand" in response.json()["message"]
    assert problem_of(in_open.post(f"assessments/{key}/decision", CORRECTION)) == (409, "not_decidable")


def test_result_of_waiting_radiograph(in_open: Api) -> None:
    """A waiting radiograph has no result yet."""
    key = in_open.submit(sex="M").json()["id"]
    for part in ("result", "radiograph.jpg", "heat.png", "overlay.png", "report.pdf", "fhir", "hl7"):
        assert problem_of(in_open.get(f"assessments/{key}/{part}")) == (409, "not_finished")
    assert problem_of(in_open.post(f"assessments/{key}/decision", CORRECTION)) == (409, "not_decidable")


@pytest.mark.django_db(transaction=True)
def test_wait_ends_with_result(in_open: Api) -> None:
    """Waiting ends with the answer and holds no transaction."""
    looks: list[bool] = []
    finished = threading.Event()

    class Clock:
        """Sleeping: the radiograph is assessed while the program waits."""

        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def sleep(seconds: float) -> None:
            looks.append(connection.in_atomic_block)
            assert 0 < seconds <= 0.1
            if len(looks) == 3:
                assert work_off() == 1
                finished.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "time", Clock)
        answer = in_open.submit(sex="F", wait=30)
    assert finished.is_set()
    assert (answer.status_code, answer.json()["state"]) == (200, "done")
    assert looks == [False] * 3


@pytest.mark.django_db(transaction=True)
def test_wait_ends_after_time_or_with_many(in_open: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting ends when the time is over or too many wait."""
    begun = time.monotonic()
    key = in_open.submit(sex="F", wait=0.3).json()["id"]
    assert 0.3 <= time.monotonic() - begun < 5
    monkeypatch.setattr(waiting, "waiting_slots", threading.BoundedSemaphore(1))
    assert waiting.waiting_slots.acquire()
    begun = time.monotonic()
    assert in_open.get(f"assessments/{key}?wait=30").status_code == 202
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("wait", ["-1", "31", "nan", "soon", ""])
def test_wait_out_of_range(in_open: Api, wait: str) -> None:
    """A wait out of range is rejected."""
    response = in_open.get(f"assessments/{uuid4()}?wait={wait}")
    assert problem_of(response) == (422, "request_invalid")
    assert "wait" in response.json()["message"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "sex_missing"),
        ({"sex": "X"}, "sex_invalid"),
        ({"sex": "F", "radiograph": None}, "radiograph_missing"),
        ({"sex": "F", "radiograph": b""}, "radiograph_invalid"),
        ({"sex": "F", "birth_date": "yesterday"}, "birth_date_invalid"),
        ({"sex": "F", "study_date": "2999-01-01"}, "date_in_future"),
        ({"sex": "F", "birth_date": "2020-01-02", "study_date": "2020-01-01"}, "study_before_birth"),
        ({"sex": "F", "given_age_months": "-1"}, "given_age_months_invalid"),
        ({"sex": "F", "note": "n" * 2001}, "note_invalid"),
    ],
)
def test_submit_invalid_is_not_stored(in_open: Api, fields: dict[str, Any], code: str) -> None:
    """A wrong submission is reported and not kept."""
    response = in_open.submit(**fields)
    assert problem_of(response) == (422, code)
    assert not Assessment.objects.exists()


def test_errors_are_english(in_open: Api) -> None:
    """Errors are english whatever the reader reads."""
    response = Client(headers={"accept-language": "de"}).post("/api/assessments", {})
    assert "Choose the sex" in response.json()["message"]


def test_submit_too_many_bytes(in_open: Api, settings: Settings) -> None:
    """Too many bytes are turned away."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, radiograph_bytes=10)
    assert problem_of(in_open.submit(sex="F")) == (413, "too_large")
    assert problem_of(in_open.submit(sex="F", radiograph=bytes(1_000_000))) == (413, "too_large")
    assert problem_of(in_open.submit(sex="F", radiograph=b"ok", note="n" * 300_000))[0] in {413, 422}
    assert not Assessment.objects.exists()


def test_submit_too_many_radiographs(in_open: Api, settings: Settings) -> None:
    """Too many radiographs are turned away."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, waiting=1)
    assert in_open.submit(sex="F").status_code == 202
    busy = in_open.submit(sex="F")
    assert problem_of(busy) == (503, "busy")
    assert int(busy["Retry-After"]) > 0
    settings.CONFIGURATION = replace(settings.CONFIGURATION, waiting=100, open_hourly=1)
    many = in_open.submit(sex="F")
    assert problem_of(many) == (429, "too_many")
    assert int(many["Retry-After"]) > 0


def test_malformed_bodies(in_open: Api, done_assessment: Maker) -> None:
    """Malformed bodies are reported."""
    key = done_assessment().pk
    client = Client()
    broken = client.post("/api/assessments", b"nothing", content_type="multipart/form-data")
    assert problem_of(broken) == (400, "request_malformed")
    broken = client.post(f"/api/assessments/{key}/decision", b"{", content_type="application/json")
    assert problem_of(broken) == (400, "request_malformed")
    two = {"radiograph": SimpleUploadedFile("a", b"a"), "other": SimpleUploadedFile("b", b"b"), "sex": "F"}
    assert problem_of(client.post("/api/assessments", two)) == (400, "request_malformed")


# --- what was found ---------------------------------------------------------------------------------------------------


def test_result_has_schema(in_open: Api, done_assessment: Maker) -> None:
    """The result has the one schema."""
    assessment = done_assessment()
    body = in_open.get(f"assessments/{assessment.pk}/result").json()
    stored = assessment.result
    assert stored is not None
    assert body.keys() == stored.keys() | {"id", "state", "decision", "superseded_by"}
    for key in stored:
        assert body[key] == stored[key], key
    assert (body["id"], body["state"]) == (str(assessment.pk), "done")
    assert (body["chronological_age"]["months"], body["difference"]["months"]) == (90.0, 4.0)
    assert body["decision"] is None


def test_result_matches_description(tmp_path: Path, in_open: Api) -> None:
    """Each key that an assessment writes is described, in the result and in its parts."""
    bundle = Bundle.open(tiny_bundle(tmp_path / "bundle", hand=True, distribution=True), threads=1)
    written = assess(sample_png(), "F", bundle).to_json()
    schemas = in_open.get("openapi.json").json()["components"]["schemas"]
    described = schemas["Result"]["properties"]
    assert (
        described.keys() - written.keys() == {"id", "state", "plates", "decision", "superseded_by"}
        and written.keys() <= described.keys()
    )
    assert written["hand"].keys() == schemas["HandDocument"]["properties"].keys()
    assert written["facts"].keys() == schemas["FactsDocument"]["properties"].keys()
    assert all("description" in one or "$ref" in one for one in described.values())


def test_decision_has_its_own_reading(in_open: Api, done_assessment: Maker) -> None:
    """The decision states SDS and class of the decided bone age; the same keys of the result are the estimate's."""
    assessment = done_assessment()
    body = in_open.post(f"assessments/{assessment.pk}/decision", CORRECTION).json()
    row = in_open.get(f"assessments/{assessment.pk}").json()
    names = ("difference_months", "sds", "determination", "determination_reason")
    assert {name: body["decision"][name] for name in names} == {name: row[name] for name in names}
    assert row["difference_months"] == 11.5
    assert body["sds"] != row["sds"]
    decision = in_open.get("openapi.json").json()["components"]["schemas"]["DecisionDocument"]
    assert decision["properties"].keys() == body["decision"].keys()
    assert "estimate" in decision["description"]


def test_description_of_states_and_fields() -> None:
    """States verdicts and form fields are described as they are."""
    assert set(StateName.__args__) == set(State.values)  # type: ignore[attr-defined]
    assert set(Decided.__args__) == set(Verdict.values)  # type: ignore[attr-defined]
    fields: dict[str, Any] = dict(RadiographForm.base_fields)
    assert set(Submission.model_fields) == fields.keys() - {"given_age_years"}
    schema = Submission.model_json_schema()
    assert set(schema["required"]) == {name for name, field in fields.items() if field.required}
    schemas = {name: one.get("anyOf", [one])[0] for name, one in schema["properties"].items()}
    for name in ("note", "reference"):
        assert schemas[name]["maxLength"] == fields[name].max_length
    age = fields["given_age_months"]
    assert (schemas["given_age_months"]["minimum"], schemas["given_age_months"]["maximum"]) == (
        age.min_value,
        age.max_value,
    )


def test_description_of_form_codes() -> None:
    """Every code of the form is described."""
    of_years = {"age_invalid"}
    assert OWN_CODES - of_years <= CODES.keys()
    by_name = {f"{name}_invalid" for name in Submission.model_fields} | {
        f"{name}_missing" for name in ("radiograph", "sex", "department")
    }
    assert set(SUBMISSION_CODES) == by_name | (OWN_CODES - of_years - {"busy", "too_many", "too_large"})


def test_pictures_and_report_have_neutral_names(in_open: Api, done_assessment: Maker) -> None:
    """Pictures and report are files without names."""
    assessment = done_assessment()
    for part, kind in (("radiograph.jpg", PictureKind.RADIOGRAPH), ("heat.png", PictureKind.HEAT)):
        response = in_open.get(f"assessments/{assessment.pk}/{part}")
        row = assessment.pictures.get(kind=kind)
        assert (response.content, response["Content-Type"]) == (bytes(row.data), row.media_type)
        assert response["Cache-Control"] == "no-store"
    report = in_open.get(f"assessments/{assessment.pk}/report.pdf")
    assert (report["Content-Type"], report.content[:5]) == ("application/pdf", b"%PDF-")
    for part in ("radiograph.jpg", "heat.png", "overlay.png", "report.pdf", "fhir", "hl7"):
        name = in_open.get(f"assessments/{assessment.pk}/{part}")["Content-Disposition"]
        assert str(assessment.pk)[:8] in name
        assert "radiograph" not in name


def test_overlay_is_coloured(in_open: Api, done_assessment: Maker) -> None:
    """The overlay is coloured where the heat is."""
    key = done_assessment().pk
    data = in_open.get(f"assessments/{key}/overlay.png").content
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    height = picture.shape[0]
    width = round(height * 48 / 64)  # the radiograph; the scale stands beside it
    colour = picture.max(axis=2).astype(int) - picture.min(axis=2)
    hot, cold = (round(height * 40 / 64), width // 2), (round(height * 5 / 64), width // 2)
    assert colour[hot] > 40
    assert colour[cold] == 0
    assert picture.shape[1] > width


def test_deleted_is_not_found(in_open: Api, done_assessment: Maker) -> None:
    """Deleted and expired assessments are not found."""
    expired = done_assessment()
    Assessment.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    without = done_assessment()
    without.pictures.all().delete()
    paths = [f"assessments/{key}{part}" for key in (expired.pk, uuid4()) for part in ("", "/result", "/heat.png")]
    paths += [f"assessments/{without.pk}/{part}" for part in ("heat.png", "overlay.png")]
    paths += ["assessments/no-id", "assessments/no-id/result", "nothing", "assessments/", "atlas/F-094/x"]
    for path in paths:
        assert problem_of(in_open.get(path)) == (404, "not_found"), path
    assert problem_of(in_open.delete(f"assessments/{expired.pk}")) == (404, "not_found")
    assert problem_of(in_open.post(f"assessments/{expired.pk}/decision", CORRECTION)) == (404, "not_found")


def test_unknown_methods(in_open: Api, done_assessment: Maker) -> None:
    """Methods that do not exist are reported."""
    key = done_assessment().pk
    for method, path, allowed in [
        ("PUT", "assessments", "POST"),
        ("GET", "assessments", "POST"),
        ("PATCH", f"assessments/{key}", "DELETE, GET"),
        ("POST", f"assessments/{key}/result", "GET"),
        ("TRACE", "service", "GET"),
    ]:
        response = in_open.send(method, path)
        assert problem_of(response) == (405, "method_not_allowed")
        assert response["Allow"] == allowed


def test_internal_error_hides_message(
    in_open: Api, done_assessment: Maker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of the program is reported without its message."""

    def fail(_assessment: Assessment) -> bytes:
        raise RuntimeError("Anna")

    monkeypatch.setattr("boneage.web.report.pdf.pdf_bytes", fail)
    response = in_open.get(f"assessments/{done_assessment().pk}/report.pdf")
    assert problem_of(response) == (500, "internal_error")
    assert "Anna" not in response.content.decode()
    assert "an operation of the API failed" in caplog.text


# --- deciding and deleting --------------------------------------------------------------------------------------------


def test_decision_appears_in_result(in_open: Api, done_assessment: Maker) -> None:
    """A correction stands in the result."""
    key = done_assessment().pk
    accepted = in_open.post(f"assessments/{key}/decision", {"verdict": "accepted"})
    assert (accepted.status_code, accepted.json()["decision"]["age_months"]) == (200, 94.0)
    document = in_open.post(f"assessments/{key}/decision", CORRECTION).json()
    assert {name: document["decision"][name] for name in CORRECTION} == CORRECTION
    assert document["age_months"] == 94.0
    assert in_open.get(f"assessments/{key}").json()["decided_age_months"] == 101.5
    assert Assessment.objects.get(pk=key).decisions.count() == 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"verdict": "perhaps"},
        {"verdict": "corrected"},
        {**CORRECTION, "reason": " \n"},
        {**CORRECTION, "reason": "a\0b"},
        {**CORRECTION, "reason": "n" * 2001},
        {**CORRECTION, "age_months": 229},
        {**CORRECTION, "age_months": "100"},
        {**CORRECTION, "age_months": float("nan")},
        {**CORRECTION, "by": "me"},
        [],
        None,
    ],
)
def test_invalid_decision(in_open: Api, done_assessment: Maker, body: object) -> None:
    """A wrong decision is not taken."""
    assessment = done_assessment()
    assert problem_of(in_open.post(f"assessments/{assessment.pk}/decision", body)) == (422, "request_invalid")
    assert not assessment.decisions.exists()


def test_delete_in_open_mode(in_open: Api, done_assessment: Maker) -> None:
    """In the open mode whoever has the address deletes."""
    key = done_assessment().pk
    response = in_open.delete(f"assessments/{key}")
    assert (response.status_code, response.content) == (204, b"")
    assert not Picture.objects.exists()
    assert problem_of(in_open.get(f"assessments/{key}")) == (404, "not_found")


@pytest.mark.usefixtures("clinic")
def test_roles(token_of: Callable[..., Api], done_assessment: Maker) -> None:
    """Roles are respected."""
    reader, reviewer = token_of(Role.READER), token_of(Role.REVIEWER)
    address = f"assessments/{done_assessment().pk}"
    assert reader.post(f"{address}/decision", {"verdict": "accepted"}).status_code == 200
    assert problem_of(reader.post(f"{address}/decision", CORRECTION)) == (409, "decision_taken")
    document = reviewer.post(f"{address}/decision", CORRECTION).json()
    assert document["decision"]["decided_by"] == "reviewer"
    assert problem_of(reader.delete(address)) == (403, "forbidden")
    assert reviewer.delete(address).status_code == 204


@pytest.mark.usefixtures("clinic")
def test_accept_critical_needs_confirmation(token_of: Callable[..., Api], done_assessment: Maker) -> None:
    """Accepting a critical number needs a confirmation."""
    api, assessment = token_of(), done_assessment(answer_with(CRITICAL, "saturated"))
    address = f"assessments/{assessment.pk}"
    result = api.get(f"{address}/result").json()
    assert [warning["severity"] for warning in result["warnings"]] == ["critical", "caution"]
    assert api.get(address).json()["severity"] == "critical"
    assert [row["severity"] for row in api.get("assessments").json()["items"]] == ["critical"]
    for body in ({"verdict": "accepted"}, {"verdict": "accepted", "confirm_critical": False}):
        assert problem_of(api.post(f"{address}/decision", body)) == (409, "critical_unconfirmed")
    assert api.post(f"{address}/decision", {"verdict": "accepted", "confirm_critical": "yes"}).status_code == 422
    document = api.post(f"{address}/decision", {"verdict": "accepted", "confirm_critical": True}).json()
    assert document["decision"]["verdict"] == "accepted"


# --- the atlas, the service, the description --------------------------------------------------------------------------


@pytest.mark.usefixtures("own_networks")
def test_atlas_plates(in_open: Api) -> None:
    """Plates are listed with their pictures."""
    document = in_open.get("atlas").json()
    keys = [plate["key"] for plate in document["plates"]]
    assert [key[0] for key in keys] == sorted(key[0] for key in keys)
    assert len(keys) == 10
    plate = document["plates"][1]
    picture = Client().get(plate["picture"])
    assert picture["Content-Type"] == "image/png"
    assert cv2.imdecode(np.frombuffer(picture.content, np.uint8), 0) is not None
    for unknown in ("F-001", "..", "index.csv", get_random_string(80)):
        assert problem_of(in_open.get(f"atlas/{unknown}"))[0] == 404


@pytest.mark.usefixtures("own_networks", "clinic")
def test_service_without_token(settings: Settings) -> None:
    """The service says what it is without a token."""
    document = Api().get("service").json()
    assert (document["mode"], document["bundle"]["name"], document["atlas"]) == ("clinic", "tiny", "atlas")
    assert document["limits"]["radiograph_bytes"] == settings.CONFIGURATION.radiograph_bytes
    assert document["limits"]["kept_minutes"] is None
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="open", atlas="no-such-folder")
    document = Api().get("service").json()
    assert (document["mode"], document["atlas"]) == ("open", None)
    assert document["limits"]["kept_minutes"] == settings.CONFIGURATION.open_minutes
    assert problem_of(Api().get("atlas")) == (404, "not_found")


@pytest.mark.parametrize("mode", ["open", "clinic"])
def test_description_fits_mode(mode: str, settings: Settings) -> None:
    """The description fits the mode."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode=mode)
    schema = Api().get("openapi.json").json()
    text = json.dumps(schema)
    assert ("securitySchemes" in text, "unauthenticated" in text) == ((mode == "clinic"),) * 2
    submission = schema["paths"]["/api/assessments"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert ("reference" in submission["properties"]) == (mode == "clinic")
    assert ("/api/assessments/search" in schema["paths"]) == (mode == "clinic")
    assert ("get" in schema["paths"]["/api/assessments"]) == (mode == "clinic")
    assert "x-clinic" not in text
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (path, method)
            is_public = path == "/api/service"
            assert ("401" in operation["responses"]) == (mode == "clinic" and not is_public)
            for status, response in operation["responses"].items():
                assert response["description"], (path, method, status)
                assert status == "204" or response["content"], (path, method, status)


def test_submit_to_result_with_worker(in_open: Api, own_networks: None) -> None:
    """A radiograph of a worker goes all the way."""
    key = in_open.submit(sex="F", radiograph=sample_png(), given_age_months="90").json()["id"]
    assert work_off(work.assess_bytes) == 1
    document = in_open.get(f"assessments/{key}").json()["result"]
    assert document["chronological_age"]["months"] == 90
    assert document["plates"]["by_age"].startswith("F-")
    assert document["difference"] is None  # the phantom's number is no bone age
    assert problem_of(in_open.post(f"assessments/{key}/decision", {"verdict": "accepted"})) == (409, "not_decidable")
    for part in ("overlay.png", "report.pdf", "fhir", "hl7"):
        assert io.BytesIO(in_open.get(f"assessments/{key}/{part}").content).read(1)


def test_submit_sex_missing_in_atlas(in_open: Api, own_networks: None, settings: Settings, tmp_path: Path) -> None:
    """A radiograph whose sex the atlas lacks is assessed all the same."""
    boys = draw_atlas(tmp_path / "boys", sexes="M")
    settings.CONFIGURATION = replace(settings.CONFIGURATION, atlas=str(boys))
    key = in_open.submit(sex="F", radiograph=sample_png()).json()["id"]
    assert work_off(work.assess_bytes) == 1
    document = in_open.get(f"assessments/{key}").json()
    assert (document["state"], document["result"]["plates"]) == ("done", None)
    assert Client().get(f"/assessments/{key}/").status_code == 200


@pytest.mark.parametrize("years", ["7", "-1", "x"])
def test_submit_ignores_years_field(in_open: Api, years: str) -> None:
    """The page s field of years is none of the api s."""
    key = in_open.submit(sex="F", given_age_years=years, given_age_months="90").json()["id"]
    assert Assessment.objects.get(pk=key).given_age_months == 90
