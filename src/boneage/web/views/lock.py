"""The lock of sessions that are not used: a page covers itself, and the service answers nothing else meanwhile."""

from __future__ import annotations

from urllib.parse import urlencode

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from boneage.web.accounts import sessions
from boneage.web.accounts.access import for_role, member_of, page_before, to_address
from boneage.web.accounts.audit import Action, record
from boneage.web.accounts.forms import Unlock
from boneage.web.models import Role
from boneage.web.views.errors import wants_json

LOCKED_STATUS = 423


def locked(request: HttpRequest) -> HttpResponseBase:
    """Return the answer to a request of a locked session: the page to unlock it, or 423 to parts of pages."""
    is_part = request.headers.get("HX-Request") or request.headers.get("Sec-Fetch-Dest", "document") != "document"
    if is_part or wants_json(request):
        message = gettext("Your session is locked. Enter your password on the page.")
        return JsonResponse({"code": "session_locked", "message": message}, status=LOCKED_STATUS)
    back = request.get_full_path() if request.method == "GET" else page_before(request)
    return to_address(request, f"{resolve_url('unlock')}?{urlencode({'next': back})}")


@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.READER, in_open=False, temporary=True)
def lock(request: HttpRequest) -> HttpResponse:
    """Lock the session by POST. GET answers 204 if it is not locked, otherwise 423."""
    if request.method == "POST":
        sessions.lock(request)
        return HttpResponse(status=204)
    if "unlocked" in request.GET:  # the tab in which the user has logged in at the provider
        return render(request, "web/unlocked.html")
    return HttpResponse(status=LOCKED_STATUS if sessions.is_locked(request) else 204)


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.READER, in_open=False, temporary=True)
def unlock(request: HttpRequest) -> HttpResponse:
    """Request the password, unlock the session, and lead back. The cover of a page gets 204, or 422 with a message."""
    user = member_of(request)
    back = request.POST.get("next") or request.GET.get("next", "")
    if not url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure()):
        back = resolve_url(settings.LOGIN_REDIRECT_URL)
    if not sessions.is_locked(request):
        return HttpResponse(status=204) if wants_json(request) else redirect(back)
    form = Unlock(user, request, request.POST if request.method == "POST" else None)
    if user.is_local and form.is_valid():
        with transaction.atomic():
            sessions.unlock(request)
            record(user, Action.UNLOCKED)
        return HttpResponse(status=204) if wants_json(request) else redirect(back)
    if request.method == "POST" and wants_json(request):
        message = form.errors["password"][0] if user.is_local else ""
        return JsonResponse({"message": str(message)}, status=422)
    return render(request, "web/unlock.html", {"form": form, "next": back})
