"""Errors are a page for people and JSON for programs, without internal details."""

from __future__ import annotations

import pytest
from django.db import OperationalError
from django.http import HttpRequest
from django.test import Client, RequestFactory

from boneage.web.models import Role
from boneage.web.views import errors

pytestmark = pytest.mark.django_db


@pytest.mark.usefixtures("open_mode")
def test_not_found_page(client: Client) -> None:
    """An address without anything has a page."""
    response = client.get("/nothing", headers={"Accept": "text/html"})
    assert response.status_code == 404
    assert b"not_found" in response.content
    assert b'<main id="main"' in response.content


@pytest.mark.usefixtures("open_mode")
@pytest.mark.parametrize(("path", "accept"), [("/nothing", "application/json"), ("/api/nothing", "text/html")])
def test_errors_as_json(client: Client, path: str, accept: str) -> None:
    """Programs get json."""
    response = client.get(path, headers={"Accept": accept})
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"
    assert set(response.json()) >= {"code", "message"}


@pytest.mark.usefixtures("open_mode")
def test_csrf_failure_hides_details() -> None:
    """A form without its token is rejected without details."""
    response = Client(enforce_csrf_checks=True).post("/assessments/", {"sex": "F"}, headers={"Accept": "text/html"})
    assert response.status_code == 403
    assert b"csrf_failed" in response.content
    assert b"CSRF cookie" not in response.content


@pytest.mark.usefixtures("clinic")
@pytest.mark.parametrize(
    ("view", "status"), [(errors.bad_request, 400), (errors.forbidden, 403), (errors.server_error, 500)]
)
def test_each_error_as_page_and_json(view: object, status: int, rf: RequestFactory) -> None:
    """Each kind has its page and its json."""
    assert callable(view)
    page = view(rf.get("/cases/", headers={"Accept": "text/html"}))
    answer = view(rf.get("/cases/", headers={"Accept": "application/json"}))
    assert page.status_code == answer.status_code == status
    assert page["Content-Type"].startswith("text/html")
    assert answer["Content-Type"] == "application/json"


@pytest.mark.usefixtures("clinic")
def test_server_error_without_database(rf: RequestFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault is reported even without a database."""

    def lost(_request: HttpRequest) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr("boneage.web.context.user_of", lost)
    response = errors.server_error(rf.get("/cases/"))
    assert response.status_code == 500
    assert b"server_error" in response.content


@pytest.mark.usefixtures("clinic")
def test_server_error_hides_reason(monkeypatch: pytest.MonkeyPatch, make_user: object) -> None:
    """A view that breaks says nothing of why."""

    def broken(*_args: object) -> None:
        raise RuntimeError("patient Miller")

    assert callable(make_user)
    monkeypatch.setattr("boneage.web.views.assess._samples", broken)
    client = Client(raise_request_exception=False)
    client.force_login(make_user(Role.READER), backend="django.contrib.auth.backends.ModelBackend")
    response = client.get("/")
    assert response.status_code == 500
    assert b"Miller" not in response.content
