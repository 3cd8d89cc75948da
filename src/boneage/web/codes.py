"""Error codes of the service with their HTTP status, used by the pages and by the REST API."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from boneage.web.health import storage

RETRY_SECONDS: dict[str, int] = {"busy": 30, "too_many": 600, "request_timeout": 10, **storage.RETRY_SECONDS}
"""Seconds after which a client may try again, by code."""


@dataclass(frozen=True)
class Code:
    """A failure that a client can meet.

    Attributes:
        status: status of the response.
        meaning: one English sentence for the API reference.
    """

    status: HTTPStatus
    meaning: str


CODES: dict[str, Code] = {
    "request_malformed": Code(
        HTTPStatus.BAD_REQUEST, "The body does not match its content type, or has too many fields."
    ),
    "unauthenticated": Code(HTTPStatus.UNAUTHORIZED, "A token is missing, unknown, revoked or expired."),
    "forbidden": Code(HTTPStatus.FORBIDDEN, "The token's scope or its user's role does not allow this."),
    "not_found": Code(HTTPStatus.NOT_FOUND, "The object does not exist, or no longer exists."),
    "method_not_allowed": Code(HTTPStatus.METHOD_NOT_ALLOWED, "The address does not support this method."),
    "not_finished": Code(HTTPStatus.CONFLICT, "The radiograph is still waiting or being assessed."),
    "no_result": Code(HTTPStatus.CONFLICT, "The radiograph was rejected or its assessment failed: there is no result."),
    "both_sexes": Code(
        HTTPStatus.CONFLICT, "The radiograph was read for both sexes: there is no message until it is assessed for one."
    ),
    "superseded": Code(
        HTTPStatus.CONFLICT, "The radiograph was assessed again: this result is superseded, and counts nowhere."
    ),
    "decision_taken": Code(HTTPStatus.CONFLICT, "A decision exists, and only reviewers may change it."),
    "too_large": Code(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The radiograph or the body has more bytes than allowed."),
    "not_decidable": Code(
        HTTPStatus.CONFLICT, "There is no estimate, or the estimate is not a bone age and cannot be accepted."
    ),
    "critical_unconfirmed": Code(
        HTTPStatus.CONFLICT, "The estimate carries a critical warning: accepting it needs confirm_critical."
    ),
    "request_invalid": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "A value is missing or wrong; the message names it."),
    "radiograph_missing": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "There is no radiograph in the request."),
    "radiograph_invalid": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The radiograph is empty or is not a file."),
    "sex_missing": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The sex was not given. It is never guessed."),
    "sex_invalid": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The sex is none of F, M and both."),
    "birth_date_invalid": Code(
        HTTPStatus.UNPROCESSABLE_ENTITY, "The date of birth is not a date in the form YYYY-MM-DD."
    ),
    "study_date_invalid": Code(
        HTTPStatus.UNPROCESSABLE_ENTITY, "The date of the radiograph is not a date in the form YYYY-MM-DD."
    ),
    "date_in_future": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "A date is in the future."),
    "study_before_birth": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The radiograph is dated before the birth."),
    "given_age_months_invalid": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The age is not a number from 0 to 300 months."),
    "ages_differ": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The age differs from the dates by more than a month."),
    "too_old": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The dates are more than 25 years apart."),
    "reference_invalid": Code(
        HTTPStatus.UNPROCESSABLE_ENTITY, "The reference is not a single line of at most 64 characters."
    ),
    "department_missing": Code(
        HTTPStatus.UNPROCESSABLE_ENTITY, "The user belongs to several departments, and none was given."
    ),
    "department_invalid": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The department is none of the user's."),
    "case_differs": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The case has another sex or another date of birth."),
    "note_invalid": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The note is not text of at most 2,000 characters."),
    "measurement_invalid": Code(
        HTTPStatus.UNPROCESSABLE_ENTITY, "A measurement cannot be right; the message names it and the reason."
    ),
    "idempotency_key_reused": Code(
        HTTPStatus.UNPROCESSABLE_ENTITY, "This Idempotency-Key was used before with another request."
    ),
    "too_many": Code(HTTPStatus.TOO_MANY_REQUESTS, "This client has submitted too many radiographs within an hour."),
    "internal_error": Code(HTTPStatus.INTERNAL_SERVER_ERROR, "An internal error occurred."),
    "request_timeout": Code(HTTPStatus.REQUEST_TIMEOUT, "The request arrived too slowly."),
    "busy": Code(HTTPStatus.SERVICE_UNAVAILABLE, "Too many radiographs or requests are waiting."),
    "database_busy": Code(storage.STATUS["database_busy"], "The database is locked. Nothing was changed."),
    "storage_full": Code(storage.STATUS["storage_full"], "The storage is full. Nothing was changed."),
    "storage_read_only": Code(storage.STATUS["storage_read_only"], "The storage is read-only. Nothing was changed."),
    "no_database": Code(storage.STATUS["no_database"], "The database cannot be reached. Nothing was changed."),
}
"""Every code of a response with an error status. The codes of rejected radiographs are part of the assessment
(docs/codes.md)."""

SUBMISSION_CODES = tuple(CODES)[tuple(CODES).index("radiograph_missing") : tuple(CODES).index("note_invalid") + 1]
"""Codes of invalid submissions (`boneage.web.cases.forms.RadiographForm.problems`)."""
