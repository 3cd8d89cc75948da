"""The REST API: submit, wait or poll, fetch what was found, decide, delete. `docs/api.md` shows it in use.

Answers with an error's status are always ``{"code", "message"}`` (`boneage.web.api.errors`).
"""

from __future__ import annotations

import threading
import time
import unicodedata
import warnings
from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.core.exceptions import ValidationError as FormError
from django.db import IntegrityError, connection
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import translation
from ninja import Header, Path, Query
from ninja.responses import Status

import boneage
from boneage.assessment import NOTICE
from boneage.atlas import Atlas as ReferenceAtlas
from boneage.errors import AtlasError
from boneage.explain import DISPLAY_SIDE, encode_picture, overlay
from boneage.web import installation
from boneage.web.accounts import audit
from boneage.web.accounts.access import assessment_or_404, assessments, client_of
from boneage.web.api.access import Token, caller
from boneage.web.api.description import Good, ServiceAPI, radiograph_body, told
from boneage.web.api.errors import CODES, SUBMISSION_CODES, ApiError, handle_errors, problem
from boneage.web.api.schemas import (
    Accept,
    AssessmentOut,
    Atlas,
    BundleOut,
    DecisionIn,
    Limits,
    Plate,
    Result,
    Row,
    Rows,
    Search,
    Service,
    StateName,
)
from boneage.web.cases import decisions, idempotency
from boneage.web.cases.forms import RadiographForm
from boneage.web.models import FINAL, Assessment, PictureKind, Verdict, configuration
from boneage.web.queue.pictures import heat_of, reduced, stored_picture
from boneage.web.report import pdf as report_pdf
from boneage.web.report.downloads import file_of

LONGEST_WAIT_SECONDS = 30

WAITERS = 60
"""So many requests wait at a time in one process; others are answered at once, so that threads are left for them."""

_POLL_SECONDS = (0.05, 0.1)
"""Between two looks: at first, and after a second."""

_ASK_AGAIN_SECONDS = 1

_waiters = threading.BoundedSemaphore(WAITERS)

_DESCRIPTION = f"""Bone age from radiographs of the hand. Submit a radiograph, wait for the answer or ask again, fetch
what was found. Ages are in months. Errors are always `{{"code", "message"}}`; codes are stable.

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

AssessmentId = Annotated[
    UUID, Path(description="Of the assessment, as it was answered when the radiograph was submitted.")
]
Wait = Annotated[
    float,
    Query(
        ge=0,
        le=LONGEST_WAIT_SECONDS,
        allow_inf_nan=False,
        description="So many seconds to wait for the answer. The service may answer 202 sooner, if many wait.",
    ),
]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=idempotency.PATTERN,
        description="A string of your own, new for each submission, such as a UUID. The same request with the same key "
        "within a day gets the same assessment, however often it is sent.",
    ),
]

_RESULT_CODES = ("not_found", "not_finished", "no_result")
_WAITED = {
    200: Good("It is finished: done, rejected or failed.", AssessmentOut),
    202: Good("It is still waiting or being assessed. Ask again.", AssessmentOut),
}


# --- radiographs
# ------------------------------------------------------------------------------------------------------------


@api.post(
    "/assessments",
    tags=["radiographs"],
    summary="Submit a radiograph",
    **told(
        _WAITED,
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
    """Put a radiograph into the queue. A worker reads it: what is wrong with the radiograph itself is told by the state
    `rejected`, with a code.
    """
    who = caller(request)
    client = client_of(request) if configuration().is_open else ""
    owner = f"user {who.user.pk}" if who.user is not None else f"client {client}"
    key = idempotency.key_of(request, idempotency_key, owner) if idempotency_key else None
    earlier = idempotency.earlier(key) if key is not None else None
    if earlier is not None:
        return _waited(request, earlier.pk, wait)
    with translation.override("en"):
        form = RadiographForm(request.POST, request.FILES)
        del form.fields["given_age_years"]  # the page's: programs give the age in months
        if getattr(request, "upload_too_large", False):
            raise ApiError(
                "too_large", f"A radiograph may have at most {configuration().radiograph_bytes / 2**20:g} MiB."
            )
        if not form.is_valid():
            return _rejected(form)
        try:
            assessment = form.submit(user=who.user, client=client, via=who.token, key=key)
        except FormError as error:  # the case was made in between
            raise ApiError("case_differs", " ".join(error.messages)) from error
        except IntegrityError:
            earlier = idempotency.earlier(key) if key is not None else None
            if earlier is None:
                raise
            assessment = earlier
    return _waited(request, assessment.pk, wait)


@api.get(
    "/assessments/{uuid:assessment_id}",
    tags=["radiographs"],
    summary="Ask how a radiograph stands",
    **told(_WAITED, "not_found", "request_invalid"),
)
def assessment(request: HttpRequest, assessment_id: AssessmentId, wait: Wait = 0) -> Any:
    """Where it stands, and the result once it is done."""
    assessment_or_404(assessment_id)
    return _waited(request, assessment_id, wait)


@api.delete(
    "/assessments/{uuid:assessment_id}",
    tags=["radiographs"],
    summary="Delete a radiograph",
    **told({204: Good("It is deleted.")}, "forbidden", "not_found"),
)
def delete(request: HttpRequest, assessment_id: AssessmentId) -> Any:
    """Delete the radiograph, its answer, pictures and decisions. In the mode clinic only reviewers may."""
    who = caller(request)
    decisions.delete_assessment(assessment_or_404(assessment_id), who.user, via=who.token)
    return Status(204, None)


# --- what was found ---------------------------------------------------------------------------------------------------


@api.get(
    "/assessments/{uuid:assessment_id}/result",
    tags=["results"],
    summary="Fetch the result",
    **told({200: Good("All that was found.", Result)}, *_RESULT_CODES),
)
def result(request: HttpRequest, assessment_id: AssessmentId) -> Any:
    """The bone age with its spread, warnings and regions, the hand, plates to compare with, and the decision."""
    found = _done(assessment_id)
    _seen(request, found, audit.Action.EXPORT, form="json")
    return Status(200, Result.of(found))


@api.get(
    "/assessments/{uuid:assessment_id}/radiograph.jpg",
    tags=["results"],
    summary="Fetch the radiograph",
    **told(
        {200: Good("The radiograph, 8 bit, bone bright, at most 4,096 pixels a side.", ("image/jpeg",))}, *_RESULT_CODES
    ),
)
def radiograph(request: HttpRequest, assessment_id: AssessmentId) -> HttpResponse:
    """The radiograph as the network's reader sees it, for a viewer."""
    return _picture(request, assessment_id, PictureKind.RADIOGRAPH)


@api.get(
    "/assessments/{uuid:assessment_id}/heat.png",
    tags=["results"],
    summary="Fetch the heat map",
    **told(
        {200: Good("Grey levels 0 to 255 over the whole radiograph, at a size of its own.", ("image/png",))},
        *_RESULT_CODES,
    ),
)
def heat(request: HttpRequest, assessment_id: AssessmentId) -> HttpResponse:
    """Where the radiograph moved the estimate; 255 is the strongest place."""
    return _picture(request, assessment_id, PictureKind.HEAT)


@api.get(
    "/assessments/{uuid:assessment_id}/overlay.png",
    tags=["results"],
    summary="Fetch the heat map on the radiograph",
    **told({200: Good("The radiograph with the heat map in colour, and its scale.", ("image/png",))}, *_RESULT_CODES),
)
def radiograph_with_heat(request: HttpRequest, assessment_id: AssessmentId) -> HttpResponse:
    """A picture of at most 1,024 pixels a side, with the colour scale beside it."""
    found = _done(assessment_id)
    radiograph, levels = stored_picture(found, PictureKind.RADIOGRAPH), stored_picture(found, PictureKind.HEAT)
    if radiograph is None or levels is None:
        raise Http404
    data = encode_picture(".png", overlay(reduced(radiograph, DISPLAY_SIDE), heat_of(levels)))
    _seen(request, found, audit.Action.VIEW, form="overlay")
    return file_of(found, data, "image/png", "-overlay.png", is_shown=True)


@api.get(
    "/assessments/{uuid:assessment_id}/report.pdf",
    tags=["results"],
    summary="Fetch the report",
    **told(
        {200: Good("A report to print, in the language of `Accept-Language`.", ("application/pdf",))}, *_RESULT_CODES
    ),
)
def report(request: HttpRequest, assessment_id: AssessmentId) -> HttpResponse:
    """The page that is kept or handed on."""
    found = _done(assessment_id)
    data = report_pdf.pdf_bytes(found)
    _seen(request, found, audit.Action.EXPORT, form="pdf")
    return file_of(found, data, "application/pdf", ".pdf", is_shown=True)


@api.post(
    "/assessments/{uuid:assessment_id}/decision",
    tags=["results"],
    summary="Accept or correct",
    **told(
        {200: Good("It is written down, and counts.", Result)},
        "request_malformed",
        "forbidden",
        "not_found",
        "not_decidable",
        "critical_unconfirmed",
        "decision_taken",
        "too_large",
        "request_invalid",
    ),
)
def decide(request: HttpRequest, assessment_id: AssessmentId, decision: DecisionIn) -> Any:
    """What a physician says to the estimate. Decisions are added, never changed; the last one counts."""
    who, found = caller(request), assessment_or_404(assessment_id)
    if isinstance(decision, Accept):
        said = decisions.DecisionInput(Verdict.ACCEPTED, confirms_critical=decision.confirm_critical)
    else:
        said = decisions.DecisionInput(Verdict.CORRECTED, decision.age_months, decision.reason)
    try:
        decisions.decide(found, said, who.user, via=who.token)
    except PermissionDenied as error:
        raise ApiError("decision_taken", CODES["decision_taken"].meaning) from error
    found.refresh_from_db()
    return Status(200, Result.of(found))


# --- the list ---------------------------------------------------------------------------------------------------------


@api.get(
    "/assessments",
    tags=["list"],
    summary="List radiographs",
    **told({200: Good("A page of the list.", Rows)}, "request_invalid", clinic_only=True),
)
def listed(
    request: HttpRequest,
    state: Annotated[StateName | None, Query(description="Only those in this state.")] = None,
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Any:
    """All radiographs, newest first."""
    if configuration().is_open:
        return _not_allowed("/assessments")
    return _listed(request, Search(states=[state] if state else [], page=page, page_size=page_size))


@api.post(
    "/assessments/search",
    tags=["list"],
    summary="Search radiographs",
    **told(
        {200: Good("A page of what was found.", Rows)},
        "request_malformed",
        "too_large",
        "request_invalid",
        clinic_only=True,
    ),
)
def search(request: HttpRequest, asked: Search) -> Any:
    """The same, narrowed. A patient's reference stands in the body, for addresses are logged on their way."""
    return _listed(request, asked)


# --- the atlas and the service ----------------------------------------------------------------------------------------


@api.get(
    "/atlas",
    tags=["atlas"],
    summary="List the reference plates",
    **told({200: Good("All plates.", Atlas)}, "not_found"),
)
def atlas(request: HttpRequest) -> Any:
    """The plates to compare with, girls first, by age."""
    opened = _plates()
    plates = [
        Plate(
            key=plate.key,
            sex=plate.sex.value,
            age_months=plate.age_months,
            count=plate.count,
            picture=reverse("api:plate", kwargs={"key": plate.key}),
        )
        for plate in opened.plates
    ]
    return Status(200, Atlas(name=opened.name, title=opened.title, plates=plates))


@api.get(
    "/atlas/{key}",
    tags=["atlas"],
    summary="Fetch a reference plate",
    url_name="plate",
    **told({200: Good("Its picture.", ("image/png", "image/jpeg", "image/webp"))}, "not_found"),
)
def plate(request: HttpRequest, key: Annotated[str, Path(description="Of the plate.")]) -> HttpResponse:
    """A plate's picture."""
    opened = _plates()
    try:
        data, media_type = opened.picture_bytes(opened.plate(key))
    except AtlasError as error:
        raise Http404 from error
    return HttpResponse(data, content_type=media_type)


@api.get("/service", tags=["service"], summary="What this service is", **told({200: Good("It.", Service)}, public=True))
def service(request: HttpRequest) -> Any:
    """Version, networks, mode and limits. No token is needed."""
    limits, manifest = configuration(), installation.bundle().manifest
    said = Service(
        version=boneage.__version__,
        mode=limits.mode,
        bundle=BundleOut(
            name=manifest.name,
            version=manifest.version,
            title=manifest.title,
            typical_error_months=manifest.metrics.get("mad_months"),
        ),
        atlas=_atlas_name(),
        limits=Limits(
            radiograph_bytes=limits.radiograph_bytes,
            waiting_radiographs=limits.waiting,
            radiographs_an_hour=(limits.open_hourly or None) if limits.is_open else None,
            wait_seconds=LONGEST_WAIT_SECONDS,
            kept_minutes=limits.open_minutes if limits.is_open else None,
        ),
        notice=NOTICE,
    )
    return Status(200, said)


# --- parts ------------------------------------------------------------------------------------------------------------


def _rejected(form: RadiographForm) -> HttpResponse:
    """The first problem of a form gives the code, the message tells all."""
    problems = form.problems()
    told_all = " ".join(f"{one['field']}: {one['message']}" if one["field"] else one["message"] for one in problems)
    return problem(problems[0]["code"], told_all)


def _waited(request: HttpRequest, assessment_id: UUID, seconds: float) -> HttpResponse:
    """How an assessment stands as soon as it is finished, or when the time is over."""
    _wait(assessment_id, seconds)
    found = assessment_or_404(assessment_id)
    if found.is_final:
        _seen(request, found, audit.Action.VIEW)
    return _json(AssessmentOut.of(found), 200 if found.is_final else 202)


def _wait(assessment_id: UUID, seconds: float) -> None:
    """Until it is finished or gone, or the time is over. No transaction is open meanwhile."""
    if seconds <= 0 or not _waiters.acquire(blocking=False):
        return
    try:
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < seconds:
            state = Assessment.objects.filter(pk=assessment_id).values_list("state", flat=True).first()
            if state is None or state in FINAL or connection.in_atomic_block:
                return
            time.sleep(min(_POLL_SECONDS[passed > 1], seconds - passed))
    finally:
        _waiters.release()


def _json(said: AssessmentOut, status: int) -> HttpResponse:
    response = HttpResponse(
        said.model_dump_json(by_alias=True, exclude_unset=True), status=status, content_type="application/json"
    )
    if status == 202:
        response.headers["Retry-After"] = str(_ASK_AGAIN_SECONDS)
    return response


def _done(assessment_id: UUID) -> Assessment:
    """One that has a result.

    Raises:
        ApiError: ``not_finished``, ``no_result``.
        Http404: there is none.
    """
    found = assessment_or_404(assessment_id)
    if not found.is_final:
        raise ApiError("not_finished", CODES["not_finished"].meaning)
    if found.result is None:
        raise ApiError("no_result", f"{CODES['no_result'].meaning} {found.message} [{found.code}]")
    return found


def _seen(request: HttpRequest, found: Assessment | None, action: audit.Action, **detail: str | int) -> None:
    """Into the audit log."""
    who = caller(request)
    audit.record(who.user, action, found, **detail, **who.via)


def _picture(request: HttpRequest, assessment_id: UUID, kind: PictureKind) -> HttpResponse:
    found = _done(assessment_id)
    row = found.pictures.filter(kind=kind).first()
    if row is None:
        raise Http404
    _seen(request, found, audit.Action.VIEW, form=str(kind))
    ending = ".jpg" if row.media_type == "image/jpeg" else "-heat.png"
    return file_of(found, bytes(row.data), row.media_type, ending, is_shown=True)


def _listed(request: HttpRequest, asked: Search) -> Any:
    if configuration().is_open:
        raise Http404
    found = assessments().select_related("case").defer("result", "note").order_by("-submitted_at", "pk")
    if asked.reference is not None:
        found = found.filter(case__reference=unicodedata.normalize("NFC", asked.reference))
    if asked.states:
        found = found.filter(state__in=asked.states)
    if asked.decided is not None:
        found = found.exclude(decision="") if asked.decided else found.filter(decision="")
    first = (asked.page - 1) * asked.page_size
    rows = [Row.model_validate(Row.values_of(one)) for one in found[first : first + asked.page_size]]
    _seen(request, None, audit.Action.VIEW, form="list", count=len(rows))
    return Status(200, Rows(items=rows, total=found.count(), page=asked.page, page_size=asked.page_size))


def _plates() -> ReferenceAtlas:
    try:
        return installation.atlas()
    except AtlasError as error:
        raise Http404 from error


def _atlas_name() -> str | None:
    try:
        return installation.atlas().name
    except AtlasError:
        return None


# --- what no operation answers ----------------------------------------------------------------------------------------

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


def _answer_the_rest() -> None:
    """JSON also for methods and addresses that there are not."""
    for path in list(api.default_router.path_operations):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Field\(s\)")  # what stands in the address does not matter here
            api.api_operation(_METHODS, path, auth=None, include_in_schema=False)(_rejecting(path))
    api.api_operation(_METHODS, "/{path:rest}", auth=None, include_in_schema=False)(_unknown)


def _rejecting(path: str) -> Callable[[HttpRequest], HttpResponse]:
    def not_allowed(request: HttpRequest) -> HttpResponse:
        return _not_allowed(path)

    return not_allowed


def _not_allowed(path: str) -> HttpResponse:
    operations = api.default_router.path_operations[path].operations
    known = [operation for operation in operations if operation.include_in_schema and api.has(operation)]
    if not known:
        return problem("not_found")
    response = problem("method_not_allowed")
    response.headers["Allow"] = ", ".join(sorted(method for operation in known for method in operation.methods))
    return response


def _unknown(request: HttpRequest, rest: str) -> HttpResponse:
    return problem("not_found")


_answer_the_rest()
