"""Who may do what. In the mode ``open`` whoever knows an assessment's address, 122 random bits, may see it until it
expires; in the mode ``clinic`` users log in, and roles decide.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec
from uuid import UUID

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils import timezone

from boneage.web.models import Assessment, Role, User, configuration

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def for_role(role: Role, *, in_open: bool) -> Callable[[View[P]], View[P]]:
    """A view for users of this role and higher ones; one that the mode ``open`` does not have is not found there.

    Args:
        role: the lowest that may.
        in_open: whether the mode ``open`` has it, for everybody.
    """

    def guard(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if configuration().is_open:
                if not in_open:
                    raise Http404
                return view(request, *args, **kwargs)
            user = user_of(request)
            if user is None:
                return redirect_to_login(request.get_full_path())
            if not user.may(role):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return guarded

    return guard


def user_of(request: HttpRequest) -> User | None:
    """Who is logged in; None for nobody, and always in the mode ``open``."""
    user = getattr(request, "user", None)
    return user if isinstance(user, User) and user.is_active and not configuration().is_open else None


def assessments() -> QuerySet[Assessment]:
    """Those that have not expired."""
    return Assessment.objects.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))


def assessment_or_404(pk: UUID) -> Assessment:
    """One that has not expired.

    Raises:
        Http404: there is none.
    """
    found = assessments().select_related("case").filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


def client_of(request: HttpRequest) -> str:
    """A keyed hash of the client's address, hexadecimal, by which its films are counted; the address is not kept."""
    address = request.META.get("REMOTE_ADDR", "")
    if configuration().proxy:
        # The last entry is the proxy's own; those before it are whatever the client claims.
        address = request.headers.get("X-Forwarded-For", address).rsplit(",", 1)[-1].strip()
    return hmac.new(settings.SECRET_KEY.encode(), address.encode(), hashlib.sha256).hexdigest()
