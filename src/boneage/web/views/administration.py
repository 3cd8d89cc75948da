"""Users and the audit log, for administrators of the mode ``clinic``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_http_methods, require_safe

from boneage.web.accounts import second_factor, sessions
from boneage.web.accounts import users as accounts
from boneage.web.accounts.access import for_role, member_of
from boneage.web.accounts.audit import SYSTEM, TITLES, Action, record
from boneage.web.accounts.forms import AuditFilter, DepartmentsOf, NewUser, RoleOf, SignatureOf, account_error
from boneage.web.chronological_age import midnight, midnight_after
from boneage.web.models import AuditEvent, Role, User, configuration
from boneage.web.report.downloads import csv_table
from boneage.web.texts import iso_moment

PAGE = 100
"""Number of events on a page."""

_COLUMNS = ("at", "user", "account", "address", "action", "object_type", "object_id", "detail")


@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.ADMINISTRATOR, in_open=False, confirmed=True)
def users(request: HttpRequest) -> HttpResponse:
    """List all users, and create a new one, whose one-time password is shown only once."""
    form = NewUser(request.POST or None)
    made: User | None = None
    password = ""
    if request.method == "POST" and form.is_valid():
        try:
            made, password = accounts.create(
                member_of(request), form.cleaned_data["name"], Role(form.cleaned_data["role"])
            )
            form = NewUser()
        except accounts.AccountError as error:
            form.add_error("name", account_error(error))
    listed = User.objects.order_by("-is_active", "username")
    return render(
        request,
        "web/users.html",
        {"form": form, "made": made, "password": password, "listed": listed, "now": timezone.now()},
    )


@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.ADMINISTRATOR, in_open=False, confirmed=True)
def user(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one user: role, one-time password, deactivation and tokens."""
    shown = get_object_or_404(User, pk=pk)
    by = member_of(request)
    password = ""
    if request.method == "POST":
        try:
            if request.POST.get("do") == "password":
                password = accounts.renew_password(by, shown)
            else:
                _change(request, by, shown)
                return redirect("user", pk=pk)
        except accounts.AccountError as error:
            messages.error(request, account_error(error))
            return redirect("user", pk=pk)
    context = {
        "shown": shown,
        "form": RoleOf(initial={"role": shown.role}),
        "departments_form": DepartmentsOf(initial={"departments": shown.departments}),
        "may_choose_departments": shown.is_local or not configuration().department_list.come_from_groups,
        "signature_form": SignatureOf(initial={"full_name": shown.get_full_name(), "credential": shown.credential}),
        "password": password,
        "tokens": accounts.tokens_in_use(shown),
        "sessions": sessions.of_user(shown),
        "is_expired": accounts.is_expired(shown),
    }
    return render(request, "web/user.html", context)


def _change(request: HttpRequest, by: User, shown: User) -> None:
    action = request.POST.get("do")
    role, signature = RoleOf(request.POST), SignatureOf(request.POST)
    departments = DepartmentsOf(request.POST)
    if action == "deactivate":
        accounts.deactivate(by, shown)
        messages.success(
            request, gettext("The account is deactivated. Its sessions have ended, and its tokens are revoked.")
        )
    elif action == "sessions":
        count = sessions.end(sessions.others(request, shown), by, "asked")
        messages.success(
            request,
            ngettext("%(count)d session has ended.", "%(count)d sessions have ended.", count) % {"count": count},
        )
    elif action == "reactivate":
        accounts.reactivate(by, shown)
        messages.success(request, gettext("The account is active again."))
    elif action == "second_factor":
        second_factor.remove(by, shown)
        messages.success(request, gettext("The second factor has been reset. The sessions of the user have ended."))
    elif action == "signature" and signature.is_valid():
        accounts.set_signature(by, shown, **signature.cleaned_data)
        messages.success(request, gettext("The name on reports has been changed."))
    elif action == "signature":
        messages.error(request, gettext("The name on reports is not valid."))
    elif action == "departments" and departments.is_valid():
        accounts.set_departments(by, shown, departments.cleaned_data["departments"])
        messages.success(request, gettext("The departments have been changed."))
    elif action == "role" and role.is_valid():
        accounts.set_role(by, shown, Role(role.cleaned_data["role"]))
        messages.success(request, gettext("The role has been changed."))


@require_safe
@for_role(Role.ADMINISTRATOR, in_open=False)
def audit_log(request: HttpRequest) -> HttpResponseBase:
    """Show events, newest first, or export them as CSV; the export is an event too."""
    form = AuditFilter(request.GET)
    is_valid = form.is_valid()
    wanted = form.cleaned_data
    events = _events(wanted) if is_valid else AuditEvent.objects.none()
    if is_valid and "export" in request.GET:
        return _exported(member_of(request), events, wanted)
    page = list(events.filter(pk__lt=wanted["before"]) if wanted.get("before") else events)[: PAGE + 1]
    older = request.GET.copy()
    older["before"] = str(page[PAGE - 1].pk) if len(page) > PAGE else ""
    newest = request.GET.copy()
    newest.pop("before", None)
    context = {
        "form": form,
        "events": [{"event": event, "title": _title(event.action), "detail": _detail(event)} for event in page[:PAGE]],
        "older": older.urlencode() if older["before"] else "",
        "newest": newest.urlencode() if wanted.get("before") else None,
        "names": [SYSTEM, *User.objects.order_by("username").values_list("username", flat=True)],
    }
    return render(request, "web/audit.html", context)


def _events(wanted: dict[str, Any]) -> QuerySet[AuditEvent]:
    """Return events, newest first. Their numbers rise with time, so that paging by number stays right while events are
    added.
    """
    events = AuditEvent.objects.order_by("-pk")
    for field, name in (("user_name", "user"), ("action", "action"), ("object_id", "object"), ("address", "address")):
        if wanted[name]:
            events = events.filter(**{field: wanted[name]})
    if wanted["since"]:
        events = events.filter(at__gte=midnight(wanted["since"]))
    if wanted["until"]:
        events = events.filter(at__lt=midnight_after(wanted["until"]))
    return events


def _title(action: str) -> str:
    return str(TITLES[Action(action)]) if action in set(Action) else action


def _detail(event: AuditEvent) -> list[tuple[str, str]]:
    return [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in event.detail.items()]


def _exported(by: User, events: QuerySet[AuditEvent], wanted: dict[str, Any]) -> StreamingHttpResponse:
    filters = {name: str(value) for name, value in wanted.items() if value and name != "before"}
    record(by, Action.EXPORT, None, what="audit", filter=filters)
    return csv_table("audit-log.csv", _COLUMNS, _rows(events.iterator(chunk_size=1000)))


def _rows(events: Iterable[AuditEvent]) -> Iterator[list[object]]:
    for event in events:
        detail = json.dumps(event.detail, ensure_ascii=False, sort_keys=True)
        who = (event.user_name, event.account or "", event.address or "")
        yield [iso_moment(event.at), *who, event.action, event.object_type, event.object_id, detail]
