"""Who asks the REST API: in the mode ``clinic`` the user of a token, in the mode ``open`` anybody. No cookie counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from ninja.security import HttpBearer

from boneage.web.audit import by_token
from boneage.web.models import ApiToken, User, configuration

USE_NOTED_EVERY = timedelta(minutes=1)
"""``ApiToken.last_used_at`` is no finer, so that reading does not write each time."""


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        user: None in the mode ``open``.
        token: name of the token; empty in the mode ``open``.
    """

    user: User | None = None
    token: str = ""

    @property
    def via(self) -> dict[str, str]:
        """For the audit log, beside the user."""
        return by_token(self.token)


class Token(HttpBearer):
    """``Authorization: Bearer ba_...``; its user acts."""

    def __call__(self, request: HttpRequest) -> Caller | None:
        """Who asks; None if nobody may be meant."""
        return Caller() if configuration().is_open else cast("Caller | None", super().__call__(request))

    def authenticate(self, _request: HttpRequest, token: str) -> Caller | None:
        """The user of a token that is neither revoked nor of an inactive user."""
        valid = ApiToken.objects.select_related("user").filter(revoked_at=None, user__is_active=True)
        found = valid.filter(digest=ApiToken.digest_of(token)).first()
        if found is None:
            return None
        now = timezone.now()
        if found.last_used_at is None or found.last_used_at < now - USE_NOTED_EVERY:
            seen_long_ago = Q(last_used_at=None) | Q(last_used_at__lt=now - USE_NOTED_EVERY)
            ApiToken.objects.filter(seen_long_ago, pk=found.pk).update(last_used_at=now)
        return Caller(found.user, found.name)


def caller(request: HttpRequest) -> Caller:
    """Who asks, of a request that `Token` let through."""
    return cast(Caller, getattr(request, "auth", Caller()))
