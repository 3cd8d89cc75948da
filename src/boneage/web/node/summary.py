"""Summaries of the node for pages: where the results of a radiograph went, who asks for the sex, and what is wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from django.db.models import Count, Max, Min, Q
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext

from boneage.node.configuration import Destination
from boneage.web import texts
from boneage.web.models import Assessment
from boneage.web.node.models import (
    RENDERING_FAILED,
    Contact,
    Delivery,
    DeliveryState,
    Instance,
    InstanceState,
    Tally,
)
from boneage.web.node.pacs import is_on, node_configuration
from boneage.web.node.patients import reference_of
from boneage.web.node.tallies import RECEIVED, SKIPPED

LONGEST_LIST = 50
"""Largest number of rows of a list on a page."""


class Whereabouts(StrEnum):
    """Where the results of a radiograph are, the worst first."""

    NOT_DELIVERED = "failed"
    WAITING = "waiting"
    DELIVERED = "done"


@dataclass(frozen=True)
class DeliveryLine:
    """The line of a radiograph about its results.

    Attributes:
        whereabouts: gives the colour.
        text: the line.
    """

    whereabouts: Whereabouts
    text: str


def delivery_lines(assessments: Collection[UUID]) -> dict[UUID, DeliveryLine]:
    """Return where the results of assessments are, by id; nothing for those without a delivery.

    Args:
        assessments: ids of assessments.
    """
    if not is_on():
        return {}
    of_them = Delivery.objects.filter(result__assessment__in=assessments).exclude(state=DeliveryState.GIVEN_UP)
    under_way = Q(state__in=[DeliveryState.DUE, DeliveryState.SENDING])
    rows = of_them.values_list("result__assessment").annotate(
        dead=Count("pk", filter=Q(state=DeliveryState.DEAD)),
        waiting=Count("pk", filter=under_way),
        stored=Max("stored_at"),
    )
    return {key: _line(dead, waiting, stored) for key, dead, waiting, stored in rows}


def _line(dead: int, waiting: int, stored: datetime | None) -> DeliveryLine:
    if dead:
        return DeliveryLine(Whereabouts.NOT_DELIVERED, gettext("not delivered"))
    if waiting or stored is None:
        return DeliveryLine(Whereabouts.WAITING, gettext("waits for the PACS"))
    return DeliveryLine(Whereabouts.DELIVERED, gettext("in PACS at %(time)s") % {"time": _time(stored)})


def _time(moment: datetime) -> str:
    """Return the time of today, or date and time."""
    local = timezone.localtime(moment)
    return date_format(local, "H:i") if local.date() == timezone.localdate() else texts.moment(moment)


def asking_for_sex() -> list[Instance]:
    """Return the radiographs that ask for the sex, the oldest first; at most `LONGEST_LIST`."""
    if not is_on():
        return []
    return list(
        Instance.objects.filter(state=InstanceState.NEEDS_SEX).defer("file").order_by("received_at")[:LONGEST_LIST]
    )


def notes(assessment: Assessment) -> list[str]:
    """Return sentences about a radiograph of the PACS that contradicts its case, or came several times.

    Args:
        assessment: any; there is nothing to say about one that did not come from a PACS.
    """
    instance = assessment.instances.defer("file").first()
    if instance is None:
        return []
    sentences = []
    case, reference = assessment.case, reference_of(instance.patient_id, instance.issuer)
    if case is not None and reference and case.reference != reference:
        sentences.append(
            gettext("The patient in the file (%(reference)s) is not the patient of this case.")
            % {"reference": reference}
        )
    birth_date = instance.header.birth_date
    if case is not None and case.birth_date is not None and birth_date is not None and case.birth_date != birth_date:
        sentences.append(gettext("The date of birth in the file is not that of the case."))
    if same_pixels(instance):
        sentences.append(gettext("The PACS sent the same radiograph more than once, as different objects."))
    if instance.uid_conflicts:
        sentences.append(gettext("The PACS sent another radiograph under the same identifier. It was not read."))
    return sentences


def same_pixels(instance: Instance) -> bool:
    """Return whether another instance of the same patient has the same pixels."""
    same = Instance.objects.filter(pixels_sha256=instance.pixels_sha256, issuer=instance.issuer)
    same = same.filter(patient_id=instance.patient_id).exclude(pixels_sha256="").exclude(pk=instance.pk)
    return bool(instance.patient_id) and same.exists()


# --- the page of the node ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PeerRow:
    """A peer or other destination on the page of the node.

    Attributes:
        peer: its configuration.
        contact: last contacts.
        received: instances that it sent.
        deliveries: number of deliveries by state.
        oldest: time since which the oldest delivery waits; None if none does.
    """

    peer: Destination
    contact: Contact
    received: int
    deliveries: Mapping[str, int]
    oldest: datetime | None

    @property
    def due(self) -> int:
        """Number of deliveries that wait or are being sent."""
        return self.deliveries.get(DeliveryState.DUE, 0) + self.deliveries.get(DeliveryState.SENDING, 0)

    @property
    def stored(self) -> int:
        """Number of objects that it has stored."""
        return self.deliveries.get(DeliveryState.STORED, 0) + self.deliveries.get(DeliveryState.COMMITTED, 0)

    @property
    def dead(self) -> int:
        """Number of deliveries that failed for good."""
        return self.deliveries.get(DeliveryState.DEAD, 0)


def peer_rows() -> list[PeerRow]:
    """Return all peers and other destinations of the configuration, in its order."""
    contacts = {contact.peer: contact for contact in Contact.objects.all()}
    received = dict(Tally.objects.filter(kind=RECEIVED).values_list("code", "count"))
    numbers: dict[str, dict[str, int]] = {}
    for peer, state, count in Delivery.objects.values_list("peer", "state").annotate(Count("pk")):
        numbers.setdefault(peer, {})[state] = count
    under_way = Delivery.objects.filter(state__in=[DeliveryState.DUE, DeliveryState.SENDING])
    oldest = dict(under_way.values_list("peer").annotate(Min("created_at")))
    return [
        PeerRow(
            peer,
            contacts.get(peer.name, Contact(peer=peer.name)),
            received.get(peer.name, 0),
            numbers.get(peer.name, {}),
            oldest.get(peer.name),
        )
        for peer in node_configuration().destinations()
    ]


def instance_counts() -> list[tuple[str, int]]:
    """Return the number of received instances in each state, with its label."""
    numbers = dict(Instance.objects.values_list("state").annotate(Count("pk")))
    return [(str(state.label), numbers.get(state.value, 0)) for state in InstanceState]


def skipped_counts() -> list[tuple[str, int]]:
    """Return the number of instances that were not read, by reason, the most frequent first."""
    return list(Tally.objects.filter(kind=SKIPPED).order_by("-count", "code").values_list("code", "count"))


def dead_letters() -> Iterable[Delivery]:
    """Return deliveries that failed for good, the oldest first; at most `LONGEST_LIST`."""
    rows = Delivery.objects.filter(state=DeliveryState.DEAD).select_related("result__instance")
    return rows.defer("result__file", "result__instance__file").order_by("created_at")[:LONGEST_LIST]


def failed_renderings() -> Iterable[Instance]:
    """Return instances whose result objects could not be made; at most `LONGEST_LIST`."""
    rows = Instance.objects.filter(reason=RENDERING_FAILED).defer("file")
    return rows.order_by("received_at")[:LONGEST_LIST]
