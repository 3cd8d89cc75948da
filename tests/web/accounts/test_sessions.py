"""Sessions: when they end, who sees and ends them, and what needs the password once more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from boneage.web.accounts import sessions
from boneage.web.cases.retention import sweep
from boneage.web.models import AuditEvent, BrowserSession, Role, User
from boneage.web.texts import browser
from tests.web.conftest import PASSWORD

pytestmark = pytest.mark.django_db

LoggedIn = Callable[..., Client]


def is_in(client: Client) -> bool:
    return client.get(reverse("account")).status_code == 200


def used_before(minutes: float) -> None:
    BrowserSession.objects.update(seen_at=timezone.now() - timedelta(minutes=minutes))


def confirmed_before(client: Client, minutes: float) -> None:
    session = client.session
    session["confirmed_at"] = (timezone.now() - timedelta(minutes=minutes)).isoformat()
    session.save()


def ended() -> list[tuple[str, object]]:
    events = AuditEvent.objects.filter(action="session_ended").order_by("pk")
    return [(event.user_name, event.detail["why"]) for event in events]


# --- when they end ----------------------------------------------------------------------------------------------------


def test_idle_session_ends(settings: Settings, clinic: None, log_in: LoggedIn) -> None:
    """A session that nobody uses ends."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, lock_minutes=0)
    client = log_in()
    used_before(29)
    assert is_in(client)
    used_before(31)
    assert not is_in(client)
    assert sweep().sessions == 1
    assert not BrowserSession.objects.exists()
    assert ended() == [("system", "idle")]
    again = log_in(name="again")
    settings.CONFIGURATION = replace(settings.CONFIGURATION, idle_minutes=5)
    used_before(6)
    assert not is_in(again)


def test_old_session_ends(settings: Settings, clinic: None, log_in: LoggedIn) -> None:
    """A session ends however much it is used."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, session_hours=2)
    client = log_in()
    row = BrowserSession.objects.get()
    assert timedelta(hours=1, minutes=59) < row.expire_date - timezone.now() <= timedelta(hours=2)
    BrowserSession.objects.update(expire_date=timezone.now())
    assert not is_in(client)
    assert sweep().sessions == 1
    assert ended() == [("system", "expired")]


def test_use_is_noted_each_minute(clinic: None, log_in: LoggedIn) -> None:
    """Use is noted but not each time."""
    client = log_in()
    for minutes, is_noted in ((0.5, False), (5, True)):
        used_before(minutes)
        before = BrowserSession.objects.get().seen_at
        assert is_in(client)
        assert (BrowserSession.objects.get().seen_at > before) is is_noted


def test_polling_keeps_no_session_open(clinic: None, log_in: LoggedIn) -> None:
    """Pages that ask by themselves keep no session open."""
    client = log_in()
    used_before(5)
    before = BrowserSession.objects.get().seen_at
    for name in ("state", "row"):
        client.get(reverse(name, args=[uuid4()]), headers={"HX-Request": "true"})
    assert client.post(reverse("cases"), {"watch": ""}, headers={"HX-Request": "true"}).status_code < 500
    assert BrowserSession.objects.get().seen_at == before
    assert client.post(reverse("stay")).status_code == 204
    assert BrowserSession.objects.get().seen_at > before


def test_writing_keeps_begin_and_end(clinic: None, log_in: LoggedIn) -> None:
    """Writing into a session keeps its beginning and its end."""
    client = log_in()
    before = BrowserSession.objects.get()
    confirmed_before(client, 1)
    after = BrowserSession.objects.get()
    assert abs(after.expire_date - before.expire_date) < timedelta(seconds=1)
    kept = ("begun_at", "address", "agent", "user_id")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]


def test_oldest_session_ends(clinic: None, make_user: Callable[..., User]) -> None:
    """The oldest session ends when there are too many."""
    user = make_user()
    clients = [Client() for _ in range(sessions.MOST_SESSIONS + 2)]
    for client in clients:
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert [is_in(client) for client in clients] == [False, False] + [True] * sessions.MOST_SESSIONS
    assert ended() == [(user.username, "too_many")] * 2


def test_logout_deletes_session(clinic: None, log_in: LoggedIn) -> None:
    """Logging out leaves nothing of the session."""
    client = log_in()
    key = client.session.session_key
    client.post(reverse("logout"))
    assert not BrowserSession.objects.exists()
    stolen = Client()
    stolen.cookies["sessionid"] = str(key)
    assert not is_in(stolen)


# --- who ends them ----------------------------------------------------------------------------------------------------


def two_sessions(make_user: Callable[..., User]) -> tuple[Client, Client]:
    make_user(name="rhea")
    first, second = Client(), Client()
    for client, agent in ((first, "Mozilla/5.0 (X11; Linux) Firefox/133.0"), (second, "<b>curl</b>")):
        form = {"username": "rhea", "password": PASSWORD}
        client.post(reverse("login"), form, REMOTE_ADDR="192.0.2.9", headers={"User-Agent": agent})
    return first, second


def test_user_ends_own_session(clinic: None, make_user: Callable[..., User]) -> None:
    """Users see and end their own sessions."""
    first, second = two_sessions(make_user)
    page = first.get(reverse("account"))
    text = page.content.decode()
    for shown in ("Firefox, Linux", "&lt;b&gt;curl&lt;/b&gt;", "192.0.2.9", "This session"):
        assert shown in text
    assert not any(str(row.session_key) in text for row in BrowserSession.objects.all())
    other = next(one for one in page.context["sessions"] if not one["is_this"])
    this = next(one for one in page.context["sessions"] if one["is_this"])
    for handle in ("0" * 32, this["handle"]):  # the own one ends by logging out
        first.post(reverse("account"), {"do": "sessions", "session": handle})
    assert is_in(second)
    first.post(reverse("account"), {"do": "sessions", "session": other["handle"]})
    assert (is_in(first), is_in(second)) == (True, False)
    assert ended() == [("rhea", "asked")]


def test_user_ends_all_other_sessions(clinic: None, make_user: Callable[..., User], log_in: LoggedIn) -> None:
    """Users end all other sessions."""
    first, second = two_sessions(make_user)
    stranger = log_in(name="stranger")
    first.post(reverse("account"), {"do": "sessions"})
    assert (is_in(first), is_in(second), is_in(stranger)) == (True, False, True)


def test_administrator_ends_sessions(clinic: None, make_user: Callable[..., User], log_in: LoggedIn) -> None:
    """An administrator ends the sessions of a user."""
    first, second = two_sessions(make_user)
    ada = log_in(Role.ADMINISTRATOR, "ada")
    address = reverse("user", args=[User.objects.get(username="rhea").pk])
    assert "2 sessions are open" in ada.get(address).content.decode()
    ada.post(address, {"do": "sessions"})
    assert (is_in(first), is_in(second), is_in(ada)) == (False, False, True)
    assert ended() == [("ada", "asked")] * 2
    own = reverse("user", args=[User.objects.get(username="ada").pk])
    ada.post(own, {"do": "sessions"})
    assert is_in(ada)


def test_deactivation_ends_sessions(clinic: None, make_user: Callable[..., User], log_in: LoggedIn) -> None:
    """Ending an account ends its sessions."""
    first, second = two_sessions(make_user)
    ada = log_in(Role.ADMINISTRATOR, "ada")
    ada.post(reverse("user", args=[User.objects.get(username="rhea").pk]), {"do": "deactivate"})
    assert (is_in(first), is_in(second)) == (False, False)
    assert BrowserSession.objects.count() == 1
    assert ended() == [("ada", "account")] * 2


# --- the password once more -------------------------------------------------------------------------------------------


def test_changes_need_recent_password(clinic: None, log_in: LoggedIn) -> None:
    """Users tokens and sessions need a password typed lately."""
    client = log_in(Role.ADMINISTRATOR, "ada")
    confirmed_before(client, 11)
    for name in ("users", "user"):
        address = reverse(name, args=[] if name == "users" else [User.objects.get().pk])
        assert client.get(address)["Location"] == f"{reverse('confirm')}?next={address.replace('/', '%2F')}"
    sent = [
        (reverse("users"), {"name": "rhea", "role": "reader"}),
        (reverse("account"), {"do": "token", "token-name": "x", "token-scope": "full", "token-days": "30"}),
        (reverse("account"), {"do": "sessions"}),
        (reverse("revoke_token", args=[1]), {}),
    ]
    for address, form in sent:
        answer = client.post(address, form, headers={"Referer": "http://testserver/account/"})
        assert answer["Location"] == f"{reverse('confirm')}?next=%2Faccount%2F", address
    assert User.objects.count() == 1
    page = client.get(reverse("account")).content.decode()
    assert "Nothing has been changed yet" in page
    assert "Confirm your password to change this" in page
    assert "Issue a token" not in page
    confirmed_before(client, 9)
    assert client.get(reverse("users")).status_code == 200


def test_confirm_renews_session(clinic: None, log_in: LoggedIn) -> None:
    """Confirming takes the password and renews the session."""
    client = log_in(Role.ADMINISTRATOR, "ada")
    confirmed_before(client, 60)
    key = client.session.session_key
    wrong = client.post(reverse("confirm"), {"password": "wrong", "next": reverse("users")})
    assert (wrong.status_code, "This is not your password" in wrong.content.decode()) == (200, True)
    assert client.get(reverse("users")).status_code == 302
    right = client.post(reverse("confirm"), {"password": PASSWORD, "next": reverse("users")})
    assert right["Location"] == reverse("users")
    assert client.session.session_key != key
    assert not BrowserSession.objects.filter(session_key=key).exists()
    assert client.get(reverse("users")).status_code == 200
    assert [event.action for event in AuditEvent.objects.order_by("pk")] == ["login_failed", "confirmed"]


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_confirm_stays_on_site(clinic: None, log_in: LoggedIn, elsewhere: str) -> None:
    """Confirming never leads elsewhere."""
    client = log_in()
    sent = client.post(reverse("confirm"), {"password": PASSWORD, "next": elsewhere})
    assert sent["Location"] == reverse("account")
    confirmed_before(client, 60)
    away = client.post(reverse("revoke_token", args=[1]), headers={"Referer": "https://evil.example/users"})
    assert away["Location"] == f"{reverse('confirm')}?next=%2Faccount%2F"


def test_confirm_guessing_is_locked(clinic: None, log_in: LoggedIn) -> None:
    """Guessing at the confirmation is locked like a login."""
    client = log_in()
    tried = [client.post(reverse("confirm"), {"password": f"wrong {number}"}).status_code for number in range(6)]
    assert tried == [200, 200, 200, 200, 429, 429]
    assert client.post(reverse("confirm"), {"password": PASSWORD}).status_code == 429


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox, Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/131.0 Safari/537.36 Edg/131.0", "Edge, Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari, iPhone"),
        ("x" * 300, "x" * 40),
        ("", "unknown"),
    ],
)
def test_browser_names(agent: str, name: str) -> None:
    """Browsers are named as people call them."""
    assert browser(agent) == name
