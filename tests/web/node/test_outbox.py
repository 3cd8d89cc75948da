"""Deliveries: order, leases, failures, storage commitment, and their end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from boneage.node.configuration import Destination
from boneage.node.intake import CommitmentReport
from boneage.node.outcome import Outcome, OutcomeCode, QueryOutcome, Result, SendOutcome
from boneage.web.models import Assessment
from boneage.web.node import following, outbox, studies
from boneage.web.node.intake import DatabaseIntake
from boneage.web.node.models import Delivery, DeliveryState, Instance, ResultFile
from boneage.web.node.pacs import node_configuration
from tests.web.node.arrivals import header, instance

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("node")]

SUCCESS = (Result.DONE, OutcomeCode.SUCCESS)


@pytest.fixture
def pacs(node: None) -> Destination:
    """A receiver that commits storage, with an SC and an SR that are due."""
    DatabaseIntake().take(instance(header()), header())
    studies.advance()
    for number, kind in enumerate(("sc", "sr")):
        result = ResultFile.objects.create(
            instance=Instance.objects.get(),
            assessment=Assessment.objects.get(),
            kind=kind,
            file=kind.encode(),
            sop_instance_uid=f"1.{number}",
            series_uid="1.9",
        )
        outbox.add(result, ["pacs"])
    return node_configuration().receivers()[0]


def send_all(pacs: Destination, result: Result, code: OutcomeCode, status: int | None = None) -> list[str]:
    """Claim what is due, and write one outcome for it. Return the kinds of objects."""
    claimed = outbox.claim(pacs, "dispatcher")
    for one in claimed:
        outcome = SendOutcome(result, code, status, "1.2.840", one.result.sop_instance_uid)
        assert outbox.finish(one, outcome, pacs)
    return [one.result.kind for one in claimed]


def states() -> list[str]:
    return list(Delivery.objects.order_by("pk").values_list("state", flat=True))


def pass_time(**fields: timedelta) -> None:
    """Move times of all deliveries into the past."""
    for row in Delivery.objects.all():
        values = {name: getattr(row, name) - past for name, past in fields.items() if getattr(row, name) is not None}
        Delivery.objects.filter(pk=row.pk).update(**values)


def test_report_comes_last(pacs: Destination) -> None:
    """The report is not sent before the picture is stored; a dead picture does not hold it up."""
    assert send_all(pacs, Result.RETRY, OutcomeCode.BUSY) == ["sc"]
    assert send_all(pacs, *SUCCESS) == []
    pass_time(due_at=timedelta(seconds=11))
    assert send_all(pacs, Result.DEAD, OutcomeCode.MISMATCH, 0xA900) == ["sc"]
    assert send_all(pacs, *SUCCESS) == ["sr"]
    assert states() == ["dead", "stored"]


def test_lost_lease_sends_same_bytes_again(pacs: Destination) -> None:
    """A delivery whose lease was lost is taken again; the late outcome of the first attempt changes nothing."""
    (first,) = outbox.claim(pacs, "dispatcher")
    assert outbox.claim(pacs, "another") == []
    pass_time(lease_until=timedelta(hours=1))
    (second,) = outbox.claim(pacs, "another")
    assert (second.pk, bytes(second.result.file)) == (first.pk, bytes(first.result.file))
    late = SendOutcome(Result.DEAD, OutcomeCode.MISMATCH)
    assert not outbox.finish(first, late, pacs)
    assert outbox.finish(second, SendOutcome(*SUCCESS, None, "1.2.840", "1.0"), pacs)
    assert states() == ["stored", "due"]


def test_dead_dispatcher_is_released(pacs: Destination) -> None:
    """Deliveries that a process was sending when it died are due at once."""
    outbox.claim(pacs, "dispatcher")
    outbox.release("another")
    assert states() == ["sending", "due"]
    outbox.release("dispatcher")
    assert send_all(pacs, *SUCCESS) == ["sc"]


@pytest.mark.parametrize("is_lost", [False, True])
def test_withdrawn_while_being_sent(pacs: Destination, is_lost: bool) -> None:
    """A result that no longer counts is not sent again if the attempt fails, or its lease is lost."""
    (first,) = outbox.claim(pacs, "dispatcher")
    following.revise(Instance.objects.all())
    assert states() == ["sending", "given_up"]
    if is_lost:
        pass_time(lease_until=timedelta(hours=1))
        assert outbox.claim(pacs, "another") == []
    else:
        assert outbox.finish(first, SendOutcome(Result.RETRY, OutcomeCode.BUSY), pacs)
    assert set(Delivery.objects.values_list("state", "code")) == {("given_up", outbox.SUPERSEDED)}


def test_withdrawn_and_not_committed(pacs: Destination) -> None:
    """A result that no longer counts is not sent again for a receiver that does not vouch for it."""
    send_all(pacs, *SUCCESS)
    following.revise(Instance.objects.all())
    pass_time(commit_due_at=timedelta(seconds=6))
    uid, _ = outbox.claim_commitment(pacs)
    DatabaseIntake().committed(CommitmentReport("pacs", uid, [], {"1.0": 0x0112}))
    assert states() == ["given_up", "given_up"]


def test_failures_end_after_hours(pacs: Destination) -> None:
    """Attempts pause longer and longer, and end after the configured time."""
    pauses = []
    for _ in range(6):
        assert send_all(pacs, Result.RETRY, OutcomeCode.UNREACHABLE) == ["sc"]
        first = Delivery.objects.order_by("pk")[0]
        pauses.append(round((first.due_at - timezone.now()).total_seconds() / 10) * 10)
        pass_time(due_at=timedelta(hours=1))
    assert pauses == [10, 30, 60, 300, 900, 900]
    pass_time(begun_at=timedelta(hours=72))
    send_all(pacs, Result.RETRY, OutcomeCode.UNREACHABLE)
    first = Delivery.objects.order_by("pk")[0]
    assert (first.state, first.code, first.failures) == (DeliveryState.DEAD, "unreachable", 7)


def test_receiver_that_answers_again_gets_all(pacs: Destination) -> None:
    """Deliveries that waited for the connection do not wait out their pause."""
    send_all(pacs, Result.RETRY, OutcomeCode.UNREACHABLE)
    assert send_all(pacs, *SUCCESS) == []
    outbox.wake("pacs")
    assert send_all(pacs, *SUCCESS) == ["sc"]


def test_warning_is_stored_with_its_status(pacs: Destination) -> None:
    """A warning of the receiver is a success, and its status is kept."""
    send_all(pacs, Result.WARNED, OutcomeCode.WARNING, 0xB000)
    first = Delivery.objects.order_by("pk")[0]
    assert (first.state, first.code, first.status) == (DeliveryState.STORED, "warning", "0xB000")


def test_commitment_by_report(pacs: Destination) -> None:
    """The receiver vouches for one object, and not for the other, which is sent again."""
    send_all(pacs, *SUCCESS)
    send_all(pacs, *SUCCESS)
    assert outbox.claim_commitment(pacs)[1] == []  # not before 5 seconds
    pass_time(commit_due_at=timedelta(seconds=6))
    uid, claimed = outbox.claim_commitment(pacs)
    assert [one.sop_instance_uid for one in outbox.references(claimed)] == ["1.0", "1.1"]
    outbox.finish_commitment_request(uid, Outcome(*SUCCESS))
    report = CommitmentReport("pacs", uid, ["1.0"], {"1.1": 0x0112})
    DatabaseIntake().committed(CommitmentReport("another", uid, ["1.0", "1.1"]))
    assert states() == ["stored", "stored"]
    for _ in range(2):  # a report that is repeated changes nothing
        DatabaseIntake().committed(report)
    assert states() == ["committed", "due"]
    assert Delivery.objects.get(state="due").code == outbox.COMMITMENT_FAILED


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (QueryOutcome(*SUCCESS, None, frozenset({"1.0"})), "committed"),
        (QueryOutcome(*SUCCESS, None, frozenset()), "due"),
        (QueryOutcome(Result.RETRY, OutcomeCode.UNREACHABLE), "stored"),
        (QueryOutcome(Result.DEAD, OutcomeCode.NOT_ACCEPTED), "stored"),
    ],
)
def test_query_without_report(pacs: Destination, outcome: QueryOutcome, expected: str) -> None:
    """A receiver that does not report within a day, or does not commit storage at all, is queried."""
    send_all(pacs, *SUCCESS)
    pass_time(commit_due_at=timedelta(seconds=6))
    uid, _ = outbox.claim_commitment(pacs)
    assert outbox.without_report(pacs) == []
    outbox.finish_commitment_request(uid, Outcome(Result.DEAD, OutcomeCode.NOT_ACCEPTED))
    (late,) = outbox.without_report(pacs)
    outbox.finish_query([late], outcome)
    assert states()[0] == expected
    assert outbox.without_report(pacs) == []
    assert outbox.claim_commitment(pacs)[1] == []
