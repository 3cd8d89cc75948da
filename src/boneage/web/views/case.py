"""A child in the mode ``clinic``: its radiographs over the years, their comparison, and adult height."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_safe

from boneage import words
from boneage.clinical.ages import latest_study_day
from boneage.clinical.height import HeightInputError
from boneage.clinical.references import configured_reference
from boneage.clinical.sds import SdsResult
from boneage.report.adult_height import AdultHeightContent, adult_height_content
from boneage.report.comparison import change_sentences
from boneage.report.content import reference_name
from boneage.sex import Sex
from boneage.web import texts
from boneage.web.accounts.access import case_or_404, for_role, member_of
from boneage.web.accounts.audit import Action, record
from boneage.web.cases.cases import belongings, change_birth_date, change_department, delete_case
from boneage.web.cases.follow_up import FollowUp, Interval, follow_up, radiographs_of
from boneage.web.cases.measurements import (
    MeasurementsForm,
    adult_height,
    change_measurements,
    measurements_of,
    problem_of,
)
from boneage.web.cases.registered import VIEW_BOX, RegisteredRadiograph, registered
from boneage.web.cases.worklist import Row, detailed
from boneage.web.chronological_age import FIRST_DAY
from boneage.web.models import BOTH, Assessment, Case, Role, User, Verdict, configuration
from boneage.web.plots.growth import GrowthPoint, growth_plot
from boneage.web.plots.sds import SdsPoint, sds_plot


class _DepartmentOf(forms.Form):
    department = forms.ChoiceField(label=_("Department"), required=False)

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        label = configuration().department_list.label
        field = cast(forms.ChoiceField, self.fields["department"])
        field.choices = [(name, label(name) or _("No department")) for name in user.own_departments]


class _BirthDate(forms.Form):
    birth_date = forms.DateField(
        label=_("Date of birth"), widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )

    def clean_birth_date(self) -> Any:
        day = self.cleaned_data["birth_date"]
        if not FIRST_DAY <= day <= latest_study_day():
            raise ValidationError(_("Enter a date of birth between 1900 and today."))
        return day


@dataclass(frozen=True)
class _Radiograph:
    """A line of a child's list: the row, the intervals of its estimate in words, and its point on the plot, if any."""

    row: Row
    ranges: tuple[str, ...]
    point: GrowthPoint | None

    @property
    def not_drawn(self) -> str:
        if self.point is not None or self.row.bone_months is None:
            return ""
        if self.row.radiograph.chronological_age_months is None:
            return gettext("Not on the plot: the chronological age is unknown.")
        return gettext("Not on the plot: outside 0 to 19 years.")


@dataclass(frozen=True)
class _ShownInterval:
    """Change between two radiographs in words: the two, and sentences on difference, gain per year and limits."""

    interval: Interval
    sentences: tuple[str, ...]

    @classmethod
    def of(cls, interval: Interval | None) -> _ShownInterval | None:
        return None if interval is None else cls(interval, tuple(change_sentences(interval.change)))


@dataclass(frozen=True)
class _ShownHeight:
    """Adult height in words, or the reason why there is no table."""

    content: AdultHeightContent | None = None
    radiograph: Assessment | None = None
    reason: str = ""


@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.READER, in_open=False)
def case(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Show a child's radiographs with their changes, plots and adult height. Reviewers correct the date of birth by
    POST.
    """
    user = member_of(request)
    child = case_or_404(pk, user)
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
    record(user, Action.VIEW, child)
    return _page(request, child, form=form)


@require_http_methods(["POST"])
@for_role(Role.ADMINISTRATOR, in_open=False)
def department(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Hand a case to another department (``department``)."""
    user = member_of(request)
    child, form = case_or_404(pk, user), _DepartmentOf(user, request.POST)
    if not form.is_valid():
        raise Http404
    try:
        change_department(child, form.cleaned_data["department"], user)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, gettext("The department has been changed."))
    return redirect("case", pk=child.pk)


@require_http_methods(["POST"])
@for_role(Role.READER, in_open=False)
def measurements(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Store the measurements from which the adult height is predicted."""
    user = member_of(request)
    child = case_or_404(pk, user)
    form = MeasurementsForm(child, radiographs_of(child), request.POST)
    if not form.is_valid():
        return _page(request, child, height_form=form)
    change_measurements(child, form.measurements(), user)
    messages.success(request, gettext("The measurements have been saved."))
    return redirect(f"{request.path.removesuffix('measurements')}#height")


@require_safe
@for_role(Role.READER, in_open=False)
def compare(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show two radiographs of a child beside each other, registered: the last two, or those in the address."""
    user = member_of(request)
    child = case_or_404(pk, user)
    shown = [one for one in map(registered, _in_order(radiographs_of(child))) if one is not None]
    if len(shown) < 2:
        raise Http404
    earlier = _chosen(request, "earlier", shown, -2)
    later = _chosen(request, "later", shown, -1)
    for one in (earlier, later):
        record(user, Action.VIEW, one.assessment, page="compare")
    course = follow_up([earlier.assessment, later.assessment], child.sex)
    changes = [] if course is None else [_ShownInterval.of(interval) for interval in course.intervals]
    context = {
        "case": child,
        "radiographs": shown,
        "earlier": earlier,
        "later": later,
        "change": changes[0] if changes else None,
        "view_box": VIEW_BOX,
    }
    return render(request, "web/case_compare.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.REVIEWER, in_open=False)
def delete(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Ask for confirmation of the deletion of a case, and delete it by POST."""
    user = member_of(request)
    child = case_or_404(pk, user)
    if request.method == "POST":
        delete_case(child, user)
        messages.success(request, gettext("The case and all its data have been permanently deleted."))
        return redirect("cases")
    return render(request, "web/case_delete.html", {"case": child, "counts": belongings(child)})


def _page(
    request: HttpRequest,
    child: Case,
    *,
    form: _BirthDate | None = None,
    height_form: MeasurementsForm | None = None,
) -> HttpResponse:
    assessments = list(radiographs_of(child))
    radiographs = _radiographs(assessments, member_of(request))
    points = [radiograph.point for radiograph in radiographs if radiograph.point is not None]
    course = follow_up(assessments, child.sex)
    scores = [] if course is None else _sds_points(course, radiographs)
    sex, reference = None if child.sex == BOTH else Sex(child.sex), configured_reference()
    form = form or _BirthDate(initial={"birth_date": child.birth_date})
    height_form = height_form or MeasurementsForm(child, assessments)
    context = {
        "case": child,
        "radiographs": radiographs,
        "plot": growth_plot(points, sex, reference) if points and sex else "",
        "sds_plot": sds_plot(scores) if scores else "",
        "reference": reference_name(reference),
        "changes": [] if course is None else [_ShownInterval.of(one) for one in course.intervals],
        "overall": None if course is None else _ShownInterval.of(course.overall),
        "can_compare": sum(one.row.radiograph.pk in _located(assessments) for one in radiographs) > 1,
        "form": form,
        "height": _height(child, assessments),
        "height_form": height_form,
        "department_form": _department_form(member_of(request), child),
    }
    failed = (form.is_bound and form.errors) or (height_form.is_bound and height_form.errors)
    return render(request, "web/case.html", context, status=422 if failed else 200)


def _department_form(user: User, child: Case) -> _DepartmentOf | None:
    """Return the form with which an administrator hands the case to another department."""
    is_offered = bool(configuration().department_list) and user.may(Role.ADMINISTRATOR)
    return _DepartmentOf(user, initial={"department": child.department}) if is_offered else None


def _in_order(assessments: Any) -> list[Assessment]:
    """Return radiographs by date if all are dated, else by age, and those without an age by the time of submission."""
    ordered = sorted(assessments, key=lambda one: one.submitted_at)
    if all(one.study_date is not None for one in ordered):
        return sorted(ordered, key=lambda one: one.study_date)
    return sorted(ordered, key=lambda one: one.chronological_age_months or float("inf"))


def _located(assessments: list[Assessment]) -> set[UUID]:
    """Return the ids of the radiographs on which the hand was located."""
    return {one.pk for one in assessments if one.readings and one.readings[0].hand is not None}


def _radiographs(assessments: list[Assessment], user: User) -> list[_Radiograph]:
    rows = {row.radiograph.pk: row for row in detailed([one.pk for one in assessments], user)}
    return [_radiograph(rows[one.pk], one) for one in _in_order(assessments) if one.pk in rows]


def _radiograph(row: Row, assessment: Assessment) -> _Radiograph:
    stored = assessment.stored
    if stored is None:
        return _Radiograph(row, (), _point(row, None, None))
    interval, interval_80 = stored.interval_months, stored.interval_80_months
    if stored.near_maturity is not None and stored.near_maturity.is_near:  # the interval is open above
        lowest = "" if interval_80 is None else texts.narrow_range_above(interval_80[0])
        return _Radiograph(row, (lowest,) if lowest else (), _point(row, None, None))
    ranges = (texts.wide_range(interval), texts.narrow_range(interval_80))
    return _Radiograph(row, tuple(one for one in ranges if one), _point(row, interval, interval_80))


def _point(
    row: Row, interval: tuple[float, float] | None, interval_80: tuple[float, float] | None
) -> GrowthPoint | None:
    bone, age = row.bone_months, row.radiograph.chronological_age_months
    if bone is None or age is None or not GrowthPoint.fits(bone, age):
        return None
    estimate = bone if row.radiograph.age_months is None else row.radiograph.age_months
    return GrowthPoint(
        age, bone, estimate, interval, _verdict(row.radiograph), _point_title(row, interval), interval_80
    )


def _verdict(assessment: Assessment) -> Verdict | None:
    return Verdict(assessment.decision) if assessment.decision else None


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


def _sds_points(course: FollowUp, radiographs: list[_Radiograph]) -> list[SdsPoint]:
    points = []
    for one in radiographs:
        assessment = one.row.radiograph
        result, months = course.sds.get(assessment.pk), assessment.chronological_age_months
        if result is not None and result.sds is not None and months is not None:
            title = _sds_title(assessment, result, result.sds)
            points.append(SdsPoint(months, result.sds, result.interval_80, _verdict(assessment), title))
    return points


def _sds_title(assessment: Assessment, result: SdsResult, sds: float) -> str:
    values = {"age": words.chronological_age(assessment.chronological_age), "sds": words.signed(sds, 2)}
    if result.interval_80 is None:
        return gettext("Age %(age)s: SDS %(sds)s.") % values
    low, high = (words.signed(score, 2) for score in result.interval_80)
    return gettext("Age %(age)s: SDS %(sds)s (80 %% interval %(low)s to %(high)s).") % {
        **values,
        "low": low,
        "high": high,
    }


def _height(child: Case, assessments: list[Assessment]) -> _ShownHeight:
    if child.sex == BOTH:
        return _ShownHeight(reason=gettext("The methods are by sex: there is none for an unknown or other sex."))
    try:
        predicted = adult_height(child, measurements_of(child), assessments)
    except HeightInputError as error:
        return _ShownHeight(reason=problem_of(error))
    if predicted is None:
        return _ShownHeight(reason=gettext("The chronological age is unknown: enter the date of birth."))
    return _ShownHeight(adult_height_content(predicted.table), predicted.radiograph)


def _chosen(request: HttpRequest, name: str, shown: list[RegisteredRadiograph], default: int) -> RegisteredRadiograph:
    """Return the radiograph in the address.

    Raises:
        Http404: it is none of this child.
    """
    if name not in request.GET:
        return shown[default]
    chosen = next((one for one in shown if str(one.assessment.pk) == request.GET[name]), None)
    if chosen is None:
        raise Http404
    return chosen
