"""Operations on results: fetch them in several forms, accept or correct the estimate."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from ninja.responses import Status

from boneage.explain import DISPLAY_SIDE, HeatMap, encode_picture, overlay
from boneage.web.accounts import audit
from boneage.web.accounts.access import assessment_or_404
from boneage.web.api.access import caller
from boneage.web.api.application import (
    AssessmentId,
    api,
    current_result,
    finished_assessment,
    record_access,
    reject_superseded,
)
from boneage.web.api.description import Good, operation
from boneage.web.api.errors import ApiError
from boneage.web.api.schemas import Accept, DecisionIn
from boneage.web.cases import decisions
from boneage.web.cases.exports import result_of
from boneage.web.codes import CODES
from boneage.web.documents import BothSexesResult, Result
from boneage.web.models import PictureKind, Verdict
from boneage.web.queue.pictures import reduced, stored_picture
from boneage.web.report import pdf as report_pdf
from boneage.web.report.downloads import file_of

_RESULT_CODES = ("not_found", "not_finished", "no_result")
ANY_RESULT = Result | BothSexesResult
"""Schema of a result: by one sex, or by both side by side."""


@api.get(
    "/assessments/{uuid:assessment_id}/result",
    tags=["results"],
    summary="Fetch the result",
    **operation({200: Good("The result.", ANY_RESULT)}, *_RESULT_CODES),
)
def result(request: HttpRequest, assessment_id: AssessmentId) -> Any:
    """Return the bone age with its intervals, warnings, regions, hand, reference plates, and the decision."""
    assessment = finished_assessment(request, assessment_id)
    record_access(request, assessment, audit.Action.EXPORT, form="json")
    return Status(200, result_of(assessment))


@api.get(
    "/assessments/{uuid:assessment_id}/radiograph.jpg",
    tags=["results"],
    summary="Fetch the radiograph",
    **operation(
        {200: Good("The radiograph, 8 bit, bone bright, at most 4,096 pixels a side.", ("image/jpeg",))}, *_RESULT_CODES
    ),
)
def radiograph(request: HttpRequest, assessment_id: AssessmentId) -> HttpResponse:
    """Return the radiograph as the viewer shows it."""
    return _picture(request, assessment_id, PictureKind.RADIOGRAPH)


@api.get(
    "/assessments/{uuid:assessment_id}/heat.png",
    tags=["results"],
    summary="Fetch the heat map",
    **operation(
        {200: Good("Grey levels 1 to 255 over the whole radiograph, in a size of its own.", ("image/png",))},
        *_RESULT_CODES,
    ),
)
def heat(request: HttpRequest, assessment_id: AssessmentId) -> HttpResponse:
    """Return the heat map: how much each place raised the estimate (above 128) or lowered it (below 128).

    The strongest place has 255 or 1. None is stored of a radiograph that was read for both sexes.
    """
    return _picture(request, assessment_id, PictureKind.HEAT)


@api.get(
    "/assessments/{uuid:assessment_id}/overlay.png",
    tags=["results"],
    summary="Fetch the heat map on the radiograph",
    **operation(
        {200: Good("The radiograph with the heat map in colour, and its scale.", ("image/png",))}, *_RESULT_CODES
    ),
)
def radiograph_with_heat(request: HttpRequest, assessment_id: AssessmentId) -> HttpResponse:
    """Return a picture of at most 1,024 pixels a side, with the colour scale beside it."""
    assessment = finished_assessment(request, assessment_id)
    radiograph, levels = (
        stored_picture(assessment, PictureKind.RADIOGRAPH),
        stored_picture(assessment, PictureKind.HEAT),
    )
    if radiograph is None or levels is None:
        raise Http404
    data = encode_picture(".png", overlay(reduced(radiograph, DISPLAY_SIDE), HeatMap.from_levels(levels)))
    record_access(request, assessment, audit.Action.VIEW, form="overlay")
    return file_of(assessment, data, "image/png", "-overlay.png", is_shown=True)


@api.get(
    "/assessments/{uuid:assessment_id}/report.pdf",
    tags=["results"],
    summary="Fetch the report",
    **operation(
        {200: Good("A report to print, in the language of `Accept-Language`.", ("application/pdf",))},
        *_RESULT_CODES,
        "superseded",
    ),
)
def report(request: HttpRequest, assessment_id: AssessmentId) -> HttpResponse:
    """Return the report as a PDF."""
    assessment = current_result(request, assessment_id)
    data = report_pdf.pdf_bytes(assessment)
    record_access(request, assessment, audit.Action.EXPORT, form="pdf")
    return file_of(assessment, data, "application/pdf", ".pdf", is_shown=True)


@api.post(
    "/assessments/{uuid:assessment_id}/decision",
    tags=["results"],
    summary="Accept or correct",
    **operation(
        {200: Good("The decision is stored and now counts.", ANY_RESULT)},
        "request_malformed",
        "forbidden",
        "not_found",
        "not_decidable",
        "critical_unconfirmed",
        "superseded",
        "decision_taken",
        "too_large",
        "request_invalid",
    ),
)
def decide(request: HttpRequest, assessment_id: AssessmentId, decision: DecisionIn) -> Any:
    """Store a decision on the estimate. Decisions are added, never changed; the last one counts."""
    who = caller(request)
    assessment = assessment_or_404(assessment_id, who.user)
    reject_superseded(assessment)
    if isinstance(decision, Accept):
        verdict = decisions.DecisionInput(Verdict.ACCEPTED, confirms_critical=decision.confirm_critical)
    else:
        verdict = decisions.DecisionInput(Verdict.CORRECTED, decision.age_months, decision.reason)
    try:
        decisions.decide(assessment, verdict, who.user, via=who.token)
    except PermissionDenied as error:
        raise ApiError("decision_taken", CODES["decision_taken"].meaning) from error
    assessment.refresh_from_db()
    return Status(200, result_of(assessment))


def _picture(request: HttpRequest, assessment_id: UUID, kind: PictureKind) -> HttpResponse:
    assessment = finished_assessment(request, assessment_id)
    row = assessment.pictures.filter(kind=kind).first()
    if row is None:
        raise Http404
    record_access(request, assessment, audit.Action.VIEW, form=str(kind))
    ending = ".jpg" if row.media_type == "image/jpeg" else "-heat.png"
    return file_of(assessment, bytes(row.data), row.media_type, ending, is_shown=True)
