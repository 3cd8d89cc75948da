"""Middleware of the service: limits of requests and headers of responses, besides Django's own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render

from boneage.web import privacy, texts
from boneage.web.accounts import audit, header_login, sessions
from boneage.web.accounts.access import address_of, user_of
from boneage.web.models import configuration
from boneage.web.views.errors import wants_json
from boneage.web.views.lock import locked
from boneage.web.views.sign_on import no_access

Answer = Callable[[HttpRequest], HttpResponseBase]

AUTOMATIC = ("state", "row")
"""Names of the URLs that open pages poll. Polling requests of the worklist carry the field ``watch``."""

OPEN_WHEN_LOCKED = ("lock", "unlock", "logout", "sign_on", "sign_on_return", "set_language", "health")
"""Names of the URLs that work for a locked session."""

RADIOGRAPH_PAGE = "submit"
"""Name of the URL to which the page submits radiographs; the API accepts them as well."""


class AccessLog:
    """One line of the log for each request, if the setting ``access_log`` is on."""

    def __init__(self, get_response: Answer) -> None:
        self._answer = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request."""
        began = time.perf_counter()
        response = self._answer(request)
        caller = getattr(request, "auth", None)  # set by the API
        user = getattr(request, "_cached_user", None) if caller is None else getattr(caller, "user", None)
        privacy.note_access(
            request.method or "",
            _route(request),
            response.status_code,
            time.perf_counter() - began,
            getattr(user, "pk", None),
        )
        return response


def _route(request: HttpRequest) -> str:
    """Return the pattern of the address; ``-`` for an address that does not exist."""
    if request.resolver_match is not None:
        return privacy.route_of(request)
    return settings.STATIC_URL if request.path.startswith(settings.STATIC_URL) else "-"


class PrivacyHeaders:
    """Headers that keep browsers and proxies from storing responses, unless a view allows it, and pages from using
    devices.
    """

    def __init__(self, get_response: Answer) -> None:
        self._answer = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request."""
        response = self._answer(request)
        if not response.has_header("Cache-Control"):
            response.headers["Cache-Control"] = "no-store"
        response.headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=(), payment=(), usb=()"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers.setdefault("X-Robots-Tag", "noindex, nofollow")
        return response


class ClientAddress:
    """Address of the client whose request is being answered, for the audit log."""

    def __init__(self, get_response: Answer) -> None:
        self._answer = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request."""
        token = audit.client_address.set(address_of(request))
        try:
            return self._answer(request)
        finally:
            audit.client_address.reset(token)


class ProxyLogin:
    """Login of users whom a reverse proxy has checked, and the rejection of requests that imitate it."""

    def __init__(self, get_response: Answer) -> None:
        self._answer = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request."""
        try:
            header_login.check(request)
        except header_login.HeaderLoginError as error:
            if wants_json(request):
                return JsonResponse({"code": error.code, "message": error.message}, status=403)
            return HttpResponse(f"{error.message}\n", status=403, content_type="text/plain; charset=utf-8")
        return self._answer(request)

    def process_view(self, request: HttpRequest, _view: Any, _args: Any, _kwargs: Any) -> HttpResponseBase | None:
        """Let the session follow the proxy, except for the API, which ignores sessions, and for pages that poll."""
        match = request.resolver_match
        is_of_api = match is not None and match.namespace == "api"
        if not configuration().has_header_login or is_of_api or _is_automatic(request):
            return None
        return None if header_login.follow(request) else no_access(request)


class SessionUse:
    """Record of the use of a session, so that it does not end as idle, and the lock of sessions that are not used."""

    def __init__(self, get_response: Answer) -> None:
        self._answer = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request."""
        return self._answer(request)

    def process_view(self, request: HttpRequest, _view: Any, _args: Any, _kwargs: Any) -> HttpResponseBase | None:
        """Answer a request of a locked session; record any other use, unless the page sent the request by itself."""
        if user_of(request) is None:
            return None
        if sessions.is_locked(request):
            return None if _is_open_when_locked(request) else locked(request)
        if not _is_automatic(request):
            sessions.note_use(request)
        return None


def _is_open_when_locked(request: HttpRequest) -> bool:
    """Return whether an address works for a locked session. The API ignores sessions."""
    match = request.resolver_match
    return match is not None and (match.url_name in OPEN_WHEN_LOCKED or match.namespace == "api")


def _is_automatic(request: HttpRequest) -> bool:
    """Return whether an open page polls by itself, without its user."""
    match = request.resolver_match
    return match is not None and (match.url_name in AUTOMATIC or "watch" in request.POST)


class LimitedBody:
    """Rejection of bodies by their announced length, before any byte is read.

    Radiographs are accepted at their addresses only, in the mode ``clinic`` from logged-in users (the API checks the
    token before it reads). All other forms are small. Bodies without a length are never read: Django treats them as
    empty.
    """

    def __init__(self, get_response: Answer) -> None:
        self._answer = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request."""
        return self._answer(request)

    def process_view(self, request: HttpRequest, _view: Any, _args: Any, _kwargs: Any) -> HttpResponse | None:
        """Return 413 for a body that is too long. This precedes the check of form tokens, which reads the form."""
        try:
            announced = int(request.META.get("CONTENT_LENGTH") or 0)
        except ValueError:
            return None  # Django takes that for no body
        return too_large(request) if announced > largest_body(request) else None


def largest_body(request: HttpRequest) -> int:
    """Return the number of bytes that this request may have, with all fields and boundaries."""
    match = request.resolver_match
    others: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    is_api = match is not None and ((match.route or "").startswith("api/") or match.url_name == "stow")
    is_page = (
        match is not None and match.url_name == RADIOGRAPH_PAGE and (configuration().is_open or bool(user_of(request)))
    )
    return configuration().radiograph_bytes + others if is_api or is_page else others


def too_large(request: HttpRequest) -> HttpResponse:
    """Return 413, as a page or as JSON."""
    rejection = texts.rejection("too_large")
    if wants_json(request):
        return JsonResponse({"code": "too_large", "message": rejection["title"]}, status=413)
    return render(request, "web/error.html", {"code": "too_large", "status": 413, **rejection}, status=413)
