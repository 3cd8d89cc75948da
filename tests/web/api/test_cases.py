"""Cases over the REST API: follow-up, measurements and adult height; the search by SDS and class."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from boneage.web.models import ApiToken, Assessment, AuditEvent, Case, Role, Scope, User
from tests.web.conftest import answer_of_phantom

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clinic")]

MEASURED: dict[str, Any] = {
    "height_cm": 128,
    "height_date": "2023-01-01",
    "weight_kg": 26.5,
    "mother_cm": 165,
    "mother_source": "measured",
    "father_cm": 178,
    "menarche": False,
    "contraindications": [],
}


@pytest.fixture
def child(done_assessment: Callable[..., Assessment]) -> Case:
    """A girl with radiographs at 7 and 8 years, and one whose bone age is delayed at 9."""
    case = Case.objects.create(reference="P-0042", sex="F", birth_date=date(2015, 1, 1))
    for at, bone in ((0, 90.0), (1, 104.0), (2, 80.0)):
        done_assessment(
            case=case,
            study_date=date(2022 + at, 1, 1),
            radiograph_sha256=str(at) * 64,
            answer=answer_of_phantom(bone, chronological=84.0 + 12 * at),
        )
    return case


@pytest.fixture
def client_of(make_user: Callable[..., User]) -> Callable[..., Client]:
    """A program with a token of this scope."""

    def make(scope: Scope = Scope.FULL) -> Client:
        token = ApiToken.issue(make_user(Role.READER, f"user-{scope}"), "ward", scope)[1]
        return Client(headers={"authorization": f"Bearer {token}"})

    return make


def put(client: Client, case: Case, values: dict[str, Any]) -> Any:
    return client.put(f"/api/cases/{case.pk}/measurements", json.dumps(values), content_type="application/json")


def test_case_states_changes(child: Case, client_of: Callable[..., Client]) -> None:
    """Radiographs in their order, changes between neighbours and overall; the view is audited."""
    body = client_of(Scope.READ).get(f"/api/cases/{child.pk}").json()
    assert (body["reference"], body["sex"]) == ("P-0042", "F")
    assert [one["bone_age_months"] for one in body["radiographs"]] == [90.0, 104.0, 80.0]
    first, second = body["changes"]
    assert first["change"]["difference_months"] == 14.0
    assert first["change"]["difference_interval_95"] == pytest.approx([10.4, 17.6], abs=0.01)
    assert (first["change"]["gain_per_year"], first["change"]["verdict"]) == (pytest.approx(14.0), "as_expected")
    assert second["change"]["verdict"] == "slower"
    assert body["overall"]["change"]["difference_months"] == -10.0
    assert AuditEvent.objects.filter(action="view", object_type="case", object_id=str(child.pk)).count() == 1


def test_measurements_are_stored(child: Case, client_of: Callable[..., Client]) -> None:
    """The answer has them and the adult height; what is left out next time is removed; each change is audited."""
    client = client_of()
    answer = put(client, child, MEASURED)
    assert answer.status_code == 200
    body = answer.json()
    assert body["measurements"]["mother_source"] == "measured"
    assert body["measurements"]["father_source"] == "reported"
    rows = {row["method"]: row for row in body["adult_height"]["rows"]}
    assert rows["target_height"]["prediction_cm"] == 165.0
    assert rows["reinehr_2019"]["reason"] == "boys_only"
    assert rows["bayley_pinneau"]["range_cm"][0] >= 128
    assert body["adult_height_radiograph"] == body["radiographs"][1]["assessment"]
    assert client.get(f"/api/cases/{child.pk}").json() == body
    assert put(client, child, {"height_cm": 128}).json()["measurements"]["mother_cm"] is None
    assert AuditEvent.objects.filter(action="case_changed", detail__via="token ward").count() == 2


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"height_cm": 1.28}, "measurement_invalid"),
        ({"height_date": "2014-01-01"}, "measurement_invalid"),
        ({"height": 128}, "request_invalid"),
        ({"contraindications": ["tall"]}, "request_invalid"),
    ],
)
def test_invalid_measurements(
    child: Case, client_of: Callable[..., Client], changed: dict[str, Any], code: str
) -> None:
    """Nothing is stored, and the code says why."""
    answer = put(client_of(), child, {**MEASURED, **changed})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["message"]


def test_case_access(child: Case, client_of: Callable[..., Client], client: Client) -> None:
    """A token is needed, with every right for a change; an unknown case is not found."""
    assert client.get(f"/api/cases/{child.pk}").status_code == 401
    assert put(client_of(Scope.SUBMIT), child, MEASURED).status_code == 403
    assert client_of(Scope.READ).get(f"/api/cases/{uuid4()}").status_code == 404


def test_case_absent_in_open_mode(child: Case, client: Client, settings: Settings) -> None:
    """The mode open has no cases."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="open")
    assert client.get(f"/api/cases/{child.pk}").status_code == 404


def test_search_by_determination_and_sds(child: Case, client_of: Callable[..., Client]) -> None:
    """Filter and order by the bone age that counts."""
    client = client_of(Scope.READ)

    def search(**query: Any) -> list[dict[str, Any]]:
        answer = client.post("/api/assessments/search", json.dumps(query), content_type="application/json")
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    assert [row["determination"] for row in search(determination="borderline")] == ["borderline"]
    assert search(determination="none") == []
    scores = [row["sds"] for row in search(sort="sds")]
    assert scores == sorted(scores)
    assert [row["sds"] for row in search(sort="-sds")] == scores[::-1]
    assert {row["case"] for row in search()} == {str(child.pk)}
    assert len(search(severity="caution")) == 3
    assert search(severity="critical") == []
