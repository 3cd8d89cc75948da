"""The page of an assessment that waits, is rejected, failed or expired, and its views, which are logged."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from boneage.web.models import Assessment, AuditEvent, Case, Decision, State
from boneage.web.queue import jobs
from boneage.web.queue.answer import Answer
from tests.web.conftest import answer_of_phantom
from tests.web.views.result.result_pages import HTMX, LogIn, MakeAssessment, address, submitted, text_of

pytestmark = pytest.mark.django_db


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_waiting_page_shows_position(open_mode: None, client: Client) -> None:
    """A radiograph waits with its place in the queue."""
    first, second = submitted(), submitted()
    Assessment.objects.filter(pk=second.pk).update(submitted_at=timezone.now() + timedelta(minutes=1))
    assert "It is next in the queue" in text_of(client, address(first))
    body = text_of(client, address(second))
    assert "1 radiograph is ahead of it" in body
    assert '<noscript><meta http-equiv="refresh"' in body
    assert 'hx-trigger="every 250ms"' in body


def test_old_radiograph_polls_less_often(open_mode: None, client: Client) -> None:
    """The page polls an old radiograph less often."""
    old = submitted()
    Assessment.objects.filter(pk=old.pk).update(submitted_at=timezone.now() - timedelta(seconds=6))
    assert 'hx-trigger="every 1000ms"' in text_of(client, address(old))


def test_state_is_silent_without_change(open_mode: None, client: Client) -> None:
    """Polling says nothing until something changes."""
    waiting = submitted()
    seen = re.search(r'hx-get="([^"]+)"', text_of(client, address(waiting)))
    assert seen is not None
    assert client.get(seen[1], headers=HTMX).status_code == 204
    assert jobs.begin(str(waiting.pk), "worker") is not None
    answer = client.get(seen[1], headers=HTMX)
    assert answer.status_code == 200
    assert "is being assessed" in answer.content.decode()


def test_state_ends_polling_with_result(open_mode: None, client: Client) -> None:
    """Polling ends with the answer."""
    waiting = submitted()
    jobs.run(str(waiting.pk), worker="worker", assess=lambda *_: answer_of_phantom())
    body = text_of(client, address(waiting, "state?seen=queued-0-250"), headers=HTMX)
    assert "7 years 10 months" in body
    assert "hx-trigger" not in body.split('id="decision"')[0]
    assert 'hx-swap-oob="innerHTML:#announcement"' in body
    assert "<html" not in body


def test_state_of_deleted_radiograph(open_mode: None, client: Client) -> None:
    """Polling a deleted radiograph stops."""
    deleted_one = submitted()
    path = address(deleted_one, "state")
    deleted_one.delete()
    assert client.get(path, headers=HTMX).status_code == 286
    assert client.get(path).status_code == 404


def test_state_without_htmx_redirects(open_mode: None, client: Client) -> None:
    """The state by itself leads to the page."""
    waiting = submitted()
    answer = client.get(address(waiting, "state"))
    assert (answer.status_code, answer["Location"]) == (302, address(waiting))


# --- rejected, failed and expired -------------------------------------------------------------------------------------


def test_rejected_page_gives_advice(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """A rejected radiograph says what and what to do."""
    rejected = done_assessment(Answer(State.REJECTED, "no_hand", "No hand is to be seen."))
    body = text_of(client, address(rejected))
    assert "No hand was found on this radiograph." in body
    assert "whole left hand" in body
    assert "No hand is to be seen." in body
    assert "Try another radiograph" in body
    assert 'id="decision"' not in body


def test_failed_page(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """The page of a failed radiograph states the failure."""
    failed = done_assessment(Answer(State.FAILED, "internal_error", "A fault of the program."))
    assert "tell the administrator" in text_of(client, address(failed))


def test_expired_result_is_gone(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Expired answers are gone."""
    assessment = done_assessment()
    Assessment.objects.filter(pk=assessment.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    for rest in ("", "state", "radiograph.jpg", "heat.png", "grey.png", "thumbnail.jpg"):
        assert client.get(address(assessment, rest)).status_code == 404


# --- clinic -----------------------------------------------------------------------------------------------------------


def test_pages_need_login(clinic: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Nothing without a login."""
    assessment = done_assessment()
    for rest in ("", "state", "radiograph.jpg", "heat.png"):
        answer = client.get(address(assessment, rest))
        assert answer.status_code == 302
        assert answer["Location"].startswith("/account/login")
    assert client.post(address(assessment, "decide"), {"verdict": "accepted"}).status_code == 302
    assert not Decision.objects.exists()


def test_view_is_logged_once(clinic: None, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """A view is logged once a page."""
    assessment = done_assessment(case=Case.objects.create(reference="P1", sex="F"))
    reader = log_in()
    body = text_of(reader, address(assessment))
    assert "Case P1" in body
    assert "Nothing is kept" not in body
    for rest in ("radiograph.jpg", "heat.png"):
        reader.get(address(assessment, rest))
    views = AuditEvent.objects.filter(action="view", object_id=str(assessment.pk))
    assert [event.user_name for event in views] == ["reader"]


def test_view_after_waiting_is_logged(clinic: None, log_in: LogIn) -> None:
    """A view that waited is logged with its answer."""
    waiting, reader = submitted(), log_in()
    reader.get(address(waiting))
    assert not AuditEvent.objects.filter(action="view").exists()
    jobs.run(str(waiting.pk), worker="worker", assess=lambda *_: answer_of_phantom())
    reader.get(address(waiting, "state"), headers=HTMX)
    assert AuditEvent.objects.filter(action="view").count() == 1
