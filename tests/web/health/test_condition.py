"""The address that load balancers ask."""

from __future__ import annotations

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client

from boneage.web.cases.forms import RadiographForm
from boneage.web.health import condition


@pytest.mark.django_db
@pytest.mark.usefixtures("open_mode")
def test_health_counts_waiting_radiographs(client: Client) -> None:
    """It counts the radiographs that wait."""
    from django.core.files.uploadedfile import SimpleUploadedFile

    form = RadiographForm({"sex": "F"}, {"radiograph": SimpleUploadedFile("a.png", b"radiograph")})
    assert form.is_valid()
    form.submit()
    response = client.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "waiting": 1})
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
@pytest.mark.usefixtures("clinic")
def test_health_without_database(client: Client, monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    """Without a database, it reports this to everybody."""

    def unreachable() -> int:
        raise error("password of the database server is secret")

    monkeypatch.setattr(condition, "waiting", unreachable)
    response = client.get("/health")
    assert response.status_code == 503
    assert response.json() == {"status": "no_database", "waiting": None}
