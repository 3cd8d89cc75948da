"""Protection of passwords against guessing: failed logins are counted in three ways (docs/service-safety.md).

A signed cookie identifies the browser of a user who has logged in before, and only the first count holds for it: nobody
can lock others out of their own browsers by typing wrong passwords elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.handlers.proxy import AxesProxyHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Max, QuerySet, Sum
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from boneage.web.accounts.access import digest_of_name, name_digest, network_of

WINDOW = timedelta(minutes=15)
"""Time for which failures count."""

MOST_HERE = 5
"""Failures of one name from one network (an IPv4 address, or 64 bits of IPv6)."""

MOST_OF_NAME = 20
"""Failures of one name from all networks together."""

MOST_OF_NETWORK = 100
"""Failures of one network with all names together."""

_COOKIE_SALT = "boneage.web.accounts.login_guard"
_COOKIE_DAYS = 180
_MOST_NAMES = 10
"""Maximum number of users remembered in one browser."""

_DIGITS = 32
"""Number of digits of a name's digest in the cookie."""


class LoginGuard(AxesDatabaseHandler):  # type: ignore[misc]  # django-axes has no types
    """Django-axes's count of failures, with the two slower counts in units of the first."""

    def get_failures(self, request: HttpRequest, credentials: Mapping[str, Any] | None = None) -> int:
        """Return the failures that count against this login; it is locked from `MOST_HERE` on."""
        counted = [(_here(request, credentials), MOST_HERE)]
        if not is_known(request, credentials):
            counted += [(_of_name(request, credentials), MOST_OF_NAME), (_of_network(request), MOST_OF_NETWORK)]
        return max(_failures(attempts) * MOST_HERE // most for attempts, most in counted)


def locked_seconds(request: HttpRequest, credentials: Mapping[str, Any] | None = None) -> int:
    """Return the seconds after which a locked login may be tried again, at least 1."""
    locking = [_here(request, credentials)]
    if not is_known(request, credentials):
        locking += [
            attempts
            for attempts, most in (
                (_of_name(request, credentials), MOST_OF_NAME),
                (_of_network(request), MOST_OF_NETWORK),
            )
            if _failures(attempts) >= most
        ]
    now = timezone.now()
    last = max(attempts.aggregate(last=Max("attempt_time"))["last"] or now - WINDOW for attempts in locking)
    return max(1, round((last + WINDOW - now).total_seconds()))


def forget_failures(name: str) -> None:
    """Let a name log in at once, even after wrong passwords."""
    AccessAttempt.objects.filter(username=digest_of_name(name)).delete()


def is_locked(request: HttpRequest, name: str) -> bool:
    """Return whether attempts of a name are locked now; the response to the request then states it."""
    locked = not AxesProxyHandler.is_allowed(request, {"username": name})
    if locked:
        request.axes_locked_out = True  # type: ignore[attr-defined]  # read by the middleware of django-axes
        request.axes_credentials = {"username": name}  # type: ignore[attr-defined]
    return locked


def count_failure(request: HttpRequest, name: str) -> bool:
    """Count a wrong code like a wrong password. Return whether the name is locked from now on."""
    AxesProxyHandler.user_login_failed(count_failure, credentials={"username": name}, request=request)
    return bool(request.axes_locked_out)  # type: ignore[attr-defined]


def _here(request: HttpRequest, credentials: Mapping[str, Any] | None) -> QuerySet[AccessAttempt]:
    return _of_name(request, credentials).filter(ip_address=network_of(request))


def _of_name(request: HttpRequest, credentials: Mapping[str, Any] | None) -> QuerySet[AccessAttempt]:
    return _counting().filter(username=name_digest(request, credentials))


def _of_network(request: HttpRequest) -> QuerySet[AccessAttempt]:
    return _counting().filter(ip_address=network_of(request))


def _counting() -> QuerySet[AccessAttempt]:
    attempts: QuerySet[AccessAttempt] = AccessAttempt.objects.filter(attempt_time__gte=timezone.now() - WINDOW)
    return attempts


def _failures(attempts: QuerySet[AccessAttempt]) -> int:
    return attempts.aggregate(total=Sum("failures_since_start"))["total"] or 0


def _cookie() -> str:
    return "__Host-known" if settings.SESSION_COOKIE_SECURE else "known"


def _known_names(request: HttpRequest) -> list[str]:
    kept = request.get_signed_cookie(_cookie(), "", salt=_COOKIE_SALT, max_age=timedelta(days=_COOKIE_DAYS))
    return (kept or "").split(".")


def is_known(request: HttpRequest, credentials: Mapping[str, Any] | None = None) -> bool:
    """Return whether this name has logged in with this browser before."""
    return name_digest(request, credentials)[:_DIGITS] in _known_names(request)


def remember(request: HttpRequest, response: HttpResponseBase, name: str) -> None:
    """Remember a user in a browser."""
    digest = digest_of_name(name)[:_DIGITS]
    names = [digest, *(one for one in _known_names(request) if one and one != digest)][:_MOST_NAMES]
    response.set_signed_cookie(
        _cookie(),
        ".".join(names),
        salt=_COOKIE_SALT,
        max_age=timedelta(days=_COOKIE_DAYS),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Strict",
    )
