"""The append-only log of the mode ``clinic``: each view, submission, decision, export, deletion and login."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from django.db.models import Model

from boneage.web.models import AuditEvent, User, configuration

SYSTEM = "system"
"""Stands for the user where nobody asked: retention."""


class Action(StrEnum):
    """What is logged."""

    LOGIN = "login"
    LOGIN_FAILED = "login_failed"
    LOGOUT = "logout"
    SUBMIT = "submit"
    VIEW = "view"
    DECIDE = "decide"
    EXPORT = "export"
    DELETE = "delete"
    RETENTION = "retention"
    USER_CHANGED = "user_changed"
    TOKEN_ISSUED = "token_issued"  # noqa: S105 - no password
    TOKEN_REVOKED = "token_revoked"  # noqa: S105


def record(user: User | str | None, action: Action, thing: Model | None = None, **detail: Any) -> None:
    """Add an event, in the transaction that is open. Nothing in the mode ``open``, which keeps nothing.

    Args:
        user: who, or a name such as `SYSTEM`.
        action: what.
        thing: on which object.
        **detail: plain values that name no patient.
    """
    if configuration().is_open:
        return
    AuditEvent.objects.create(
        user_name=user if isinstance(user, str) else (user.username if user else ""),
        action=action.value,
        object_type=thing._meta.model_name or "" if thing is not None else "",
        object_id=str(thing.pk) if thing is not None else "",
        detail=detail,
    )
