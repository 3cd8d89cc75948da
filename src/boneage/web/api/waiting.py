"""Responses that wait for an assessment to finish (long polling)."""

from __future__ import annotations

import threading
import time
from uuid import UUID

from django.db import connection
from django.http import HttpRequest, HttpResponse

from boneage.web.accounts import audit
from boneage.web.accounts.access import assessment_or_404
from boneage.web.api.access import caller
from boneage.web.api.application import record_access
from boneage.web.api.schemas import AssessmentOut
from boneage.web.models import FINAL, Assessment

LONGEST_WAIT_SECONDS = 30

WAITERS = 60
"""Number of requests that may wait at a time in one process. Further ones are answered at once, so that threads remain
for other requests."""

_POLL_SECONDS = (0.05, 0.1)
"""Seconds between two queries: during the first second, and afterwards."""

_RETRY_AFTER_SECONDS = 1

waiting_slots = threading.BoundedSemaphore(WAITERS)


def response_when_final(request: HttpRequest, assessment_id: UUID, seconds: float) -> HttpResponse:
    """Return the assessment as soon as it is final or the time is over: 200 if it is final, else 202.

    Raises:
        Http404: the assessment does not exist, or was deleted while the request waited.
    """
    _wait_until_final(assessment_id, seconds)
    assessment = assessment_or_404(assessment_id, caller(request).user)
    if assessment.is_final:
        record_access(request, assessment, audit.Action.VIEW)
    return _json_response(AssessmentOut.of(assessment), 200 if assessment.is_final else 202)


def _wait_until_final(assessment_id: UUID, seconds: float) -> None:
    """Wait until the assessment is final or deleted, or the time is over. No transaction is open meanwhile."""
    if seconds <= 0 or not waiting_slots.acquire(blocking=False):
        return
    try:
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < seconds:
            state = Assessment.objects.filter(pk=assessment_id).values_list("state", flat=True).first()
            if state is None or state in FINAL or connection.in_atomic_block:
                return
            time.sleep(min(_POLL_SECONDS[passed > 1], seconds - passed))
    finally:
        waiting_slots.release()


def _json_response(body: AssessmentOut, status: int) -> HttpResponse:
    response = HttpResponse(
        body.model_dump_json(by_alias=True, exclude_unset=True), status=status, content_type="application/json"
    )
    if status == 202:
        response.headers["Retry-After"] = str(_RETRY_AFTER_SECONDS)
    return response
