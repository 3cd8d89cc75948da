"""Health check for load balancers and monitors."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from boneage.web.health import condition


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Return ``status`` and ``waiting`` of `boneage.web.health.condition.Condition`; 503 unless the status is ``ok``.

    `boneage.web.processes.gate` answers in its place from the last check; other servers than ours reach this view.
    """
    status, report = condition.check().report()
    return JsonResponse(report, status=status)
