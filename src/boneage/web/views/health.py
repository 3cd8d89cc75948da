"""Whether the service can answer, for load balancers and monitors."""

from __future__ import annotations

import logging

from django.db import Error
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from boneage.web.jobs import waiting

log = logging.getLogger(__name__)


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """``status`` is ``ok`` and ``waiting`` the films that wait or are being assessed; 503 without a database."""
    try:
        return JsonResponse({"status": "ok", "waiting": waiting()})
    except Error as error:
        log.error("the database does not answer: %s", type(error).__name__)
        return JsonResponse({"status": "no_database", "waiting": None}, status=503)
