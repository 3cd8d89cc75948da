"""Error responses of the REST API: always ``{"code", "message"}``, with a code of `CODES`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import Error
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from boneage.errors import BoneageError
from boneage.web.accounts.audit import Action, record
from boneage.web.codes import CODES, RETRY_SECONDS
from boneage.web.health import condition, storage

log = logging.getLogger(__name__)


class ApiError(BoneageError):
    """A response with an error status; its code is one of `CODES`."""


def problem(code: str, message: str = "") -> HttpResponse:
    """Return the response for a failure. The default message is the sentence of the code."""
    entry = CODES[code]
    body = json.dumps({"code": code, "message": message or entry.meaning}, ensure_ascii=False)
    response = HttpResponse(body, status=entry.status, content_type="application/json")
    if code in RETRY_SECONDS:
        response.headers["Retry-After"] = str(RETRY_SECONDS[code])
    if entry.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def handle_errors(api: NinjaAPI) -> None:
    """Answer every exception that leaves an operation with `problem`."""

    def answer_with(exception: type[Exception], answer: Callable[[Any], HttpResponse]) -> None:
        api.add_exception_handler(exception, lambda _request, error: answer(error))

    answer_with(BoneageError, _of_ours)
    answer_with(AuthenticationError, lambda _: problem("unauthenticated"))
    api.add_exception_handler(PermissionDenied, _forbidden)
    answer_with(Http404, lambda _: problem("not_found"))
    answer_with(ValidationError, lambda error: problem("request_invalid", _sentence(error)))
    answer_with(RequestDataTooBig, lambda _: problem("too_large"))
    for malformed in (HttpError, MultiPartParserError, SuspiciousOperation, UnreadablePostError):
        answer_with(malformed, lambda _: problem("request_malformed"))
    answer_with(Error, _of_database)
    answer_with(Exception, _unforeseen)


def _forbidden(request: HttpRequest, _error: Exception | type[Exception]) -> HttpResponse:
    """Return 403, and record the attempt in the audit log."""
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
    """Return all errors of a request, with the names of their fields."""
    sentences = []
    for one in error.errors:
        place = ".".join(str(part) for part in one["loc"][-1:])
        sentences.append(f"{place}: {one['msg']}")
    return "; ".join(dict.fromkeys(sentences)) + "."
