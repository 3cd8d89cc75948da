"""Logging in and out, roles of the pages, passwords and tokens: mode clinic alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from boneage.web.accounts import users
from boneage.web.models import ApiToken, AuditEvent, BrowserSession, Role, User
from tests.web.conftest import PASSWORD

OTHER = "staple battery horse"
TOKEN = {"token-name": "PACS", "token-scope": "submit", "token-days": "90"}

pytestmark = pytest.mark.django_db


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
