"""Who asks the REST API: in the mode ``clinic`` the user of a token, in the mode ``open`` anybody. No cookie counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from ninja.security import HttpBearer

from boneage.web.accounts.audit import Action, by_token, record
from boneage.web.models import ApiToken, Scope, User, configuration

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

    def authenticate(self, request: HttpRequest, token: str) -> Caller | None:
        """Return the user of a token that is neither revoked nor expired nor of an inactive user.

        Raises:
            PermissionDenied: the token's scope is too narrow.
        """
        now = timezone.now()
        valid = ApiToken.objects.select_related("user").filter(
            revoked_at=None, expires_at__gt=now, user__is_active=True
        )
        found = valid.filter(digest=ApiToken.digest_of(token)).first()
        if found is None:
            return None
        if found.last_used_at is None or found.last_used_at < now - USE_NOTED_EVERY:
            seen_long_ago = Q(last_used_at=None) | Q(last_used_at__lt=now - USE_NOTED_EVERY)
            ApiToken.objects.filter(seen_long_ago, pk=found.pk).update(last_used_at=now)
        if not found.may(_needed(request)):
            record(found.user, Action.DENIED, found, scope=found.scope, **by_token(found.name))
            raise PermissionDenied
        return Caller(found.user, found.name)


def _needed(request: HttpRequest) -> Scope:
    """Return the narrowest scope that a request may have."""
    if request.method in {"GET", "HEAD"} or request.path.endswith("/assessments/search"):
        return Scope.READ
    return Scope.SUBMIT if request.path.endswith("/assessments") else Scope.FULL


def caller(request: HttpRequest) -> Caller:
    """Who asks, of a request that `Token` let through."""
    return cast(Caller, getattr(request, "auth", Caller()))
