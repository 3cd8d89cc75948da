"""Summaries of the node for pages: where the results of a radiograph went, who asks for the sex, and what is wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, Max, Min, OuterRef, Q
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, gettext_lazy
from pydicom.uid import UID

from boneage.node.configuration import Destination
from boneage.node.selection import SkipReason
from boneage.web import texts
from boneage.web.models import Assessment, Case, User
from boneage.web.node.models import (
    OTHER_PATIENT,
    RENDERING_FAILED,
    Contact,
    Delivery,
    DeliveryState,
    Instance,
    InstanceState,
    Tally,
)
from boneage.web.node.outbox import COUNTS, IS_RETRACTION, SUPERSEDED
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
        whereabouts: the worst of all destinations, which gives the colour.
        text: the line, with the names of the destinations.
    """

    whereabouts: Whereabouts
    text: str


def delivery_lines(assessments: Collection[UUID]) -> dict[UUID, DeliveryLine]:
    """Return where the results of assessments are, by id, and which of them were withdrawn from a destination. There is
    no line without a delivery, unless the results are withheld.

    Args:
        assessments: ids of assessments.
    """
    if not is_on():
        return {}
    of_them = Delivery.objects.filter(result__assessment__in=assessments).exclude(state=DeliveryState.GIVEN_UP)
    of_them = of_them.filter(~IS_RETRACTION, _HOLDS)
    under_way = Q(state__in=[DeliveryState.DUE, DeliveryState.SENDING])
    rows = of_them.values_list("result__assessment", "peer").annotate(
        dead=Count("pk", filter=Q(state=DeliveryState.DEAD)),
        waiting=Count("pk", filter=under_way),
        stored=Max("stored_at"),
    )
    destinations: dict[UUID, list[_AtDestination]] = {}
    for key, peer, dead, waiting, stored in rows.order_by("peer"):
        destinations.setdefault(key, []).append(_AtDestination(peer, dead, waiting, stored))
    lines = {key: _delivered_line(of_it) for key, of_it in destinations.items()}
    for key, withdrawals in _withdrawals(assessments).items():
        lines[key] = _joined(_withdrawn_line(withdrawals), lines.get(key))
    if not node_configuration().receivers():
        return lines
    withheld = Instance.objects.filter(assessment__in=assessments, reason=OTHER_PATIENT)
    for key in withheld.values_list("assessment", flat=True):
        if key is not None:
            lines[key] = _joined(_withheld_line(), lines.get(key))
    return lines


@dataclass(frozen=True)
class _AtDestination:
    """The results of a radiograph for one destination.

    Attributes:
        name: its name in the configuration.
        dead: number of results that failed for good.
        waiting: number of results on their way.
        stored: time of the last result that it stored.
    """

    name: str
    dead: int
    waiting: int
    stored: datetime | None

    @property
    def whereabouts(self) -> Whereabouts:
        if self.dead:
            return Whereabouts.NOT_DELIVERED
        return Whereabouts.WAITING if self.waiting or self.stored is None else Whereabouts.DELIVERED

    @property
    def label(self) -> str:
        """Name, with the time if all results are there."""
        if self.whereabouts is not Whereabouts.DELIVERED or self.stored is None:
            return self.name
        return f"{self.name} ({_time(self.stored)})"


def _delivered_line(destinations: Sequence[_AtDestination]) -> DeliveryLine:
    """Return the line about results."""
    return _line(
        destinations,
        {
            Whereabouts.NOT_DELIVERED: gettext("not delivered to %(names)s"),
            Whereabouts.WAITING: gettext("waits for %(names)s"),
            Whereabouts.DELIVERED: gettext("delivered to %(names)s"),
        },
    )


def _line(destinations: Sequence[_AtDestination], sentences: Mapping[Whereabouts, str]) -> DeliveryLine:
    labels = {one: [at.label for at in destinations if at.whereabouts is one] for one in Whereabouts}
    present = [one for one in Whereabouts if labels[one]]
    return DeliveryLine(present[0], "; ".join(sentences[one] % {"names": ", ".join(labels[one])} for one in present))


def _withheld_line() -> DeliveryLine:
    """Return the line of a radiograph whose results are withheld."""
    names = ", ".join(peer.name for peer in node_configuration().receivers())
    reason = gettext("not delivered to %(names)s") % {"names": names} + f" ({gettext('another patient in the file')})"
    return DeliveryLine(Whereabouts.NOT_DELIVERED, reason)


def _joined(first: DeliveryLine, second: DeliveryLine | None) -> DeliveryLine:
    """Return two lines as one, with the colour of the worse one."""
    if second is None:
        return first
    worse = min(first.whereabouts, second.whereabouts, key=list(Whereabouts).index)
    return DeliveryLine(worse, f"{first.text}; {second.text}")


# --- results that were withdrawn --------------------------------------------------------------------------------------

_HOLDS = Q(retraction=None) | Exists(
    Delivery.objects.filter(Q(code=SUPERSEDED) | ~COUNTS, result=OuterRef("retraction"), state=DeliveryState.GIVEN_UP)
)
"""Deliveries of results that are not retracted, or whose retraction was given up because they hold again."""


def _withdrawals(assessments: Collection[UUID]) -> dict[UUID, list[_AtDestination]]:
    """Return how far the retraction of results has come at each destination, by the id of the assessment.

    A reading that replaces another one has the retractions of that one, too.
    """
    of_them = Q(result__assessment__in=assessments) | Q(retraction__assessment__in=assessments)
    rows = Delivery.objects.filter(of_them, ~_HOLDS).order_by("peer", "pk")
    columns = ("result__assessment", "retraction__assessment", "peer")
    at = ("retraction__deliveries__state", "retraction__deliveries__stored_at")
    states: dict[UUID, dict[str, list[tuple[str, datetime | None]]]] = {}
    for old, new, peer, state, stored in rows.values_list(*columns, *at):
        for key in {old, new}.intersection(assessments):
            states.setdefault(key, {}).setdefault(peer, []).append((state, stored))
    return {key: [_withdrawal(peer, of_it) for peer, of_it in peers.items()] for key, peers in states.items()}


def _withdrawal(name: str, states: Sequence[tuple[str, datetime | None]]) -> _AtDestination:
    """Return the retractions at a destination, by their states and times of storage."""
    return _AtDestination(
        name,
        dead=sum(state in {DeliveryState.DEAD, DeliveryState.GIVEN_UP} for state, _ in states),
        waiting=sum(state in {DeliveryState.DUE, DeliveryState.SENDING} for state, _ in states),
        stored=max((stored for _, stored in states if stored is not None), default=None),
    )


def _withdrawn_line(destinations: Sequence[_AtDestination]) -> DeliveryLine:
    """Return the line about retractions."""
    return _line(
        destinations,
        {
            Whereabouts.NOT_DELIVERED: gettext("earlier results not withdrawn from %(names)s"),
            Whereabouts.WAITING: gettext("earlier results not yet withdrawn from %(names)s"),
            Whereabouts.DELIVERED: gettext("earlier results withdrawn from %(names)s"),
        },
    )


def _time(moment: datetime) -> str:
    """Return the time of today, or date and time."""
    local = timezone.localtime(moment)
    return date_format(local, "H:i") if local.date() == timezone.localdate() else texts.moment(moment)


def asking_for_sex(user: User) -> list[Instance]:
    """Return the radiographs that ask for the sex and that a user may see, the oldest first; at most `LONGEST_LIST`."""
    if not is_on():
        return []
    rows = Instance.objects.visible_to(user).filter(state=InstanceState.NEEDS_SEX)
    return list(rows.defer("file").order_by("received_at")[:LONGEST_LIST])


@dataclass(frozen=True)
class Note:
    """A remark on a radiograph of the PACS whose identity is not clear.

    Attributes:
        label: a few words, for a row of the worklist.
        text: a sentence.
    """

    label: str
    text: str


def notes(assessments: Sequence[Assessment]) -> dict[UUID, list[Note]]:
    """Return remarks on radiographs of the PACS that contradict their case, or came several times.

    Args:
        assessments: any, with their cases.

    Returns:
        The remarks by the id of the assessment; nothing for those without one.
    """
    if not is_on():
        return {}
    cases = {one.pk: one.case for one in assessments}
    instances = Instance.objects.filter(assessment__in=cases).defer("file").annotate(comes_again=Exists(_SAME_PIXELS))
    by_assessment: dict[UUID, list[Note]] = {}
    for instance in instances.order_by("-pk"):
        key = instance.assessment_id
        remarks = [] if key is None else list(_notes(instance, cases[key]))
        if key is not None and remarks:
            by_assessment[key] = remarks
    return by_assessment


def _notes(instance: Instance, case: Case | None) -> Iterator[Note]:
    reference, birth_date = reference_of(instance.patient_id, instance.issuer), instance.header.birth_date
    if case is not None and reference and case.reference != reference:
        text = gettext("The patient in the file (%(reference)s) is not the patient of this case.")
        yield Note(gettext("another patient in the file"), text % {"reference": reference})
    if case is not None and case.birth_date is not None and birth_date is not None and case.birth_date != birth_date:
        text = gettext("The date of birth in the file is not that of the case.")
        yield Note(gettext("another date of birth in the file"), text)
    if getattr(instance, "comes_again", False):
        text = gettext("The PACS sent the same radiograph more than once, as different objects.")
        yield Note(gettext("sent more than once"), text)
    if instance.uid_conflicts:
        text = gettext("The PACS sent another radiograph under the same identifier. It was not read.")
        yield Note(gettext("another radiograph under its identifier"), text)


_SAME_PIXELS = (
    Instance.objects.filter(pixels_sha256=OuterRef("pixels_sha256"), issuer=OuterRef("issuer"))
    .filter(patient_id=OuterRef("patient_id"))
    .exclude(Q(pixels_sha256="") | Q(patient_id="") | Q(pk=OuterRef("pk")))
)
"""Other instances of the same patient with the same pixels."""


# --- instances that were not read ---------------------------------------------------------------------------------

REASONS: Mapping[SkipReason, Any] = {
    SkipReason.STORAGE_CLASS: gettext_lazy("no radiograph, but a report or another object"),
    SkipReason.OWN_RESULT: gettext_lazy("a result of this service that came back"),
    SkipReason.MODALITY: gettext_lazy("another modality"),
    SkipReason.NO_PIXELS: gettext_lazy("no image"),
    SkipReason.SEVERAL_FRAMES: gettext_lazy("several images in one object"),
    SkipReason.BODY_PART: gettext_lazy("another body part"),
    SkipReason.BODY_PART_UNSTATED: gettext_lazy("no body part stated"),
    SkipReason.LATERAL_VIEW: gettext_lazy("lateral or oblique view"),
    SkipReason.FOR_PROCESSING: gettext_lazy("raw radiograph"),
    SkipReason.AGE: gettext_lazy("patient over the age limit"),
    SkipReason.ANOTHER_PREFERRED: gettext_lazy("another radiograph of the study was read"),
}
"""Reasons for not reading an instance, in words."""


@dataclass(frozen=True)
class SkippedRow:
    """An instance that was not read.

    Attributes:
        instance: the instance.
        reason: the reason in words.
        kind: name of its storage class.
    """

    instance: Instance
    reason: str
    kind: str


def skipped(user: User, accession: str = "") -> list[SkippedRow]:
    """Return instances that were not read and that a user may see, the latest first; at most `LONGEST_LIST`.

    Args:
        user: the user.
        accession: part of an accession number; empty for any. Objects of other storage classes are not parsed, and have
            none.
    """
    rows = Instance.objects.visible_to(user).filter(state=InstanceState.SKIPPED)
    if accession:
        rows = rows.filter(accession__icontains=accession)
    return [
        SkippedRow(one, reason_text(one.reason), UID(one.sop_class_uid).name)
        for one in rows.defer("file").order_by("-changed_at", "-pk")[:LONGEST_LIST]
    ]


def reason_text(code: str) -> str:
    """Return a reason for not reading an instance in words."""
    return str(REASONS[SkipReason(code)]) if code in set(SkipReason) else code


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
    """Return the number of instances that were not read, by reason in words, the most frequent first."""
    counts = Tally.objects.filter(kind=SKIPPED).order_by("-count", "code").values_list("code", "count")
    return [(reason_text(code), count) for code, count in counts]


def dead_letters() -> Iterable[Delivery]:
    """Return deliveries that failed for good, the oldest first; at most `LONGEST_LIST`.

    The attribute ``is_retraction`` marks those of retractions.
    """
    rows = Delivery.objects.filter(state=DeliveryState.DEAD).annotate(is_retraction=IS_RETRACTION)
    rows = rows.select_related("result__instance")
    return rows.defer("result__file", "result__instance__file").order_by("created_at")[:LONGEST_LIST]


def failed_renderings() -> Iterable[Instance]:
    """Return instances whose result objects could not be made; at most `LONGEST_LIST`."""
    rows = Instance.objects.filter(reason=RENDERING_FAILED).defer("file")
    return rows.order_by("received_at")[:LONGEST_LIST]
