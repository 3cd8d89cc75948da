"""The condition of the service with its node: it listens, and results reach their receivers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from django.db import Error
from django.db.models import Q
from django.db.models.functions import Now

from boneage.node.address import is_in_use
from boneage.web.health import condition
from boneage.web.node.models import RENDERING_FAILED, Delivery, DeliveryState, Instance
from boneage.web.node.pacs import is_on, node_configuration

NO_LISTENER = "no_listener"
"""Status of a service whose DICOM node does not listen: not yet, or not any more."""

LONGEST_WAIT = timedelta(hours=1)
"""Time for which a result may wait for its receiver before somebody should look."""


def check() -> condition.Condition:
    """Check the database, and whether the node listens and results are dead letters or wait for long.

    This may take as long as the database needs.
    """
    present = condition.check()
    if present.status != "ok" or not is_on():
        return present
    if not _listens():
        return replace(present, status=NO_LISTENER)
    waits = Q(state__in=[DeliveryState.DUE, DeliveryState.SENDING], begun_at__lt=Now() - LONGEST_WAIT)
    try:
        is_degraded = (
            Delivery.objects.filter(Q(state=DeliveryState.DEAD) | waits).exists()
            or Instance.objects.filter(reason=RENDERING_FAILED).exists()
        )
    except Error:
        return replace(present, status="no_database")
    return replace(present, status=condition.DEGRADED) if is_degraded else present


def _listens() -> bool:
    node = node_configuration().node
    try:
        return is_in_use(node.host, node.port)
    except OSError:
        return False
