"""Operations on cases, which only the mode ``clinic`` has: follow-up, measurements and adult height."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from django.http import Http404, HttpRequest
from django.utils import translation
from ninja import Path
from ninja.responses import Status

from boneage.clinical.change_documents import change_document
from boneage.clinical.height import HeightInputError
from boneage.clinical.height.documents import adult_height_document
from boneage.schema import two_decimals
from boneage.web.accounts import audit
from boneage.web.accounts.access import case_or_404
from boneage.web.api.access import caller
from boneage.web.api.application import api
from boneage.web.api.description import Good, operation
from boneage.web.api.errors import ApiError
from boneage.web.api.schemas import CaseChange, CaseOut, CaseRadiograph, MeasurementsIn, MeasurementsOut
from boneage.web.cases.follow_up import FollowUp, Interval, follow_up, radiographs_of
from boneage.web.cases.measurements import (
    NONE_PRESENT,
    AdultHeight,
    MeasurementsForm,
    adult_height,
    change_measurements,
    measurements_of,
)
from boneage.web.models import Case, Measurements, User

CaseId = Annotated[UUID, Path(description="Id of the case, as `case` of its assessments.")]


@api.get(
    "/cases/{uuid:case_id}",
    tags=["cases"],
    summary="Fetch a case",
    **operation({200: Good("The case.", CaseOut)}, "not_found", "request_invalid", clinic_only=True),
)
def case(request: HttpRequest, case_id: CaseId) -> Any:
    """Return the radiographs of a child with their SDS, the changes between them, the measurements, and the adult
    height by all methods.
    """
    who = caller(request)
    child = _case_or_404(case_id, who.user)
    audit.record(who.user, audit.Action.VIEW, child, form="json", **who.via)
    return Status(200, _document(child))


@api.put(
    "/cases/{uuid:case_id}/measurements",
    tags=["cases"],
    summary="Store the measurements",
    **operation(
        {200: Good("The measurements are stored.", CaseOut)},
        "request_malformed",
        "forbidden",
        "not_found",
        "too_large",
        "request_invalid",
        "measurement_invalid",
        clinic_only=True,
    ),
)
def measurements(request: HttpRequest, case_id: CaseId, values: MeasurementsIn) -> Any:
    """Replace the measurements of a child from which its adult height is predicted. A value that is left out is
    removed.
    """
    who = caller(request)
    child = _case_or_404(case_id, who.user)
    with translation.override("en"):
        form = MeasurementsForm(child, radiographs_of(child), _form_values(values))
        if not form.is_valid():
            name, errors = next(iter(form.errors.get_json_data().items()))
            raise ApiError("measurement_invalid", f"{name}: {errors[0]['message']}")
        change_measurements(child, form.measurements(), who.user, via=who.token)
    return Status(200, _document(child))


def _case_or_404(case_id: UUID, user: User | None) -> Case:
    if user is None:  # the mode ``open`` has no cases
        raise Http404
    return case_or_404(case_id, user)


def _form_values(values: MeasurementsIn) -> dict[str, Any]:
    """Return measurements as the form takes them."""
    given = values.model_dump(exclude_none=True)
    menarche, conditions = given.pop("menarche", None), given.pop("contraindications", None)
    months = given.pop("menarche_age_months", None)
    if menarche is not None:
        given["menarche"] = "yes" if menarche else "no"
    if months is not None:
        given["menarche_age_years"] = months / 12
    if conditions is not None:
        given["contraindications"] = conditions or [NONE_PRESENT]
    return given


def _document(child: Case) -> CaseOut:
    assessments = list(radiographs_of(child))
    measured = measurements_of(child)
    course = follow_up(assessments, child.sex)
    try:
        predicted = adult_height(child, measured, assessments)
    except HeightInputError:  # the measurements contradict what has changed since
        predicted = None
    overall = None if course is None else course.overall
    return CaseOut.model_validate(
        {
            "id": child.pk,
            "reference": child.reference,
            "department": child.department or None,
            "sex": child.sex,
            "birth_date": child.birth_date,
            "radiographs": [] if course is None else _radiographs(course),
            "changes": [] if course is None else [_change(one) for one in reversed(course.intervals)],
            "overall": None if overall is None else _change(overall),
            "measurements": _measurements(measured),
            "adult_height": None if predicted is None else adult_height_document(predicted.table),
            "adult_height_radiograph": _radiograph_of(predicted),
        }
    )


def _radiograph_of(predicted: AdultHeight | None) -> UUID | None:
    return None if predicted is None or predicted.radiograph is None else predicted.radiograph.pk


def _radiographs(course: FollowUp) -> list[CaseRadiograph]:
    return [
        CaseRadiograph(
            assessment=assessment.pk,
            study_date=reading.study_date,
            chronological_age_months=two_decimals(assessment.chronological_age_months),
            bone_age_months=round(reading.bone_age_months, 2),
            method=reading.method.value,
            sds=sds.sds,
            sds_interval_80=sds.interval_80,
        )
        for assessment, reading, sds in zip(course.assessments, course.course.readings, course.course.sds, strict=True)
    ]


def _change(interval: Interval) -> CaseChange:
    return CaseChange(earlier=interval.earlier.pk, later=interval.later.pk, change=change_document(interval.change))


def _measurements(measured: Measurements) -> MeasurementsOut:
    values = {name: getattr(measured, name) for name in MeasurementsOut.model_fields}
    sources = {name: values[name] or None for name in ("mother_source", "father_source")}
    return MeasurementsOut.model_validate({**values, **sources})
