"""Decisions and corrections elsewhere in the service, which need new result objects.

The change of the instance is part of the transaction that decides or corrects. A decision adds results to those before
it. Any other change of what the results state withdraws them as well: a corrected date of birth, another case, another
patient with the same radiograph, or a decision that was taken back. Those that were sent and have no successor are
retracted when the results are made again (`boneage.web.node.retraction`).
"""

from __future__ import annotations

from typing import Any

from django.db.models import F
from django.db.models.signals import post_delete, post_save
from django.utils import timezone

from boneage.web.models import Assessment, Decision
from boneage.web.node import outbox
from boneage.web.node.models import Instance, InstanceQuerySet

_STATED = frozenset(
    {"case", "result", "chronological_age_months", "chronological_age_precision", "same_radiograph_elsewhere"}
)
"""Columns of an assessment that change what its results state, besides those of a decision."""


def connect() -> None:
    """Begin to follow decisions and corrections."""
    post_save.connect(_decided, sender=Decision, dispatch_uid="boneage.web.node.following.decided")
    post_delete.connect(_taken_back, sender=Decision, dispatch_uid="boneage.web.node.following.taken_back")
    post_save.connect(_superseded, sender=Assessment, dispatch_uid="boneage.web.node.following.superseded")
    post_save.connect(_corrected, sender=Assessment, dispatch_uid="boneage.web.node.following.corrected")


def revise(instances: InstanceQuerySet) -> None:
    """Withdraw the results of instances, and make them again, since they state something else by now.

    Args:
        instances: any instances, also those whose results are not made yet.
    """
    instances.update(revision=F("revision") + 1, revised_at=timezone.now())
    outbox.withdraw(instances)
    instances.make_again()


def _decided(instance: Decision, **_: Any) -> None:
    """Make the result objects again, since a physician has decided."""
    Instance.objects.filter(assessment=instance.assessment_id).make_again()


def _taken_back(instance: Decision, **_: Any) -> None:
    """Make the result objects again, since a decision was taken back."""
    revise(Instance.objects.filter(assessment=instance.assessment_id))


def _corrected(instance: Assessment, *, created: bool, update_fields: frozenset[str] | None, **_: Any) -> None:
    """Make the result objects again if age, case or warnings changed."""
    if not created and (update_fields is None or update_fields & _STATED):
        revise(Instance.objects.filter(assessment=instance.pk))


def _superseded(instance: Assessment, update_fields: frozenset[str] | None, **_: Any) -> None:
    """Let the assessment that replaces another one count."""
    if instance.superseded_by_id is None or (update_fields is not None and "superseded_by" not in update_fields):
        return
    followed = Instance.objects.filter(assessment=instance.pk)
    followed.make_again()
    # The revision gives new UIDs to the results, also if the radiograph is read for its first sex again.
    followed.update(assessment=instance.superseded_by_id, revision=F("revision") + 1)
    outbox.withdraw(Instance.objects.filter(assessment=instance.superseded_by_id))
