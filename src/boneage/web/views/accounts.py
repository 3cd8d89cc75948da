"""Login and logout, and the user's own account. The mode ``open`` has none of these pages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from math import ceil
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth import login as auth_login
from django.contrib.auth import logout as auth_logout
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import AuthenticationForm, SetPasswordForm
from django.contrib.auth.views import LoginView
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import get_object_or_404, redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext, ngettext
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from boneage.web.accounts import login_guard, pending_login, sessions, users
from boneage.web.accounts.access import for_role, member_of, to_confirmation, user_of
from boneage.web.accounts.audit import Action, record
from boneage.web.accounts.forms import Confirmation, Login, NewPassword, NewToken, SecondStep, account_error
from boneage.web.models import ApiToken, BrowserSession, Role, Scope, User, configuration
from boneage.web.views import sign_on


class _Login(LoginView):
    template_name = "web/login.html"
    form_class = Login
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the address of single sign-on."""
        back = self.get_redirect_url()
        address = f"{resolve_url('sign_on')}?{urlencode({'next': back} if back else {})}".rstrip("?")
        return {
            **super().get_context_data(**kwargs),
            "sign_on_url": address if configuration().has_sign_on else "",
            "is_emergency_only": bool(configuration().emergency_administrator),
        }

    @transaction.atomic
    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Begin a session, or ask for the second factor. A one-time password is invalid from now on."""
        user = form.get_user()
        if user.password_is_temporary and not users.use_up_password(user):
            form.add_error(None, form.get_invalid_login_error())
            return self.form_invalid(form)
        if user.has_second_factor:
            pending_login.begin(self.request, user, self.get_success_url())
            return redirect("login_second_factor")
        return begin_session(self.request, user, self.get_success_url())

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        """Log the failure. The name is logged only if a user has it, because a password may have been typed there.

        Attempts while the name is locked are not logged, so that nobody can fill the log.
        """
        typed = form.cleaned_data.get("username", "")
        expired: dict[str, Any] = {"expired": True} if form.has_error("__all__", "expired") else {}
        locked = getattr(self.request, "axes_locked_out", False)
        if typed and not (locked and getattr(self.request, "axes_failures_since_start", None) is None):
            exists = User.objects.filter(username=typed).exists()
            record(typed if exists else "", Action.LOGIN_FAILED, known=exists, locked=locked, **expired)
        return super().form_invalid(form)


def begin_session(request: HttpRequest, user: User, to: str, **detail: Any) -> HttpResponse:
    """Begin the session of a user who has logged in with a password, and redirect to a page of this service.

    Args:
        request: the request.
        user: the user.
        to: address of the page.
        **detail: further detail of the audit event.
    """
    auth_login(request, user, backend=sessions.BACKEND)
    if user.password_is_temporary:
        detail["one_time"] = True
    record(user, Action.LOGIN, **detail)
    response = redirect(to)
    login_guard.remember(request, response, user.username)
    return response


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def login_second_factor(request: HttpRequest) -> HttpResponse:
    """Request a code of the second factor after the right password, and begin the session."""
    if configuration().is_open:
        raise Http404
    pending = pending_login.of(request)
    if pending is None:
        return redirect("login")
    user, to = pending
    form = SecondStep(user, request, request.POST if request.method == "POST" else None)
    with transaction.atomic():
        if form.is_valid():
            pending_login.end(request)
            return begin_session(request, user, to, second_factor=form.kind)
    return render(request, "web/login_second_factor.html", {"form": form})


_login = _Login.as_view()


@wraps(_login)
def login(request: HttpRequest) -> HttpResponseBase:
    """Show the login page."""
    if configuration().is_open:
        raise Http404
    return _login(request)


def locked_out(
    request: HttpRequest, _response: HttpResponse | None = None, credentials: Mapping[str, Any] | None = None
) -> HttpResponse:
    """Return 429 after too many failures, with the time of the next attempt."""
    seconds = login_guard.locked_seconds(request, credentials)
    page = render(request, "web/locked_out.html", {"minutes": ceil(seconds / 60)}, status=429)
    page.headers["Retry-After"] = str(seconds)
    return page


@require_POST
def logout(request: HttpRequest) -> HttpResponse:
    """End the session."""
    if configuration().is_open:
        raise Http404
    user = user_of(request)
    if user is not None and not user.is_local:
        return sign_on.log_out(request, user)
    with transaction.atomic():
        if user is not None:
            record(user, Action.LOGOUT)
        auth_logout(request)
    return redirect("login")


@require_POST
@for_role(Role.READER, in_open=False, temporary=True)
def stay(request: HttpRequest) -> HttpResponse:
    """Keep the session alive; the request itself is enough."""
    return HttpResponse(status=204)


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.READER, in_open=False, temporary=True)
def confirm(request: HttpRequest) -> HttpResponse:
    """Request the password again, before users, tokens or sessions are changed, and go back."""
    user = member_of(request)
    back = request.POST.get("next") or request.GET.get("next", "")
    if not url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure()):
        back = resolve_url("account")
    if not user.is_local:
        return redirect(f"{resolve_url('sign_on')}?{urlencode({'next': back})}")
    form = Confirmation(user, request, request.POST if request.method == "POST" else None)
    if form.is_valid():
        with transaction.atomic():
            request.session.cycle_key()
            sessions.confirm(request)
            record(user, Action.CONFIRMED)
        return redirect(back)
    return render(request, "web/confirm.html", {"form": form, "next": back})


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.READER, in_open=False, temporary=True)
def account(request: HttpRequest) -> HttpResponseBase:
    """Change the password, see and end sessions, and see, issue and revoke API tokens.

    A new token is shown only once.
    """
    user = member_of(request)
    if user.needs_second_factor and not user.password_is_temporary:
        return redirect("second_factor")
    action = request.POST.get("do", "") if request.method == "POST" else ""
    if action in {"token", "sessions"} and not user.password_is_temporary:
        if not sessions.is_confirmed(request):
            return to_confirmation(request)
        if action == "sessions":
            return _end_sessions(request, user)
    password = _password_form(request, user, request.POST if action == "password" else None)
    token = NewToken(request.POST if action == "token" else None, prefix="token")
    if action == "password" and user.is_local and password.is_valid():
        _change_password(request, password)
        return redirect("account")
    issued = _issued(user, token) if action == "token" and not user.password_is_temporary else ""
    context = {
        "password": password,
        "token": NewToken(prefix="token") if issued else token,
        "issued": issued,
        "tokens": users.tokens_in_use(user),
        "sessions": [_session(request, row) for row in sessions.of_user(user)],
        "is_confirmed": sessions.is_confirmed(request),
        "hours": users.ONE_TIME_HOURS,
    }
    return render(request, "web/account.html", context)


def _password_form(request: HttpRequest, user: User, data: QueryDict | None) -> SetPasswordForm[User]:
    """Return the form for a new password; it requires the old one unless that was a one-time password."""
    if user.password_is_temporary:
        return SetPasswordForm(user, data)
    form = NewPassword(user, request, data)
    if data is None:
        form.fields["old_password"].widget.attrs.pop("autofocus", None)
    return form


def _change_password(request: HttpRequest, form: SetPasswordForm[User]) -> None:
    """Set a new password; this session continues under a new key."""
    with transaction.atomic():
        users.choose_password(form.user, form.cleaned_data["new_password1"], request.session.session_key)
        update_session_auth_hash(request, form.user)
        sessions.confirm(request)
    messages.success(
        request,
        gettext(
            "Your password has been changed. Your sessions on other devices have ended, and all tokens are revoked."
        ),
    )


def _issued(user: User, form: NewToken) -> str:
    """Return a new token; empty if the form is invalid, with the errors in the form."""
    if not form.is_valid():
        return ""
    values = form.cleaned_data
    try:
        return users.issue_token(user, values["name"], Scope(values["scope"]), values["days"])[1]
    except users.AccountError as error:
        form.add_error(None, account_error(error))
        return ""


def _end_sessions(request: HttpRequest, user: User) -> HttpResponse:
    """End one of the user's other sessions, or all of them."""
    handle = request.POST.get("session", "")
    rows = [row for row in sessions.others(request, user) if handle in {"", sessions.handle_of(row)}]
    count = sessions.end(rows, user, "asked")
    message = ngettext("%(count)d session has ended.", "%(count)d sessions have ended.", count)
    messages.success(request, message % {"count": count})
    return redirect("account")


def _session(request: HttpRequest, row: BrowserSession) -> dict[str, Any]:
    """Return the data of a session for the page."""
    is_this = row.session_key == request.session.session_key
    return {"row": row, "handle": sessions.handle_of(row), "is_this": is_this}


@require_POST
@for_role(Role.READER, in_open=False, confirmed=True)
def revoke_token(request: HttpRequest, pk: int) -> HttpResponse:
    """Revoke one of the user's own tokens; an administrator may revoke any token."""
    user = member_of(request)
    token = get_object_or_404(ApiToken.objects.select_related("user"), pk=pk)
    if token.user_id != user.pk and not user.may(Role.ADMINISTRATOR):
        raise Http404
    users.revoke_token(user, token)
    messages.success(request, gettext("The token has been revoked."))
    return redirect("account") if token.user_id == user.pk else redirect("user", pk=token.user_id)
