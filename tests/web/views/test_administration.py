"""Users and the audit log's page, for administrators: mode clinic alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.test import Client
from django.urls import reverse

from boneage.web.accounts import users
from boneage.web.accounts.audit import Action, record
from boneage.web.accounts.setup import create_administrator
from boneage.web.cases.decisions import DecisionInput, decide
from boneage.web.models import Assessment, AuditEvent, Case, Role, User, Verdict
from boneage.web.node.results import person_name
from boneage.web.views import administration
from tests.web.conftest import PASSWORD

pytestmark = pytest.mark.django_db


# --- users ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.READER, Role.REVIEWER])
def test_administration_needs_role(clinic: None, log_in: Callable[..., Client], role: Role) -> None:
    """Users and log are for administrators."""
    client = log_in(role)
    for address in (reverse("users"), reverse("user", args=[1]), reverse("audit")):
        assert client.get(address).status_code == 403
        assert client.post(address).status_code in (403, 405)
        assert Client().get(address).status_code == 302


def test_create_user(clinic: None, log_in: Callable[..., Client]) -> None:
    """A new user gets a role and a password that is shown once."""
    client = log_in(Role.ADMINISTRATOR, "ada")
    page = client.post(reverse("users"), {"name": "rhea", "role": "reviewer"})
    password = page.context["password"]
    assert password in page.content.decode()
    made = User.objects.get(username="rhea")
    assert (made.role, made.password_is_temporary, made.check_password(password)) == (Role.REVIEWER, True, True)
    assert password not in client.get(reverse("users")).content.decode()
    event = AuditEvent.objects.get()
    assert (event.user_name, event.object_id) == ("ada", str(made.pk))
    assert event.detail == {"change": "created", "name": "rhea", "role": "reviewer"}
    for name, role in (
        ("rhea", "reader"),
        ("RHEA", "reader"),
        ("a b", "reader"),
        ("", "reader"),
        ("eve", "superuser"),
        ("\u0440hea", "reader"),
        ("rhe.a", "reader"),
        ("System", "reader"),
    ):
        again = client.post(reverse("users"), {"name": name, "role": role})
        assert again.context["form"].errors, name
    assert User.objects.count() == 2


def test_one_time_passwords_are_random() -> None:
    """One time passwords differ and are long."""
    made = {users.one_time_password() for _ in range(50)}
    assert len(made) == 50
    assert min(map(len, made)) >= 12


def test_role_deactivation_and_return(clinic: None, log_in: Callable[..., Client]) -> None:
    """Roles change accounts end and begin again."""
    client = log_in(Role.ADMINISTRATOR)
    rhea = User.objects.create_user("rhea", password=PASSWORD)
    address = reverse("user", args=[rhea.pk])
    client.post(address, {"do": "role", "role": "reviewer"})
    client.post(address, {"do": "role", "role": "nonsense"})
    rhea.refresh_from_db()
    assert rhea.role == Role.REVIEWER
    client.post(address, {"do": "deactivate"})
    rhea.refresh_from_db()
    assert (rhea.is_active, rhea.check_password(PASSWORD)) == (False, False)
    password = client.post(address, {"do": "password"}).context["password"]
    rhea.refresh_from_db()
    assert (rhea.is_active, rhea.password_is_temporary, rhea.check_password(password)) == (True, True, True)
    changes = [event.detail["change"] for event in AuditEvent.objects.order_by("pk")]
    assert changes == ["role", "deactivated", "password_renewed"]
    assert client.get(reverse("user", args=[10**6])).status_code == 404


def test_signature_stands_on_reports(
    clinic: None, log_in: Callable[..., Client], done_assessment: Callable[..., Assessment]
) -> None:
    """An administrator gives a user the name and credential for reports and pages; the log names the account only."""
    client = log_in(Role.ADMINISTRATOR, "ada")
    rhea = User.objects.create_user("rhea", password=PASSWORD)
    address = reverse("user", args=[rhea.pk])
    assert rhea.signature == "rhea"
    client.post(address, {"do": "signature", "full_name": " Dr. Rhea Weiß ", "credential": "MD, radiologist"})
    client.post(address, {"do": "signature", "full_name": "x" * 151})
    client.post(address, {"do": "signature", "full_name": "Rhea", "credential": "MD^PhD"})
    rhea.refresh_from_db()
    assert rhea.signature == "Dr. Rhea Weiß, MD, radiologist"
    assert "MD, radiologist" in client.get(address).content.decode()
    assert AuditEvent.objects.get().detail == {"change": "signature", "name": "rhea"}
    assessment = done_assessment(case=Case.objects.create(reference="child 1", sex="F"), submitted_by=rhea)
    decide(assessment, DecisionInput(Verdict.ACCEPTED), rhea)
    for name in ("result", "report"):
        page = client.get(reverse(name, args=[assessment.pk])).content.decode()
        assert "Dr. Rhea Weiß, MD, radiologist" in page, name
    assert person_name(rhea) == "Weiß^Dr. Rhea^^^MD, radiologist"


def test_name_from_provider_stays(clinic: None, log_in: Callable[..., Client]) -> None:
    """The name of a user of single sign-on comes from the provider; the credential is given here."""
    client = log_in(Role.ADMINISTRATOR, "ada")
    anna = User.objects.create_user("anna", last_name="Anna Meyer", sign_on="https://login.example 7")
    client.post(reverse("user", args=[anna.pk]), {"do": "signature", "full_name": "Other", "credential": "MD"})
    anna.refresh_from_db()
    assert anna.signature == "Anna Meyer, MD"


def test_last_administrator_stays(clinic: None, log_in: Callable[..., Client]) -> None:
    """The last active administrator stays."""
    client = log_in(Role.ADMINISTRATOR, "ada")
    ada = User.objects.get()
    ended = User.objects.create_user("eve", role=Role.ADMINISTRATOR, is_active=False)
    for form in ({"do": "deactivate"}, {"do": "role", "role": "reader"}):
        client.post(reverse("user", args=[ada.pk]), form)
        ada.refresh_from_db()
        assert (ada.is_active, ada.role) == (True, Role.ADMINISTRATOR)
    assert not AuditEvent.objects.exists()
    users.renew_password(ada, ended)
    users.set_role(ada, ada, Role.READER)
    with pytest.raises(users.AccountError, match="last_administrator"):
        users.set_role(ended, ended, Role.REVIEWER)


def test_create_administrator(clinic: None, client: Client) -> None:
    """The first administrator is made by the operator."""
    made = create_administrator("ada", PASSWORD)
    assert made.may(Role.ADMINISTRATOR)
    assert client.post(reverse("login"), {"username": "ada", "password": PASSWORD}).status_code == 302
    assert client.get(reverse("users")).status_code == 200
    assert AuditEvent.objects.order_by("pk")[0].user_name == "system"
    for name, password, code in (
        ("Ada", PASSWORD, "user_exists"),
        ("a b", PASSWORD, "user_name_invalid"),
        ("", PASSWORD, "user_name_invalid"),
        ("x" * 151, PASSWORD, "user_name_invalid"),
        ("bob", "short", "password_weak"),
        ("bob", "123456789012", "password_weak"),
        ("verylongname.bob", "verylongname.bob", "password_weak"),
        ("SYSTEM.", PASSWORD, "user_name_invalid"),
        ("5ystem", PASSWORD, "user_name_similar"),
        ("a.da", PASSWORD, "user_name_similar"),
    ):
        with pytest.raises(users.AccountError) as raised:
            create_administrator(name, password)
        assert raised.value.code == code
    assert User.objects.count() == 1


# --- the audit log's page ---------------------------------------------------------------------------------------------


def shown(client: Client, **filters: str) -> list[str]:
    page = client.get(reverse("audit"), filters)
    return [f"{row['event'].user_name} {row['event'].action}" for row in page.context["events"]]


def test_audit_page_order_and_filter(clinic: None, log_in: Callable[..., Client]) -> None:
    """The log is newest first and filtered."""
    client = log_in(Role.ADMINISTRATOR, "ada")
    ada = User.objects.get()
    record("rhea", Action.VIEW, ada)
    record("rhea", Action.EXPORT)
    record("system", Action.RETENTION)
    AuditEvent(at=datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC), user_name="old", action="view").save()
    assert shown(client) == ["old view", "system retention", "rhea export", "rhea view"]
    assert shown(client, user="rhea") == ["rhea export", "rhea view"]
    assert shown(client, user="rhea", action="view") == ["rhea view"]
    assert shown(client, object=str(ada.pk)) == ["rhea view"]
    assert shown(client, until="2024-02-29") == shown(client, since="2024-02-29", until="2024-02-29") == ["old view"]
    assert shown(client, until="2024-02-28") == []
    assert len(shown(client, until="9999-12-31")) == len(shown(client, since="0001-01-01")) == 4
    assert shown(client, since="9999-12-31") == shown(client, until="0001-01-01") == []
    assert shown(client, address="192.0.2.1") == []
    assert len(shown(client, since="2024-03-01")) == 3
    for wrong in (
        {"since": "yesterday"},
        {"since": "2024-03-01", "until": "2024-02-29"},
        {"object": "Smith, J."},
        {"action": "nonsense"},
        {"before": "0"},
        {"address": "Smith"},
    ):
        page = client.get(reverse("audit"), wrong)
        assert (page.status_code, page.context["events"]) == (200, [])


def test_audit_page_paging_while_it_grows(
    clinic: None, log_in: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of the log stay right while it grows."""
    monkeypatch.setattr(administration, "PAGE", 3)
    client = log_in(Role.ADMINISTRATOR)
    for number in range(7):
        record(str(number), Action.VIEW)
    seen, address = [], reverse("audit")
    for _ in range(3):
        page = client.get(address)
        seen += [row["event"].user_name for row in page.context["events"]]
        record("late", Action.LOGIN)
        address = f"{reverse('audit')}?{page.context['older']}"
    assert seen == list("6543210")
    assert not page.context["older"]
    assert page.context["newest"] == ""


def test_audit_export_is_logged(clinic: None, log_in: Callable[..., Client]) -> None:
    """The log is exported and that is logged."""
    client = log_in(Role.ADMINISTRATOR, "ada")
    record("=cmd|' /C calc'!A0", Action.VIEW, note='Ä, "quoted"\nline')
    record("rhea", Action.VIEW)
    answer = client.get(reverse("audit"), {"action": "view", "export": "csv"})
    assert answer["Content-Disposition"] == 'attachment; filename="audit-log.csv"'
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"), newline="")))  # type: ignore[attr-defined]
    assert [row["user"] for row in rows] == ["rhea", "'=cmd|' /C calc'!A0"]
    assert rows[1]["detail"] == '{"note": "Ä, \\"quoted\\"\\nline"}'
    exported = AuditEvent.objects.order_by("-pk")[0]
    assert (exported.user_name, exported.action) == ("ada", "export")
    assert exported.detail == {"what": "audit", "filter": {"action": "view"}}
