"""Deletion of received instances without an assessment; those with one are deleted together with it."""

from __future__ import annotations

from datetime import timedelta

from django.db.models.functions import Now

from boneage.web.models import configuration
from boneage.web.node.models import Instance


def sweep() -> int:
    """Delete instances without an assessment that arrived before the retention period. Return their number."""
    days = configuration().retention_days
    if not days:
        return 0
    old = Instance.objects.filter(assessment=None, changed_at__lt=Now() - timedelta(days=days))
    return old.delete()[0]
