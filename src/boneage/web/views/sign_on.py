"""Single sign-on: to the provider and back, and the logout there.

The page after the return is not a redirect: browsers count a redirect from another site as that site's request, and
would not send the cookie of the new session.
"""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import login as auth_login
from django.contrib.auth import logout as auth_logout
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_safe

from boneage.web.accounts import sealed, sessions, sign_on, users
from boneage.web.accounts.access import user_of
from boneage.web.accounts.audit import Action, record
from boneage.web.models import User, configuration

_ID_TOKEN = "id_token"  # noqa: S105 - key of the session's data
"""Key of the session's data under which the ID token is kept, encrypted, for the logout at the provider."""

_STATUS = {"sign_on_unreachable": 503, "sign_on_invalid": 400, "sign_on_declined": 403, "sign_on_no_role": 403}


@require_safe
def start(request: HttpRequest) -> HttpResponse:
    """Send the browser to the provider. A user who is logged in enters the password there again, to confirm it."""
    if configuration().is_open or not configuration().has_sign_on:
        raise Http404
    to = request.GET.get("next", "")
    if not url_has_allowed_host_and_scheme(to, {request.get_host()}, require_https=request.is_secure()):
        to = resolve_url(settings.LOGIN_REDIRECT_URL)
    user = user_of(request)
    confirmed = (request.session.session_key or "") if user is not None and not user.is_local else ""
    try:
        url, cookie = sign_on.begin(to, confirmed)
    except sign_on.SignOnError as error:
        return _failed(request, error.code)
    response = redirect(url)
    sign_on.set_cookie(response, cookie)
    return response


@require_safe
def finish(request: HttpRequest) -> HttpResponse:
    """Take the provider's answer, begin or confirm the session, and lead to the requested page."""
    if configuration().is_open or not configuration().has_sign_on:
        raise Http404
    try:
        begun = sign_on.take(request)
        identity, id_token = sign_on.finish(request, begun)
    except sign_on.SignOnError as error:
        if error.code == "sign_on_invalid":
            record("", Action.LOGIN_FAILED, known=False, sign_on=True, reason="invalid")
        return _failed(request, error.code)
    with transaction.atomic():
        user = users.signed_on(identity)
        if user is None:
            return _failed(request, "sign_on_no_role")
        if _is_of(begun.session, user):
            _confirm(request, begun.session, user)
        else:
            auth_login(request, user, backend=sessions.BACKEND)
            record(user, Action.LOGIN, sign_on=True)
        request.session[_ID_TOKEN] = sealed.seal(id_token)
    response = render(request, "web/signed_on.html", {"to": begun.to})
    sign_on.set_cookie(response, "")
    return response


def log_out(request: HttpRequest, user: User) -> HttpResponse:
    """End the session here, and lead the browser to the provider or the proxy, which ends its own."""
    kept = request.session.get(_ID_TOKEN, "")
    with transaction.atomic():
        record(user, Action.LOGOUT)
        auth_logout(request)
    if user.is_from_proxy:
        return render(request, "web/signed_off.html", {"to": configuration().header_logout})
    id_token = sealed.unseal(kept) if kept else None
    url = sign_on.logout_url(id_token) if id_token and configuration().has_sign_on else None
    return redirect("login") if url is None else render(request, "web/signed_off.html", {"to": url})


def _is_of(session: str, user: User) -> bool:
    """Return whether this is the key of a session of the user that has not ended."""
    return bool(session) and sessions.of_user(user).filter(session_key=session).exists()


def _confirm(request: HttpRequest, session: str, user: User) -> None:
    """Continue the session under a new key, as after a password that was entered again."""
    request.session = sessions.SessionStore(session)
    sessions.unlock(request)
    sessions.confirm(request)
    request.user = user
    record(user, Action.CONFIRMED, sign_on=True)


def no_access(request: HttpRequest) -> HttpResponse:
    """Return the page for a user whom a proxy has checked and who has no role here."""
    return _failed(request, "sign_on_no_role")


def _failed(request: HttpRequest, code: str) -> HttpResponse:
    response = render(request, "web/sign_on_failed.html", {"code": code}, status=_STATUS[code])
    sign_on.set_cookie(response, "")
    return response
