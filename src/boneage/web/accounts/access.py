"""Who may do what. In the mode ``open`` whoever knows an assessment's address, 122 random bits, may see it until it
expires; in the mode ``clinic`` users log in, and roles decide.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from functools import wraps
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, resolve_url
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext
from django_htmx.http import HttpResponseClientRedirect

from boneage.web.accounts import sessions
from boneage.web.models import Assessment, Role, User, configuration
from boneage.web.user_names import normalized

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def for_role(
    role: Role, *, in_open: bool, temporary: bool = False, confirmed: bool = False
) -> Callable[[View[P]], View[P]]:
    """A view for users of this role and higher ones; one that the mode ``open`` does not have is not found there.

    Args:
        role: the lowest that may.
        in_open: whether the mode ``open`` has it, for everybody.
        temporary: whether it is also for those who must choose a new password first.
        confirmed: whether the password must have been typed within `sessions.CONFIRMED_FOR`; else it is asked for.
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
                return _to_login(request)
            if user.password_is_temporary and not temporary:
                return _to(request, resolve_url("account"))
            if not user.may(role):
                raise PermissionDenied
            if confirmed and not sessions.is_confirmed(request):
                return to_confirmation(request)
            return view(request, *args, **kwargs)

        return guarded

    return guard


def _to_login(request: HttpRequest) -> HttpResponseBase:
    """To the login page, and from there back to where a page can be shown."""
    if request.method == "GET" and not request.headers.get("HX-Request"):
        return redirect_to_login(request.get_full_path())
    return _to(request, resolve_url(settings.LOGIN_URL))


def to_confirmation(request: HttpRequest) -> HttpResponseBase:
    """To the page that asks for the password once more, and from there back to the page where this began."""
    back = request.get_full_path() if request.method == "GET" else _page_before(request)
    if request.method != "GET":
        messages.warning(request, gettext("Nothing has been changed yet. Confirm your password, then repeat it."))
    return _to(request, f"{resolve_url('confirm')}?{urlencode({'next': back})}")


def _page_before(request: HttpRequest) -> str:
    """The page of this service whose form was sent."""
    before = request.headers.get("Referer", "")
    if url_has_allowed_host_and_scheme(before, {request.get_host()}, require_https=request.is_secure()):
        return urlsplit(before).path
    return resolve_url("account")


def _to(request: HttpRequest, url: str) -> HttpResponseBase:
    """The whole page to another address, also when only a part of it was asked for."""
    return HttpResponseClientRedirect(url) if request.headers.get("HX-Request") else redirect(url)


def user_of(request: HttpRequest) -> User | None:
    """Who is logged in; None for nobody, and always in the mode ``open``."""
    user = getattr(request, "user", None)
    return user if isinstance(user, User) and user.is_active and not configuration().is_open else None


def member_of(request: HttpRequest) -> User:
    """Who is logged in, for views that `for_role` guards.

    Raises:
        PermissionDenied: nobody.
    """
    user = user_of(request)
    if user is None:
        raise PermissionDenied
    return user


def assessments() -> QuerySet[Assessment]:
    """Those that have not expired. Neither mode has what was made in the other in the same database."""
    found = Assessment.objects.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    return found.filter(submitted_by=None, case=None) if configuration().is_open else found.filter(client="")


def assessment_or_404(pk: UUID) -> Assessment:
    """One that has not expired.

    Raises:
        Http404: there is none.
    """
    found = assessments().select_related("case").filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


def address_of(request: HttpRequest) -> str:
    """The client's IP address; ``0.0.0.0`` where none is known, as on a socket of this machine.

    ``X-Forwarded-For`` counts only with `Configuration.proxy`, and of it the last entry alone: the proxy wrote that
    one, those before it are whatever the client claims.
    """
    said = [request.META.get("REMOTE_ADDR", "")]
    if configuration().proxy:
        said.insert(0, request.headers.get("X-Forwarded-For", "").rsplit(",", 1)[-1])
    for text in said:
        try:
            address = ip_address(text.strip().strip("[]"))
        except ValueError:
            continue
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return str(mapped or address)
    return "0.0.0.0"  # noqa: S104 - nothing is bound to it


def client_of(request: HttpRequest) -> str:
    """A keyed hash of the client's address, hexadecimal, by which its radiographs are counted; the address is not kept.

    IPv6 networks of 64 bits count as one client: one machine may use all of their addresses.
    """
    return _digest(network_of(request))


def network_of(request: HttpRequest) -> str:
    """Return the client's IPv4 address, or the first address of its IPv6 network of 64 bits."""
    address = address_of(request)
    return str(ip_network(f"{address}/64", strict=False).network_address) if ":" in address else address


def name_digest(request: HttpRequest, credentials: Mapping[str, Any] | None = None) -> str:
    """By which failed logins of one name are counted: a keyed hash, for what was typed may be a password.

    Names that the login form takes for the same give the same.
    """
    typed = (credentials or {}).get("username") or request.POST.get("username", "")
    return digest_of_name(str(typed))


def digest_of_name(name: str) -> str:
    """Return the keyed hash of a name."""
    return _digest(normalized(name))


def _digest(text: str) -> str:
    return hmac.new(settings.SECRET_KEY.encode(), text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
