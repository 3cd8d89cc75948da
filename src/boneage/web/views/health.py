"""Health checks and metrics for load balancers and monitors.

`boneage.web.processes.gate` answers in their place, whatever host a request names; other servers than ours reach these
views.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from boneage.web.node import condition
from boneage.web.node import metrics as node_metrics


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Return ``status`` and ``waiting`` of `boneage.web.health.condition.Condition`; 503 if the service cannot work."""
    status, report = condition.check().report()
    return JsonResponse(report, status=status)


@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """Return 200: the process answers."""
    return JsonResponse({"status": "ok"})


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics in the text format of Prometheus."""
    return HttpResponse(node_metrics.text(), content_type=node_metrics.CONTENT_TYPE)
