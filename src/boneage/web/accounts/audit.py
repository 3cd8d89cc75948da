"""The append-only audit log of the mode ``clinic``: each view, submission, decision, export, deletion and login."""

from __future__ import annotations

from contextvars import ContextVar
from enum import StrEnum
from typing import Any

from django.db.models import Model
from django.utils.translation import gettext_lazy as _

from boneage.web.models import AuditEvent, User, configuration

SYSTEM = "system"
"""Name of the user for events without one, such as retention."""

client_address: ContextVar[str | None] = ContextVar("client_address", default=None)
"""Address of the client whose request is being answered (`boneage.web.accounts.access.address_of`); None outside of
requests."""


class Action(StrEnum):
    """Kinds of audit events."""

    LOGIN = "login"
    LOGIN_FAILED = "login_failed"
    CONFIRMED = "confirmed"
    UNLOCKED = "unlocked"
    LOGOUT = "logout"
    SESSION_ENDED = "session_ended"
    DENIED = "denied"
    SUBMIT = "submit"
    VIEW = "view"
    DECIDE = "decide"
    DECISION_WITHDRAWN = "decision_withdrawn"
    SUPERSEDED = "superseded"
    CASE_CHANGED = "case_changed"
    RECEIVE = "receive"
    SEND = "send"
    DELIVERY_CHANGED = "delivery_changed"
    EXPORT = "export"
    DELETE = "delete"
    RETENTION = "retention"
    USER_CHANGED = "user_changed"
    TOKEN_ISSUED = "token_issued"  # noqa: S105 - no password
    TOKEN_REVOKED = "token_revoked"  # noqa: S105


TITLES = {
    Action.LOGIN: _("Logged in"),
    Action.LOGIN_FAILED: _("Login failed"),
    Action.CONFIRMED: _("Confirmed the password"),
    Action.UNLOCKED: _("Unlocked the session"),
    Action.LOGOUT: _("Logged out"),
    Action.SESSION_ENDED: _("Session ended"),
    Action.DENIED: _("Access denied"),
    Action.SUBMIT: _("Submitted a radiograph"),
    Action.VIEW: _("Viewed"),
    Action.DECIDE: _("Accepted or corrected"),
    Action.DECISION_WITHDRAWN: _("Decision withdrawn by a critical warning"),
    Action.SUPERSEDED: _("Assessed again with corrected data"),
    Action.CASE_CHANGED: _("Changed a case"),
    Action.RECEIVE: _("Received from a PACS"),
    Action.SEND: _("Sent to a PACS"),
    Action.DELIVERY_CHANGED: _("Retried or gave up a delivery"),
    Action.EXPORT: _("Exported"),
    Action.DELETE: _("Deleted"),
    Action.RETENTION: _("Deleted after the retention period"),
    Action.USER_CHANGED: _("Changed a user"),
    Action.TOKEN_ISSUED: _("Issued a token"),
    Action.TOKEN_REVOKED: _("Revoked a token"),
}
"""Names of the actions on the pages."""


def by_token(name: str) -> dict[str, str]:
    """Return the detail for an event of an API token; empty if the name is empty."""
    return {"via": f"token {name}"} if name else {}


def record(user: User | str | None, action: Action, thing: Model | None = None, **detail: Any) -> None:
    """Add an event in the open transaction. The mode ``open`` records nothing.

    Args:
        user: the user, or a name such as `SYSTEM`.
        action: the kind of event.
        thing: the object that it concerns.
        **detail: plain values that identify no patient.
    """
    if configuration().is_open:
        return
    AuditEvent.objects.create(
        user_name=user if isinstance(user, str) else (user.username if user else ""),
        account=user.pk if isinstance(user, User) else None,
        address=client_address.get(),
        action=action.value,
        object_type=thing._meta.model_name or "" if thing is not None else "",
        object_id=str(thing.pk) if thing is not None else "",
        detail=detail,
    )
