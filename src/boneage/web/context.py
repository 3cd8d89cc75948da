"""Context variables of every template."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

import boneage
from boneage.web.accounts import sessions
from boneage.web.accounts.access import user_of
from boneage.web.models import Role, configuration


def service(request: HttpRequest) -> dict[str, Any]:
    """Return ``clinic``, ``is_node`` (of a PACS), ``member`` (the user or None), ``is_reviewer``, ``is_administrator``,
    ``sees_departments`` (of several), ``version``, ``languages``, ``is_locked``, and times in minutes.
    """
    user = user_of(request)
    return {
        "clinic": not configuration().is_open,
        "is_node": bool(configuration().pacs),
        "member": user,
        "is_reviewer": user is not None and user.may(Role.REVIEWER),
        "is_administrator": user is not None and user.may(Role.ADMINISTRATOR),
        "sees_departments": user is not None and user.sees_departments,
        "version": boneage.__version__,
        "languages": settings.LANGUAGES,
        "open_minutes": configuration().open_minutes,
        "idle_minutes": configuration().idle_minutes,
        "lock_minutes": 0 if user is not None and user.is_from_proxy else configuration().locks_after_minutes,
        "is_locked": user is not None and sessions.is_locked(request),
    }
