"""Whether the service can answer, for load balancers and monitors."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from boneage.web.health import condition


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """``status`` and ``waiting`` of `boneage.web.health.condition.Condition`; 503 unless the status is ``ok``.

    `boneage.web.processes.gate` answers in its place with what was found last; other servers than ours come here.
    """
    status, report = condition.look().report()
    return JsonResponse(report, status=status)
