"""Browser sessions in the mode ``clinic``, which end when idle, when old, or when their user ends them.

This module is Django's ``SESSION_ENGINE``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, cast

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from boneage.web.accounts.audit import SYSTEM, Action, client_address, record
from boneage.web.models import BrowserSession, User, configuration

BACKEND = "django.contrib.auth.backends.ModelBackend"
"""Django's backend that sessions name; it finds their users, however they logged in."""

CONFIRMED_FOR = timedelta(minutes=10)
"""Time after which the password is requested again before users, tokens and sessions are changed."""

SEEN_EVERY = timedelta(minutes=1)
"""Resolution of `BrowserSession.seen_at`, so that not every request writes."""

MOST_SESSIONS = 10
"""Maximum number of sessions of one user; a further login ends the oldest."""

_BEGUN, _CONFIRMED, _ADDRESS, _AGENT, _LOCKED = "begun_at", "confirmed_at", "address", "agent", "locked"


class SessionStore(db.SessionStore):
    """Django's sessions in the database, with their user and times as columns, and an end when idle."""

    kept: BrowserSession | None = None
    """Row from which the session was read."""

    @classmethod
    def get_model_class(cls) -> type[BrowserSession]:
        """Return the model of sessions."""
        return BrowserSession

    def _get_session_from_db(self) -> BrowserSession | None:
        """Return the row of a session that has not ended; `sweep` deletes and logs the others."""
        row: BrowserSession | None = super()._get_session_from_db()  # type: ignore[misc]  # not in the stubs
        if row is not None and row.seen_at < _idle_since(timezone.now()):
            self._session_key = None
            row = None
        self.kept = row
        return row

    def create_model_instance(self, data: dict[str, Any]) -> BrowserSession:
        """Return the row to write."""
        row = cast(BrowserSession, super().create_model_instance(data))
        row.user_id = data.get(SESSION_KEY)
        row.begun_at = datetime.fromisoformat(data[_BEGUN]) if _BEGUN in data else timezone.now()
        row.address, row.agent = data.get(_ADDRESS), data.get(_AGENT, "")
        return row


def begin(request: HttpRequest, user: User, **_signal: Any) -> None:
    """Record where and when a session begins, and set its end. Each login calls this."""
    now = timezone.now()
    request.session.set_expiry(now + timedelta(hours=configuration().session_hours))
    request.session[_BEGUN] = now.isoformat()
    request.session[_ADDRESS] = client_address.get()
    request.session[_AGENT] = request.headers.get("User-Agent", "")[:200]
    confirm(request)
    older = BrowserSession.objects.filter(user=user).exclude(session_key=request.session.session_key)
    end(older.order_by("-begun_at")[MOST_SESSIONS - 1 :], user, "too_many")


def confirm(request: HttpRequest) -> None:
    """Record that the password has just been entered."""
    request.session[_CONFIRMED] = timezone.now().isoformat()


def is_confirmed(request: HttpRequest) -> bool:
    """Return whether the password was entered within `CONFIRMED_FOR`, or a proxy has checked this very request."""
    if _is_from_proxy(request):
        return True
    at = request.session.get(_CONFIRMED)
    return at is not None and timezone.now() - datetime.fromisoformat(at) < CONFIRMED_FOR


def lock(request: HttpRequest) -> None:
    """Lock a session: it shows nothing before the user has entered the password again."""
    request.session[_LOCKED] = True


def unlock(request: HttpRequest) -> None:
    """Unlock a session after the password was entered; it continues under a new key."""
    request.session.pop(_LOCKED, None)
    request.session.cycle_key()


def is_locked(request: HttpRequest) -> bool:
    """Return whether a session is locked: by its page, or because it was not used for long.

    Sessions by a proxy are not: there is no password here, and the proxy would unlock them at the next request.
    """
    after = configuration().locks_after_minutes
    if not after or _is_from_proxy(request):
        return False
    kept: BrowserSession | None = getattr(request.session, "kept", None)
    # The time of the last use is known to the minute only.
    is_old = kept is not None and kept.seen_at < timezone.now() - timedelta(minutes=after) - SEEN_EVERY
    return is_old or bool(request.session.get(_LOCKED))


def _is_from_proxy(request: HttpRequest) -> bool:
    user = getattr(request, "user", None)
    return isinstance(user, User) and user.is_from_proxy


def note_use(request: HttpRequest) -> None:
    """Record that the user of a session has made a request."""
    kept: BrowserSession | None = getattr(request.session, "kept", None)
    now = timezone.now()
    if kept is not None and kept.seen_at < now - SEEN_EVERY:
        BrowserSession.objects.filter(pk=kept.pk).update(seen_at=now)


def of_user(user: User) -> QuerySet[BrowserSession]:
    """Return the open sessions of a user, the latest first."""
    now = timezone.now()
    return user.sessions.filter(expire_date__gt=now, seen_at__gte=_idle_since(now)).order_by("-begun_at")


def others(request: HttpRequest, user: User) -> QuerySet[BrowserSession]:
    """Return the sessions of a user besides the one of this request."""
    return user.sessions.exclude(session_key=request.session.session_key)


def handle_of(row: BrowserSession) -> str:
    """Return the public name of a session; its key cannot be derived from it."""
    return salted_hmac("boneage.web.accounts.sessions", row.session_key, algorithm="sha256").hexdigest()[:32]


def end(rows: Iterable[BrowserSession], by: User | str, why: str) -> int:
    """End sessions, each with its audit event. Return their number.

    Args:
        rows: the sessions.
        by: the user who ends them.
        why: ``idle``, ``expired``, ``too_many``, ``password``, ``second_factor``, ``account``, or ``asked``.
    """
    count = 0
    for row in rows:
        if BrowserSession.objects.filter(pk=row.pk).delete()[0]:
            count += 1
            if row.user is not None:
                record(by, Action.SESSION_ENDED, row.user, name=row.user.username, why=why)
    return count


def sweep(now: datetime) -> int:
    """End the expired and idle sessions, and return their number."""
    idle = Q(seen_at__lt=_idle_since(now)) & Q(expire_date__gte=now)
    ended = BrowserSession.objects.select_related("user")
    return end(list(ended.filter(expire_date__lt=now)), SYSTEM, "expired") + end(
        list(ended.filter(idle)), SYSTEM, "idle"
    )


def _idle_since(now: datetime) -> datetime:
    return now - timedelta(minutes=configuration().idle_minutes)
