"""Results go to a FHIR server as transactions, which never double anything."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from boneage.messages.fhir import FhirVersion, fhir_transaction
from boneage.messages.result import ResultSource, StudyReference
from boneage.node.configuration import NodeSettings
from boneage.node.destinations import FhirServer
from boneage.node.fhir_push import push
from boneage.node.outcome import OutcomeCode, Result
from tests.messages.sources import FINAL, PRELIMINARY, document
from tests.node.web_servers import FhirStore, Reply, closed_port, web_server

NODE = NodeSettings()
STUDY = StudyReference("1.2.3", "1.2.3.8", "1.2.3.8.1", "1.2.840.10008.5.1.4.1.1.1.1", "DX")


def server_at(url: str, version: FhirVersion = "R4B") -> FhirServer:
    return FhirServer(name="charts", url=url, version=version, timeout_seconds=2.0)


def transaction(source: ResultSource = PRELIMINARY, version: FhirVersion = "R4B", **options: Any) -> bytes:
    return json.dumps(fhir_transaction(document(), replace(source, study=STUDY), version, **options)).encode()


@pytest.mark.parametrize("version", ["R4B", "R5"])
def test_push_twice_changes_nothing(version: FhirVersion) -> None:
    """A transaction whose answer was lost is sent again: the server holds one of each resource."""
    store = FhirStore()
    with web_server(store.answer) as server:
        outcomes = push(server_at(server.url, version), NODE, [transaction(version=version)] * 2)
        assert server.requests[0].headers["content-type"].startswith("application/fhir+json; fhirVersion=")
    assert [one.result for one in outcomes] == [Result.DONE] * 2
    counts = {kind: len(held) for kind, held in store.resources.items() if held}
    assert counts == {"Device": 1, "ImagingStudy": 1, "Observation": 1, "DiagnosticReport": 1}


def test_push_decision_takes_place() -> None:
    """The result after a decision takes the place of the preliminary one, and refers to the same study."""
    store = FhirStore()
    with web_server(store.answer) as server:
        push(server_at(server.url), NODE, [transaction(), transaction(FINAL)])
    (observation,) = store.resources["Observation"].values()
    (report,) = store.resources["DiagnosticReport"].values()
    assert (observation["status"], observation["valueQuantity"]["value"]) == ("final", 100.0)
    (study,) = store.resources["ImagingStudy"]
    assert observation["derivedFrom"] == report["imagingStudy"] == [{"reference": f"ImagingStudy/{study}"}]


def test_push_finds_patient() -> None:
    """References name the server's patient; a server without this patient takes nothing."""
    store = FhirStore("4711")
    sent = transaction(patient_system="urn:p", find_patient=True)
    with web_server(store.answer) as server:
        assert push(server_at(server.url), NODE, [sent])[0].result is Result.DONE
        (observation,) = store.resources["Observation"].values()
        assert observation["subject"] == {"reference": "Patient/4711"}
    stranger = FhirStore()
    with web_server(stranger.answer) as server:
        (outcome,) = push(server_at(server.url), NODE, [sent])
    assert (outcome.result, outcome.answer) == (Result.DEAD, "HTTP 412")
    assert stranger.history == 0


@pytest.mark.parametrize(
    ("reply", "result", "code"),
    [
        (Reply(200, b"<html>", "text/html"), Result.RETRY, OutcomeCode.UNCLEAR_ANSWER),
        (Reply.json(200, {"type": "transaction-response", "entry": []}), Result.RETRY, OutcomeCode.UNCLEAR_ANSWER),
        (Reply.json(200, [1, 2]), Result.RETRY, OutcomeCode.UNCLEAR_ANSWER),
        (Reply.json(400, {"resourceType": "OperationOutcome"}), Result.DEAD, OutcomeCode.NOT_UNDERSTOOD),
        (Reply.json(422, {"resourceType": "OperationOutcome"}), Result.DEAD, OutcomeCode.NOT_UNDERSTOOD),
        (Reply.json(409, {}), Result.RETRY, OutcomeCode.BUSY),
        (Reply.json(500, {}), Result.RETRY, OutcomeCode.BUSY),
    ],
)
def test_push_answers(reply: Reply, result: Result, code: OutcomeCode) -> None:
    """Only a response that names success for every entry is success."""
    with web_server(lambda _: reply) as server:
        (outcome,) = push(server_at(server.url), NODE, [transaction()])
    assert (outcome.result, outcome.code) == (result, code)


def test_push_server_away() -> None:
    outcomes = push(server_at(f"http://127.0.0.1:{closed_port()}"), NODE, [transaction()] * 2)
    assert [one.code for one in outcomes] == [OutcomeCode.UNREACHABLE] * 2
