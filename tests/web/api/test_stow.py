"""Radiographs arrive by STOW-RS: stored before the answer, with an outcome for each, for tokens only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from boneage.node.answers import OUT_OF_RESOURCES, SUCCESS, StoredFile
from boneage.node.configuration import NodeSettings
from boneage.node.destinations import DicomWebService
from boneage.node.intake import IntakeUnavailableError
from boneage.node.stow import store
from boneage.web.api.stow import response_of
from boneage.web.models import ApiToken, AuditEvent, Role, Scope, User
from boneage.web.node import studies
from boneage.web.node.intake import DatabaseIntake
from boneage.web.node.models import Instance, InstanceState
from tests.node.test_multipart import CONTENT_TYPE, body_of
from tests.node.web_servers import Reply, Request, web_server
from tests.web.node.arrivals import CONFIGURATION, configured, radiograph
from tests.web.node.conftest import node
from tests.web.node.test_end_to_end import KEY_OBJECTS, other_object

__all__ = ["node"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def stow(settings: Settings, tmp_path: Path) -> None:
    """A node that takes radiographs by STOW-RS."""
    text = CONFIGURATION.replace("[node]", "[node]\nstow = true\nobject_mebibytes = 1")
    path = configured(tmp_path, text)
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="clinic", pacs=str(path))


@pytest.fixture
def token(make_user: Callable[..., User]) -> str:
    return ApiToken.issue(make_user(Role.READER), "modality", Scope.SUBMIT)[1]


def post(token: str, *files: bytes, content_type: str = CONTENT_TYPE) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Client().post("/dicom-web/studies", body_of(*files), content_type=content_type, headers=headers)


def uids(document: dict[str, Any], sequence: str) -> list[str]:
    return [item["00081155"]["Value"][0] for item in document.get(sequence, {}).get("Value", [])]


def uid_of(file: bytes) -> str:
    return str(pydicom.dcmread(BytesIO(file)).SOPInstanceUID)


def large_radiograph() -> bytes:
    """Return a radiograph beyond the limit of the node."""
    dataset, buffer = pydicom.dcmread(BytesIO(radiograph(2))), BytesIO()
    dataset.Rows, dataset.Columns, dataset.PixelData = 1024, 1024, bytes(2 * 1024 * 1024)
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_stow_stores_before_it_answers(stow: None, token: str) -> None:
    """The data set is kept as it came, the audit names the user, and the radiograph is assessed as any other."""
    file = radiograph()
    response = post(token, file)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/dicom+json"
    assert uids(response.json(), "00081199") == [uid_of(file)]
    instance = Instance.objects.get()
    assert pydicom.dcmread(BytesIO(bytes(instance.file or b""))) == pydicom.dcmread(BytesIO(file))
    assert instance.peer == "stow-rs"
    event = AuditEvent.objects.get(action="receive")
    assert (event.user_name, event.detail) == ("reader", {"peer": "stow-rs", "via": "token modality"})
    studies.advance()
    instance.refresh_from_db()
    assert instance.state == InstanceState.QUEUED
    assert post(token, file).status_code == 200
    assert Instance.objects.count() == 1


def test_stow_answers_for_each_instance(stow: None, token: str) -> None:
    """Good and faulty instances of one request have outcomes of their own; other classes are noted and dropped."""
    good, other = radiograph(), other_object(KEY_OBJECTS, "1.2.3")
    renamed = good.replace(uid_of(good).encode(), uid_of(good)[:-1].encode() + b"8", 1)
    large = large_radiograph()
    response = post(token, good, other, renamed, large, b"no file")
    assert response.status_code == 202
    document = response.json()
    assert uids(document, "00081199") == [uid_of(good), uid_of(other)]
    failures = {item["00081155"]["Value"][0]: item["00081197"]["Value"] for item in document["00081198"]["Value"]}
    assert failures == {uid_of(good)[:-1] + "8": [0xA900], uid_of(large): [0xC000]}
    assert document["0008119A"]["Value"] == [{"00081197": {"vr": "US", "Value": [0xC000]}}]
    assert set(Instance.objects.values_list("state", flat=True)) == {"waiting", "skipped"}


def test_stow_failure_of_all(stow: None, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no instance is stored the status is 409, or 503 while the database cannot keep them."""
    assert post(token, b"no file").status_code == 409

    def full(*_: Any) -> None:
        raise IntakeUnavailableError("The disk is full.")

    monkeypatch.setattr(DatabaseIntake, "take", full)
    response = post(token, radiograph())
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "60"
    assert Instance.objects.count() == 0


def test_stow_needs_token(
    stow: None, token: str, make_user: Callable[..., User], log_in: Callable[..., Client]
) -> None:
    """Without a token of a wide enough scope nothing is stored; a session does not count."""
    assert post("").status_code == 401
    assert post("ba_wrong", radiograph()).status_code == 401
    _, narrow = ApiToken.issue(make_user(Role.READER, "other"), "viewer", Scope.READ)
    assert post(narrow, radiograph()).status_code == 403
    by_session = log_in(Role.READER, "third").post("/dicom-web/studies", body_of(b"x"), content_type=CONTENT_TYPE)
    assert by_session.status_code == 401
    assert post(token, radiograph(), content_type="multipart/form-data; boundary=b0undary").status_code == 415
    assert Client().get("/dicom-web/studies").status_code == 405
    assert Instance.objects.count() == 0


def test_stow_is_off_by_default(node: None, token: str) -> None:
    assert post(token, radiograph()).status_code == 404
    assert Instance.objects.count() == 0


@pytest.mark.usefixtures("stow")
def test_stow_by_own_sender(token: str, tmp_path: Path) -> None:
    """The program's own STOW-RS sender understands the answers of its own receiver."""
    answers: list[tuple[int, str, bytes]] = []

    def relay(_: Request) -> Reply:
        status, content_type, body = answers.pop(0)
        return Reply(status, body, content_type)

    (tmp_path / "token").write_text(token)
    with web_server(relay) as server:
        service = DicomWebService(name="node", url=server.url, results=("sc",), secret=f"file:{tmp_path / 'token'}")
        for stored, expected in ((SUCCESS, "done"), (0xA900, "dead"), (OUT_OF_RESOURCES, "retry")):
            file = radiograph()
            response = response_of([StoredFile("1.2.840.10008.5.1.4.1.1.1", uid_of(file), stored)])
            answers.append((response.status_code, response.headers["Content-Type"], response.content))
            assert store(service, NodeSettings(), [file])[0].result == expected
        assert server.requests[0].headers["authorization"] == f"Bearer {token}"
