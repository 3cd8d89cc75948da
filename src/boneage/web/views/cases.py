"""The worklist of the mode ``clinic``, and the radiographs of each child over the years."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseBase,
    QueryDict,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from boneage import words
from boneage.sex import Sex
from boneage.web import texts
from boneage.web.accounts.access import for_role, member_of
from boneage.web.accounts.audit import Action, record
from boneage.web.cases.cases import belongings, change_birth_date, delete_case
from boneage.web.cases.worklist import (
    ROWS_A_PAGE,
    WORKLIST,
    FilterForm,
    Row,
    Worklist,
    WorklistQuery,
    detailed,
    next_sort,
)
from boneage.web.chronological_age import FIRST_DAY, last_day
from boneage.web.models import Assessment, Case, Role, Verdict
from boneage.web.plots.growth import GrowthPoint, gain, growth_plot
from boneage.web.report.downloads import csv_table

_COLUMNS = {
    "reference": _("Reference"),
    "sex": _("Sex"),
    "age": _("Age"),
    "bone": _("Bone age"),
    "difference": _("Difference, months"),
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
    "bone_age_months",
    "bone_age_is",
    "estimated_age_months",
    "difference_months",
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
"""Columns of the exported worklist."""


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
    rows = detailed(keys)
    waiting = [row for row in rows if row.is_waiting]
    final = [row for row in rows if not row.is_waiting]
    return render(request, "web/_cases_watch.html", {"waiting": waiting, "final": final, "swapped": True})


@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.REVIEWER, in_open=False)
def export(request: HttpRequest) -> StreamingHttpResponse:
    """Export the worklist as CSV, filtered and sorted like the page; it is sent while it is read."""
    user = member_of(request)
    query, _form = _query(request)
    selection = Worklist(query, user)
    filters = {name: value for name, value in query.values().items() if name != "search"}
    record(user, Action.EXPORT, what="worklist", rows=selection.count, searched=bool(query.search), filter=filters)
    return csv_table("bone-age-worklist.csv", EXPORTED, _exported(selection))


def _exported(selection: Worklist) -> Iterator[list[object]]:
    for row in selection.all_rows():
        radiograph = row.radiograph
        yield [
            radiograph.pk,
            radiograph.case_id,
            radiograph.case.reference if radiograph.case else None,
            radiograph.sex,
            radiograph.case.birth_date if radiograph.case else radiograph.birth_date,
            radiograph.study_date,
            _tenths(radiograph.chronological_age_months),
            _tenths(row.bone_months),
            "" if row.bone_months is None else "decided" if radiograph.decision else "estimated",
            _tenths(radiograph.age_months),
            _tenths(row.difference_months),
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


class _BirthDate(forms.Form):
    birth_date = forms.DateField(
        label=_("Date of birth"), widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )

    def clean_birth_date(self) -> Any:
        day = self.cleaned_data["birth_date"]
        if not FIRST_DAY <= day <= last_day():
            raise ValidationError(_("Enter a date of birth between 1900 and today."))
        return day


@dataclass(frozen=True)
class _Radiograph:
    """A line of a child's list: the row, the intervals of its estimate, and its point on the plot or the reason for its
    absence.
    """

    row: Row
    interval: tuple[float, float] | None
    interval_80: tuple[float, float] | None
    point: GrowthPoint | None

    @property
    def not_drawn(self) -> str:
        if self.point is not None or self.row.bone_months is None:
            return ""
        if self.row.radiograph.chronological_age_months is None:
            return gettext("Not on the plot: the chronological age is unknown.")
        return gettext("Not on the plot: outside 0 to 19 years.")


@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.READER, in_open=False)
def case(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Show a child's radiographs and the plot of bone age against chronological age. Reviewers correct the date of
    birth by POST.
    """
    user = member_of(request)
    child = get_object_or_404(Case, pk=pk)
    form = _BirthDate(request.POST if request.method == "POST" else None, initial={"birth_date": child.birth_date})
    if request.method == "POST":
        if not user.may(Role.REVIEWER):
            raise PermissionDenied
        if form.is_valid():
            try:
                change_birth_date(child, form.cleaned_data["birth_date"], user)
            except ValidationError as error:
                form.add_error("birth_date", error)
            else:
                messages.success(request, gettext("The date of birth has been changed."))
                return redirect("case", pk=child.pk)
    radiographs = _radiographs(child)
    points = [radiograph.point for radiograph in radiographs if radiograph.point is not None]
    record(user, Action.VIEW, child)
    context = {
        "case": child,
        "radiographs": radiographs,
        "plot": growth_plot(points, Sex(child.sex)) if points else "",
        "gain": gain(points),
        "form": form,
    }
    return render(request, "web/case.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.REVIEWER, in_open=False)
def delete(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Ask for confirmation of the deletion of a case, and delete it by POST."""
    child = get_object_or_404(Case, pk=pk)
    if request.method == "POST":
        delete_case(child, member_of(request))
        messages.success(request, gettext("The case and all its data have been permanently deleted."))
        return redirect("cases")
    return render(request, "web/case_delete.html", {"case": child, "counts": belongings(child)})


def _radiographs(child: Case) -> list[_Radiograph]:
    """Return a child's radiographs by age or, where it is unknown, by the time of submission."""
    assessments = Assessment.objects.filter(case=child, superseded_by=None)
    intervals = {
        key: (_pair(wide), _pair(narrow))
        for key, wide, narrow in assessments.values_list("pk", "result__interval_months", "result__interval_80_months")
    }
    rows = detailed(list(intervals))
    rows.sort(key=lambda row: row.radiograph.submitted_at)
    rows.sort(key=lambda row: row.radiograph.chronological_age_months or float("inf"))
    return [_Radiograph(row, *intervals[row.radiograph.pk], _point(row, *intervals[row.radiograph.pk])) for row in rows]


def _pair(bounds: Sequence[float] | None) -> tuple[float, float] | None:
    return (float(bounds[0]), float(bounds[1])) if bounds else None


def _point(
    row: Row, interval: tuple[float, float] | None, interval_80: tuple[float, float] | None
) -> GrowthPoint | None:
    bone, age = row.bone_months, row.radiograph.chronological_age_months
    if bone is None or age is None or not GrowthPoint.fits(bone, age):
        return None
    estimate = bone if row.radiograph.age_months is None else row.radiograph.age_months
    verdict = Verdict(row.radiograph.decision) if row.radiograph.decision else None
    return GrowthPoint(age, bone, estimate, interval, verdict, _point_title(row, interval), interval_80)


def _point_title(row: Row, interval: tuple[float, float] | None) -> str:
    """Return the description of a radiograph."""
    values = {
        "age": words.chronological_age(row.radiograph.chronological_age),
        "bone": words.age(row.bone_months),
        "status": row.status.label,
        "interval": texts.wide_range(interval),
        "estimate": words.age(row.radiograph.age_months),
    }
    if row.radiograph.decision == Verdict.CORRECTED:
        return gettext("Age %(age)s: bone age %(bone)s (%(status)s; the estimate was %(estimate)s).") % values
    if interval is None:
        return gettext("Age %(age)s: bone age %(bone)s (%(status)s).") % values
    return gettext("Age %(age)s: bone age %(bone)s (%(status)s). %(interval)s.") % values


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
    return None if months is None else round(months, 1)
