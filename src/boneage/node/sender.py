"""Sending of result objects by C-STORE."""

from __future__ import annotations

import time
from collections.abc import Sequence
from io import BytesIO

import pydicom
from pydicom import Dataset
from pynetdicom.association import Association

from boneage.node.configuration import NodeSettings, Peer
from boneage.node.outcome import Outcome, OutcomeCode, RequestError, Result, SendOutcome, judge_status
from boneage.node.requesting import accepted_classes, associated, no_response
from boneage.node.result_classes import classes_of, in_accepted_class
from boneage.reading.dicom.bounds import quiet_pydicom


def send(peer: Peer, node: NodeSettings, files: Sequence[bytes]) -> list[SendOutcome]:
    """Send DICOM files to a peer over one association, in this order.

    A structured report whose class the peer does not accept goes out in a simpler one
    (`boneage.node.result_classes`); the outcome has the UIDs as sent. After a failure of the association the rest is
    not attempted and shares its outcome.

    Args:
        peer: receiver.
        node: the node, with its AE title and certificates.
        files: DICOM files (PS3.10), uncompressed.

    Returns:
        One outcome for each file, in the same order. Nothing is raised for a fault of peer or network.
    """
    objects = [parse(file) for file in files]
    outcomes: list[SendOutcome] = []
    classes = [uid for one in objects if one is not None for uid in classes_of(str(one.SOPClassUID))]
    if not classes:
        return [INVALID for _ in objects]
    try:
        with associated(peer, node, classes) as association:
            for one in objects:
                outcomes.append(_send(association, one))  # noqa: PERF401  # those before an error are kept
    except RequestError as error:
        rest = objects[len(outcomes) :]
        outcomes += [INVALID if one is None else outcome_of(one, error.outcome) for one in rest]
    return outcomes


INVALID = SendOutcome(Result.DEAD, OutcomeCode.INVALID)
"""Outcome of a file that holds no DICOM object."""


def parse(file: bytes) -> Dataset | None:
    """Return an object to send, or None if the file holds no DICOM object."""
    try:
        with quiet_pydicom():
            parsed = pydicom.dcmread(BytesIO(file))
            complete = parsed.file_meta.TransferSyntaxUID and parsed.SOPClassUID and parsed.SOPInstanceUID
    except Exception:  # a damaged file makes pydicom raise nearly every kind of error
        return None
    return parsed if complete else None


def _send(association: Association, original: Dataset | None) -> SendOutcome:
    if original is None:
        return INVALID
    one = in_accepted_class(original, accepted_classes(association))
    if one is None:
        return outcome_of(original, Outcome(Result.DEAD, OutcomeCode.NOT_ACCEPTED))
    begun = time.monotonic()
    try:
        response = association.send_c_store(one)
    except ValueError:  # no context has its transfer syntax, or it cannot be encoded
        return outcome_of(one, Outcome(Result.DEAD, OutcomeCode.INVALID))
    except RuntimeError:  # the association ended before
        raise no_response(association, 0.0) from None
    if "Status" not in response:
        raise no_response(association, time.monotonic() - begun)
    status = int(response.Status)
    return outcome_of(one, Outcome(*judge_status(status), status))


def outcome_of(one: Dataset, outcome: Outcome) -> SendOutcome:
    """Return an outcome as that of sending an object.

    Args:
        one: the object as it was sent.
        outcome: outcome of sending it.
    """
    uids = str(one.SOPClassUID), str(one.SOPInstanceUID)
    return SendOutcome(outcome.result, outcome.code, outcome.status, *uids, answer=outcome.answer)
