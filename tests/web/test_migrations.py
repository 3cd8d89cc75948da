"""Databases of before are brought up to date with what is in them, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dj_database_url
import pytest
from django.conf import settings as django_settings
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from boneage.web.models import ApiToken, Assessment, AuditEvent, BrowserSession, User
from tests.web.postgres import default_database


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: Any) -> Iterator[None]:
    """A database of each kind."""
    if request.param == "sqlite":
        described = {**django_settings.DATABASES["default"], "NAME": str(tmp_path / "before.sqlite3")}
        described["ENGINE"], described["OPTIONS"] = "django.db.backends.sqlite3", {"timeout": 5}
    else:
        described = {**dj_database_url.parse(request.getfixturevalue("new_postgres")())}
    with default_database(django_db_blocker, described):
        yield


def migrated(target: str) -> Any:
    """The models' state after a migration of ours."""
    executor = MigrationExecutor(connection)
    return executor.migrate([("web", target)]).apps


def test_accounts_of_before_are_kept(database: None) -> None:
    before = migrated("0004_sending")
    for name in ("anna", "ANNA", "an-na", "system", "x" * 150, "X" * 150):
        before.get_model("web", "User").objects.create(username=name)
    anna = before.get_model("web", "User").objects.get(username="anna")
    before.get_model("web", "ApiToken").objects.create(user=anna, name="PACS", digest="0" * 64)
    before.get_model("web", "AuditEvent").objects.create(user_name="anna", action="login")
    now = timezone.now()
    flags = [{"code": "saturated"}, {"code": "phantom"}, {"code": "read_mirrored"}]
    before.get_model("web", "Assessment").objects.create(
        radiograph_bytes=1,
        radiograph_sha256="0" * 64,
        sex="F",
        result={"age_months": 94.0, "flags": flags, "web": {"flags": flags}},
    )
    before.get_model("sessions", "Session").objects.create(session_key="k", session_data="", expire_date=now)

    latest = max(name for app, name in MigrationExecutor(connection).loader.graph.leaf_nodes() if app == "web")
    after = migrated(latest)
    assert User.objects.count() == 6
    assert len(set(User.objects.values_list("appearance", flat=True))) == 6
    assert User.objects.get(username="anna").appearance == "anna"
    token = ApiToken.objects.get()
    assert (token.scope, timedelta(days=364) < token.expires_at - now <= timedelta(days=366)) == ("full", True)
    event = AuditEvent.objects.get()
    assert (event.account, event.address) == (None, None)
    assert not BrowserSession.objects.exists()
    assert not after.get_model("sessions", "Session").objects.exists()
    kept = Assessment.objects.get()
    assert kept.result is not None
    assert set(kept.result) == {"age_months", "warnings", "web"}
    assert kept.result["web"]["warnings"] == kept.result["warnings"]
    graded = [(warning["code"], warning["severity"]) for warning in kept.result["warnings"]]
    assert graded == [("phantom", "critical"), ("saturated", "caution"), ("read_mirrored", "info")]
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        AuditEvent.objects.filter(pk=event.pk).update(action="view")
