"""Requests for storage commitment, and reports that come at once."""

from __future__ import annotations

from io import BytesIO
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from boneage.errors import Rejection
from boneage.node.commitment import PUSH_MODEL_INSTANCE, read_report, request_commitment
from boneage.node.outcome import OutcomeCode, Reference, Result
from tests.node.parts import CR, peer_serving, sender_settings

NODE = sender_settings("BONEAGE", timeout_seconds=2.0)


def test_request_commitment() -> None:
    """The request has the transaction and the instances, and goes to the well-known instance."""
    requests = []

    def act(event: evt.Event) -> tuple[int, None]:
        instance = cast(N_ACTION, event.request).RequestedSOPInstanceUID
        requests.append((instance, event.action_type, event.action_information))
        return 0x0000, None

    with peer_serving((evt.EVT_N_ACTION, act)) as peer:
        outcome = request_commitment(peer, NODE, "1.9", [Reference(CR, "1.1"), Reference(CR, "1.2")])
    assert (outcome.result, outcome.status, outcome.report) == (Result.DONE, 0, None)
    ((instance, action, information),) = requests
    assert (instance, action, information.TransactionUID) == (PUSH_MODEL_INSTANCE, 1, "1.9")
    assert [one.ReferencedSOPInstanceUID for one in information.ReferencedSOPSequence] == ["1.1", "1.2"]


def report_on_same_association(event: evt.Event) -> tuple[int, None]:
    """Answer a request for storage commitment, and report on its association before the response."""
    report = N_EVENT_REPORT()
    report.MessageID, report.EventTypeID = 7, 1
    report.AffectedSOPClassUID, report.AffectedSOPInstanceUID = (
        UID(StorageCommitmentPushModel),
        UID(PUSH_MODEL_INSTANCE),
    )
    action = event.action_information
    event_information = information(
        TransactionUID=action.TransactionUID, ReferencedSOPSequence=action.ReferencedSOPSequence
    )
    report.EventInformation = BytesIO(encode(event_information, True, True) or b"")
    event.assoc.dimse.send_msg(report, event.context.context_id)
    return 0x0000, None


def test_request_commitment_report_at_once() -> None:
    """A report that comes on the association of the request, before its response, is returned."""
    with peer_serving((evt.EVT_N_ACTION, report_on_same_association)) as peer:
        outcome = request_commitment(peer, NODE, "1.9", [Reference(CR, "1.1")])
    assert outcome.result is Result.DONE
    assert outcome.report is not None
    assert (outcome.report.transaction_uid, outcome.report.stored) == ("1.9", ("1.1",))


@pytest.mark.parametrize(
    ("status", "result", "code"),
    [(0x0110, Result.RETRY, OutcomeCode.BUSY), (0x0124, Result.DEAD, OutcomeCode.NOT_AUTHORISED)],
)
def test_request_commitment_failure(status: int, result: Result, code: OutcomeCode) -> None:
    with peer_serving((evt.EVT_N_ACTION, lambda _event: (status, None))) as peer:
        outcome = request_commitment(peer, NODE, "1.9", [Reference(CR, "1.1")])
    assert (outcome.result, outcome.code, outcome.status) == (result, code, status)


def information(**elements: object) -> Dataset:
    """Return the Event Information of a report on one instance."""
    item, dataset = Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CR, "1.1"
    dataset.TransactionUID, dataset.ReferencedSOPSequence = "1.9", [item]
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def request(data: bytes) -> N_EVENT_REPORT:
    """Return a report with any bytes as its Event Information."""
    made = N_EVENT_REPORT()
    made.EventInformation = BytesIO(data)
    return made


@pytest.mark.parametrize("implicit", [False, True])
def test_read_report(implicit: bool) -> None:
    data = encode(information(), implicit, True) or b""
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    report = read_report("pacs", request(data), syntax)
    assert (report.peer, report.transaction_uid, report.stored, report.failed) == ("pacs", "1.9", ("1.1",), {})


@given(st.binary(max_size=200), st.booleans())
def test_read_report_any_bytes(data: bytes, implicit: bool) -> None:
    with pytest.raises(Rejection):
        read_report("pacs", request(data), ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian)
