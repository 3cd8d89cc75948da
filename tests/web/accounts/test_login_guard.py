"""Guessing passwords: by one name from one network, by one name from all, and by one network with all names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from boneage.web.accounts import login_guard, users
from boneage.web.models import AuditEvent, Role, User
from tests.web.conftest import PASSWORD

pytestmark = pytest.mark.django_db


def sign_in(client: Client, name: str, password: str = PASSWORD, address: str = "192.0.2.1") -> int:
    form = {"username": name, "password": password}
    return client.post(reverse("login"), form, REMOTE_ADDR=address).status_code


def test_five_failures_lock_name_at_address(clinic: None, client: Client, make_user: Callable[..., User]) -> None:
    """Five failures lock the name at that address for a quarter of an hour."""
    make_user(name="rhea")
    make_user(name="other")
    # The login form takes the wide letter for the same name: it must not give further tries.
    tried = [sign_in(client, name, "wrong") for name in ["rhea", "rhea", " rhea ", "\uff52hea", "rhea"]]
    assert tried == [200, 200, 200, 200, 429]
    locked = client.post(reverse("login"), {"username": "rhea", "password": PASSWORD}, REMOTE_ADDR="192.0.2.1")
    assert locked.status_code == 429
    assert 14 * 60 < int(locked["Retry-After"]) <= 15 * 60
    assert "15 minutes" in locked.content.decode()
    assert "sessionid" not in client.cookies
    assert sign_in(Client(), "other") == 302
    assert sign_in(Client(), "rhea", address="192.0.2.9") == 302
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=14))
    assert sign_in(client, "rhea") == 429  # trying in vain meanwhile did not make it longer
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))
    assert sign_in(client, "rhea") == 302


def test_ipv6_network_counts_once(clinic: None, make_user: Callable[..., User]) -> None:
    """All addresses of an ipv6 network count as one."""
    make_user(name="rhea")
    tried = [sign_in(Client(), "rhea", "wrong", f"2001:db8:1:2::{number:x}") for number in range(1, 6)]
    assert tried == [200, 200, 200, 200, 429]
    assert sign_in(Client(), "rhea", address="2001:db8:1:2:ffff::1") == 429
    assert sign_in(Client(), "rhea", address="2001:db8:1:3::1") == 302


def test_changed_browser_name_counts_once(clinic: None, make_user: Callable[..., User]) -> None:
    """Browsers that change their name count as one."""
    make_user(name="rhea")
    tried = [sign_in(Client(headers={"User-Agent": f"browser {number}"}), "rhea", "wrong") for number in range(5)]
    assert tried == [200, 200, 200, 200, 429]


def guess_everywhere(name: str) -> list[int]:
    """Guess from as many addresses as it takes to lock the name."""
    return [sign_in(Client(), name, "wrong", f"198.51.100.{number}") for number in range(login_guard.MOST_OF_NAME)]


def test_name_locked_after_failures_everywhere(clinic: None, make_user: Callable[..., User]) -> None:
    """A name is locked for strangers when it is guessed from everywhere."""
    make_user(name="rhea")
    make_user(name="other")
    assert guess_everywhere("rhea") == [200] * (login_guard.MOST_OF_NAME - 1) + [429]
    locked = Client().post(reverse("login"), {"username": "rhea", "password": PASSWORD}, REMOTE_ADDR="203.0.113.5")
    assert (locked.status_code, 0 < int(locked["Retry-After"]) <= 15 * 60) == (429, True)
    assert sign_in(Client(), "other", address="203.0.113.5") == 302
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))
    assert sign_in(Client(), "rhea", address="203.0.113.5") == 302


def test_known_browser_is_not_locked(clinic: None, make_user: Callable[..., User]) -> None:
    """Nobody is locked out of a browser of their own."""
    make_user(name="rhea")
    make_user(name="other")
    own = Client()
    assert sign_in(own, "rhea") == sign_in(own, "other") == 302  # colleagues may share it
    own.post(reverse("logout"))
    guess_everywhere("rhea")
    assert sign_in(Client(), "rhea", address="203.0.113.5") == 429
    assert sign_in(own, "rhea", address="203.0.113.5") == 302
    # It is no way to guess faster: the first count holds for it.
    own.post(reverse("logout"))
    assert [sign_in(own, "rhea", "wrong", "203.0.113.5") for _ in range(5)][-1] == 429
    assert sign_in(own, "rhea", address="203.0.113.5") == 429


def test_known_browser_is_known_for_its_users(clinic: None, make_user: Callable[..., User]) -> None:
    """A browser is known for its users only."""
    make_user(name="rhea")
    make_user(name="mallory")
    own = Client()
    sign_in(own, "mallory")
    own.post(reverse("logout"))
    guess_everywhere("rhea")
    assert sign_in(own, "rhea", address="203.0.113.5") == 429
    forged = Client()
    forged.cookies["known"] = str(own.cookies["known"].value) + "x"
    assert sign_in(forged, "mallory", address="203.0.113.5") == 302  # a broken cookie does no harm
    assert own.cookies["known"]["httponly"]
    assert "mallory" not in own.cookies["known"].value


def test_network_locked_after_many_names(
    clinic: None, make_user: Callable[..., User], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One network cannot try one password with all names."""
    monkeypatch.setattr(login_guard, "MOST_OF_NETWORK", 12)
    make_user(name="rhea")
    own = Client()
    sign_in(own, "rhea")
    own.post(reverse("logout"))
    tried = [sign_in(Client(), f"name{number}", "Winter 2026 is cold") for number in range(12)]
    assert tried == [200] * 11 + [429]
    assert sign_in(Client(), "rhea") == 429
    assert sign_in(Client(), "rhea", address="192.0.2.2") == 302
    assert sign_in(own, "rhea") == 302  # who has been here before


def test_administrator_ends_lock(clinic: None, make_user: Callable[..., User]) -> None:
    """An administrator can end a lock."""
    rhea = make_user(name="rhea")
    guess_everywhere("rhea")
    password = users.renew_password(make_user(Role.ADMINISTRATOR), rhea)
    assert sign_in(Client(), "rhea", password, "203.0.113.5") == 302


def test_lock_is_logged_once(clinic: None, make_user: Callable[..., User]) -> None:
    """A lock is logged once with its address."""
    make_user(name="rhea")
    for _ in range(9):
        sign_in(Client(), "rhea", "wrong")
    events = AuditEvent.objects.filter(action="login_failed").order_by("pk")
    assert [(event.detail["locked"], event.address) for event in events] == [
        *[(False, "192.0.2.1")] * 4,
        (True, "192.0.2.1"),
    ]
