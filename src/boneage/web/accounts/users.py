"""Changes of accounts by administrators, each with its audit event in one transaction.

Passwords issued by an administrator are random and serve only to choose a new one. There is always at least one active
administrator.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from boneage.errors import ConfigurationError
from boneage.files import sha256_of
from boneage.web.accounts import sessions
from boneage.web.accounts.audit import SYSTEM, Action, record
from boneage.web.accounts.login_guard import forget_failures
from boneage.web.accounts.sign_on import Identity
from boneage.web.models import TOKEN_DAYS, ApiToken, Role, Scope, User, configuration
from boneage.web.user_names import NAME_LENGTH, RESERVED_APPEARANCES, appearance_of, is_well_formed, normalized

ONE_TIME_HOURS = 72
"""Validity of a one-time password, hours."""

MOST_TOKENS = 20
"""Maximum number of valid tokens of one user."""

_FULL_NAME_LENGTH = 150

_SYLLABLES = [consonant + vowel for consonant in "bdfghjkmnprstvz" for vowel in "aeiou"]


class AccountError(ConfigurationError):
    """An account cannot be created or changed in this way.

    ``user_exists``: another user has this name.
    ``user_name_invalid``: a name has up to 150 ASCII letters and digits, and @ . + - _ between them.
    ``user_name_similar``: another name, or a reserved one, looks like this one.
    ``password_weak``: the password is too short or too easy to guess.
    ``last_administrator``: no active administrator would remain.
    ``too_many_tokens``: the user must revoke a token first.
    ``department_unknown``: the file of departments has no department of this name.
    ``not_local``: the user logs in by single sign-on, and the provider gives password and role.
    """


def one_time_password() -> str:
    """Return a random password that can be read out: eight syllables in four groups, 49 bits."""
    return "-".join("".join(secrets.choice(_SYLLABLES) for _ in range(2)) for _ in range(4))


def valid_name(name: str) -> str:
    """Return a name in its normalised form, if a new user may have it.

    Raises:
        AccountError: ``user_name_invalid``, ``user_name_similar`` or ``user_exists``.
    """
    name = normalized(name)
    if User.objects.filter(username__iexact=name).exists():
        raise AccountError("user_exists", "There is a user of that name already.")
    if not is_well_formed(name):
        raise AccountError(
            "user_name_invalid",
            f"A user's name has 1 to {NAME_LENGTH} letters (A to Z) and digits, with @ . + - _ between them.",
        )
    appearance = appearance_of(name)
    if appearance in RESERVED_APPEARANCES or User.objects.filter(appearance=appearance).exists():
        raise AccountError("user_name_similar", "Another user's name, or one that is reserved, looks like this one.")
    return name


def is_expired(user: User) -> bool:
    """Return whether the user's one-time password has expired."""
    return user.password_expires_at is not None and user.password_expires_at <= timezone.now()


def use_up_password(user: User) -> bool:
    """Invalidate a one-time password at login. Return False if another login was faster."""
    unusable = make_password(None)
    if not User.objects.filter(pk=user.pk, password=user.password).update(password=unusable):
        return False
    user.password = unusable
    return True


@transaction.atomic
def create(by: User, name: str, role: Role) -> tuple[User, str]:
    """Create a user. Return the user and the one-time password.

    Raises:
        AccountError: ``user_name_invalid``, ``user_name_similar`` or ``user_exists``.
    """
    password = one_time_password()
    user = User.objects.create_user(
        valid_name(name), password=password, role=role, password_is_temporary=True, password_expires_at=_one_time_end()
    )
    record(by, Action.USER_CHANGED, user, change="created", name=user.username, role=role.value)
    return user, password


@transaction.atomic
def set_role(by: User, user: User, role: Role) -> None:
    """Give a user another role.

    Raises:
        AccountError: ``last_administrator`` or ``not_local``.
    """
    if not user.is_local:
        raise AccountError("not_local", "The role comes from the groups at the provider of single sign-on.")
    if role is not Role.ADMINISTRATOR:
        _keep_an_administrator_besides(user)
    User.objects.filter(pk=user.pk).update(role=role)
    record(by, Action.USER_CHANGED, user, change="role", name=user.username, role=role.value)


@transaction.atomic
def set_departments(by: User | None, user: User, departments: Collection[str]) -> None:
    """Set the departments whose cases a user sees.

    Args:
        by: an administrator; None for the operator of the machine.
        user: the user.
        departments: names of departments, or none.

    Raises:
        AccountError: ``department_unknown`` or ``not_local``.
    """
    of_file = configuration().department_list
    for name in departments:
        if name not in of_file.names:
            raise AccountError("department_unknown", f"The file of departments has no department {name!r}.")
    if not user.is_local and of_file.come_from_groups:
        raise AccountError("not_local", "The departments come from the groups at the provider of single sign-on.")
    chosen = [name for name in of_file.names if name in departments]
    User.objects.filter(pk=user.pk).update(departments=chosen)
    record(by or SYSTEM, Action.USER_CHANGED, user, change="departments", name=user.username, departments=chosen)


@transaction.atomic
def set_signature(by: User, user: User, full_name: str, credential: str) -> None:
    """Set the full name and the credential that stand on reports.

    Args:
        by: an administrator.
        user: the user.
        full_name: the name; an empty one leaves the name of the account there. With single sign-on, the provider gives
            the name, and this one is ignored.
        credential: the qualification, or empty.
    """
    values = {"credential": credential, **({"first_name": "", "last_name": full_name} if user.is_local else {})}
    User.objects.filter(pk=user.pk).update(**values)
    record(by, Action.USER_CHANGED, user, change="signature", name=user.username)


@transaction.atomic
def deactivate(by: User, user: User) -> None:
    """Deactivate an account, with its sessions and tokens. The user remains, because the audit log and decisions refer
    to it.

    Raises:
        AccountError: ``last_administrator``.
    """
    _keep_an_administrator_besides(user)
    user.is_active = False
    user.set_unusable_password()
    user.save(update_fields=["is_active", "password"])
    _end_access(by, user, "account")
    record(by, Action.USER_CHANGED, user, change="deactivated", name=user.username)


@transaction.atomic
def renew_password(by: User, user: User) -> str:
    """Return a new one-time password. It reactivates the account; sessions, tokens and login locks end.

    Raises:
        AccountError: ``not_local``.
    """
    if not user.is_local:
        raise AccountError("not_local", "The user logs in by single sign-on and has no password here.")
    password = one_time_password()
    user.is_active = True
    user.password_is_temporary = True
    user.password_expires_at = _one_time_end()
    user.set_password(password)
    user.save(update_fields=["is_active", "password", "password_is_temporary", "password_expires_at"])
    _end_access(by, user, "password")
    forget_failures(user.username)
    record(by, Action.USER_CHANGED, user, change="password_renewed", name=user.username)
    return password


@transaction.atomic
def choose_password(user: User, password: str, keep: str | None) -> None:
    """Set a password chosen by the user. Other sessions end, and all tokens are revoked.

    Args:
        user: the user.
        password: a valid password.
        keep: key of the session that continues.
    """
    user.password_is_temporary = False
    user.password_expires_at = None
    user.set_password(password)
    user.save(update_fields=["password", "password_is_temporary", "password_expires_at"])
    sessions.end(user.sessions.exclude(session_key=keep), user, "password")
    _revoke_all(user, user)
    record(user, Action.USER_CHANGED, user, change="password", name=user.username)


@transaction.atomic
def issue_token(user: User, name: str, scope: Scope = Scope.FULL, days: int = TOKEN_DAYS) -> tuple[ApiToken, str]:
    """Issue an API token for a user. Return the token and its text.

    Args:
        user: the user for whom the token acts.
        name: the purpose of the token.
        scope: the permissions of the token.
        days: validity, 1 to `TOKEN_DAYS` days.

    Raises:
        AccountError: ``too_many_tokens``.
    """
    User.objects.select_for_update().get(pk=user.pk)  # two requests at once are counted one after the other
    if tokens_in_use(user).count() >= MOST_TOKENS:
        raise AccountError("too_many_tokens", f"At most {MOST_TOKENS} tokens can be in use.")
    token, text = ApiToken.issue(user, name, scope, days)
    record(user, Action.TOKEN_ISSUED, token, name=name, scope=scope.value, days=days)
    return token, text


@transaction.atomic
def revoke_token(by: User, token: ApiToken) -> None:
    """Revoke a token; a token that has ended stays as it is."""
    if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
        record(by, Action.TOKEN_REVOKED, token, name=token.name, of=token.user.username)


def tokens_in_use(user: User) -> QuerySet[ApiToken]:
    """Return the tokens of a user that are neither revoked nor expired, the latest first."""
    return user.tokens.filter(revoked_at=None, expires_at__gt=timezone.now()).order_by("-pk")


@transaction.atomic
def signed_on(identity: Identity) -> User | None:
    """Return the account of a user who has logged in at the provider of single sign-on, with the role of this login.

    An account is created at the first login. Without a role, the sessions and tokens of an existing account end.

    Returns:
        The user; None without a role, or if an administrator has deactivated the account.
    """
    user = User.objects.select_for_update().filter(sign_on=identity.subject).first()
    if identity.role is None or (user is not None and not user.is_active):
        if user is not None:
            _end_access(user, user, "account")
        reason = "no_role" if identity.role is None else "deactivated"
        record(user or "", Action.LOGIN_FAILED, user, known=user is not None, sign_on=True, reason=reason)
        return None
    if user is None:
        user = User(username=_free_name(identity), sign_on=identity.subject, role=identity.role)
        user.set_unusable_password()
        user.last_name = identity.full_name[:_FULL_NAME_LENGTH]
        user.departments = _departments_of(identity, user)
        user.save()
        record(SYSTEM, Action.USER_CHANGED, user, change="created", name=user.username, role=user.role, sign_on=True)
        return user
    values = {
        "role": identity.role.value,
        "last_name": identity.full_name[:_FULL_NAME_LENGTH],
        "departments": _departments_of(identity, user),
    }
    changed = {name: value for name, value in values.items() if getattr(user, name) != value}
    for name, value in changed.items():
        setattr(user, name, value)
    if changed:
        user.save(update_fields=list(changed))
    for name, value in changed.items():
        change = {"change": "full_name"} if name == "last_name" else {"change": name, name: value}
        record(SYSTEM, Action.USER_CHANGED, user, name=user.username, sign_on=True, **change)
    return user


def _departments_of(identity: Identity, user: User) -> list[str]:
    """Return the departments of a user of single sign-on: those of the groups, if the file of departments has groups,
    and else those that an administrator has chosen.
    """
    departments = configuration().department_list
    return list(departments.of_groups(identity.groups)) if departments.come_from_groups else user.departments


def _free_name(identity: Identity) -> str:
    """Return the name for a new account: that of the provider, or a made-up one if it is taken or not allowed.

    An account of the same name is never taken over.
    """
    try:
        return valid_name(identity.name)
    except AccountError:
        return f"sso-{sha256_of(identity.subject.encode())[:12]}"


@transaction.atomic
def reactivate(by: User, user: User) -> None:
    """Let a user of single sign-on log in again."""
    User.objects.filter(pk=user.pk).exclude(sign_on=None).update(is_active=True)
    record(by, Action.USER_CHANGED, user, change="reactivated", name=user.username)


def _one_time_end() -> datetime:
    return timezone.now() + timedelta(hours=ONE_TIME_HOURS)


def _end_access(by: User, user: User, why: str) -> None:
    sessions.end(user.sessions.all(), by, why)
    _revoke_all(by, user)


def _revoke_all(by: User, user: User) -> None:
    for token in user.tokens.filter(revoked_at=None):
        revoke_token(by, token)


def _keep_an_administrator_besides(user: User) -> None:
    """Lock all active administrators, so that two cannot remove each other at the same time."""
    active = User.objects.select_for_update().filter(role=Role.ADMINISTRATOR, is_active=True).order_by("pk")
    if {administrator.pk for administrator in active} == {user.pk}:
        raise AccountError("last_administrator", "This is the last active administrator.")
