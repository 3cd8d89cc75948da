"""What the REST API says when it cannot do what was asked: always ``{"code", "message"}``, with a code of this list."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import Error
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from boneage.errors import BoneageError
from boneage.web import storage
from boneage.web.accounts.audit import Action, record
from boneage.web.queue import condition

log = logging.getLogger(__name__)

RETRY_SECONDS: dict[str, int] = {"busy": 30, "too_many": 600, "request_timeout": 10, **storage.RETRY_SECONDS}
"""By code: when to try again."""


@dataclass(frozen=True)
class Code:
    """A failure that the API tells.

    Attributes:
        status: of the answer.
        meaning: one English sentence for the reference.
    """

    status: HTTPStatus
    meaning: str


CODES: dict[str, Code] = {
    "request_malformed": Code(HTTPStatus.BAD_REQUEST, "The body is not what its type says, or holds too many fields."),
    "unauthenticated": Code(HTTPStatus.UNAUTHORIZED, "A token is missing, unknown, revoked or expired."),
    "forbidden": Code(HTTPStatus.FORBIDDEN, "The token's scope or its user's role does not allow this."),
    "not_found": Code(HTTPStatus.NOT_FOUND, "There is no such thing, or no longer."),
    "method_not_allowed": Code(HTTPStatus.METHOD_NOT_ALLOWED, "The address does not know this method."),
    "not_finished": Code(HTTPStatus.CONFLICT, "The radiograph is still waiting or being assessed."),
    "no_result": Code(HTTPStatus.CONFLICT, "The radiograph was rejected or its assessment failed: there is no result."),
    "decision_taken": Code(HTTPStatus.CONFLICT, "Somebody has decided already, and only reviewers decide again."),
    "too_large": Code(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The radiograph or the body has more bytes than allowed."),
    "not_decidable": Code(HTTPStatus.CONFLICT, "There is no estimate, or it is no bone age and cannot be accepted."),
    "critical_unconfirmed": Code(
        HTTPStatus.CONFLICT, "The estimate carries a critical warning: accepting it needs confirm_critical."
    ),
    "request_invalid": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "A value is missing or wrong; the message names it."),
    "radiograph_missing": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "There is no radiograph in the request."),
    "radiograph_invalid": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The radiograph is an empty file, or none."),
    "sex_missing": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The sex was not given. It is never guessed."),
    "sex_invalid": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The sex is neither F nor M."),
    "birth_date_invalid": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The date of birth is no date YYYY-MM-DD."),
    "study_date_invalid": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The date of the radiograph is no date YYYY-MM-DD."),
    "date_in_future": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "A date is in the future."),
    "study_before_birth": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The radiograph is dated before the birth."),
    "given_age_months_invalid": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The age is no number from 0 to 300 months."),
    "ages_differ": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The age differs from the dates by more than a month."),
    "too_old": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The dates are more than 25 years apart."),
    "reference_invalid": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The reference is no line of at most 64 characters."),
    "case_differs": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The case has another sex or another date of birth."),
    "note_invalid": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The note is no text of at most 2,000 characters."),
    "idempotency_key_reused": Code(
        HTTPStatus.UNPROCESSABLE_ENTITY, "Another request came with this Idempotency-Key before."
    ),
    "too_many": Code(HTTPStatus.TOO_MANY_REQUESTS, "This client has submitted too many radiographs within an hour."),
    "internal_error": Code(HTTPStatus.INTERNAL_SERVER_ERROR, "Unforeseen: a fault of the program."),
    "request_timeout": Code(HTTPStatus.REQUEST_TIMEOUT, "The request came in too slowly."),
    "busy": Code(HTTPStatus.SERVICE_UNAVAILABLE, "Too many radiographs or requests are waiting."),
    "database_busy": Code(storage.STATUS["database_busy"], "The database is locked. Nothing was changed."),
    "storage_full": Code(storage.STATUS["storage_full"], "The service has no room left. Nothing was changed."),
    "storage_read_only": Code(storage.STATUS["storage_read_only"], "The service cannot write. Nothing was changed."),
    "no_database": Code(storage.STATUS["no_database"], "The database cannot be reached. Nothing was changed."),
}
"""Every code that an answer of the API with an error's status can have. (Codes of rejected radiographs stand in the
assessment: docs/codes.md.)"""


SUBMISSION_CODES = tuple(CODES)[tuple(CODES).index("radiograph_missing") : tuple(CODES).index("note_invalid") + 1]
"""What can be wrong with a submission (`boneage.web.cases.forms.RadiographForm.problems`)."""


class ApiError(BoneageError):
    """An answer with an error's status; its code is one of `CODES`."""


def problem(code: str, message: str = "") -> HttpResponse:
    """The answer for a failure; without a message, the code's own sentence."""
    known = CODES[code]
    body = json.dumps({"code": code, "message": message or known.meaning}, ensure_ascii=False)
    response = HttpResponse(body, status=known.status, content_type="application/json")
    if code in RETRY_SECONDS:
        response.headers["Retry-After"] = str(RETRY_SECONDS[code])
    if known.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def handle_errors(api: NinjaAPI) -> None:
    """Have every exception that leaves an operation answered by `problem`."""

    def said(exception: type[Exception], answer: Callable[[Any], HttpResponse]) -> None:
        api.add_exception_handler(exception, lambda _request, error: answer(error))

    said(BoneageError, _of_ours)
    said(AuthenticationError, lambda _: problem("unauthenticated"))
    api.add_exception_handler(PermissionDenied, _forbidden)
    said(Http404, lambda _: problem("not_found"))
    said(ValidationError, lambda error: problem("request_invalid", _sentence(error)))
    said(RequestDataTooBig, lambda _: problem("too_large"))
    for malformed in (HttpError, MultiPartParserError, SuspiciousOperation, UnreadablePostError):
        said(malformed, lambda _: problem("request_malformed"))
    said(Error, _of_database)
    said(Exception, _unforeseen)


def _forbidden(request: HttpRequest, _error: Exception | type[Exception]) -> HttpResponse:
    """403; who tried it goes to the audit log."""
    who = getattr(request, "auth", None)
    if who is not None and who.user is not None:
        record(who.user, Action.DENIED, page="api", method=request.method, **who.via)
    return problem("forbidden")


def _of_ours(error: BoneageError) -> HttpResponse:
    return problem(error.code, error.message) if error.code in CODES else _unforeseen(error)


def _of_database(error: Error) -> HttpResponse:
    code = storage.code_of(error)
    if code is None:
        return _unforeseen(error)
    log.error("the database: %s", code)
    condition.note_failure(code)
    return problem(code)


def _unforeseen(error: Exception) -> HttpResponse:
    log.error("an operation of the API failed", exc_info=error)
    return problem("internal_error")


def _sentence(error: ValidationError) -> str:
    """All that is wrong with a request, by the names of its fields."""
    told = []
    for one in error.errors:
        place = ".".join(str(part) for part in one["loc"][-1:])
        told.append(f"{place}: {one['msg']}")
    return "; ".join(dict.fromkeys(told)) + "."
