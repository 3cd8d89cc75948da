"""A login between the right password and the code of the second factor. It is part of a session without a user."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from boneage.web.models import User

PENDING_FOR = timedelta(minutes=5)
"""Time for which the code can be entered after the password."""

_KEY = "pending_login"


def begin(request: HttpRequest, user: User, to: str) -> None:
    """Remember that the password of a user was right, under a new session key.

    Args:
        request: the request.
        user: the user.
        to: address of the page to which the login leads.
    """
    request.session.flush()
    request.session[_KEY] = {
        "user": user.pk,
        "password": user.get_session_auth_hash(),
        "at": timezone.now().isoformat(),
        "to": to,
    }
    request.session.set_expiry(timezone.now() + PENDING_FOR)


def of(request: HttpRequest) -> tuple[User, str] | None:
    """Return the user whose password was right, and the address of the page to which the login leads.

    Without such a login it returns None, and also after `PENDING_FOR`, or if the account or its password has changed.
    """
    kept = request.session.get(_KEY)
    if kept is None or timezone.now() - datetime.fromisoformat(kept["at"]) > PENDING_FOR:
        return None
    user = User.objects.filter(pk=kept["user"], is_active=True).first()
    if user is None or not constant_time_compare(kept["password"], user.get_session_auth_hash()):
        return None
    return user, kept["to"]


def end(request: HttpRequest) -> None:
    """Forget the login."""
    request.session.pop(_KEY, None)
