"""Page on which users set up their second factor, renew recovery codes, and remove it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from boneage.web.accounts import sealed, sessions
from boneage.web.accounts import second_factor as factors
from boneage.web.accounts.access import for_role, member_of, to_confirmation
from boneage.web.accounts.forms import NewApp
from boneage.web.models import RecoveryCode, Role, SecondFactor, User, configuration

_SECRET = "second_factor_secret"  # noqa: S105 - key of the session's data
"""Key of the session's data under which the secret of a new app is kept, encrypted, until its first code."""


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.READER, in_open=False, temporary=True)
def second_factor(request: HttpRequest) -> HttpResponseBase:
    """Show the state of the second factor; set up an app, renew recovery codes, or remove the factor.

    Recovery codes are shown only once.
    """
    user = member_of(request)
    if not user.is_local:
        raise PermissionDenied
    if user.password_is_temporary:
        return redirect("account")
    if not sessions.is_confirmed(request):
        return to_confirmation(request)
    action = request.POST.get("do", "") if request.method == "POST" else ""
    if action == "renew" and user.has_second_factor:
        return _page(request, user, codes=factors.renew_recovery_codes(user))
    if action == "remove" and not _is_required(user):
        factors.remove(user, user)
        messages.success(request, gettext("The second factor has been removed."))
        return redirect("account")
    if action == "set_up":
        return _set_up(request, user)
    return _page(request, user)


def _set_up(request: HttpRequest, user: User) -> HttpResponse:
    form = NewApp(request.POST)
    secret = sealed.unseal(request.session.get(_SECRET, ""))
    if form.is_valid() and secret is not None:
        codes = factors.set_up(user, secret, form.cleaned_data["code"], request.session.session_key)
        if codes is not None:
            del request.session[_SECRET]
            return _page(request, user, codes=codes)
        form.add_error("code", gettext("This code is not right. Check the clock of your device, and enter a new code."))
    return _page(request, user, form=form)


def _page(
    request: HttpRequest, user: User, *, codes: list[str] | None = None, form: NewApp | None = None
) -> HttpResponse:
    factor = SecondFactor.objects.filter(user=user).first()
    context: dict[str, Any] = {
        "factor": factor,
        "codes": codes,
        "left": RecoveryCode.objects.filter(user=user).count(),
        "is_required": _is_required(user),
    }
    if codes is None and (factor is None or form is not None or "new" in request.GET):
        context |= _new_app(request, user, form)
    return render(request, "web/second_factor.html", context)


def _new_app(request: HttpRequest, user: User, form: NewApp | None) -> dict[str, Any]:
    """Return the context for a new app. Its secret stays the same while the session lasts, until a code was right."""
    secret = sealed.unseal(request.session.get(_SECRET, ""))
    if secret is None:
        secret = factors.new_secret()
        request.session[_SECRET] = sealed.seal(secret)
    return {
        "form": form or NewApp(),
        "picture": factors.qr_code(factors.key_uri(user, secret)),
        "secret": factors.grouped(secret),
    }


def _is_required(user: User) -> bool:
    return user.role in configuration().second_factor
