"""Pages, or JSON for programs, for errors outside of views."""

from __future__ import annotations

import logging
import sys
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as marked

import boneage
from boneage.web.accounts.access import user_of
from boneage.web.accounts.audit import Action, record
from boneage.web.health import condition, storage

log = logging.getLogger(__name__)

_TEXTS: dict[str, tuple[int, str, str]] = {
    "bad_request": (
        400,
        marked("This request could not be processed"),
        marked("Go back, reload the page and try again."),
    ),
    "forbidden": (
        403,
        marked("This action is not allowed"),
        marked("Your role does not include it. An administrator can change your role."),
    ),
    "csrf_failed": (
        403,
        marked("The form has expired"),
        marked("The page was open for too long, or cookies are disabled. Go back, reload the page and try again."),
    ),
    "not_found": (
        404,
        marked("Page not found"),
        marked("The address is wrong, or the content has been deleted or has expired."),
    ),
    "server_error": (
        500,
        marked("Internal error"),
        marked("Try again. If the problem persists, tell the administrator of this service."),
    ),
    "storage_full": (
        storage.STATUS["storage_full"],
        marked("The storage is full"),
        marked("Nothing was changed. Tell the administrator that the disk of the service is full."),
    ),
    "database_busy": (
        storage.STATUS["database_busy"],
        marked("The service is busy"),
        marked("Nothing was changed. Try again in a few seconds."),
    ),
    "storage_read_only": (
        storage.STATUS["storage_read_only"],
        marked("The service is read-only at present"),
        marked("Nothing was changed. Tell the administrator that the service cannot write to its database."),
    ),
    "no_database": (
        storage.STATUS["no_database"],
        marked("The database cannot be reached"),
        marked(
            "Nothing was changed. Try again in a minute. "
            "If the problem persists, tell the administrator of this service."
        ),
    ),
}
"""HTTP status, title and advice by code."""


def wants_json(request: HttpRequest) -> bool:
    """Return whether a program sent the request: below ``/api/``, or with an ``Accept`` that prefers JSON to a page."""
    if request.path.startswith("/api/"):
        return True
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Return 400 for a malformed or suspicious request."""
    return _answer(request, "bad_request")


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Return 403 for an insufficient role, and record the attempt in the audit log."""
    user = user_of(request)
    if user is not None:
        page = request.resolver_match.url_name if request.resolver_match else ""
        record(user, Action.DENIED, page=page, method=request.method)
    return _answer(request, "forbidden")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Return 403 for a form without the token of its page. The exact reason goes only to the log."""
    log.info("cross-site check: %s", reason)
    return _answer(request, "csrf_failed")


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Return 404."""
    return _answer(request, "not_found")


def server_error(request: HttpRequest) -> HttpResponse:
    """Return 500 for an internal error, and 503 or 507 if the database could not be read or written."""
    error = sys.exception()  # Django calls this while it handles the exception
    code = storage.code_of(error) if error is not None else None
    if code is None:
        return _answer(request, "server_error")
    condition.note_failure(code)
    response = _answer(request, code)
    response.headers["Retry-After"] = str(storage.RETRY_SECONDS[code])
    return response


def _answer(request: HttpRequest, code: str) -> HttpResponse:
    status, title, advice = _TEXTS[code]
    context: dict[str, Any] = {"code": code, "title": gettext(title), "advice": gettext(advice), "status": status}
    if wants_json(request):
        return JsonResponse({"code": code, "message": f"{context['title']}. {context['advice']}"}, status=status)
    try:
        return render(request, "web/error.html", context, status=status)
    except Exception:
        # The page reads the user from the database. A page for nobody in a clinic reads nothing.
        nobody = {"clinic": True, "member": None, "version": boneage.__version__, "languages": settings.LANGUAGES}
        return HttpResponse(render_to_string("web/error.html", {**nobody, **context}), status=status)
