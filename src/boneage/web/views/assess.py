"""Submission of radiographs: the page, a submission, its outcome in one line; and the description of the service."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as marked
from django.views.decorators.http import require_http_methods, require_safe

from boneage.atlas_index import Plate
from boneage.bundle.manifest import Manifest
from boneage.clinical.intended_use import METHOD
from boneage.clinical.references import configured_reference
from boneage.errors import BoneageError
from boneage.report.content import intended_use, reference_name
from boneage.sex import Sex
from boneage.web import installation
from boneage.web.accounts import audit
from boneage.web.accounts.access import assessment_or_404, client_of, for_role, user_of
from boneage.web.cases.forms import RadiographForm
from boneage.web.codes import CODES, RETRY_SECONDS
from boneage.web.models import Assessment, Case, Role, State, configuration
from boneage.web.queue.jobs import BusyError
from boneage.web.views.errors import wants_json

SAMPLE_YEARS = (3, 7, 11, 14)
"""Ages of the reference plates that are offered as samples, years."""

_BUSY_TEXTS = {
    "busy": marked("Too many radiographs are waiting. Please try again in a few minutes."),
    "too_many": marked(
        "This network address has submitted the maximum number of radiographs per hour. Please try again later."
    ),
}

_PAGE_TEXTS = {
    "tooLarge": marked("This file is larger than the limit of %(limit)s."),
    "empty": marked("This is an empty file or a folder."),
    "chooseSex": marked("Choose the sex: girls and boys mature at different ages."),
    "confirmSex": marked("The sex comes from the file: please confirm or change it."),
    "sending": marked("Sending …"),
    "inLine": marked("Waiting to be sent"),
    "offline": marked("The service cannot be reached. Trying again …"),
    "notSent": marked("The service could not be reached. Nothing was sent."),
    "failed": marked("The service could not accept this radiograph. Please try again."),
    "loggedOut": marked("You have been logged out. Reload this page to log in."),
    "gone": marked("This result has expired or was deleted."),
    "noPlate": marked("This reference plate could not be loaded."),
    "added": marked("%(name)s was added."),
    "removed": marked("%(name)s was removed."),
    "remove": marked("Remove %(name)s"),
    "kB": marked("%(size)s kB"),
    "MB": marked("%(size)s MB"),
}
"""Texts of `assess.js`."""


class _SeeOther(HttpResponseRedirect):
    """Redirect after a form, so that reloading the page sends nothing twice."""

    status_code = 303


@for_role(Role.READER, in_open=True)
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Show the submission page; ``?case=<id>`` fills in the data of a case."""
    return _page(request, RadiographForm(auto_id="plain-%s", initial=_case_in_address(request), user=user_of(request)))


@for_role(Role.READER, in_open=True)
@require_http_methods(["GET", "HEAD", "POST"])
def submit(request: HttpRequest) -> HttpResponse:
    """Accept one radiograph. Programs get JSON: 201 and addresses, or code, message and all problems of the form."""
    if request.method != "POST":  # after a login
        return redirect("home")
    form = RadiographForm(request.POST, request.FILES, auto_id="plain-%s", user=user_of(request))
    if getattr(request, "upload_too_large", False):
        form.reject_too_large()
    assessment = _submitted(form, request) if form.is_valid() else None
    if assessment is None:
        return _rejected(request, form)
    address = reverse("result", args=[assessment.pk])
    if not wants_json(request):
        return _SeeOther(address)
    body = {"id": str(assessment.pk), "result": address, "row": reverse("row", args=[assessment.pk])}
    return JsonResponse(body, status=201)


def _submitted(form: RadiographForm, request: HttpRequest) -> Assessment | None:
    """Return the queued radiograph; None if it was not accepted, with the reason in the form."""
    user = user_of(request)
    try:
        return form.submit(user=user, client=client_of(request) if configuration().is_open else "")
    except BusyError as busy:
        form.add_error(None, ValidationError(gettext(_BUSY_TEXTS[busy.code]), busy.code))
    except ValidationError as error:
        form.add_error("reference", error)
    return None


def _rejected(request: HttpRequest, form: RadiographForm) -> HttpResponse:
    problems = form.problems()
    code = problems[0]["code"]
    status = CODES[code].status if code in CODES else HTTPStatus.UNPROCESSABLE_ENTITY
    if wants_json(request):
        body = {"code": code, "message": problems[0]["message"], "problems": problems}
        response: HttpResponse = JsonResponse(body, status=status)
    else:
        response = _page(request, form, status=status)
    if code in RETRY_SECONDS:
        response.headers["Retry-After"] = str(RETRY_SECONDS[code])
    return response


@for_role(Role.READER, in_open=True)
@require_safe
def row(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Return the outcome of a radiograph so far, as a part of the page."""
    assessment = assessment_or_404(pk, user_of(request))
    if assessment.state == State.DONE:
        audit.record(user_of(request), audit.Action.VIEW, assessment, page="row")
    return render(request, "web/_submission.html", {"assessment": assessment})


def _page(request: HttpRequest, form: RadiographForm, status: int = 200) -> HttpResponse:
    limits = configuration()
    settings = {
        "limit": limits.radiograph_bytes,
        "keep": limits.is_open,
        "texts": {name: gettext(text) for name, text in _PAGE_TEXTS.items()},
    }
    context = {
        "form": form,
        "row_form": RadiographForm(
            auto_id="radiograph-0-%s", initial=form.initial, use_required_attribute=False, user=user_of(request)
        ),
        "page_settings": settings,
        "radiograph_bytes": limits.radiograph_bytes,
        "open_hourly": limits.open_hourly,
        "retention_days": limits.retention_days,
        "samples": _samples(),
    }
    return render(request, "web/home.html", context, status=status)


def _case_in_address(request: HttpRequest) -> dict[str, Any]:
    """Return the data of the case in the address, by the form's fields; nothing in the mode ``open``."""
    if configuration().is_open or "case" not in request.GET:
        return {}
    try:
        case = Case.objects.visible_to(user_of(request)).filter(pk=UUID(request.GET["case"])).first()
    except ValueError:
        return {}
    if case is None:
        return {}
    audit.record(user_of(request), audit.Action.VIEW, case, page="home")
    return {"reference": case.reference, "sex": case.sex, "birth_date": case.birth_date, "department": case.department}


def _samples() -> list[tuple[Sex, list[Plate]]]:
    """Return some plates of each sex; none if the atlas has none."""
    try:
        plates = installation.atlas()
    except BoneageError:
        return []
    chosen = []
    for sex in Sex:
        if plates.for_sex(sex):
            nearest = {plate.key: plate for plate in (plates.nearest_by_age(sex, 12 * y) for y in SAMPLE_YEARS)}
            chosen.append((sex, list(nearest.values())))
    return chosen


@require_safe
def about(request: HttpRequest) -> HttpResponse:
    """Describe the service: its accuracy, limitations and data storage."""
    manifest = _manifest()
    metrics = manifest.metrics if manifest else {}
    context = {
        "manifest": manifest,
        "method": METHOD,
        "reference": reference_name(configured_reference()),
        "intended_use": intended_use(),
        "metrics": metrics,
        "coverage": 100 * metrics.get("interval_coverage", 0),
        "api_docs": _api_docs(),
        "retention_days": configuration().retention_days,
    }
    return render(request, "web/about.html", context)


def _manifest() -> Manifest | None:
    """Return the manifest of the model bundle; None if it cannot be opened."""
    try:
        return installation.bundle().manifest
    except BoneageError:
        return None


def _api_docs() -> str:
    """Return the address of the API's documentation; empty if it is not served."""
    try:
        return reverse("api:openapi-view")
    except NoReverseMatch:
        return ""
