"""Logging in and out, and what users do with their own account. In the mode ``open`` there is none of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import wraps
from math import ceil
from typing import Any

from axes.helpers import get_cool_off
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout as auth_logout
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.db import transaction
from django.db.models import Max
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from boneage.web import users
from boneage.web.access import address_of, for_role, member_of, name_digest, user_of
from boneage.web.account_forms import NewPassword, NewToken, account_error
from boneage.web.audit import Action, record
from boneage.web.models import ApiToken, Role, User, configuration


class _Login(LoginView):
    template_name = "web/login.html"
    redirect_authenticated_user = True

    @transaction.atomic
    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Begin a session, which ends at a fixed time whatever happens in it."""
        answer = super().form_valid(form)
        self.request.session.set_expiry(timezone.now() + timedelta(seconds=settings.SESSION_COOKIE_AGE))
        record(user_of(self.request), Action.LOGIN)
        return answer

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        """Log the failure: the name only if somebody has it, for a password may have been typed there.

        What is tried while the name is locked is not logged, so that nobody can fill the log.
        """
        typed = form.cleaned_data.get("username", "")
        locked = getattr(self.request, "axes_locked_out", False)
        if typed and not (locked and getattr(self.request, "axes_failures_since_start", None) is None):
            known = User.objects.filter(username=typed).exists()
            record(typed if known else "", Action.LOGIN_FAILED, known=known, locked=locked)
        return super().form_invalid(form)


_login = _Login.as_view()


@wraps(_login)
def login(request: HttpRequest) -> HttpResponseBase:
    """The page to log in."""
    if configuration().is_open:
        raise Http404
    return _login(request)


def locked_out(
    request: HttpRequest, _response: HttpResponse | None = None, credentials: Mapping[str, Any] | None = None
) -> HttpResponse:
    """429, after too many failures: when to try again."""
    wait = get_cool_off(request)
    now = timezone.now()
    counted = AccessAttempt.objects.filter(
        username=name_digest(request, credentials), ip_address=address_of(request), attempt_time__gte=now - wait
    )
    last = counted.aggregate(last=Max("attempt_time"))["last"] or now
    seconds = max(1, ceil((last + wait - now).total_seconds()))
    page = render(request, "web/locked_out.html", {"minutes": ceil(seconds / 60)}, status=429)
    page.headers["Retry-After"] = str(seconds)
    return page


@require_POST
def logout(request: HttpRequest) -> HttpResponse:
    """End the session."""
    if configuration().is_open:
        raise Http404
    user = user_of(request)
    with transaction.atomic():
        if user is not None:
            record(user, Action.LOGOUT)
        auth_logout(request)
    return redirect("login")


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.READER, in_open=False, temporary=True)
def account(request: HttpRequest) -> HttpResponse:
    """Change one's password; see, issue and revoke one's tokens of the API. A new token is shown this once."""
    user = member_of(request)
    asked = request.POST.get("do", "") if request.method == "POST" else ""
    password = NewPassword(user, request.POST if asked == "password" else None)
    token = NewToken(request.POST if asked == "token" else None, prefix="token")
    if user.password_is_temporary or asked != "password":
        password.fields["old_password"].widget.attrs.pop("autofocus", None)
    issued = ""
    if asked == "password" and password.is_valid():
        _change_password(request, password)
        return redirect("account")
    if asked == "token" and not user.password_is_temporary and token.is_valid():
        try:
            issued = users.issue_token(user, token.cleaned_data["name"])[1]
            token = NewToken(prefix="token")
        except users.AccountError as error:
            token.add_error(None, account_error(error))
    said = {
        "password": password,
        "token": token,
        "issued": issued,
        "tokens": user.tokens.filter(revoked_at=None).order_by("-pk"),
    }
    return render(request, "web/account.html", said)


def _change_password(request: HttpRequest, form: NewPassword) -> None:
    """Sessions elsewhere end, for each holds a hash of the password; this one goes on under a new key."""
    with transaction.atomic():
        user = form.save()
        update_session_auth_hash(request, user)
        record(user, Action.USER_CHANGED, user, change="password", name=user.username)
    messages.success(request, gettext("Your password is changed. Sessions on other devices have ended."))


@require_POST
@for_role(Role.READER, in_open=False)
def revoke_token(request: HttpRequest, pk: int) -> HttpResponse:
    """End a token of one's own; an administrator, of anybody's."""
    user = member_of(request)
    token = get_object_or_404(ApiToken.objects.select_related("user"), pk=pk)
    if token.user_id != user.pk and not user.may(Role.ADMINISTRATOR):
        raise Http404
    users.revoke_token(user, token)
    messages.success(request, gettext("The token is revoked."))
    return redirect("account") if token.user_id == user.pk else redirect("user", pk=token.user_id)
