"""Accounts as an administrator changes them, each change with its audit event in one transaction.

Passwords that an administrator hands out are random, and good for choosing another one only. There is always at least
one active administrator.
"""

from __future__ import annotations

import secrets

from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from boneage.errors import ConfigurationError
from boneage.web.audit import Action, record
from boneage.web.models import ApiToken, Role, User

NAME_LENGTH = 150
MOST_TOKENS = 20
"""So many tokens one user may have at a time."""

_SYLLABLES = [consonant + vowel for consonant in "bdfghjkmnprstvz" for vowel in "aeiou"]


class AccountError(ConfigurationError):
    """An account that cannot be made or changed so.

    ``user_exists``: another has that name.
    ``user_name_invalid``: a name has up to 150 letters, digits and @ . + - _.
    ``password_weak``: too short, too common, all digits or too like the name.
    ``last_administrator``: nobody could administrate any more.
    ``too_many_tokens``: the user must revoke one first.
    """


def one_time_password() -> str:
    """A random password that can be read out: eight syllables in four groups, 49 bits."""
    return "-".join("".join(secrets.choice(_SYLLABLES) for _ in range(2)) for _ in range(4))


def valid_name(name: str) -> str:
    """A name in the one form in which names are kept.

    Raises:
        AccountError: ``user_name_invalid`` or ``user_exists``.
    """
    name = User.normalize_username(name).strip()
    try:
        if len(name) > NAME_LENGTH:
            raise ValidationError("too long")
        UnicodeUsernameValidator()(name)
    except ValidationError:
        raise AccountError(
            "user_name_invalid", f"A user's name has 1 to {NAME_LENGTH} letters, digits and @ . + - _."
        ) from None
    if User.objects.filter(username__iexact=name).exists():
        raise AccountError("user_exists", "There is a user of that name already.")
    return name


@transaction.atomic
def create(by: User, name: str, role: Role) -> tuple[User, str]:
    """A new user, and the one-time password.

    Raises:
        AccountError: ``user_name_invalid`` or ``user_exists``.
    """
    password = one_time_password()
    user = User.objects.create_user(valid_name(name), password=password, role=role, password_is_temporary=True)
    record(by, Action.USER_CHANGED, user, change="created", name=user.username, role=role.value)
    return user, password


@transaction.atomic
def set_role(by: User, user: User, role: Role) -> None:
    """Give another role.

    Raises:
        AccountError: ``last_administrator``.
    """
    if role is not Role.ADMINISTRATOR:
        _keep_an_administrator_besides(user)
    User.objects.filter(pk=user.pk).update(role=role)
    record(by, Action.USER_CHANGED, user, change="role", name=user.username, role=role.value)


@transaction.atomic
def deactivate(by: User, user: User) -> None:
    """End an account: sessions and tokens with it. The user stays, for the log and the decisions name it.

    Raises:
        AccountError: ``last_administrator``.
    """
    _keep_an_administrator_besides(user)
    user.is_active = False
    user.set_unusable_password()
    user.save(update_fields=["is_active", "password"])
    _revoke_all(by, user)
    record(by, Action.USER_CHANGED, user, change="deactivated", name=user.username)


@transaction.atomic
def renew_password(by: User, user: User) -> str:
    """A new one-time password, which also makes an ended account active again. Sessions and tokens end."""
    password = one_time_password()
    user.is_active = True
    user.password_is_temporary = True
    user.set_password(password)
    user.save(update_fields=["is_active", "password", "password_is_temporary"])
    _revoke_all(by, user)
    record(by, Action.USER_CHANGED, user, change="password_renewed", name=user.username)
    return password


@transaction.atomic
def issue_token(user: User, name: str) -> tuple[ApiToken, str]:
    """A new key of the API for oneself, and its text.

    Raises:
        AccountError: ``too_many_tokens``.
    """
    User.objects.select_for_update().get(pk=user.pk)  # two requests at once are counted one after the other
    if user.tokens.filter(revoked_at=None).count() >= MOST_TOKENS:
        raise AccountError("too_many_tokens", f"At most {MOST_TOKENS} tokens can be in use.")
    token, text = ApiToken.issue(user, name)
    record(user, Action.TOKEN_ISSUED, token, name=name)
    return token, text


@transaction.atomic
def revoke_token(by: User, token: ApiToken) -> None:
    """End a token; nothing for one that has ended."""
    if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
        record(by, Action.TOKEN_REVOKED, token, name=token.name, of=token.user.username)


def _revoke_all(by: User, user: User) -> None:
    for token in user.tokens.filter(revoked_at=None):
        revoke_token(by, token)


def _keep_an_administrator_besides(user: User) -> None:
    """Lock all active administrators, so that two cannot remove one another at the same time."""
    active = User.objects.select_for_update().filter(role=Role.ADMINISTRATOR, is_active=True).order_by("pk")
    if {administrator.pk for administrator in active} == {user.pk}:
        raise AccountError("last_administrator", "This is the last active administrator.")
