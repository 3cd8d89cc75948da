"""The REST API as an object: its title, its authentication, and parameters that several operations share."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from django.http import HttpRequest
from ninja import Path

import boneage
from boneage.assessment import NOTICE
from boneage.web.accounts import audit
from boneage.web.accounts.access import assessment_or_404
from boneage.web.api.access import Token, caller
from boneage.web.api.description import ServiceAPI
from boneage.web.api.errors import ApiError, handle_errors
from boneage.web.codes import CODES
from boneage.web.models import BOTH, Assessment

_DESCRIPTION = f"""Bone age from radiographs of the hand. Submit a radiograph, wait or poll for its assessment, and
fetch the result. Ages are in months. Errors always have the form `{{"code", "message"}}`; codes are stable.

{NOTICE}"""

api = ServiceAPI(
    title="boneage",
    version=boneage.__version__,
    description=_DESCRIPTION,
    urls_namespace="api",
    auth=Token(),
    docs_url="/docs",
)
handle_errors(api)

AssessmentId = Annotated[UUID, Path(description="Id of the assessment, as returned when the radiograph was submitted.")]


def finished_assessment(request: HttpRequest, assessment_id: UUID) -> Assessment:
    """Return an assessment that has a result.

    Raises:
        ApiError: ``not_finished`` or ``no_result``.
        Http404: there is none that the caller may see.
    """
    assessment = assessment_or_404(assessment_id, caller(request).user)
    if not assessment.is_final:
        raise ApiError("not_finished", CODES["not_finished"].meaning)
    if assessment.result is None:
        raise ApiError("no_result", f"{CODES['no_result'].meaning} {assessment.message} [{assessment.code}]")
    return assessment


def current_result(request: HttpRequest, assessment_id: UUID) -> Assessment:
    """Return an assessment that has a result, which no later assessment of the radiograph replaces.

    Raises:
        ApiError: ``not_finished``, ``no_result``, or ``superseded``.
        Http404: there is none that the caller may see.
    """
    assessment = finished_assessment(request, assessment_id)
    reject_superseded(assessment)
    return assessment


def reject_superseded(assessment: Assessment) -> None:
    """Reject an assessment that a later one of the radiograph replaces.

    Raises:
        ApiError: ``superseded``.
    """
    if assessment.superseded_by_id is not None:
        meaning = CODES["superseded"].meaning
        raise ApiError("superseded", f"{meaning} The present assessment is {assessment.superseded_by_id}.")


def result_by_one_sex(request: HttpRequest, assessment_id: UUID) -> Assessment:
    """Return an assessment that has a result by one sex, which no later assessment of the radiograph replaces.

    Raises:
        ApiError: ``not_finished``, ``no_result``, ``superseded``, or ``both_sexes``.
        Http404: there is none that the caller may see.
    """
    assessment = current_result(request, assessment_id)
    if assessment.sex == BOTH:
        raise ApiError("both_sexes", CODES["both_sexes"].meaning)
    return assessment


def record_access(
    request: HttpRequest, assessment: Assessment | None, action: audit.Action, **detail: str | int
) -> None:
    """Add an event to the audit log, with the user and the token of the request."""
    who = caller(request)
    audit.record(who.user, action, assessment, **detail, **who.via)
