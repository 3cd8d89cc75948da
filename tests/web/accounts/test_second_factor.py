"""The second factor: setting up, logging in, recovery codes, guessing, requirement by role, and reset."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace

import pyotp
import pytest
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from boneage.web.accounts import second_factor, users
from boneage.web.models import ApiToken, AuditEvent, BrowserSession, RecoveryCode, Role, SecondFactor, User
from tests.web.conftest import PASSWORD

pytestmark = pytest.mark.django_db

ACCOUNT, LOGIN, STEP = "/account/", "/account/login", "/account/login/second-factor"


@pytest.fixture
def rhea(clinic: None, make_user: Callable[..., User]) -> User:
    return make_user(name="rhea")


def enter_password(client: Client, name: str = "rhea", **more: str) -> str:
    answer = client.post(LOGIN, {"username": name, "password": PASSWORD, **more})
    return answer.headers.get("Location", str(answer.status_code))


def set_up_app(client: Client) -> tuple[str, list[str]]:
    """Set up an app on the page. Return its secret and the recovery codes."""
    page = client.get(reverse("second_factor") + "?new").content.decode()
    assert "data:image/svg+xml" in page
    key = re.search(r'<code class="secret">([A-Z2-7 ]+)</code>', page)
    assert key is not None
    secret = key[1].replace(" ", "")
    # The step before: the next login needs another code, and tests do not wait for 30 s.
    code = pyotp.TOTP(secret).at(time.time(), counter_offset=-1)
    done = client.post(reverse("second_factor"), {"do": "set_up", "code": code}).content.decode()
    codes = re.findall(r'<code class="secret">([A-Z2-7-]+)</code>', done)
    assert len(codes) == second_factor.RECOVERY_CODES
    return secret, codes


def events() -> list[tuple[str, dict[str, object]]]:
    return list(AuditEvent.objects.order_by("pk").values_list("action", "detail"))


def test_login_requires_code(rhea: User) -> None:
    """After setting up, a login requires the app's code, each code once, and leads to the requested page."""
    client = Client()
    assert enter_password(client) == reverse("cases")
    secret, _ = set_up_app(client)
    other = Client()
    assert enter_password(other, next=ACCOUNT) == STEP
    assert other.get(ACCOUNT).status_code == 302  # the password alone opens nothing
    assert "_auth_user_id" not in other.session
    code = pyotp.TOTP(secret).now()
    assert other.post(STEP, {"code": f"{code[:3]} {code[3:]}"})["Location"] == ACCOUNT
    assert other.get(ACCOUNT).status_code == 200
    assert events()[-1] == ("login", {"second_factor": "code"})
    third = Client()
    enter_password(third)
    assert third.post(STEP, {"code": code}).status_code == 200  # used before
    assert third.get(ACCOUNT).status_code == 302


def test_recovery_code_works_once(rhea: User) -> None:
    """A recovery code replaces the app once; only its digest is stored."""
    client = Client()
    enter_password(client)
    secret, codes = set_up_app(client)
    stored = str([*RecoveryCode.objects.values(), *SecondFactor.objects.values()])
    assert secret not in stored
    assert not any(code.replace("-", "") in stored for code in codes)
    for attempt, status in ((codes[3].lower().replace("-", " "), 302), (codes[3], 200), (codes[4], 302)):
        other = Client()
        enter_password(other)
        assert other.post(STEP, {"code": attempt}).status_code == status
    assert events()[-1] == ("login", {"second_factor": "recovery_code"})
    assert RecoveryCode.objects.count() == second_factor.RECOVERY_CODES - 2
    page = client.get(reverse("second_factor")).content.decode()
    assert "8 recovery codes are left" in page
    assert secret not in page.replace(" ", "")


def test_guessed_codes_lock_name(rhea: User) -> None:
    """Wrong codes and wrong passwords count together, and lock the password step as well."""
    client = Client()
    enter_password(client)
    set_up_app(client)
    guesser = Client()
    guesser.post(LOGIN, {"username": "rhea", "password": "wrong"})
    enter_password(guesser)
    tried = [guesser.post(STEP, {"code": "000000"}).status_code for _ in range(5)]
    assert tried == [200, 200, 200, 429, 429]
    assert enter_password(Client()) == "429"
    failures = [detail for action, detail in events() if action == "login_failed"]
    assert [detail.get("locked") for detail in failures] == [False, False, False, False, True]
    assert [detail.get("second_factor", False) for detail in failures] == [False, True, True, True, True]
    assert "000000" not in str(list(AuditEvent.objects.values()))


def test_second_step_ends(rhea: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second step needs the first, and ends after five minutes and with a new password."""
    client = Client()
    enter_password(client)
    secret, _ = set_up_app(client)
    assert Client().get(STEP)["Location"] == LOGIN
    other = Client()
    enter_password(other)
    rhea.refresh_from_db()
    rhea.set_password("another long password")
    rhea.save()
    assert other.post(STEP, {"code": pyotp.TOTP(secret).now()})["Location"] == LOGIN


def test_setting_up_ends_other_sessions(rhea: User) -> None:
    """Setting up ends the other sessions, and needs a right code and a password entered lately."""
    client, other = Client(), Client()
    enter_password(client)
    enter_password(other)
    client.get(reverse("second_factor"))
    wrong = client.post(reverse("second_factor"), {"do": "set_up", "code": "000000"})
    assert "not right" in wrong.content.decode()
    assert not SecondFactor.objects.exists()
    set_up_app(client)
    assert client.get(ACCOUNT).status_code == 200
    assert other.get(ACCOUNT).status_code == 302
    session = client.session
    session["confirmed_at"] = "2020-01-01T00:00:00+00:00"
    session.save()
    assert reverse("confirm") in client.get(reverse("second_factor"))["Location"]


def test_confirmation_requires_code(rhea: User) -> None:
    """A confirmation requires password and code."""
    client = Client()
    enter_password(client)
    secret, _ = set_up_app(client)
    session = client.session
    session["confirmed_at"] = "2020-01-01T00:00:00+00:00"
    session.save()
    form = {"password": PASSWORD, "next": ACCOUNT}
    assert client.post(reverse("confirm"), form).status_code == 200
    assert client.post(reverse("confirm"), {**form, "code": pyotp.TOTP(secret).now()})["Location"] == ACCOUNT


def test_role_requires_second_factor(clinic: None, settings: Settings, make_user: Callable[..., User]) -> None:
    """A role that requires the factor sees nothing else before it is set up, and cannot remove it."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, second_factor=("reviewer",))
    make_user(Role.REVIEWER, "rhea")
    make_user(Role.READER, "paul")
    client = Client()
    assert enter_password(client) == reverse("cases")
    for name in ("cases", "home", "account"):
        assert client.get(reverse(name))["Location"] == reverse("second_factor")
    token = {"do": "token", "token-name": "PACS", "token-scope": "submit", "token-days": "90"}
    client.post(ACCOUNT, token)
    assert not ApiToken.objects.exists()
    set_up_app(client)
    assert client.get(reverse("cases")).status_code == 200
    client.post(reverse("second_factor"), {"do": "remove"})
    assert SecondFactor.objects.exists()
    reader = Client()
    enter_password(reader, "paul")
    assert reader.get(reverse("cases")).status_code == 200


def test_remove_and_renew(rhea: User) -> None:
    """Users renew their recovery codes and remove the factor."""
    client = Client()
    enter_password(client)
    _, codes = set_up_app(client)
    client.post(reverse("second_factor"), {"do": "renew"})
    other = Client()
    enter_password(other)
    assert other.post(STEP, {"code": codes[0]}).status_code == 200
    client.post(reverse("second_factor"), {"do": "remove"})
    assert not SecondFactor.objects.exists()
    assert not RecoveryCode.objects.exists()
    assert enter_password(Client()) == reverse("cases")
    changes = [detail["change"] for action, detail in events() if action == "user_changed"]
    assert changes == ["second_factor_set_up", "recovery_codes_renewed", "second_factor_removed"]


def test_administrator_resets_second_factor(rhea: User, make_user: Callable[..., User]) -> None:
    """An administrator resets the factor of another user, which ends that user's sessions."""
    client = Client()
    enter_password(client)
    set_up_app(client)
    make_user(Role.ADMINISTRATOR, "ada")
    ada = Client()
    enter_password(ada, "ada")
    address = reverse("user", args=[rhea.pk])
    assert "Reset the second factor" in ada.get(address).content.decode()
    ada.post(address, {"do": "second_factor"})
    assert not BrowserSession.objects.filter(user=rhea).exists()
    assert "Reset the second factor" not in ada.get(address).content.decode()
    assert enter_password(Client()) == reverse("cases")


def test_tokens_need_no_second_factor(rhea: User) -> None:
    """API tokens work as before."""
    _, text = users.issue_token(rhea, "PACS")
    client = Client()
    enter_password(client)
    set_up_app(client)
    answer = Client().get("/api/assessments", headers={"Authorization": f"Bearer {text}"})
    assert answer.status_code == 200


def test_new_secret_key_invalidates_secret(rhea: User, settings: Settings) -> None:
    """The stored secret cannot be read without the key of the installation."""
    client = Client()
    enter_password(client)
    secret, _ = set_up_app(client)
    assert second_factor.verify(rhea, pyotp.TOTP(secret).now()) == "code"
    settings.SECRET_KEY = "another key that is long enough for this purpose, surely"
    assert second_factor.verify(rhea, pyotp.TOTP(secret).at(time.time(), counter_offset=1)) is None
