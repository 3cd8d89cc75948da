"""Which passwords may be chosen: long and hard to guess, of any characters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from django.conf import global_settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher, get_hasher
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from boneage.web import settings as service_settings
from boneage.web.accounts import users
from boneage.web.accounts.passwords import LEAST_LENGTH, context_words
from boneage.web.models import User
from tests.web.conftest import PASSWORD


@pytest.fixture
def anna(settings: Settings) -> User:
    """A user of a clinic whose address is known."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, url="https://kinderspital.example")
    return User(username="anna.schmidt", last_name="Oberholzer")


def codes(password: str, user: User) -> set[str]:
    """Why a password is rejected."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        return {str(one.code) for one in error.error_list}
    return set()


@pytest.mark.parametrize(
    "password",
    [
        PASSWORD,
        "vier kleine Igel tanzen",
        "\u6708\u306f\u6771\u306b\u65e5\u306f\u897f\u306b \u83dc\u306e\u82b1\u3084 \u83dc\u306e\u82b1",
        "7401 9926 5583 1047 2",
        "anna sings to eleven whales",
        " starts and ends with spaces ",
        "q7!" * 3 + "The moon is made of 11 cheeses" + "x" * 100,
        "8f2Kq0zL5m" * 26,
    ],
)
def test_long_passwords_pass(anna: User, password: str) -> None:
    """Long passwords of any characters pass."""
    assert codes(password, anna) == set()


def test_one_time_password_passes(anna: User) -> None:
    """One time passwords follow the rules."""
    for _ in range(20):
        assert codes(users.one_time_password(), anna) == set()


@pytest.mark.parametrize("password", ["Tr0ub4dor&3", "x7#Kq!9pL2$v", "unrelated word"[: LEAST_LENGTH - 1], ""])
def test_short_passwords_fail(anna: User, password: str) -> None:
    """Short passwords do not."""
    assert "password_too_short" in codes(password, anna)


@pytest.mark.parametrize(
    "password",
    [
        "anna.schmidt2024",
        "AnnaSchmidt1985!!",
        "Anna.Schmidt.1985",
        "schmidt.anna.2025",
        "Oberholzer-19-Anna",
        "boneageboneage1!",
        "BoneAge!BoneAge!",
        "kinderspital2026!",
        "radiologie-2026!",
    ],
)
def test_passwords_of_context_words_fail(anna: User, password: str) -> None:
    """Names and words of the place do not."""
    assert "password_context" in codes(password, anna)


@pytest.mark.parametrize(
    "password",
    [
        "passwordpassword1",
        "P@ssw0rdP@ssw0rd",
        "1234567890123456",
        "qwertyuiopasdfgh",
        "aaaaaaaaaaaaaaaaaaa",
        "abcabcabcabcabcabc",
        "iloveyouiloveyou",
        "monkeymonkeymonkey",
        "a" * 200,
    ],
)
def test_guessable_passwords_fail(anna: User, password: str) -> None:
    """Passwords that attackers try first are rejected."""
    assert codes(password, anna) & {"password_guessable", "password_too_common", "password_context"}


def test_context_words(anna: User) -> None:
    """Words are of service address and user."""
    words = context_words(anna)
    assert {"boneage", "kinderspital", "anna", "schmidt", "anna.schmidt", "oberholzer"} <= set(words)
    assert "kinderspital" in context_words(None)
    assert [len(word) for word in words] == sorted((len(word) for word in words), reverse=True)


def test_words_of_user_do_not_leak(anna: User) -> None:
    """Words of one user do not count for the next."""
    assert codes("zyxwoberholzerqq7", anna)
    assert codes("zyxwoberholzerqq7", User(username="other")) == set()


@pytest.mark.django_db
def test_password_is_taken_as_typed(clinic: None, client: Client, make_user: Callable[..., User]) -> None:
    """A password is taken exactly as typed."""
    user = make_user(name="rhea")
    exact = "  Two spaces and \uff37ide " + "x" * 150
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    form = {"do": "password", "old_password": PASSWORD, "new_password1": exact, "new_password2": exact}
    assert client.post(reverse("account"), form).status_code == 302
    for typed, status in ((exact.strip(), 200), (exact.lower(), 200), (exact[:-1], 200), (exact, 302)):
        sent = Client().post(reverse("login"), {"username": "rhea", "password": typed})
        assert sent.status_code == status, typed


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["login", "account", "confirm"])
def test_password_fields_hide_input(clinic: None, log_in: Callable[..., Client], name: str) -> None:
    """Password fields hide and take what a manager pastes."""
    page = (Client() if name == "login" else log_in()).get(reverse(name)).content.decode()
    fields = [part.split(">")[0] for part in page.split("<input ")[1:] if 'type="password"' in part.split(">")[0]]
    assert fields
    for field in fields:
        assert 'autocomplete="current-password"' in field or 'autocomplete="new-password"' in field
        assert "maxlength" not in field
        assert "onpaste" not in field


def test_service_hashes_slowly(settings: Settings) -> None:
    """The service has Django's slow hash, although all other tests of it have a quick one."""
    settings.PASSWORD_HASHERS = getattr(service_settings, "PASSWORD_HASHERS", global_settings.PASSWORD_HASHERS)
    hasher = get_hasher()
    assert isinstance(hasher, PBKDF2PasswordHasher)
    assert hasher.iterations >= 600_000
