"""The worklist of the mode ``clinic``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseBase,
    QueryDict,
)
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from boneage.web import texts
from boneage.web.accounts.access import for_role, member_of
from boneage.web.accounts.audit import Action, record
from boneage.web.cases.worklist import (
    ROWS_A_PAGE,
    WORKLIST,
    FilterForm,
    Worklist,
    WorklistQuery,
    detailed,
    next_sort,
)
from boneage.web.models import Role
from boneage.web.node.summary import asking_for_sex, delivery_lines, notes
from boneage.web.report.downloads import csv_table

_COLUMNS = {
    "reference": _("Reference"),
    "sex": _("Sex"),
    "age": _("Age"),
    "bone": _("Bone age"),
    "difference": _("Difference, months"),
    "sds": _("SDS"),
    "status": _("Status"),
    "warnings": _("Warnings"),
    "date": _("Submitted"),
    "who": _("User"),
}

EXPORTED = (
    "assessment",
    "case",
    "reference",
    "sex",
    "birth_date",
    "study_date",
    "chronological_age_months",
    "chronological_age_precision",
    "bone_age_months",
    "bone_age_is",
    "estimated_age_months",
    "difference_months",
    "sds",
    "determination",
    "determination_reason",
    "status",
    "severity",
    "submitted_at",
    "submitted_by",
    "decided_by",
    "radiograph_name",
    "note",
    "radiographs",
    "older_to_decide",
)
"""Columns of the exported worklist. Difference, SDS and determination are those of the bone age that counts. The table
of a single result has those of the estimate in columns of the same names, and those of the decision in others."""


@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.READER, in_open=False)
def worklist(request: HttpRequest) -> HttpResponse:
    """Show the table. Filters come by POST, because a search may name a patient; an address may hold all other filters.

    htmx gets the table alone, and with ``watch`` (ids of rows separated by spaces) those of them that are now final.
    """
    if "watch" in request.POST:
        return _watched(request)
    user = member_of(request)
    query, form = _query(request)
    selection = Worklist(query, user)
    pages = max(1, -(-selection.count // ROWS_A_PAGE))
    number = min(pages, max(1, _whole(_filter_fields(request).get("page", ""))))
    rows = selection.page(number)
    context = {
        "asking": asking_for_sex(user),
        "deliveries": delivery_lines([row.radiograph.pk for row in rows]),
        "notes": notes([row.radiograph for row in rows]),
        "form": form,
        "query": query,
        "columns": _columns(query),
        "rows": rows,
        "waiting": [row for row in rows if row.is_waiting],
        "number": number,
        "pages": pages,
        "first": (number - 1) * ROWS_A_PAGE + 1,
        "count": selection.count,
        "choices": [(value, label, selection.counts[value or "all"]) for value, label in form.fields["status"].choices],  # type: ignore[attr-defined]  # a ChoiceField
        "empty_children": list(selection.empty_children()) if query.is_plain and number == pages else [],
    }
    if request.session.get(WORKLIST) != query.values():  # for "3 of 27" and "Next" on the page of a result
        request.session[WORKLIST] = query.values()
    record(user, Action.VIEW, what="worklist", rows=len(rows), searched=bool(query.search))
    if not _wants_part(request):
        return render(request, "web/cases.html", context)
    response = render(request, "web/_cases_update.html", context)
    address = query.query()
    response.headers["HX-Replace-Url"] = reverse("cases") + (f"?{address}" if address else "")
    return response


def _watched(request: HttpRequest) -> HttpResponse:
    """Return rows that were waiting and are now final, and again the element that polls for the rest."""
    try:
        keys = [UUID(text) for text in request.POST["watch"].split()][:ROWS_A_PAGE]
    except ValueError:
        return HttpResponseBadRequest(gettext("These are not rows of the worklist."))
    rows = detailed(keys, member_of(request))
    waiting = [row for row in rows if row.is_waiting]
    final = [row for row in rows if not row.is_waiting]
    deliveries = delivery_lines([row.radiograph.pk for row in rows])
    context = {
        "waiting": waiting,
        "final": final,
        "deliveries": deliveries,
        "notes": notes([row.radiograph for row in rows]),
        "swapped": True,
    }
    return render(request, "web/_cases_watch.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.REVIEWER, in_open=False)
def export(request: HttpRequest) -> HttpResponseBase:
    """Export the worklist as CSV, filtered and sorted like the page; it is sent while it is read.

    A filter that is invalid in part is answered with the page and the status 400: nobody would notice on a file that it
    has other rows than the user meant.
    """
    user = member_of(request)
    query, form = _query(request)
    if form.errors:
        page = worklist(request)
        page.status_code = 400
        return page
    selection = Worklist(query, user)
    filters = {name: value for name, value in query.values().items() if name != "search"}
    record(user, Action.EXPORT, what="worklist", rows=selection.count, searched=bool(query.search), filter=filters)
    return csv_table("bone-age-worklist.csv", EXPORTED, _exported(selection))


def _exported(selection: Worklist) -> Iterator[list[object]]:
    for row in selection.all_rows():
        radiograph = row.radiograph
        age = radiograph.chronological_age
        yield [
            radiograph.pk,
            radiograph.case_id,
            radiograph.case.reference if radiograph.case else None,
            radiograph.sex,
            radiograph.case.birth_date if radiograph.case else radiograph.birth_date,
            radiograph.study_date,
            _tenths(radiograph.chronological_age_months),
            None if age is None else age.precision.value,
            _tenths(row.bone_months),
            "" if row.bone_months is None else "decided" if radiograph.decision else "estimated",
            _tenths(radiograph.age_months),
            _tenths(row.difference_months),
            _rounded(radiograph.sds, 2),
            radiograph.determination,
            radiograph.determination_reason,
            row.status.value,
            row.severity,
            texts.iso_moment(radiograph.submitted_at),
            row.submitter,
            row.decider,
            radiograph.radiograph_name,
            radiograph.note,
            row.radiographs,
            row.older_to_decide,
        ]


def _query(request: HttpRequest) -> tuple[WorklistQuery, FilterForm]:
    fields = _filter_fields(request)
    form = FilterForm(fields)
    return WorklistQuery.of(form, fields.get("by") or fields.get("sort", "")), form


def _filter_fields(request: HttpRequest) -> QueryDict:
    """Return the fields of the filter. A search text in the address is ignored, so that nobody puts it there."""
    if request.method == "POST":
        return request.POST
    fields = request.GET.copy()
    fields.pop("search", None)
    return fields


def _columns(query: WorklistQuery) -> list[dict[str, Any]]:
    """Return the column heads with the order that a click selects and the present order."""
    now = query.sort.removeprefix("-")
    falling = query.sort.startswith("-")
    return [
        {
            "name": name,
            "title": title,
            "by": next_sort(name, query.sort),
            "sorted": ("descending" if falling else "ascending") if name == now else "",
        }
        for name, title in _COLUMNS.items()
    ]


def _wants_part(request: HttpRequest) -> bool:
    htmx = getattr(request, "htmx", None)
    return bool(htmx) and not htmx.history_restore_request  # type: ignore[union-attr]  # set by its middleware


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 1


def _tenths(months: float | None) -> float | None:
    return _rounded(months, 1)


def _rounded(value: float | None, decimals: int) -> float | None:
    """Return a rounded value, and zero without a sign."""
    return None if value is None else round(value, decimals) + 0.0
