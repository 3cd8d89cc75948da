"""Single sign-on against a provider that signs real tokens: accounts, roles, confirmation, logout, and mistakes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from boneage.web.accounts import sessions, users
from boneage.web.models import AuditEvent, BrowserSession, Role, User
from tests.web.conftest import PASSWORD
from tests.web.identity_provider import ANNA, CLIENT_ID, CLIENT_SECRET, Provider, running_provider

pytestmark = pytest.mark.django_db

START, RETURN = "/account/sign-on", "/account/sign-on/return"


@pytest.fixture(scope="module")
def server() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(server: Provider, settings: Settings, clinic: None) -> Provider:
    """A provider without mistakes, which the service uses."""
    vars(server).update(vars(Provider(url=server.url)))
    settings.CONFIGURATION = replace(
        settings.CONFIGURATION,
        url="http://testserver",
        oidc_issuer=server.url,
        oidc_client_id=CLIENT_ID,
        oidc_client_secret=CLIENT_SECRET,
        readers=("bone-readers",),
        reviewers=("bone-reviewers", "chiefs"),
        administrators=("bone-admins",),
    )
    return server


def to_provider(client: Client, to: str = "") -> str:
    """Go to the provider as a browser does, and return the address to which it leads back, without its host."""
    answer = client.get(START, {"next": to} if to else {})
    assert answer.status_code == 302, answer.content
    at_provider = requests.get(answer.headers["Location"], allow_redirects=False, timeout=10)
    assert at_provider.status_code == 302, at_provider.text
    return at_provider.headers["Location"].removeprefix("http://testserver")


def back(client: Client, address: str) -> Any:
    """Return from another site: browsers do not send the cookie of the session then."""
    kept = client.cookies.pop("sessionid", None)
    answer = client.get(address)
    if "sessionid" not in client.cookies and kept is not None:
        client.cookies["sessionid"] = kept.value
    return answer


def sign_on(client: Client, to: str = "") -> Any:
    return back(client, to_provider(client, to))


def last_event() -> tuple[str, dict[str, Any]]:
    event = AuditEvent.objects.order_by("pk").last()
    assert event is not None
    return event.action, event.detail


def test_first_login_creates_account(provider: Provider) -> None:
    """The first login creates the account, begins a session, and leads to the requested page."""
    client = Client()
    page = sign_on(client, "/account/")
    assert page.status_code == 200
    assert 'content="0; url=/account/"' in page.content.decode()
    anna = User.objects.get()
    assert (anna.username, anna.get_full_name(), anna.role) == ("anna", "Dr Anna Meyer", Role.READER)
    assert not anna.has_usable_password()
    assert client.get(reverse("cases")).status_code == 200
    assert last_event()[0] == "view"
    assert [event.action for event in AuditEvent.objects.order_by("pk")][:2] == ["user_changed", "login"]
    (sent,) = provider.requests
    assert sent["code_challenge_method"] == "S256"
    assert sent["redirect_uri"] == f"http://testserver{RETURN}"
    cookie = client.cookies["sign-on"]
    assert cookie.value == ""
    assert BrowserSession.objects.count() == 1  # the row of the login is gone


def test_cookie_returns_from_other_site(provider: Provider) -> None:
    """The cookie of a login that begins is Lax, that of the session stays Strict."""
    client = Client()
    to_provider(client)
    assert client.cookies["sign-on"]["samesite"] == "Lax"
    assert client.cookies["sign-on"]["httponly"]
    assert "sessionid" not in client.cookies
    sign_on(client)
    assert client.cookies["sessionid"]["samesite"] == "Strict"


def test_never_leads_elsewhere(provider: Provider) -> None:
    """A login leads to pages of this service only."""
    assert f'url={reverse("cases")}"' in sign_on(Client(), "https://evil.example/").content.decode()


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["bone-admins", "bone-readers"], Role.ADMINISTRATOR),
        (["chiefs"], Role.REVIEWER),
        ("bone-readers", Role.READER),
    ],
)
def test_role_follows_groups(provider: Provider, groups: object, role: Role) -> None:
    """The highest role of the groups counts at each login."""
    sign_on(Client())
    provider.user["groups"] = groups
    provider.user["name"] = "Prof Anna Meyer"
    sign_on(Client())
    anna = User.objects.get()
    assert (anna.role, anna.get_full_name()) == (role, "Prof Anna Meyer")


@pytest.mark.parametrize("groups", [["staff"], [], None, [{"bone-readers": 1}], "bone-readers-old"])
def test_no_role_no_access(provider: Provider, groups: object) -> None:
    """Without a role there is no account, and an existing one loses its sessions and tokens."""
    provider.user["groups"] = groups
    assert sign_on(Client()).status_code == 403
    assert not User.objects.exists()
    provider.user["groups"] = ["bone-readers"]
    client = Client()
    sign_on(client)
    token, _ = users.issue_token(User.objects.get(), "PACS")
    provider.user["groups"] = groups
    assert sign_on(Client()).status_code == 403
    assert last_event() == ("login_failed", {"known": True, "sign_on": True, "reason": "no_role"})
    assert client.get(reverse("cases")).status_code == 302
    token.refresh_from_db()
    assert token.revoked_at is not None


def test_groups_from_userinfo(provider: Provider) -> None:
    """Claims that are not in the ID token come from the userinfo endpoint, of the same user."""
    provider.in_userinfo = ("groups", "name")
    assert sign_on(Client()).status_code == 200
    assert User.objects.get().get_full_name() == "Dr Anna Meyer"
    provider.changes = {"sub": "another"}
    assert sign_on(Client()).status_code == 400


def test_same_name_is_not_taken_over(provider: Provider, make_user: Callable[..., User]) -> None:
    """A local account of the same name stays apart, and so does a user of the provider whose name is not allowed."""
    local = make_user(Role.ADMINISTRATOR, "anna")
    sign_on(Client())
    made = User.objects.exclude(pk=local.pk).get()
    assert made.username.startswith("sso-")
    provider.user |= {"sub": "other", "preferred_username": "root"}
    sign_on(Client())
    assert User.objects.filter(username__startswith="sso-").count() == 2
    local.refresh_from_db()
    assert (local.role, local.sign_on) == (Role.ADMINISTRATOR, None)


def test_deactivated_account_stays_out(provider: Provider, make_user: Callable[..., User]) -> None:
    """An account that an administrator has deactivated stays so until reactivated."""
    ada = make_user(Role.ADMINISTRATOR, "ada")
    sign_on(Client())
    anna = User.objects.get(username="anna")
    users.deactivate(ada, anna)
    assert sign_on(Client()).status_code == 403
    users.reactivate(ada, anna)
    assert sign_on(Client()).status_code == 200
    with pytest.raises(users.AccountError, match="single sign-on"):
        users.renew_password(ada, anna)
    with pytest.raises(users.AccountError, match="groups"):
        users.set_role(ada, anna, Role.READER)


NOW = int(time.time())


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another client"},
        {"aud": "another client", "azp": CLIENT_ID},
        {"aud": None},
        {"aud": CLIENT_ID, "azp": "another client"},
        {"iss": "https://evil.example"},
        {"exp": NOW - 3600},
        {"exp": None},
        {"iat": NOW + 3600},
        {"nbf": NOW + 3600},
        {"sub": None},
    ],
)
def test_invalid_claims_are_rejected(provider: Provider, changes: dict[str, Any]) -> None:
    """A token for another login, client, issuer or time begins no session."""
    provider.changes = changes
    client = Client()
    assert sign_on(client).status_code == 400
    assert "sessionid" not in client.cookies
    assert not User.objects.exists()
    assert last_event() == ("login_failed", {"known": False, "sign_on": True, "reason": "invalid"})


@pytest.mark.parametrize("algorithm", ["none", "HS256", "other"])
def test_invalid_signatures_are_rejected(provider: Provider, algorithm: str) -> None:
    """Unsigned tokens, tokens signed with the client's secret, and those of unpublished keys begin no session.

    The provider's own description offers the first two.
    """
    provider.algorithm = algorithm
    assert sign_on(Client()).status_code == 400
    assert not User.objects.exists()


def test_state_belongs_to_browser(provider: Provider) -> None:
    """An answer to a login of another browser, with another state, or a second time, begins no session."""
    client = Client()
    address = to_provider(client)
    assert back(Client(), address).status_code == 400  # another browser
    cookie = client.cookies["sign-on"].value
    assert back(client, address).status_code == 200
    client.cookies["sign-on"] = cookie
    assert back(client, address).status_code == 400  # replayed
    other = Client()
    code = dict(parse_qsl(urlsplit(to_provider(other)).query))["code"]
    assert back(other, f"{RETURN}?code={code}&state=forged").status_code == 400
    assert User.objects.count() == 1


def test_code_of_other_login_is_rejected(provider: Provider) -> None:
    """A code that another browser requested does not fit the verifier (PKCE)."""
    stolen = dict(parse_qsl(urlsplit(to_provider(Client())).query))["code"]
    client = Client()
    state = dict(parse_qsl(urlsplit(to_provider(client)).query))["state"]
    assert back(client, f"{RETURN}?code={stolen}&state={state}").status_code == 400


def test_declined_and_unreachable(provider: Provider, settings: Settings) -> None:
    """A rejection by the provider, and its absence, are reported."""
    client = Client()
    state = dict(parse_qsl(urlsplit(to_provider(client)).query))["state"]
    assert back(client, f"{RETURN}?error=access_denied&state={state}").status_code == 403
    settings.CONFIGURATION = replace(settings.CONFIGURATION, oidc_issuer="http://127.0.0.1:9")
    assert client.get(START).status_code == 503


def test_logout_at_provider(provider: Provider) -> None:
    """Logging out ends the session here and leads to the provider, which learns which of its sessions ends."""
    client = Client()
    sign_on(client)
    page = client.post(reverse("logout"))
    assert client.get(reverse("cases")).status_code == 302
    address = page.content.decode().split('content="0; url=')[1].split('"')[0].replace("&amp;", "&")
    assert address.startswith(f"{provider.url}/end-session?")
    answer = requests.get(address, allow_redirects=False, timeout=10)
    assert answer.headers["Location"] == f"http://testserver{reverse('login')}"
    (sent,) = provider.logouts
    assert sent["client_id"] == CLIENT_ID
    assert sent["id_token_hint"].count(".") == 2
    assert last_event()[0] == "logout"


def test_confirmation_at_provider(provider: Provider) -> None:
    """A confirmation leads to the provider, which requests the password again; the session keeps its data."""
    provider.user["groups"] = ["bone-admins"]
    client = Client()
    sign_on(client)
    session = client.session
    session["confirmed_at"] = "2020-01-01T00:00:00+00:00"
    session["worklist"] = {"status": "decide"}
    session.save()
    to_confirm = client.get(reverse("users")).headers["Location"]
    assert client.get(to_confirm).headers["Location"].startswith(START)
    key = client.session.session_key
    page = sign_on(client, reverse("users"))
    assert provider.requests[-1]["prompt"] == "login"
    assert provider.requests[-1]["max_age"] == "0"
    assert f'url={reverse("users")}"' in page.content.decode()
    assert client.session.session_key != key
    assert client.session["worklist"] == {"status": "decide"}
    assert client.get(reverse("users")).status_code == 200
    assert last_event() == ("confirmed", {"sign_on": True})
    assert BrowserSession.objects.count() == 1


def test_unlock_at_provider(provider: Provider) -> None:
    """A locked session is unlocked by a new login at the provider, and only by the same user."""
    client = Client()
    sign_on(client)
    client.post(reverse("lock"))
    assert client.post(reverse("unlock"), {"password": ""}).status_code == 200
    assert client.get(reverse("cases")).status_code == 302
    sign_on(client)
    assert client.get(reverse("cases")).status_code == 200
    assert last_event()[0] == "view"
    assert AuditEvent.objects.filter(action="confirmed").count() == 1


def test_ended_session_is_not_confirmed(provider: Provider) -> None:
    """If the session ends while the user is at the provider, the login begins a new one."""
    client = Client()
    sign_on(client)
    address = to_provider(client, reverse("users"))
    BrowserSession.objects.exclude(user=None).update(seen_at=timezone.now() - timedelta(hours=1))
    assert back(client, address).status_code == 200
    assert client.get(reverse("cases")).status_code == 200
    assert AuditEvent.objects.filter(action="login").count() == 2


def test_confirmation_needs_new_login(provider: Provider) -> None:
    """A provider that does not request the password again confirms nothing."""
    client = Client()
    sign_on(client)
    provider.changes = {"auth_time": int(time.time()) - 600}
    assert sign_on(client).status_code == 400


def test_confirmation_by_other_user(provider: Provider) -> None:
    """If somebody else logs in at the provider meanwhile, that is a session of its own."""
    client = Client()
    sign_on(client)
    first = client.session.session_key
    provider.user = {**ANNA, "sub": "other", "preferred_username": "bert"}
    sign_on(client)
    assert client.session.session_key != first
    assert int(client.session["_auth_user_id"]) == User.objects.get(username="bert").pk


def test_emergency_administrator(provider: Provider, settings: Settings, make_user: Callable[..., User]) -> None:
    """Only the emergency administrator logs in with a password."""
    make_user(Role.ADMINISTRATOR, "ada")
    make_user(Role.REVIEWER, "rhea")
    settings.CONFIGURATION = replace(settings.CONFIGURATION, emergency_administrator="ada")
    page = Client().get(reverse("login")).content.decode()
    assert "Emergency login" in page
    assert START in page
    for name, status in (("rhea", 200), ("ada", 302)):
        assert Client().post(reverse("login"), {"username": name, "password": PASSWORD}).status_code == status


def test_without_provider_no_pages(clinic: None, client: Client) -> None:
    """Without the setting there are no such pages."""
    assert client.get(START).status_code == client.get(RETURN).status_code == 404
    assert START not in client.get(reverse("login")).content.decode()


def test_rows_of_logins_expire(provider: Provider, settings: Settings) -> None:
    """A login that is not finished is deleted after ten minutes, without an event."""
    client = Client()
    address = to_provider(client)
    assert sessions.sweep(timezone.now() + timedelta(minutes=11)) == 1
    assert back(client, address).status_code == 400
    assert not AuditEvent.objects.filter(action="session_ended").exists()
