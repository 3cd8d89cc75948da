"""The condition of the service with its node: degraded while results wait in vain for somebody."""

from __future__ import annotations

from dataclasses import replace

from django.db import Error

from boneage.web.health import condition
from boneage.web.node.models import RENDERING_FAILED, Delivery, DeliveryState, Instance
from boneage.web.node.pacs import is_on


def check() -> condition.Condition:
    """Check the database, and whether there are dead letters. This may take as long as the database needs."""
    present = condition.check()
    if present.status != "ok" or not is_on():
        return present
    try:
        is_degraded = (
            Delivery.objects.filter(state=DeliveryState.DEAD).exists()
            or Instance.objects.filter(reason=RENDERING_FAILED).exists()
        )
    except Error:
        return replace(present, status="no_database")
    return replace(present, status=condition.DEGRADED) if is_degraded else present
