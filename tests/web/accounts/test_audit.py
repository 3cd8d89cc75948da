"""The audit log keeps what happened, and nobody can change it: neither Django nor the database lets them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dj_database_url
import pytest
from django.conf import settings as django_settings
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from boneage.web.accounts.append_only import GUARDS, UNGUARDS
from boneage.web.accounts.audit import SYSTEM, TITLES, Action, record
from boneage.web.models import AppendOnlyError, AuditEvent, Role, User
from tests.web.postgres import default_database


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    """A migrated database of each kind."""
    if request.param == "sqlite":
        described = {**django_settings.DATABASES["default"], "NAME": str(tmp_path / "audit.sqlite3")}
        described["ENGINE"], described["OPTIONS"] = "django.db.backends.sqlite3", {"timeout": 5}
    else:
        described = {**dj_database_url.parse(request.getfixturevalue("new_postgres")())}
    with default_database(django_db_blocker, described):
        yield request.param


ATTEMPTS: dict[str, Callable[[AuditEvent], object]] = {
    "update": lambda event: AuditEvent.objects.filter(pk=event.pk).update(action="view"),
    "delete": lambda event: AuditEvent.objects.filter(pk=event.pk).delete(),
    "raw delete": lambda event: AuditEvent.objects.filter(pk=event.pk)._raw_delete("default"),
    "bulk update": lambda event: AuditEvent.objects.bulk_update([event], ["user_name"]),
    "upsert": lambda event: AuditEvent.objects.bulk_create(
        [event], update_conflicts=True, unique_fields=["id"], update_fields=["action"]
    ),
    "SQL update": lambda event: _sql("UPDATE web_auditevent SET user_name = 'nobody' WHERE id = %s", event.pk),
    "SQL delete": lambda event: _sql("DELETE FROM web_auditevent WHERE id = %s", event.pk),
    "SQL delete all": lambda event: _sql("DELETE FROM web_auditevent"),
}
OF_ONE_KIND = {
    "sqlite": "REPLACE INTO web_auditevent SELECT id, at, 'nobody', action, object_type, object_id, detail, account, "
    "address FROM web_auditevent",
    "postgresql": "TRUNCATE web_auditevent",
}


def _sql(statement: str, *values: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def test_guard_rejects_every_statement(database: str, clinic: None) -> None:
    """No statement changes or deletes an event."""
    record(SYSTEM, Action.RETENTION, cases=3)
    before = list(AuditEvent.objects.values())
    assert [event["user_name"] for event in before] == [SYSTEM]
    tried: dict[str, Callable[[AuditEvent], object]] = {
        **ATTEMPTS,
        "of this database": lambda _event: _sql(OF_ONE_KIND[database]),
    }
    for name, attempt in tried.items():
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            attempt(AuditEvent.objects.get())
            pytest.fail(name)
    assert list(AuditEvent.objects.values()) == before
    record(SYSTEM, Action.RETENTION, cases=4)  # adding goes on
    assert AuditEvent.objects.count() == 2


def test_guard_can_be_removed_and_restored(database: str, clinic: None) -> None:
    """An event can be changed without the guard, and no longer once the guard is restored."""
    record(SYSTEM, Action.RETENTION, cases=3)
    for statement in UNGUARDS[database]:
        _sql(statement)
    AuditEvent.objects.update(user_name="nobody")
    assert AuditEvent.objects.get().user_name == "nobody"
    for statement in GUARDS[database]:
        _sql(statement)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        AuditEvent.objects.update(user_name=SYSTEM)


@pytest.mark.django_db
def test_event_rejects_save_and_delete(clinic: None) -> None:
    """An event object cannot be saved again nor deleted."""
    record("someone", Action.VIEW)
    event = AuditEvent.objects.get()
    with pytest.raises(AppendOnlyError):
        event.save()
    with pytest.raises(AppendOnlyError):
        event.delete()


@pytest.mark.django_db
def test_record_identifies_user_and_object(clinic: None, make_user: Callable[..., User]) -> None:
    """It names user and object by what identifies them."""
    user = make_user(Role.REVIEWER, "ana")
    record(user, Action.USER_CHANGED, user, change="role")
    event = AuditEvent.objects.get()
    recorded = (event.user_name, event.account, event.action, event.object_type, event.object_id, event.detail)
    assert recorded == (
        "ana",
        user.pk,
        "user_changed",
        "user",
        str(user.pk),
        {"change": "role"},
    )


@pytest.mark.django_db
def test_record_account_called_system(clinic: None, make_user: Callable[..., User]) -> None:
    """Such an account may be there from before; no new one can be made."""
    user = make_user(name=SYSTEM)
    record(user, Action.VIEW)
    record(SYSTEM, Action.RETENTION)
    assert [event.account for event in AuditEvent.objects.order_by("pk")] == [user.pk, None]


@pytest.mark.django_db
def test_record_client_address(
    settings: Settings, clinic: None, log_in: Callable[..., Client], make_user: Callable[..., User]
) -> None:
    """Events name the address that asked."""
    client = log_in(Role.ADMINISTRATOR, "ada")
    forged = {"X-Forwarded-For": "198.51.100.7"}
    for proxy in (False, True):
        settings.CONFIGURATION = replace(settings.CONFIGURATION, proxy=proxy)
        client.get(reverse("audit"), {"export": "csv"}, REMOTE_ADDR="192.0.2.9", headers=forged)
    assert [event.address for event in AuditEvent.objects.filter(action="export").order_by("pk")] == [
        "192.0.2.9",
        "198.51.100.7",
    ]
    record(SYSTEM, Action.RETENTION)  # nobody asked, and the request before it is over
    assert AuditEvent.objects.order_by("-pk")[0].address is None


@pytest.mark.django_db
def test_denied_is_logged(clinic: None, log_in: Callable[..., Client]) -> None:
    """A denied request is logged."""
    assert log_in(Role.READER, "rhea").get(reverse("audit")).status_code == 403
    event = AuditEvent.objects.get(action="denied")
    assert (event.user_name, event.detail) == ("rhea", {"page": "audit", "method": "GET"})
    assert Client().get(reverse("audit")).status_code == 302  # nobody is not logged: that would fill the log
    assert AuditEvent.objects.filter(action="denied").count() == 1


@pytest.mark.django_db
def test_open_mode_logs_nothing(open_mode: None) -> None:
    """The open mode logs nothing."""
    record("someone", Action.VIEW)
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turn", [1, 2])
def test_flush_in_tests(clinic: None, turn: int) -> None:
    """Tests that commit can still be cleaned up."""
    record("someone", Action.VIEW)
    assert AuditEvent.objects.count() == 1  # the other turn's is gone
    with pytest.raises(DatabaseError), transaction.atomic():
        AuditEvent.objects.all().delete()


def test_every_action_has_title() -> None:
    """Every action has a title."""
    assert set(TITLES) == set(Action)
