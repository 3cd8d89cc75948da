"""Authentication of the REST API: by a user's token in the mode ``clinic``; the mode ``open`` accepts everybody.
Cookies do not count.
"""

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
"""Resolution of ``ApiToken.last_used_at``, which limits the number of writes."""


@dataclass(frozen=True)
class Caller:
    """The caller of an operation.

    Attributes:
        user: the user; None in the mode ``open``.
        token: name of the token; empty in the mode ``open``.
    """

    user: User | None = None
    token: str = ""

    @property
    def via(self) -> dict[str, str]:
        """Return the token as the detail of an audit event."""
        return by_token(self.token)


class Token(HttpBearer):
    """``Authorization: Bearer ba_...``; the user of the token acts."""

    def __call__(self, request: HttpRequest) -> Caller | None:
        """Return the caller; None if the request is not authenticated."""
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
        api_token = valid.filter(digest=ApiToken.digest_of(token)).first()
        if api_token is None:
            return None
        if api_token.last_used_at is None or api_token.last_used_at < now - USE_NOTED_EVERY:
            seen_long_ago = Q(last_used_at=None) | Q(last_used_at__lt=now - USE_NOTED_EVERY)
            ApiToken.objects.filter(seen_long_ago, pk=api_token.pk).update(last_used_at=now)
        if not api_token.may(_needed(request)):
            record(api_token.user, Action.DENIED, api_token, scope=api_token.scope, **by_token(api_token.name))
            raise PermissionDenied
        return Caller(api_token.user, api_token.name)


def _needed(request: HttpRequest) -> Scope:
    """Return the narrowest scope that a request may have."""
    if request.method in {"GET", "HEAD"} or request.path.endswith("/assessments/search"):
        return Scope.READ
    return Scope.SUBMIT if request.path.endswith(("/assessments", "/dicom-web/studies")) else Scope.FULL


def caller(request: HttpRequest) -> Caller:
    """Return the caller of a request that `Token` has accepted."""
    return cast(Caller, getattr(request, "auth", Caller()))
