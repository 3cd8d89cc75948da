"""Login by a reverse proxy: who may state a user, and what follows from it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from boneage.web.accounts.sessions import BACKEND
from boneage.web.configuration import AMBIGUOUS_HEADERS
from boneage.web.models import AuditEvent, BrowserSession, Role, User
from boneage.web.processes.gate import environ_of
from tests.web.departments import with_departments

PROXY, ELSEWHERE = "10.0.0.7", "10.0.0.8"


@pytest.fixture
def by_proxy(settings: Settings, clinic: None, db: None) -> None:
    """A clinic behind a proxy that logs users in."""
    settings.CONFIGURATION = replace(
        settings.CONFIGURATION,
        header_user="X-Remote-User",
        header_full_name="X-Remote-Name",
        header_proxies=("10.0.0.7", "fd00::/64"),
        readers=("bone-readers",),
        administrators=("bone-admins",),
    )


def browser(name: str = "anna", groups: str = "bone-readers", address: str = PROXY, **others: Any) -> Client:
    """Return a browser whose requests come through the proxy, with its headers; empty ones are not sent."""
    stated = {"HTTP_X_REMOTE_USER": name, "HTTP_X_REMOTE_GROUPS": groups}
    values = {key: value for key, value in stated.items() if value}
    return Client(REMOTE_ADDR=address, **{AMBIGUOUS_HEADERS: frozenset()} | values | others)


def user_of_page(client: Client) -> User | None:
    """Return the user who sees the worklist; None if nobody is logged in."""
    response = client.get("/cases/")
    return response.wsgi_request.user if response.status_code == 200 else None  # type: ignore[return-value]


def test_page_begins_session(by_proxy: None) -> None:
    """The first page logs the user in, with name, role and an audit event; the next one continues the session."""
    client = browser(HTTP_X_REMOTE_NAME="Anna M\u00fcller".encode().decode("latin-1"))
    for _ in range(2):
        user = user_of_page(client)
        assert user is not None
        assert (user.username, user.role, user.get_full_name()) == ("anna", "reader", "Anna M\u00fcller")
    assert AuditEvent.objects.filter(action="login", detail__proxy=True).count() == 1
    assert BrowserSession.objects.filter(user=user).count() == 1


@pytest.mark.parametrize(
    ("address", "others"),
    [
        (ELSEWHERE, {}),
        (ELSEWHERE, {"HTTP_X_FORWARDED_FOR": PROXY}),
        (ELSEWHERE, {"HTTP_X_FORWARDED_FOR": f"{PROXY}, {PROXY}", "HTTP_FORWARDED": f"for={PROXY}"}),
        ("", {}),
        (PROXY, {AMBIGUOUS_HEADERS: frozenset({"HTTP_X_REMOTE_USER"})}),
        (PROXY, {AMBIGUOUS_HEADERS: frozenset({"HTTP_X_REMOTE_GROUPS"})}),
        (PROXY, {AMBIGUOUS_HEADERS: None}),
    ],
)
def test_imitated_headers_are_rejected(
    by_proxy: None, settings: Settings, caplog: pytest.LogCaptureFixture, address: str, others: dict[str, Any]
) -> None:
    """A header from elsewhere, twice, or with underscores logs nobody in. The log names neither user nor address."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, proxy=True)
    client = browser("root", "bone-admins", address, **others)
    with caplog.at_level(logging.WARNING, "boneage.web.accounts.header_login"):
        for path in ("/cases/", "/", "/api/service"):
            assert client.get(path).status_code == 403
    assert not User.objects.exists()
    logged = [record.getMessage() for record in caplog.records if record.name.endswith("header_login")]
    assert len(logged) == 3
    assert not any(word in line for line in logged for word in ("root", "bone-admins", ELSEWHERE, PROXY))


@pytest.mark.parametrize("address", ["::ffff:10.0.0.7", "fd00::1"])
def test_proxy_may_have_an_address_of_ipv6(by_proxy: None, address: str) -> None:
    """Addresses of a socket for both protocols count as the IPv4 address that they hold."""
    assert user_of_page(browser(address=address)) is not None


def test_headers_mean_nothing_without_the_setting(clinic: None, db: None) -> None:
    """Off by default: nobody is logged in, and no request is rejected."""
    assert browser("root", "bone-admins").get("/cases/").status_code == 302
    assert not User.objects.exists()


def test_groups_decide_at_each_request(by_proxy: None) -> None:
    """Role follows the groups at once; without one there is no access, and the session has ended."""
    client = browser()
    assert user_of_page(client) is not None
    client.defaults["HTTP_X_REMOTE_GROUPS"] = "others, bone-admins"
    user = user_of_page(client)
    assert user is not None
    assert user.role == Role.ADMINISTRATOR
    client.defaults["HTTP_X_REMOTE_GROUPS"] = "others"
    assert client.get("/cases/").status_code == 403
    assert not BrowserSession.objects.filter(user=user).exists()


def test_departments_of_groups(by_proxy: None, settings: Settings, tmp_path: Path) -> None:
    """Departments come from the same groups as roles."""
    with_departments(settings, tmp_path)
    user = user_of_page(browser(groups="bone-readers,trauma-nurses"))
    assert user is not None
    assert user.departments == ["trauma"]


def test_session_belongs_to_the_stated_user(by_proxy: None) -> None:
    """Another user in the same browser gets a session of their own, and nobody's headers end it."""
    client = browser()
    user_of_page(client)
    key = client.session.session_key
    client.defaults["HTTP_X_REMOTE_USER"] = "bert"
    user = user_of_page(client)
    assert user is not None
    assert (user.username, client.session.session_key == key) == ("bert", False)
    for name in ("HTTP_X_REMOTE_USER", "HTTP_X_REMOTE_GROUPS"):
        del client.defaults[name]
    assert client.get("/cases/").status_code == 302


def test_password_login_stays(by_proxy: None, make_user: Callable[..., User]) -> None:
    """The emergency administrator works through the proxy under a password, whatever the proxy states."""
    client = browser()
    client.force_login(make_user(Role.ADMINISTRATOR, "root"), backend=BACKEND)
    user = user_of_page(client)
    assert user is not None
    assert user.username == "root"


def test_never_takes_over_a_local_account(by_proxy: None, make_user: Callable[..., User]) -> None:
    """A user of the proxy with the name of a local account gets another account."""
    make_user(Role.ADMINISTRATOR, "anna")
    user = user_of_page(browser())
    assert user is not None
    assert (user.username.startswith("sso-"), user.role) == (True, "reader")


def test_form_begins_no_session(by_proxy: None) -> None:
    """A form of a session that has ended is not carried out under a new one."""
    assert browser().post("/cases/").status_code == 302
    assert not BrowserSession.objects.exists()


def test_api_needs_a_token(by_proxy: None) -> None:
    """The API takes tokens only; the proxy logs nobody in there."""
    assert browser().get("/api/assessments").status_code == 401
    assert not User.objects.exists()


def test_logout_leads_to_the_proxy(by_proxy: None, settings: Settings) -> None:
    """The session ends here, and the page leads to the logout of the proxy, if there is one."""
    client = browser()
    user_of_page(client)
    assert "still open" in client.post("/account/logout").content.decode()
    settings.CONFIGURATION = replace(settings.CONFIGURATION, header_logout="/oauth2/sign_out")
    user_of_page(client)
    assert 'href="/oauth2/sign_out"' in client.post("/account/logout").content.decode()


def test_no_password_is_requested(by_proxy: None) -> None:
    """Changes of users need no confirmation, and pages have no lock, since there is no password here."""
    client = browser(groups="bone-admins")
    assert client.get("/administration/users/").status_code == 200
    client.post("/account/lock")
    page = client.get("/cases/")
    assert page.status_code == 200
    assert 'id="lock"' not in page.content.decode()


_NAMES = st.sampled_from([b"x-remote-user", b"X-Remote-User", b"x_remote_user", b"X-Remote_User", b"x-remote-users"])


@given(names=st.lists(_NAMES, max_size=4))
def test_gate_marks_ambiguous_headers(names: list[bytes]) -> None:
    """A header is either the only one of its name, with hyphens, or marked; one with underscores is never read."""
    headers = [(name, str(number).encode()) for number, name in enumerate(names)]
    scope = {"method": "GET", "path": "/", "query_string": b"", "http_version": "1.1", "headers": headers}
    environ = environ_of(scope)
    same = [name for name in names if name.lower().replace(b"_", b"-") == b"x-remote-user"]
    is_plain = len(same) == 1 and b"_" not in same[0]
    assert ("HTTP_X_REMOTE_USER" in environ[AMBIGUOUS_HEADERS]) == (bool(same) and not is_plain)
    if is_plain:
        assert environ["HTTP_X_REMOTE_USER"] == str(names.index(same[0]))
