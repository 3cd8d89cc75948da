"""What every request is held to and every answer carries, besides what Django sees to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render

from boneage.web import texts
from boneage.web.accounts import audit, sessions
from boneage.web.accounts.access import address_of, user_of
from boneage.web.models import configuration
from boneage.web.views.errors import wants_json

Answer = Callable[[HttpRequest], HttpResponseBase]

AUTOMATIC = ("state", "row")
"""Names of the URLs that open pages ask again and again; the worklist's own carries the field ``watch``."""

RADIOGRAPH_PAGE = "submit"
"""Name of the URL that takes radiographs; the API takes them too."""


class PrivacyHeaders:
    """Nothing is kept by browsers or proxies unless a view says otherwise, and the page may not use the device."""

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
    """Lets the audit log know whose request is being answered."""

    def __init__(self, get_response: Answer) -> None:
        self._answer = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request."""
        token = audit.client_address.set(address_of(request))
        try:
            return self._answer(request)
        finally:
            audit.client_address.reset(token)


class SessionUse:
    """Notes that somebody uses a session, so that it does not end as idle."""

    def __init__(self, get_response: Answer) -> None:
        self._answer = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request."""
        return self._answer(request)

    def process_view(self, request: HttpRequest, _view: Any, _args: Any, _kwargs: Any) -> None:
        """Note the use, unless the page asks by itself."""
        if user_of(request) is not None and not _is_automatic(request):
            sessions.note_use(request)


def _is_automatic(request: HttpRequest) -> bool:
    """Whether an open page asks by itself how radiographs stand, with nobody at it."""
    match = request.resolver_match
    return match is not None and (match.url_name in AUTOMATIC or "watch" in request.POST)


class LimitedBody:
    """Turns a body away by its announced length, before a byte of it is read.

    Radiographs are taken where radiographs go, and in the mode ``clinic`` from those who are logged in (the API looks
    at the token before it reads); every other form is small. Bodies without a length are never read: Django takes them
    for empty.
    """

    def __init__(self, get_response: Answer) -> None:
        self._answer = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request."""
        return self._answer(request)

    def process_view(self, request: HttpRequest, _view: Any, _args: Any, _kwargs: Any) -> HttpResponse | None:
        """413 for a body that is too long. It stands before the check of forms' tokens, which reads the form."""
        try:
            announced = int(request.META.get("CONTENT_LENGTH") or 0)
        except ValueError:
            return None  # Django takes that for no body
        return too_large(request) if announced > largest_body(request) else None


def largest_body(request: HttpRequest) -> int:
    """How many bytes this request may have, with all fields and boundaries."""
    match = request.resolver_match
    others: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    is_api = match is not None and "api" in (match.route or "").split("/")[:1]
    is_page = (
        match is not None and match.url_name == RADIOGRAPH_PAGE and (configuration().is_open or bool(user_of(request)))
    )
    return configuration().radiograph_bytes + others if is_api or is_page else others


def too_large(request: HttpRequest) -> HttpResponse:
    """413, as a page or as JSON."""
    rejection = texts.rejection("too_large")
    if wants_json(request):
        return JsonResponse({"code": "too_large", "message": rejection["title"]}, status=413)
    return render(request, "web/error.html", {"code": "too_large", "status": 413, **rejection}, status=413)
