"""The condition of the service with its node: degraded while results do not reach a receiver."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from django.db import Error
from django.db.models import Q
from django.db.models.functions import Now

from boneage.web.health import condition
from boneage.web.node.models import RENDERING_FAILED, Delivery, DeliveryState, Instance
from boneage.web.node.pacs import is_on

LONGEST_WAIT = timedelta(hours=1)
"""Time for which a result may wait for its receiver before somebody should look."""


def check() -> condition.Condition:
    """Check the database, and whether results are dead letters or wait for long.

    This may take as long as the database needs.
    """
    present = condition.check()
    if present.status != "ok" or not is_on():
        return present
    waits = Q(state__in=[DeliveryState.DUE, DeliveryState.SENDING], begun_at__lt=Now() - LONGEST_WAIT)
    try:
        is_degraded = (
            Delivery.objects.filter(Q(state=DeliveryState.DEAD) | waits).exists()
            or Instance.objects.filter(reason=RENDERING_FAILED).exists()
        )
    except Error:
        return replace(present, status="no_database")
    return replace(present, status=condition.DEGRADED) if is_degraded else present
