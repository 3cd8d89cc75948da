"""Access rights. In the mode ``open``, anyone who knows the address of an assessment (122 random bits) may see it until
it expires. In the mode ``clinic``, users log in, and roles decide.
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
from boneage.web.models import Assessment, Case, Role, User, configuration
from boneage.web.user_names import normalized

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def for_role(
    role: Role, *, in_open: bool, temporary: bool = False, confirmed: bool = False
) -> Callable[[View[P]], View[P]]:
    """Restrict a view to users of this role and higher ones. A view that the mode ``open`` does not have answers 404
    there.

    Args:
        role: lowest role that may use the view.
        in_open: the mode ``open`` has the view, for everybody.
        temporary: users who must choose a new password or set up a second factor first may use the view as well.
        confirmed: the password must have been entered within `sessions.CONFIRMED_FOR`; otherwise a page requests it.
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
                return to_address(request, resolve_url("account"))
            if not temporary and user.needs_second_factor:
                return to_address(request, resolve_url("second_factor"))
            if not user.may(role):
                raise PermissionDenied
            if confirmed and not sessions.is_confirmed(request):
                return to_confirmation(request)
            return view(request, *args, **kwargs)

        return guarded

    return guard


def _to_login(request: HttpRequest) -> HttpResponseBase:
    """Redirect to the login page, and from there back to the requested page if it can be shown."""
    if request.method == "GET" and not request.headers.get("HX-Request"):
        return redirect_to_login(request.get_full_path())
    return to_address(request, resolve_url(settings.LOGIN_URL))


def to_confirmation(request: HttpRequest) -> HttpResponseBase:
    """Redirect to the page that requests the password again, and from there back to the page of origin."""
    back = request.get_full_path() if request.method == "GET" else page_before(request)
    if request.method != "GET":
        messages.warning(request, gettext("Nothing has been changed yet. Confirm your password, then repeat it."))
    return to_address(request, f"{resolve_url('confirm')}?{urlencode({'next': back})}")


def page_before(request: HttpRequest) -> str:
    """Return the address of the page of this service whose form was sent."""
    before = request.headers.get("Referer", "")
    if url_has_allowed_host_and_scheme(before, {request.get_host()}, require_https=request.is_secure()):
        return urlsplit(before).path
    return resolve_url("account")


def to_address(request: HttpRequest, url: str) -> HttpResponseBase:
    """Redirect the whole page to another address, also if the request was for a part of it."""
    return HttpResponseClientRedirect(url) if request.headers.get("HX-Request") else redirect(url)


def user_of(request: HttpRequest) -> User | None:
    """Return the user who is logged in; None for nobody, and always in the mode ``open``."""
    user = getattr(request, "user", None)
    return user if isinstance(user, User) and user.is_active and not configuration().is_open else None


def member_of(request: HttpRequest) -> User:
    """Return the user who is logged in, for views that `for_role` guards.

    Raises:
        PermissionDenied: nobody.
    """
    user = user_of(request)
    if user is None:
        raise PermissionDenied
    return user


def assessments(user: User | None) -> QuerySet[Assessment]:
    """Return the assessments that a user may see and that have not expired. Neither mode shows those made in the other
    mode in the same database.

    Args:
        user: the user; None in the mode ``open``.
    """
    visible = Assessment.objects.visible_to(user)
    current = visible.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    return current.filter(submitted_by=None, case=None) if configuration().is_open else current.filter(client="")


def assessment_or_404(pk: UUID, user: User | None) -> Assessment:
    """Return an assessment that has not expired.

    Args:
        pk: id of the assessment.
        user: the user; None in the mode ``open``.

    Raises:
        Http404: there is none that the user may see.
    """
    assessment = assessments(user).select_related("case").filter(pk=pk).first()
    if assessment is None:
        raise Http404
    return assessment


def case_or_404(pk: UUID, user: User) -> Case:
    """Return a case.

    Raises:
        Http404: there is none that the user may see.
    """
    case = Case.objects.visible_to(user).filter(pk=pk).first()
    if case is None:
        raise Http404
    return case


def address_of(request: HttpRequest) -> str:
    """Return the client's IP address; ``0.0.0.0`` if it is unknown, as on a local socket.

    ``X-Forwarded-For`` counts only with `Configuration.proxy`, and only its last entry: the proxy wrote that one,
    whereas the client can forge the others.
    """
    candidates = [request.META.get("REMOTE_ADDR", "")]
    if configuration().proxy:
        candidates.insert(0, request.headers.get("X-Forwarded-For", "").rsplit(",", 1)[-1])
    for text in candidates:
        try:
            address = ip_address(text.strip().strip("[]"))
        except ValueError:
            continue
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return str(mapped or address)
    return "0.0.0.0"  # noqa: S104 - nothing is bound to it


def client_of(request: HttpRequest) -> str:
    """Return a keyed hash of the client's address, hexadecimal, by which its radiographs are counted.

    The address itself is not stored. An IPv6 network of 64 bits counts as one client: one machine may use all its
    addresses.
    """
    return _digest(network_of(request))


def network_of(request: HttpRequest) -> str:
    """Return the client's IPv4 address, or the first address of its IPv6 network of 64 bits."""
    address = address_of(request)
    return str(ip_network(f"{address}/64", strict=False).network_address) if ":" in address else address


def name_digest(request: HttpRequest, credentials: Mapping[str, Any] | None = None) -> str:
    """Return a keyed hash by which failed logins of one name are counted, because the typed name may be a password.

    Names that are equal for the login form have the same hash.
    """
    typed = (credentials or {}).get("username") or request.POST.get("username", "")
    return digest_of_name(str(typed))


def digest_of_name(name: str) -> str:
    """Return the keyed hash of a name."""
    return _digest(normalized(name))


def _digest(text: str) -> str:
    return hmac.new(settings.SECRET_KEY.encode(), text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
