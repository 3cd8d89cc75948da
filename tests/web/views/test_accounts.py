"""Logging in and out, roles of the pages, passwords, tokens, users and the audit log's page: mode clinic alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from axes.models import AccessAttempt
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from boneage.web.accounts import users
from boneage.web.accounts.audit import Action, record
from boneage.web.accounts.setup import create_administrator
from boneage.web.cases.decisions import DecisionInput, decide
from boneage.web.models import ApiToken, Assessment, AuditEvent, BrowserSession, Case, Role, User, Verdict
from boneage.web.node.results import person_name
from boneage.web.views import administration
from tests.web.conftest import PASSWORD

OTHER = "staple battery horse"
TOKEN = {"token-name": "PACS", "token-scope": "submit", "token-days": "90"}

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quick_hashes(settings: Settings) -> None:
    """The usual hash is slow on purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def sign_in(client: Client, name: str, password: str = PASSWORD, **more: str) -> int:
    return client.post(reverse("login"), {"username": name, "password": password, **more}).status_code


def actions() -> list[str]:
    return [event.action for event in AuditEvent.objects.order_by("pk")]


# --- logging in -------------------------------------------------------------------------------------------------------


def test_open_mode_has_no_account_pages(open_mode: None, client: Client, make_user: Callable[..., User]) -> None:
    """The open mode has none of it."""
    client.force_login(make_user(Role.ADMINISTRATOR), backend="django.contrib.auth.backends.ModelBackend")
    for name, arguments in (
        ("login", []),
        ("account", []),
        ("confirm", []),
        ("stay", []),
        ("revoke_token", [1]),
        ("users", []),
        ("user", [1]),
        ("audit", []),
    ):
        for send in (client.get, client.post):
            status = send(reverse(name, args=arguments)).status_code
            assert status == 404 or (status == 405 and name in ("revoke_token", "audit", "stay")), name
    assert client.post(reverse("logout")).status_code == 404


def test_login_returns_to_page_on_site(clinic: None, client: Client, make_user: Callable[..., User]) -> None:
    """A login leads where one wanted to go but never elsewhere."""
    make_user(Role.ADMINISTRATOR, "ada")
    response = client.get(reverse("users"))
    assert (response.status_code, response["Location"]) == (302, f"{reverse('login')}?next={reverse('users')}")
    wanted = {"username": "ada", "password": PASSWORD, "next": reverse("users")}
    assert client.post(reverse("login"), wanted)["Location"] == reverse("users")
    assert client.get(reverse("login"))["Location"] == reverse("cases")  # logged in already
    assert Client().post(reverse("login"), {**wanted, "next": "https://evil.example/"})["Location"] == reverse("cases")


def test_login_begins_new_session(clinic: None, client: Client, make_user: Callable[..., User]) -> None:
    """A login gets a new session that ends twelve hours later."""
    make_user(name="rhea")
    planted = client.session
    planted["planted"] = True
    planted.save()
    client.cookies["sessionid"] = str(planted.session_key)
    assert sign_in(client, "rhea") == 302
    assert client.session.session_key != planted.session_key
    assert not BrowserSession.objects.filter(session_key=planted.session_key).exists()
    first = BrowserSession.objects.get(session_key=client.session.session_key).expire_date
    assert timedelta(hours=11, minutes=59) < first - timezone.now() <= timedelta(hours=12)
    used = client.session
    used["anything"] = 1
    used.save()
    assert abs(BrowserSession.objects.get(session_key=used.session_key).expire_date - first) < timedelta(seconds=1)
    assert actions() == ["login"]


def test_logout_needs_form(clinic: None, log_in: Callable[..., Client]) -> None:
    """Logging out takes a form and ends the session."""
    client = log_in()
    assert client.get(reverse("logout")).status_code == 405
    assert client.post(reverse("logout"))["Location"] == reverse("login")
    assert client.get(reverse("account")).status_code == 302
    assert actions() == ["logout"]
    assert client.post(reverse("logout")).status_code == 302  # nobody's: nothing to log
    assert actions() == ["logout"]


def test_failures_are_logged_without_passwords(clinic: None, client: Client, make_user: Callable[..., User]) -> None:
    """Failures are logged without what may be a password."""
    make_user(name="rhea")
    sign_in(client, "rhea", "wrong")
    sign_in(client, PASSWORD, "rhea")
    for _ in range(12):
        sign_in(client, "rhea", "wrong")
    events = list(AuditEvent.objects.order_by("pk").values_list("user_name", "detail"))
    assert events[:2] == [("rhea", {"known": True, "locked": False}), ("", {"known": False, "locked": False})]
    # Locked at the fifth; what comes then fills no log.
    assert [detail["locked"] for name, detail in events if name] == [False] * 4 + [True]
    kept = str([list(row.values()) for row in AccessAttempt.objects.values()])
    assert PASSWORD not in kept
    assert "rhea" not in kept


def test_deactivated_account_cannot_log_in(clinic: None, client: Client, make_user: Callable[..., User]) -> None:
    """An ended account cannot be used."""
    ada, rhea = make_user(Role.ADMINISTRATOR, "ada"), make_user(name="rhea")
    assert sign_in(client, "rhea") == 302
    token, _ = users.issue_token(rhea, "PACS")
    users.deactivate(ada, rhea)
    assert client.get(reverse("account")).status_code == 302
    assert sign_in(Client(), "rhea") == 200
    token.refresh_from_db()
    assert token.revoked_at is not None
    password = users.renew_password(ada, rhea)
    assert client.get(reverse("account")).status_code == 302  # the old session stays ended
    assert sign_in(Client(), "rhea", password) == 302


# --- one's own account ------------------------------------------------------------------------------------------------


def change(client: Client, old: str, new: str, again: str = "") -> int:
    form = {"do": "password", "old_password": old, "new_password1": new, "new_password2": again or new}
    return client.post(reverse("account"), form).status_code


def test_new_password_ends_other_sessions(clinic: None, make_user: Callable[..., User]) -> None:
    """A new password ends the other sessions."""
    make_user(name="rhea")
    first, second = Client(), Client()
    assert sign_in(first, "rhea") == sign_in(second, "rhea") == 302
    key = first.session.session_key
    for old, new, again in (
        (OTHER, OTHER, ""),
        (PASSWORD, "short", ""),
        (PASSWORD, OTHER, "x"),
        (PASSWORD, PASSWORD, ""),
    ):
        assert change(first, old, new, again) == 200  # shown again, with what is wrong
    assert second.get(reverse("account")).status_code == 200
    assert change(first, PASSWORD, OTHER) == 302
    assert first.get(reverse("account")).status_code == 200
    assert first.session.session_key != key
    assert second.get(reverse("account")).status_code == 302
    assert sign_in(Client(), "rhea") == 200
    assert sign_in(Client(), "rhea", OTHER) == 302
    assert AuditEvent.objects.get(action="user_changed").detail == {"change": "password", "name": "rhea"}
    assert AuditEvent.objects.get(action="session_ended").detail == {"name": "rhea", "why": "password"}


def test_new_password_revokes_tokens(clinic: None, log_in: Callable[..., Client]) -> None:
    """A new password revokes all tokens."""
    client = log_in(Role.READER, "rhea")
    token, _ = users.issue_token(User.objects.get(), "PACS")
    assert change(client, PASSWORD, OTHER) == 302
    token.refresh_from_db()
    assert token.revoked_at is not None
    assert "token_revoked" in actions()


def test_guessing_old_password_is_locked(clinic: None, log_in: Callable[..., Client]) -> None:
    """Guessing the old password in an open session is locked."""
    client = log_in(Role.READER, "rhea")
    assert [change(client, f"wrong {number}", OTHER) for number in range(5)] == [200, 200, 200, 200, 429]
    assert change(client, PASSWORD, OTHER) == 429
    failed = AuditEvent.objects.filter(action="login_failed")
    assert {event.detail["logged_in"] for event in failed} == {True}


def test_one_time_password_must_be_replaced(clinic: None, client: Client, make_user: Callable[..., User]) -> None:
    """Whoever has a one time password must choose another first."""
    _user, password = users.create(make_user(Role.ADMINISTRATOR), "rhea", Role.ADMINISTRATOR)
    assert sign_in(client, "rhea", password) == 302
    for name in ("users", "audit"):
        assert client.get(reverse(name))["Location"] == reverse("account")
    part = client.get(reverse("users"), headers={"HX-Request": "true"})
    assert part["HX-Redirect"] == reverse("account")
    client.post(reverse("account"), {"do": "token", **TOKEN})
    assert not ApiToken.objects.exists()
    assert change(client, "", "short") == 200
    assert change(client, "", OTHER) == 302  # the one-time password is used up, and not requested
    assert client.get(reverse("users")).status_code == 200


def test_one_time_password_logs_in_once(clinic: None, client: Client, make_user: Callable[..., User]) -> None:
    """A one time password logs in once."""
    user, password = users.create(make_user(Role.ADMINISTRATOR), "rhea", Role.READER)
    assert sign_in(client, "rhea", password) == 302
    assert sign_in(Client(), "rhea", password) == 200
    user.refresh_from_db()
    assert not user.has_usable_password()
    assert AuditEvent.objects.get(action="login").detail == {"one_time": True}
    assert users.use_up_password(user)
    stale = User(pk=user.pk, password="what another login has used up")
    assert not users.use_up_password(stale)


def test_one_time_password_expires(clinic: None, client: Client, make_user: Callable[..., User]) -> None:
    """A one time password expires."""
    ada = make_user(Role.ADMINISTRATOR)
    user, password = users.create(ada, "rhea", Role.READER)
    assert user.password_expires_at is not None
    assert timedelta(hours=71) < user.password_expires_at - timezone.now() <= timedelta(hours=72)
    User.objects.filter(pk=user.pk).update(password_expires_at=timezone.now())
    page = client.post(reverse("login"), {"username": "rhea", "password": password})
    assert "This one-time password has expired" in page.content.decode()
    assert "sessionid" not in client.cookies
    assert AuditEvent.objects.get(action="login_failed").detail["expired"]
    client.force_login(ada, backend="django.contrib.auth.backends.ModelBackend")
    assert "One-time password expired" in client.get(reverse("users")).content.decode()
    user.refresh_from_db()
    assert sign_in(Client(), "rhea", users.renew_password(ada, user)) == 302


def test_own_password_does_not_expire(clinic: None, make_user: Callable[..., User]) -> None:
    """A password that the user chose does not expire."""
    _user, password = users.create(make_user(Role.ADMINISTRATOR), "rhea", Role.READER)
    client = Client()
    sign_in(client, "rhea", password)
    assert change(client, "", OTHER) == 302
    assert User.objects.get(username="rhea").password_expires_at is None


def test_token_is_shown_once(clinic: None, log_in: Callable[..., Client]) -> None:
    """A token is shown once and kept as a digest."""
    client = log_in(Role.READER, "rhea")
    page = client.post(reverse("account"), {"do": "token", **TOKEN})
    token = ApiToken.objects.get()
    text = page.context["issued"]
    assert (token.digest, token.name, token.user.username) == (ApiToken.digest_of(text), "PACS", "rhea")
    assert text in page.content.decode()
    assert "no-store" in page["Cache-Control"]
    again = client.get(reverse("account")).content.decode()
    assert text not in again
    assert "PACS" in again
    assert text not in str(list(AuditEvent.objects.values()))
    assert client.post(reverse("revoke_token", args=[token.pk]))["Location"] == reverse("account")
    token.refresh_from_db()
    assert token.revoked_at is not None
    assert client.post(reverse("revoke_token", args=[token.pk])).status_code == 302  # once more changes nothing
    assert actions() == ["token_issued", "token_revoked"]
    assert (token.scope, round((token.expires_at - token.created_at) / timedelta(days=1))) == ("submit", 90)


@pytest.mark.parametrize("wrong", [{"token-scope": "all"}, {"token-days": "366"}, {"token-days": ""}])
def test_token_has_scope_and_end(clinic: None, log_in: Callable[..., Client], wrong: dict[str, str]) -> None:
    """Tokens end within a year and have a scope."""
    page = log_in().post(reverse("account"), {"do": "token", **TOKEN, **wrong})
    assert page.context["token"].errors
    assert not ApiToken.objects.exists()


def test_expired_tokens_make_room(clinic: None, make_user: Callable[..., User]) -> None:
    user = make_user()
    for _ in range(users.MOST_TOKENS):
        users.issue_token(user, "PACS")
    with pytest.raises(users.AccountError, match="too_many_tokens"):
        users.issue_token(user, "PACS")
    ApiToken.objects.update(expires_at=timezone.now())
    assert not users.tokens_in_use(user)
    users.issue_token(user, "PACS")


def test_tokens_are_named_and_limited(clinic: None, log_in: Callable[..., Client]) -> None:
    """Tokens are named and not without number."""
    client = log_in()
    for name in ("", "x" * 65):
        client.post(reverse("account"), {"do": "token", **TOKEN, "token-name": name})
    assert not ApiToken.objects.exists()
    for number in range(users.MOST_TOKENS + 1):
        client.post(reverse("account"), {"do": "token", **TOKEN, "token-name": str(number)})
    assert ApiToken.objects.count() == users.MOST_TOKENS


def test_tokens_of_others(clinic: None, log_in: Callable[..., Client], make_user: Callable[..., User]) -> None:
    """Tokens of others are for administrators."""
    token, _ = users.issue_token(make_user(name="rhea"), "PACS")
    address = reverse("revoke_token", args=[token.pk])
    assert log_in(Role.REVIEWER).post(address).status_code == 404
    assert log_in(Role.ADMINISTRATOR).post(address)["Location"] == reverse("user", args=[token.user_id])
    token.refresh_from_db()
    assert token.revoked_at is not None


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
    assert sign_in(client, "ada") == 302
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
