"""A submission that is sent twice is made once, and the same file in a case is noticed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from boneage.web.cases import idempotency
from boneage.web.cases.retention import sweep
from boneage.web.models import ApiToken, Assessment, AuditEvent, Case, Role, SubmissionKey, User
from tests.web.databases import database_of_all_threads, postgresql, sqlite

SUBMIT = "/api/assessments"
KEY = '"8e03978e-40d5-43dd-bc93-6894a57f9324"'

UserMaker = Callable[..., User]


def send(token: str = "", key: str | None = KEY, radiograph: bytes = b"radiograph", **fields: str) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {} if key is None else {"Idempotency-Key": key}
    client = Client(raise_request_exception=False, headers=headers)
    return client.post(SUBMIT, {"radiograph": SimpleUploadedFile("a.png", radiograph), **{"sex": "F", **fields}})


@pytest.fixture
def token_of(clinic: None, make_user: UserMaker) -> Callable[[str], str]:
    def make(name: str) -> str:
        return ApiToken.issue(make_user(Role.READER, name), "ward")[1]

    return make


@pytest.mark.django_db
def test_same_key_and_request_returns_same_assessment(token_of: Callable[[str], str]) -> None:
    """Same key and request give the same assessment."""
    token = token_of("anna")
    first, again = send(token, reference="P-1"), send(token, key=KEY.strip('"'), reference="P-1")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert Assessment.objects.count() == 1
    assert AuditEvent.objects.filter(action="submit").count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("other", [{"radiograph": b"other"}, {"sex": "M"}, {"note": "again"}])
def test_same_key_with_another_request_is_rejected(open_mode: None, other: dict[str, Any]) -> None:
    assert send().status_code == 202
    answer = send(**other)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert Assessment.objects.count() == 1


@pytest.mark.django_db
def test_key_belongs_to_its_user(token_of: Callable[[str], str]) -> None:
    """Key counts for its user alone."""
    ids = {send(token_of(name)).json()["id"] for name in ("anna", "berta")}
    assert len(ids) == 2


@pytest.mark.django_db
def test_key_expires_with_day_or_assessment(open_mode: None) -> None:
    """Key counts for a day and with its assessment."""
    first = send().json()["id"]
    SubmissionKey.objects.update(at=timezone.now() - idempotency.KEPT - timedelta(minutes=1))
    second = send(radiograph=b"another").json()["id"]
    assert first != second
    assert SubmissionKey.objects.count() == 1
    Assessment.objects.all().delete()
    assert send(radiograph=b"a third").status_code == 202


@pytest.mark.django_db
def test_key_of_expired_assessment(open_mode: None) -> None:
    """Key of an expired assessment counts no more."""
    send()
    Assessment.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert send().status_code == 202
    assert Assessment.objects.count() == 2


@pytest.mark.django_db
def test_sweep_deletes_old_keys(open_mode: None) -> None:
    """Old keys are swept."""
    send()
    assert sweep().keys == 0
    assert sweep(timezone.now() + timedelta(hours=25)).keys <= 1
    assert not SubmissionKey.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", "a b", '"', '""', "x" * 256, 'a"b', '"a\\"b"', "ä"])
def test_malformed_key_is_rejected(open_mode: None, key: str) -> None:
    """A malformed key is rejected."""
    answer = send(key=key)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


@pytest.mark.django_db
def test_rejected_submission_stores_no_key(open_mode: None) -> None:
    """Rejected submission keeps no key."""
    assert send(sex="X").json()["code"] == "sex_invalid"
    assert send().status_code == 202


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: Any) -> Iterator[None]:
    described = sqlite(tmp_path) if request.param == "sqlite" else postgresql(request.getfixturevalue("new_postgres")())
    with database_of_all_threads(django_db_blocker, described):
        yield


def test_concurrent_key_creates_one_assessment(database: None, settings: Settings) -> None:
    """The same at the same time is made once."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="open", open_hourly=0)
    start, ids = threading.Barrier(8), []

    def one() -> None:
        start.wait()
        try:
            ids.append(send().json()["id"])
        finally:
            connections.close_all()

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1
    assert Assessment.objects.count() == 1


# --- the same file in a case ------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_same_file_in_api(token_of: Callable[[str], str]) -> None:
    """The API reports that the case has the same file already."""
    token = token_of("anna")
    first = send(token, None, reference="P-1").json()
    again = send(token, None, reference="P-1").json()
    assert first["same_radiograph_as"] is None
    assert again["same_radiograph_as"] == first["id"]
    for other in ({"radiograph": b"another", "reference": "P-1"}, {"reference": "P-2"}, {}):
        assert send(token, None, **other).json()["same_radiograph_as"] is None, other


@pytest.mark.django_db
def test_same_file_on_pages(
    clinic: None, log_in: Callable[..., Client], done_assessment: Callable[..., Assessment]
) -> None:
    """The page states that the case has the same file already."""
    client = log_in()
    case = Case.objects.create(reference="P-1", sex="F")
    first, again = (done_assessment(case=case, radiograph_sha256="1" * 64) for _ in range(2))
    link = f'href="/assessments/{first.pk}/"'

    def page(address: str) -> str:
        return client.get(address).content.decode()

    for address in ("", "row"):
        assert link in page(f"/assessments/{again.pk}/{address}"), address
    assert "The same radiograph was submitted" in page(f"/assessments/{again.pk}/")
    assert "Same radiograph as before" in page(f"/assessments/{again.pk}/row")
    assert page(f"/cases/{case.pk}/").count("Same radiograph as an earlier one") == 1
    assert "The same radiograph" not in page(f"/assessments/{first.pk}/")
