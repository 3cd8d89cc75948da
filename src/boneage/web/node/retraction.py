"""Retraction of results that were sent and no longer hold, such as those of a radiograph that was moved.

A new result of the same kind takes the place of one that a receiver has. Where there is none, the receiver gets a
retraction: a PACS one rejection note for its objects (`boneage.dicom.rejection_note`), a FHIR server or HL7 receiver
the last message once more, marked as an error. Retractions are sent, repeated and given up like results.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

import pydicom
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone, translation
from django.utils.translation import to_language
from pydicom import Dataset
from pydicom.uid import UID

from boneage.dicom.objects import ResultObject
from boneage.dicom.rejection_note import by_study, rejection_note
from boneage.messages.fhir import retracted_transaction
from boneage.messages.hl7 import retracted_message
from boneage.node.configuration import Destination
from boneage.node.destinations import FhirServer, Hl7Receiver
from boneage.web.node import outbox
from boneage.web.node.models import Delivery, DeliveryState, Instance, ResultFile
from boneage.web.node.pacs import node_configuration
from boneage.words import gettext

_GIVEN_UP = Delivery.objects.filter(result=OuterRef("retraction"), peer=OuterRef("peer"), state=DeliveryState.GIVEN_UP)
"""Deliveries of a retraction that were given up."""


@dataclass(frozen=True, kw_only=True)
class _Made(outbox.Outgoing):
    """A retraction, with the deliveries that it concerns."""

    deliveries: Collection[int]


def retract(instance: Instance, decision: int | None, has_new: Callable[[str, Destination], bool]) -> None:
    """Make the retractions of what receivers have of an instance, in the open transaction, which has locked it.

    Args:
        instance: the instance, whose results are being made again.
        decision: number of the physician's decision that counts.
        has_new: returns whether there is a new result of a kind for a destination.
    """
    for receiver in node_configuration().receivers():
        held = held_by(receiver, instance).select_related("result")
        rows = [row for row in held if not has_new(row.result.kind, receiver)]
        for made in _retractions(receiver, rows, f"{receiver.name} revision {instance.revision}") if rows else ():
            _store(made, instance, decision, receiver)


def held_by(receiver: Destination, instance: Instance) -> QuerySet[Delivery]:
    """Return the deliveries of an instance's results that a receiver has or may have, that no longer count, and that
    are not retracted, in their order. A kind that a configuration no longer names leaves results that hold.
    """
    of_it = Delivery.objects.filter(outbox.MAY_BE_HELD, result__instance=instance, peer=receiver.name)
    of_it = of_it.exclude(outbox.COUNTS)
    return of_it.filter(Q(retraction=None) | Exists(_GIVEN_UP), ~outbox.IS_RETRACTION).order_by("pk")


def _store(made: _Made, instance: Instance, decision: int | None, receiver: Destination) -> None:
    """Store a retraction with its delivery. One that was given up by a person before is not made again."""
    if ResultFile.objects.filter(sop_instance_uid=made.sop_instance_uid).exists():
        return
    result = outbox.store(made, instance, decision, [receiver.name])
    Delivery.objects.filter(pk__in=made.deliveries).update(retraction=result)


def _retractions(receiver: Destination, rows: list[Delivery], cause: str) -> Iterator[_Made]:
    """Yield the retractions for a receiver: of objects, one for each study; of messages, that of the last one.

    Args:
        receiver: the receiver.
        rows: deliveries that it has, at least one, in their order.
        cause: name of the occasion, from which UIDs follow.
    """
    now, last = timezone.localtime(), rows[-1].result
    numbers = [row.pk for row in rows]
    uid = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'retraction of {last.sop_instance_uid} {cause}').int}"
    if isinstance(receiver, FhirServer):
        with translation.override(to_language(node_configuration().deliver.language)):
            reason = gettext("This result was sent in error. It must not be used.")
        content = json.dumps(retracted_transaction(json.loads(bytes(last.file)), now, reason), ensure_ascii=False)
        yield _Made(deliveries=numbers, kind=last.kind, sop_instance_uid=uid, file=content.encode())
    elif isinstance(receiver, Hl7Receiver):
        message = retracted_message(bytes(last.file).decode(), now)
        yield _Made(deliveries=numbers, kind=last.kind, sop_instance_uid=uid, file=message.encode())
    else:
        yield from _notes(rows, cause, now)


def _notes(rows: list[Delivery], cause: str, now: datetime) -> Iterator[_Made]:
    by_uid = {row.sent_instance_uid or row.result.sop_instance_uid: row for row in rows}
    for sent in by_study(map(_as_sent, by_uid.values())):
        note = rejection_note(sent, cause=cause, now=now)
        yield _Made(
            deliveries=[by_uid[str(one.SOPInstanceUID)].pk for one in sent],
            kind="ko",
            sop_instance_uid=str(note.SOPInstanceUID),
            file=ResultObject("ko", note).to_bytes(),
            sop_class_uid=str(note.SOPClassUID),
            study_uid=str(note.StudyInstanceUID),
            series_uid=str(note.SeriesInstanceUID),
        )


def _as_sent(row: Delivery) -> Dataset:
    """Return the object of a delivery without its pixels, with the UIDs under which it was sent."""
    sent = pydicom.dcmread(BytesIO(bytes(row.result.file)), stop_before_pixels=True)
    if row.sent_instance_uid:
        sent.SOPClassUID, sent.SOPInstanceUID = UID(row.sent_class_uid), UID(row.sent_instance_uid)
    return sent
