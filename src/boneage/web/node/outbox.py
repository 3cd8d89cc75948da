"""The last stretch: results on their way to their receivers, each delivery in one state at a time.

``due`` → ``sending`` (under a lease) → ``stored`` → ``committed``, or back to ``due`` after a failure that may pass, or
``dead``. The objects of an instance reach a receiver in the order in which they were made, so the structured report
comes last. A lease that was lost in the middle of sending sends the same bytes again.

A delivery that ends after its result has stopped counting lets the results of its instance be made again, so that what
the receiver has by then is retracted (`boneage.web.node.retraction`). Transactions that may do so lock the instance
before any delivery.

Leases use the clock of the database, as those of the queue (`boneage.web.queue.jobs`).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.http import Http404

from boneage.files import sha256_of
from boneage.node.configuration import Destination
from boneage.node.intake import CommitmentReport
from boneage.node.outcome import Outcome, OutcomeCode, QueryOutcome, Reference, Result, SendOutcome
from boneage.node.retry import COMMITMENT_HOURS, COMMITMENT_SECONDS, pause_seconds, seconds_to_next
from boneage.web.accounts.audit import SYSTEM, Action, record
from boneage.web.models import User, configuration
from boneage.web.node import tallies
from boneage.web.node.models import Delivery, DeliveryState, Instance, InstanceQuerySet, InstanceState, ResultFile
from boneage.web.node.pacs import node_configuration

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Largest number of objects that are sent over one association."""

COMMITTED_AT_ONCE = 100
"""Largest number of objects of one request for storage commitment."""

COMMITMENT_FAILED = "commitment_failed"
"""Code of a delivery whose receiver does not vouch for the object; it is sent again."""
NOT_FOUND = "not_found_there"
"""Code of a delivery whose receiver does not have the object, although it had answered success."""
NOT_COMMITTED = "not_committed"
"""Code of a stored delivery whose receiver neither commits storage nor answers queries."""
SUPERSEDED = "superseded"
"""Code of a delivery that was given up: the radiograph was assessed again, its result states something else by now, or
a newer message was made."""
MESSAGES = ("fhir", "hl7")
"""Kinds of results that are messages: a newer one of a radiograph replaces those before it at the receiver."""

LATENCY_SECONDS = (1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 900, 3600, 86400)
"""Upper bounds of the buckets of the latency, seconds."""

_UNDER_WAY = (DeliveryState.DUE, DeliveryState.SENDING)
_BYTES = ("result__file", "result__instance__file")
_LOST = Q(state=DeliveryState.SENDING, lease_until__lt=Now())
COUNTS = Q(result__assessment=F("result__instance__assessment"), result__revision=F("result__instance__revision"))
"""Deliveries of results that still count. A changed decision does not end them: its own results follow them."""
_ENDED = {"state": DeliveryState.GIVEN_UP, "code": SUPERSEDED, "lease_until": None}
"""Columns of a delivery of a result that no longer counts."""

HELD = (DeliveryState.STORED, DeliveryState.COMMITTED)
"""States of a delivery whose result the receiver has."""
MAY_BE_HELD = Q(state__in=HELD) | Q(state=DeliveryState.GIVEN_UP, receipt_unknown=True)
"""Deliveries that are over and whose result the receiver has, or may have."""
_UNANSWERED = {OutcomeCode.TIMEOUT, OutcomeCode.ABORTED, OutcomeCode.UNCLEAR_ANSWER, COMMITMENT_FAILED}
"""Codes of attempts after which the receiver may have the result."""
IS_RETRACTION = Exists(Delivery.objects.filter(retraction=OuterRef("result")))
"""Deliveries of retractions."""


# --- begin and end of a delivery --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A result, a message or a retraction as it is stored.

    Attributes:
        kind: kind of object or message.
        sop_class_uid, sop_instance_uid, series_uid, study_uid: its UIDs, those of
            `boneage.web.node.models.ResultFile`.
        file: DICOM file, or the message.
    """

    kind: str
    sop_instance_uid: str
    file: bytes = field(repr=False)
    sop_class_uid: str = ""
    series_uid: str = ""
    study_uid: str = ""


def store(made: Outgoing, instance: Instance, decision: int | None, peers: Sequence[str]) -> ResultFile:
    """Store a result or a retraction with its deliveries, in the open transaction.

    Args:
        made: the result.
        instance: the instance about which it is, with its assessment.
        decision: number of the physician's decision that counts; None before one.
        peers: names of the receivers.
    """
    assert instance.assessment is not None  # noqa: S101  # narrows the type
    result = ResultFile.objects.create(
        instance=instance,
        assessment=instance.assessment,
        decision=decision,
        revision=instance.revision,
        kind=made.kind,
        sop_class_uid=made.sop_class_uid,
        sop_instance_uid=made.sop_instance_uid,
        study_uid=made.study_uid,
        series_uid=made.series_uid,
        file=made.file,
        sha256=sha256_of(made.file),
    )
    add(result, peers)
    return result


def add(result: ResultFile, peers: Sequence[str]) -> None:
    """Make one delivery of a result for each receiver, in the open transaction.

    Of messages the newest counts: older ones that were not sent are given up, so that none of them can come after it.
    """
    if result.kind in MESSAGES:
        older = Delivery.objects.filter(peer__in=peers, result__instance=result.instance_id, result__kind=result.kind)
        states = (DeliveryState.DUE, DeliveryState.DEAD)
        unsent = list(older.filter(state__in=states).values_list("pk", flat=True))
        # The state is compared again by the statement that changes it: an attempt may have begun meanwhile.
        Delivery.objects.filter(pk__in=unsent, state__in=states).update(state=DeliveryState.GIVEN_UP, code=SUPERSEDED)
    Delivery.objects.bulk_create([Delivery(result=result, peer=peer) for peer in peers])


def withdraw(instances: InstanceQuerySet) -> None:
    """Give up deliveries of results that no longer count, in the open transaction.

    A delivery that is being sent is given up only if this attempt fails. An administrator cannot send a dead one again.

    Args:
        instances: instances whose results are withdrawn.
    """
    states = (DeliveryState.DUE, DeliveryState.DEAD)
    old = Delivery.objects.filter(result__instance__in=instances, state__in=states).exclude(COUNTS)
    # The state is compared again by the statement that changes it: an attempt may have begun meanwhile.
    Delivery.objects.filter(pk__in=list(old.values_list("pk", flat=True)), state__in=states).update(**_ENDED)


def claim(peer: Destination, worker: str) -> list[Delivery]:
    """Take deliveries to a receiver that are due, with their result objects, in the order of sending.

    Without any, this takes no lock.

    Args:
        peer: the receiver.
        worker: name of the process that sends.
    """
    return _claim(peer, worker) if _due(peer).exists() else []


def _due(peer: Destination) -> QuerySet[Delivery]:
    before = Delivery.objects.filter(peer=OuterRef("peer"), pk__lt=OuterRef("pk"), state__in=_UNDER_WAY)
    same = Q(result__instance=OuterRef("result__instance"))
    if any(kind in MESSAGES for kind in peer.kinds):  # those of a patient are sent in their order
        same |= Q(result__assessment__case=OuterRef("result__assessment__case"))
    before = before.filter(same)
    is_due = Q(state=DeliveryState.DUE, due_at__lte=Now()) | _LOST
    return Delivery.objects.filter(is_due, ~Exists(before), peer=peer.name)


@transaction.atomic
def _claim(peer: Destination, worker: str) -> list[Delivery]:
    rows = _due(peer).select_for_update(of=("self",), skip_locked=True).order_by("due_at", "pk")
    due = [row.pk for row in rows.only("pk")[:AT_ONCE]]
    Delivery.objects.filter(pk__in=due, state=DeliveryState.SENDING).update(receipt_unknown=True)
    claimed = list(Delivery.objects.filter(COUNTS, pk__in=due).values_list("pk", flat=True))
    _end(set(due).difference(claimed))
    Delivery.objects.filter(pk__in=claimed).update(
        state=DeliveryState.SENDING,
        attempts=F("attempts") + 1,
        worker=worker,
        lease_until=Now() + timedelta(seconds=configuration().lease_seconds),
    )
    return list(Delivery.objects.filter(pk__in=claimed).select_related("result").order_by("pk"))


def _end(deliveries: Collection[int]) -> None:
    """Give up locked deliveries of results that no longer count. Those whose instance another transaction has locked
    wait for the next attempt, since that lock comes before theirs.
    """
    if not deliveries:
        return
    of = Instance.objects.filter(results__deliveries__in=deliveries).values("pk")
    free = _locked(Instance.objects.filter(pk__in=of), skip_locked=True)
    Delivery.objects.filter(pk__in=deliveries, result__instance__in=free).update(**_ENDED)
    Instance.objects.filter(pk__in=free).make_again()


def _locked(instances: InstanceQuerySet, *, skip_locked: bool = False) -> list[int]:
    """Lock instances until the transaction ends. Return their keys.

    Args:
        instances: the instances.
        skip_locked: leave out those that another transaction has locked.
    """
    rows = instances.order_by("pk").select_for_update(of=("self",), skip_locked=skip_locked)
    return list(rows.values_list("pk", flat=True))


def _locked_with(deliveries: QuerySet[Delivery]) -> None:
    """Lock the instances of deliveries, before any delivery is locked."""
    _locked(Instance.objects.filter(pk__in=deliveries.values("result__instance")))


@transaction.atomic
def finish(claimed: Delivery, outcome: SendOutcome, peer: Destination) -> bool:
    """Write the outcome of an attempt, if the attempt still counts. Return whether it does.

    A result that no longer counts and is stored nevertheless is retracted when the results are made again.

    Args:
        claimed: a delivery from `claim`.
        outcome: outcome of sending it.
        peer: its receiver.
    """
    of = Instance.objects.filter(pk=claimed.result.instance_id)
    _locked(of)
    rows = Delivery.objects.filter(pk=claimed.pk, state=DeliveryState.SENDING, attempts=claimed.attempts)
    rows.update(sent_class_uid=outcome.sop_class_uid, sent_instance_uid=outcome.sop_instance_uid)
    if outcome.result in {Result.DONE, Result.WARNED}:
        counts = rows.update(
            state=DeliveryState.STORED,
            stored_at=Now(),
            lease_until=None,
            failures=0,
            code=outcome.code.value if outcome.result is Result.WARNED else "",
            status=outcome.status_text,
            receipt_unknown=False,
            commit_due_at=Now() + timedelta(seconds=COMMITMENT_SECONDS) if peer.commit else None,
        )
        if counts:
            record(SYSTEM, Action.SEND, claimed.result.instance, peer=peer.name, kind=claimed.result.kind)
            if not _counts(claimed.pk):
                of.make_again()
        return bool(counts)
    return _fail(rows, outcome.code.value, outcome.status_text, stays=outcome.result is Result.DEAD)


def _counts(delivery: int) -> bool:
    """Return whether the result of a delivery still counts."""
    return Delivery.objects.filter(COUNTS, pk=delivery).exists()


def _fail(rows: QuerySet[Delivery], code: str, status: str, *, stays: bool) -> bool:
    """Let a delivery be due again, or dead. Return whether there was one.

    Args:
        rows: the delivery, or none; its instance is locked.
        code: reason of the failure.
        status: its status; empty without one.
        stays: True if the next attempt would fail, too.
    """
    row = rows.select_for_update().annotate(now=Now()).first()
    if row is None:
        return False
    failures = row.failures + 1
    hours = node_configuration().deliver.give_up_hours
    pause = None if stays else seconds_to_next(failures, (row.now - row.begun_at).total_seconds(), hours)
    changes: dict[str, Any] = {"failures": failures, "code": code, "status": status, "lease_until": None}
    if code in _UNANSWERED:
        changes |= {"receipt_unknown": True}
    is_over = not _counts(row.pk)
    if is_over:
        changes |= _ENDED
    elif pause is None:
        log.error("delivery %d to %s is given up: %s", row.pk, row.peer, code)
        changes |= {"state": DeliveryState.DEAD}
    else:
        changes |= {"state": DeliveryState.DUE, "due_at": Now() + timedelta(seconds=pause)}
    Delivery.objects.filter(pk=row.pk).update(**changes, transaction_uid="", commit_due_at=None)
    if is_over:  # if it was a retraction, what it was to retract still stands
        Instance.objects.filter(results__deliveries=row.pk).make_again()
    return True


def count(claimed: Delivery, outcome: SendOutcome) -> None:
    """Count the outcome of an attempt, after its transaction. The latency is that of results, not of retractions."""
    tallies.add(tallies.OUTCOME, outcome.code.value)
    stored = Delivery.objects.filter(~IS_RETRACTION, pk=claimed.pk, state__in=HELD)
    row = stored.filter(result__decision=None).select_related("result__instance").defer(*_BYTES).first()
    if row is not None and row.stored_at is not None:
        seconds = (row.stored_at - row.result.instance.changed_at).total_seconds()
        bound = next((str(bound) for bound in LATENCY_SECONDS if seconds <= bound), "+Inf")
        tallies.add(tallies.LATENCY, bound)
        tallies.add(tallies.LATENCY_SUM, count=max(0, round(1000 * seconds)))


def wake(peer: str) -> None:
    """Let all deliveries to a receiver that answers again be due now."""
    unreachable = (OutcomeCode.UNREACHABLE, OutcomeCode.TIMEOUT, OutcomeCode.ABORTED, OutcomeCode.REJECTED_TRANSIENT)
    waiting = Delivery.objects.filter(peer=peer, state=DeliveryState.DUE, code__in=[code.value for code in unreachable])
    waiting.filter(due_at__gt=Now()).update(due_at=Now())


def release(dead_worker: str) -> None:
    """Let everything that a process was doing when it died be taken up at once.

    Args:
        dead_worker: name of a process that its supervisor has seen ending.
    """
    sending = Delivery.objects.filter(worker=dead_worker, state=DeliveryState.SENDING)
    sending.update(state=DeliveryState.DUE, due_at=Now(), lease_until=None, receipt_unknown=True)
    Instance.objects.filter(worker=dead_worker, state=InstanceState.QUEUED).update(lease_until=None)


# --- storage commitment -----------------------------------------------------------------------------------------------


def claim_commitment(peer: Destination) -> tuple[str, list[Delivery]]:
    """Take stored deliveries for which storage commitment is due. Return a new transaction UID and the deliveries.

    Without any, this takes no lock.

    Args:
        peer: the receiver.
    """
    rows = Delivery.objects.filter(peer=peer.name, state=DeliveryState.STORED, commit_due_at__lte=Now())
    return _claim_commitment(rows) if rows.exists() else ("", [])


@transaction.atomic
def _claim_commitment(rows: QuerySet[Delivery]) -> tuple[str, list[Delivery]]:
    rows = rows.select_for_update(of=("self",), skip_locked=True).order_by("pk")
    claimed = [row.pk for row in rows.only("pk")[:COMMITTED_AT_ONCE]]
    transaction_uid = f"2.25.{uuid.uuid4().int}"
    Delivery.objects.filter(pk__in=claimed).update(
        transaction_uid=transaction_uid, commit_due_at=None, commit_requested_at=Now()
    )
    return transaction_uid, _with_references(Delivery.objects.filter(pk__in=claimed))


def finish_commitment_request(transaction_uid: str, outcome: Outcome) -> None:
    """Write the outcome of a request for storage commitment. Without a report, the receiver is queried later.

    Args:
        transaction_uid: UID of the request.
        outcome: its outcome.
    """
    rows = Delivery.objects.filter(transaction_uid=transaction_uid, state=DeliveryState.STORED)
    if outcome.result is Result.RETRY:
        rows.update(commit_due_at=Now() + timedelta(seconds=pause_seconds(3)), transaction_uid="")
    elif outcome.result is Result.DEAD:  # it does not commit storage: it is queried now
        rows.update(commit_requested_at=Now() - timedelta(hours=COMMITMENT_HOURS))


@transaction.atomic
def take_report(report: CommitmentReport) -> None:
    """Write a report on storage commitment. Reports on unknown or finished deliveries change nothing."""
    rows = Delivery.objects.filter(
        transaction_uid=report.transaction_uid, peer=report.peer, state=DeliveryState.STORED
    ).exclude(transaction_uid="")
    _locked_with(rows)
    rows.filter(sent_instance_uid__in=list(report.stored)).update(state=DeliveryState.COMMITTED, committed_at=Now())
    for uid, reason in report.failed.items():
        _fail(rows.filter(sent_instance_uid=uid), COMMITMENT_FAILED, f"0x{reason:04X}", stays=False)


def without_report(peer: Destination) -> list[Delivery]:
    """Return stored deliveries whose receiver has not reported on them in time, so that it is queried."""
    late = Now() - timedelta(hours=COMMITMENT_HOURS)
    rows = Delivery.objects.filter(
        peer=peer.name, state=DeliveryState.STORED, commit_due_at=None, commit_requested_at__lte=late
    )
    return _with_references(rows.exclude(transaction_uid="").order_by("pk")[:COMMITTED_AT_ONCE])


@transaction.atomic
def finish_query(queried: Sequence[Delivery], outcome: QueryOutcome) -> None:
    """Write the answer of a receiver that was queried for objects which it had stored.

    Args:
        queried: deliveries from `without_report`.
        outcome: its answer.
    """
    rows = Delivery.objects.filter(pk__in=[row.pk for row in queried], state=DeliveryState.STORED)
    _locked_with(rows)
    if outcome.result is Result.RETRY:
        later = Now() - timedelta(hours=COMMITMENT_HOURS) + timedelta(seconds=pause_seconds(4))
        rows.update(commit_requested_at=later)
    elif outcome.result is Result.DEAD:
        rows.update(code=NOT_COMMITTED, transaction_uid="", commit_requested_at=None)
    else:
        rows.filter(sent_instance_uid__in=list(outcome.stored)).update(
            state=DeliveryState.COMMITTED, committed_at=Now()
        )
        for row in queried:
            if row.sent_instance_uid not in outcome.stored:
                _fail(rows.filter(pk=row.pk), NOT_FOUND, "", stays=False)


def references(deliveries: Sequence[Delivery]) -> list[Reference]:
    """Return the objects of deliveries as they were sent."""
    return [
        Reference(row.sent_class_uid, row.sent_instance_uid, row.result.study_uid, row.result.series_uid)
        for row in deliveries
    ]


def _with_references(rows: QuerySet[Delivery]) -> list[Delivery]:
    return list(rows.select_related("result").defer("result__file"))


# --- dead letters -----------------------------------------------------------------------------------------------------


@transaction.atomic
def retry(delivery: Delivery, user: User) -> None:
    """Let a dead delivery be due again.

    Raises:
        Http404: it is not dead.
    """
    changes = {"state": DeliveryState.DUE, "begun_at": Now(), "due_at": Now(), "failures": 0}
    _decide(delivery, user, "retry", changes)


@transaction.atomic
def give_up(delivery: Delivery, user: User) -> None:
    """Give up a dead delivery for good.

    Raises:
        Http404: it is not dead.
    """
    _decide(delivery, user, "give_up", {"state": DeliveryState.GIVEN_UP})


def _decide(delivery: Delivery, user: User, change: str, changes: dict[str, Any]) -> None:
    if not Delivery.objects.filter(pk=delivery.pk, state=DeliveryState.DEAD).update(**changes):
        raise Http404
    record(user, Action.DELIVERY_CHANGED, delivery, change=change, peer=delivery.peer)
