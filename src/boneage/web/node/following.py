"""Decisions and corrections elsewhere in the service, which need new result objects.

The change of the instance is part of the transaction that decides or corrects.
"""

from __future__ import annotations

from typing import Any

from django.db.models import F
from django.db.models.signals import post_delete, post_save

from boneage.web.models import Assessment, Decision
from boneage.web.node.models import Instance, InstanceState


def connect() -> None:
    """Begin to follow decisions and corrections."""
    for signal in (post_save, post_delete):
        signal.connect(_decided, sender=Decision, dispatch_uid="boneage.web.node.following.decided")
    post_save.connect(_superseded, sender=Assessment, dispatch_uid="boneage.web.node.following.superseded")


def _decided(instance: Decision, **_: Any) -> None:
    """Make the result objects again, since a physician has decided or taken a decision back."""
    _make_again(Instance.objects.filter(assessment=instance.assessment_id))


def _superseded(instance: Assessment, update_fields: frozenset[str] | None, **_: Any) -> None:
    """Let the assessment that replaces another one count."""
    if instance.superseded_by_id is None or (update_fields is not None and "superseded_by" not in update_fields):
        return
    followed = Instance.objects.filter(assessment=instance.pk)
    _make_again(followed)
    followed.update(assessment=instance.superseded_by_id)


def _make_again(instances: Any) -> None:
    states = (InstanceState.QUEUED, InstanceState.RENDERED)
    # The attempt rises, so that a rendering that is under way no longer counts.
    instances.filter(state__in=states).update(
        state=InstanceState.QUEUED, attempt=F("attempt") + 1, failures=0, worker="", lease_until=None
    )
