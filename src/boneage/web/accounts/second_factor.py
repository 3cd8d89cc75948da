"""Second factor of local accounts: codes of an authenticator app (TOTP, RFC 6238), and recovery codes.

Wrong codes count like wrong passwords (`boneage.web.accounts.login_guard`). API tokens need no second factor.
"""

from __future__ import annotations

import base64
import re
import secrets
from typing import Literal
from urllib.parse import urlsplit

import pyotp
import segno
from django.db import transaction
from django.utils.crypto import salted_hmac
from pyotp.exceptions import OTPVerificationError

from boneage.web.accounts import sealed, sessions
from boneage.web.accounts.audit import SYSTEM, Action, record
from boneage.web.models import RecoveryCode, SecondFactor, User, configuration

Kind = Literal["code", "recovery_code"]

RECOVERY_CODES = 10
"""Number of recovery codes of a user."""

_RECOVERY_BYTES = 15
"""Random bytes of a recovery code: 120 bits, so that a fast keyed digest is enough to store it."""

_GROUP = 4
"""Characters of a group in which secrets and recovery codes are shown."""

_STEPS_OFF = 1
"""Time steps of 30 s by which the clock of the app may be off in either direction."""


def new_secret() -> str:
    """Return a new shared secret of 160 bits, base32."""
    return pyotp.random_base32()


def key_uri(user: User, secret: str) -> str:
    """Return the ``otpauth`` address that authenticator apps read."""
    host = urlsplit(configuration().url).hostname or "boneage"
    return pyotp.TOTP(secret).provisioning_uri(name=user.username, issuer_name=f"boneage {host}")


def qr_code(uri: str) -> str:
    """Return an address as a QR code: an SVG picture in a ``data:`` address."""
    return str(segno.make(uri, error="m", micro=False).svg_data_uri(scale=4, border=4, light="#fff"))


def grouped(secret: str) -> str:
    """Return a secret in groups, to be read and typed."""
    return " ".join(secret[first : first + _GROUP] for first in range(0, len(secret), _GROUP))


@transaction.atomic
def set_up(user: User, secret: str, code: str, keep: str | None) -> list[str] | None:
    """Set up an authenticator app; it replaces an earlier one. All other sessions of the user end.

    Args:
        user: the user.
        secret: the shared secret, by `new_secret`.
        code: a current code of the app.
        keep: key of the session that continues.

    Returns:
        New recovery codes; None if the code is wrong.
    """
    step = _step_of(secret, code)
    if step is None:
        return None
    SecondFactor.objects.filter(user=user).delete()
    SecondFactor.objects.create(user=user, secret=sealed.seal(secret), last_step=step)
    codes = _new_codes(user)
    sessions.end(user.sessions.exclude(session_key=keep), user, "second_factor")
    record(user, Action.USER_CHANGED, user, change="second_factor_set_up", name=user.username)
    return codes


@transaction.atomic
def renew_recovery_codes(user: User) -> list[str]:
    """Return new recovery codes; the earlier ones become invalid."""
    codes = _new_codes(user)
    record(user, Action.USER_CHANGED, user, change="recovery_codes_renewed", name=user.username)
    return codes


@transaction.atomic
def remove(by: User | None, user: User) -> bool:
    """Remove the second factor, and end all sessions if somebody else does so. Return whether there was one.

    Args:
        by: the user, or an administrator; None for the operator on the command line.
        user: the user.
    """
    RecoveryCode.objects.filter(user=user).delete()
    if not SecondFactor.objects.filter(user=user).delete()[0]:
        return False
    who = SYSTEM if by is None else by
    if by != user:
        sessions.end(user.sessions.all(), who, "second_factor")
    record(who, Action.USER_CHANGED, user, change="second_factor_removed", name=user.username)
    return True


def verify(user: User, text: str) -> Kind | None:
    """Return the kind of a valid code, which is used up by this; None for a wrong one.

    Args:
        user: the user.
        text: a code of six digits, or a recovery code, with any spaces and hyphens.
    """
    code = re.sub(r"[\s-]+", "", text).upper()
    if re.fullmatch(r"[0-9]{6}", code):
        return "code" if _take_step(user, code) else None
    if RecoveryCode.objects.filter(user=user, digest=_digest(user, code)).delete()[0]:
        return "recovery_code"
    return None


def _take_step(user: User, code: str) -> bool:
    factor = SecondFactor.objects.filter(user=user).first()
    secret = None if factor is None else sealed.unseal(factor.secret)
    step = None if secret is None else _step_of(secret, code)
    if step is None:
        return False
    return bool(SecondFactor.objects.filter(user=user, last_step__lt=step).update(last_step=step))


def _step_of(secret: str, code: str) -> int | None:
    """Return the time step of a code; None if it is not valid now."""
    try:
        return pyotp.TOTP(secret).verify_and_get_timecode(re.sub(r"\s+", "", code), valid_window=_STEPS_OFF)
    except OTPVerificationError:
        return None


def _new_codes(user: User) -> list[str]:
    RecoveryCode.objects.filter(user=user).delete()
    codes = [base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode("ascii") for _ in range(RECOVERY_CODES)]
    RecoveryCode.objects.bulk_create(RecoveryCode(user=user, digest=_digest(user, code)) for code in codes)
    return ["-".join(grouped(code).split()) for code in codes]


def _digest(user: User, code: str) -> str:
    return salted_hmac("boneage.web.accounts.second_factor", f"{user.pk} {code}", algorithm="sha256").hexdigest()
