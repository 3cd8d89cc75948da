"""The lock of sessions that are not used: by the page and by time; what works meanwhile, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from boneage.web.accounts import users
from boneage.web.models import Assessment, AuditEvent, BrowserSession, Case, User
from tests.web.conftest import PASSWORD

pytestmark = pytest.mark.django_db

LOCK, UNLOCK = "/account/lock", "/account/unlock"
JSON = {"Accept": "application/json"}


@pytest.fixture
def reader(clinic: None, log_in: Callable[..., Client]) -> Client:
    return log_in()


def let_pass(minutes: float) -> None:
    """Let the last use be longer ago."""
    BrowserSession.objects.update(seen_at=timezone.now() - timedelta(minutes=minutes))


def test_page_locks_session(reader: Client) -> None:
    """A locked session is led to the page that asks for the password, and back."""
    assert reader.get(LOCK).status_code == 204
    assert reader.post(LOCK).status_code == 204
    assert reader.get(LOCK).status_code == 423
    answer = reader.get(reverse("cases"), {"status": "decide"})
    assert answer.headers["Location"] == f"{UNLOCK}?next=%2Fcases%2F%3Fstatus%3Ddecide"
    page = reader.get(answer.headers["Location"]).content.decode()
    assert "idle.js" not in page
    key = reader.session.session_key
    done = reader.post(UNLOCK, {"password": PASSWORD, "next": "/cases/?status=decide"})
    assert done.headers["Location"] == "/cases/?status=decide"
    assert reader.session.session_key != key
    assert reader.get(reverse("cases")).status_code == 200
    assert [event.action for event in AuditEvent.objects.order_by("pk")] == ["unlocked", "view"]


def test_session_locks_by_time(reader: Client) -> None:
    """Without the page's help, a session that was not used is locked; polling does not keep it open."""
    let_pass(9.5)
    assert reader.get(reverse("cases")).status_code == 200
    let_pass(11.5)
    assert reader.post(reverse("cases"), {"watch": ""}, headers={"HX-Request": "true"}).status_code == 423
    assert reader.get(reverse("cases")).status_code == 302
    assert reader.post(UNLOCK, {"password": PASSWORD}, headers=JSON).status_code == 204
    assert reader.get(reverse("cases")).status_code == 200


def test_no_patient_data_when_locked(
    reader: Client, done_assessment: Callable[..., Assessment], settings: Settings
) -> None:
    """No address shows or takes anything of a patient while the session is locked."""
    from tests.web.test_safety import ADDRESSES

    case = Case.objects.create(reference="SMITH^JOHN", sex="F")
    assessment = done_assessment(case=case)
    reader.post(LOCK)
    for address in ADDRESSES:
        for pk in (case.pk, assessment.pk):
            for headers in ({}, {"HX-Request": "true"}, {"Sec-Fetch-Dest": "image"}):
                path = address.replace("3f0c0e4a-0000-4000-8000-000000000000", str(pk))
                for answer in (reader.get(path, headers=headers),):
                    assert answer.status_code in {204, 302, 404, 405, 423} or path in {UNLOCK, "/health"}, path
                    assert "SMITH" not in answer.content.decode(errors="replace")
    assert reader.post(reverse("decide", args=[assessment.pk]), {"verdict": "accepted"}).status_code == 302
    assessment.refresh_from_db()
    assert not assessment.decision


def test_wrong_passwords_lock_name(reader: Client) -> None:
    """Wrong passwords are counted as at the login; the cover of the page gets the message."""
    reader.post(LOCK)
    answers = [reader.post(UNLOCK, {"password": "wrong"}, headers=JSON) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [422, 422, 422, 422, 429]
    assert answers[0].json() == {"message": "This is not your password."}
    assert reader.post(UNLOCK, {"password": PASSWORD}, headers=JSON).status_code == 429
    assert reader.get(LOCK).status_code == 423


def test_logout_works_when_locked(reader: Client) -> None:
    """Logging out needs no password."""
    reader.post(LOCK)
    assert reader.post(reverse("logout")).headers["Location"] == reverse("login")
    assert not BrowserSession.objects.exists()


def test_tokens_are_not_locked(reader: Client) -> None:
    """The API ignores sessions and their locks."""
    _, text = users.issue_token(User.objects.get(), "PACS")
    reader.post(LOCK)
    assert reader.get("/api/assessments", headers={"Authorization": f"Bearer {text}"}).status_code == 200


def test_unlock_leads_to_own_pages(reader: Client) -> None:
    """Unlocking leads to pages of this service only."""
    reader.post(LOCK)
    done = reader.post(UNLOCK, {"password": PASSWORD, "next": "https://evil.example/"})
    assert done.headers["Location"] == reverse("cases")
    assert reader.get(UNLOCK).headers["Location"] == reverse("cases")  # not locked


@pytest.mark.parametrize(("lock", "idle"), [(0, 30), (30, 30), (45, 30)])
def test_lock_can_be_off(reader: Client, settings: Settings, lock: int, idle: int) -> None:
    """Without the setting, and if sessions end earlier, nothing is locked."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, lock_minutes=lock, idle_minutes=idle)
    let_pass(29)
    page = reader.get(reverse("account"))
    assert page.status_code == 200
    assert 'id="lock"' not in page.content.decode()
