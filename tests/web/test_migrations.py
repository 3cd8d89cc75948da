"""The migrations build the tables of the models and the guard of the audit log, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dj_database_url
import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from boneage.web.models import AuditEvent
from tests.web.postgres import default_database


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: Any) -> Iterator[None]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        described = {**django_settings.DATABASES["default"], "NAME": str(tmp_path / "empty.sqlite3")}
        described["ENGINE"], described["OPTIONS"] = "django.db.backends.sqlite3", {"timeout": 5}
    else:
        described = {**dj_database_url.parse(request.getfixturevalue("new_postgres")())}
    with default_database(django_db_blocker, described):
        yield


def migrate(target: str | None) -> None:
    """Bring the tables of the service to a migration; None takes all of them away."""
    MigrationExecutor(connection).migrate([("web", target)])


def test_migrations_are_complete(database: None) -> None:
    """The models hold nothing that the migrations lack. The command exits with 1 otherwise."""
    assert call_command("makemigrations", check_changes=True, dry_run=True, verbosity=0) is None


def test_initial_guards_audit_log(database: None) -> None:
    """Rows of the audit log can be added, and neither changed nor deleted."""
    migrate("0001_initial")
    event = AuditEvent.objects.create(user_name="anna", action="login")
    events = AuditEvent.objects.filter(pk=event.pk)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        events.update(action="view")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        events.delete()
    assert events.get().action == "login"


def test_initial_can_be_reverted(database: None) -> None:
    """Reverting drops the tables, with the triggers and, on PostgreSQL, their function."""
    for _ in range(2):
        migrate("0001_initial")
        assert AuditEvent._meta.db_table in connection.introspection.table_names()
        migrate(None)
        assert AuditEvent._meta.db_table not in connection.introspection.table_names()
