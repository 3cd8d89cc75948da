"""Storage commitment (PS3.4, annex J): requests, and the reports of peers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from boneage.node.configuration import NodeSettings, Peer
from boneage.node.intake import CommitmentReport
from boneage.node.outcome import CommitmentOutcome, Reference, RequestError, judge_status
from boneage.node.requesting import associated, no_response
from boneage.reading.dicom.bounds import BoundedBytes, quiet_pydicom
from boneage.reading.dicom.tags import number, text
from boneage.reading.rejections import damaged, rejection_of

PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
"""Well-known SOP Instance UID of the Storage Commitment Push Model (PS3.6, annex A)."""
_INSTANCE = "ReferencedSOPInstanceUID"


def request_commitment(
    peer: Peer, node: NodeSettings, transaction_uid: str, references: Sequence[Reference]
) -> CommitmentOutcome:
    """Ask a peer to vouch for instances that it stored.

    The report comes later, on an association that the peer opens to the node's listener, or at once on the same one.

    Args:
        peer: receiver of the instances.
        node: the node, with its AE title and certificates.
        transaction_uid: new UID, which the report repeats.
        references: the instances, at least one.

    Returns:
        `Result.DONE` if the peer took the request. Nothing is raised for a fault of peer or network.
    """
    reports: list[CommitmentReport] = []

    def keep(event: evt.Event) -> tuple[int, None]:
        reports.append(read_report(peer.name, cast(N_EVENT_REPORT, event.request), event.context.transfer_syntax))
        return 0x0000, None

    try:
        with associated(peer, node, [StorageCommitmentPushModel], [(evt.EVT_N_EVENT_REPORT, keep)]) as association:
            status = _request(association, transaction_uid, references)
    except RequestError as error:
        return CommitmentOutcome(error.outcome.result, error.outcome.code, error.outcome.status)
    report = next((one for one in reports if one.transaction_uid == transaction_uid), None)
    return CommitmentOutcome(*judge_status(status), status, report)


def _request(association: Association, transaction_uid: str, references: Sequence[Reference]) -> int:
    """Send the N-ACTION request, and return the status of the response."""
    action = Dataset()
    action.TransactionUID = transaction_uid
    action.ReferencedSOPSequence = [_item(reference) for reference in references]
    begun = time.monotonic()
    try:
        response, _ = association.send_n_action(action, 1, StorageCommitmentPushModel, UID(PUSH_MODEL_INSTANCE))
    except (RuntimeError, ValueError):  # the association ended
        raise no_response(association, 0.0) from None
    if "Status" not in response:
        raise no_response(association, time.monotonic() - begun)
    return int(response.Status)


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference.sop_class_uid, reference.sop_instance_uid
    return item


def read_report(peer: str, request: N_EVENT_REPORT, transfer_syntax: UID) -> CommitmentReport:
    """Read the Event Information of a report (PS3.4, J.3.3), within the bounds of `boneage.reading.dicom.bounds`.

    Args:
        peer: name of the peer that reports.
        request: the report.
        transfer_syntax: transfer syntax of the presentation context, uncompressed.

    Raises:
        Rejection: ``unreadable``.
    """
    data = b"" if request.EventInformation is None else request.EventInformation.getvalue()
    try:
        with quiet_pydicom():
            dataset = read_dataset(BoundedBytes(data), transfer_syntax.is_implicit_VR, transfer_syntax.is_little_endian)
            transaction = text(dataset, "TransactionUID")
            stored = [text(item, _INSTANCE) for item in dataset.get("ReferencedSOPSequence") or []]
            failed = {
                text(item, _INSTANCE): int(number(item, "FailureReason", default=0))
                for item in dataset.get("FailedSOPSequence") or []
            }
    except Exception as error:  # a damaged report makes pydicom raise nearly every kind of error
        raise rejection_of(error) from None
    if not transaction:
        raise damaged("the report on storage commitment has no Transaction UID")
    return CommitmentReport(
        peer,
        transaction,
        tuple(uid for uid in stored if uid),
        {uid: reason for uid, reason in failed.items() if uid},
    )
