"""Operations on submitted radiographs: submit, follow, delete."""

from __future__ import annotations

from typing import Annotated, Any

from django.core.exceptions import ValidationError as FormError
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from ninja import Header, Query
from ninja.responses import Status

from boneage.web.accounts.access import assessment_or_404, client_of
from boneage.web.api.access import caller
from boneage.web.api.application import AssessmentId, api
from boneage.web.api.description import Good, operation, radiograph_body
from boneage.web.api.errors import ApiError, problem
from boneage.web.api.schemas import AssessmentOut
from boneage.web.api.waiting import LONGEST_WAIT_SECONDS, response_when_final
from boneage.web.cases import decisions, idempotency
from boneage.web.cases.forms import RadiographForm
from boneage.web.codes import SUBMISSION_CODES
from boneage.web.models import configuration

Wait = Annotated[
    float,
    Query(
        ge=0,
        le=LONGEST_WAIT_SECONDS,
        allow_inf_nan=False,
        description="Seconds to wait for the result. The service may answer 202 sooner if many requests wait.",
    ),
]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=idempotency.PATTERN,
        description="A string of your choice, new for each submission, such as a UUID. The same request with the same "
        "key within a day returns the same assessment, however often it is sent.",
    ),
]

_PROGRESS = {
    200: Good("The assessment is finished: done, rejected or failed.", AssessmentOut),
    202: Good("The radiograph is waiting or being assessed. Ask again later.", AssessmentOut),
}


@api.post(
    "/assessments",
    tags=["radiographs"],
    summary="Submit a radiograph",
    **operation(
        _PROGRESS,
        "request_malformed",
        "forbidden",
        "too_large",
        "request_invalid",
        *SUBMISSION_CODES,
        "idempotency_key_reused",
        "not_found",
        "too_many",
        "busy",
        body=radiograph_body(),
    ),
)
def submit(request: HttpRequest, wait: Wait = 0, idempotency_key: IdempotencyKey = None) -> Any:
    """Put a radiograph into the queue. A worker reads it later. A radiograph that cannot be assessed gets the state
    `rejected`, with a code.
    """
    who = caller(request)
    client = client_of(request) if configuration().is_open else ""
    owner = f"user {who.user.pk}" if who.user is not None else f"client {client}"
    key = idempotency.key_of(request, idempotency_key, owner) if idempotency_key else None
    earlier = idempotency.earlier(key, who.user) if key is not None else None
    if earlier is not None:
        return response_when_final(request, earlier.pk, wait)
    with translation.override("en"):
        form = RadiographForm(request.POST, request.FILES, user=who.user)
        del form.fields["given_age_years"]  # only the page has it: programs give the age in months
        if getattr(request, "upload_too_large", False):
            raise ApiError(
                "too_large", f"A radiograph may have at most {configuration().radiograph_bytes / 2**20:g} MiB."
            )
        if not form.is_valid():
            return _rejected(form)
        try:
            assessment = form.submit(user=who.user, client=client, via=who.token, key=key)
        except FormError as error:  # another request created the case meanwhile
            raise ApiError("case_differs", " ".join(error.messages)) from error
        except IntegrityError:
            earlier = idempotency.earlier(key, who.user) if key is not None else None
            if earlier is None:
                raise
            assessment = earlier
    return response_when_final(request, assessment.pk, wait)


@api.get(
    "/assessments/{uuid:assessment_id}",
    tags=["radiographs"],
    summary="Fetch an assessment",
    **operation(_PROGRESS, "not_found", "request_invalid"),
)
def assessment(request: HttpRequest, assessment_id: AssessmentId, wait: Wait = 0) -> Any:
    """Return the state of the assessment, and the result once it is done."""
    assessment_or_404(assessment_id, caller(request).user)
    return response_when_final(request, assessment_id, wait)


@api.delete(
    "/assessments/{uuid:assessment_id}",
    tags=["radiographs"],
    summary="Delete a radiograph",
    **operation({204: Good("The radiograph is deleted.")}, "forbidden", "not_found"),
)
def delete(request: HttpRequest, assessment_id: AssessmentId) -> Any:
    """Delete a radiograph with its result, pictures and decisions, and with the superseded results that this one
    replaced. In the mode clinic only reviewers may.
    """
    who = caller(request)
    decisions.delete_assessment(assessment_or_404(assessment_id, who.user), who.user, via=who.token)
    return Status(204, None)


def _rejected(form: RadiographForm) -> HttpResponse:
    """Return the code of the first problem of a form, with the messages of all."""
    problems = form.problems()
    messages = (f"{one['field']}: {one['message']}" if one["field"] else one["message"] for one in problems)
    return problem(problems[0]["code"], " ".join(messages))
