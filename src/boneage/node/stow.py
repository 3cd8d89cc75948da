"""Sending of result objects to DICOMweb services by STOW-RS, and the question whether they have them (QIDO-RS).

Each object is one request, so that every object has an answer of its own, and a faulty one holds up no other.
"""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

from pydicom import Dataset

from boneage.node.configuration import NodeSettings
from boneage.node.destinations import DicomWebService
from boneage.node.outcome import (
    Outcome,
    OutcomeCode,
    QueryOutcome,
    Reference,
    RequestError,
    Result,
    SendOutcome,
    judge_status,
)
from boneage.node.result_classes import classes_of, in_accepted_class
from boneage.node.sender import INVALID, outcome_of, parse
from boneage.node.web_client import Answer, WebClient, connected, judge_http

DICOM_JSON = "application/dicom+json"
_CLASS_NOT_SUPPORTED = 0x0122
_INSTANCE = "00081155"  # Referenced SOP Instance UID
_STORED, _WARNING = "00081199", "00081196"  # Referenced SOP Sequence, Warning Reason
_FAILED, _REASON = "00081198", "00081197"  # Failed SOP Sequence, Failure Reason
_OTHER_FAILURES = "0008119A"
_SOP_INSTANCE = "00080018"
_WHOLE = {
    200: (Result.DONE, OutcomeCode.SUCCESS),
    202: (Result.WARNED, OutcomeCode.WARNING),
    409: (Result.DEAD, OutcomeCode.FAILURE),
}
"""Meaning of the statuses that judge all instances of a request, where nothing is stated of the only one."""


def store(service: DicomWebService, node: NodeSettings, files: Sequence[bytes]) -> list[SendOutcome]:
    """Send DICOM files to a service, in this order.

    A structured report whose class the service does not support goes out in a simpler one
    (`boneage.node.result_classes`). After a failure of the connection the rest is not attempted and shares its outcome.

    Args:
        service: receiver.
        node: the node, with its certificates.
        files: DICOM files (PS3.10), uncompressed.

    Returns:
        One outcome for each file, in the same order. Nothing is raised for a fault of service or network.
    """
    objects = [parse(file) for file in files]
    outcomes: list[SendOutcome] = []
    try:
        with connected(service, node) as client:
            for file, one in zip(files, objects, strict=True):
                outcomes.append(INVALID if one is None else _store(client, file, one))
    except RequestError as error:
        outcomes += [INVALID if one is None else outcome_of(one, error.outcome) for one in objects[len(outcomes) :]]
    return outcomes


def _store(client: WebClient, file: bytes, original: Dataset) -> SendOutcome:
    outcome = outcome_of(original, _post(client, file, str(original.SOPInstanceUID)))
    for sop_class in classes_of(str(original.SOPClassUID))[1:]:
        if outcome.code is not OutcomeCode.NOT_ACCEPTED:
            break
        simpler = in_accepted_class(original, [sop_class])
        if simpler is not None:
            buffer = BytesIO()
            simpler.save_as(buffer, enforce_file_format=True)
            outcome = outcome_of(simpler, _post(client, buffer.getvalue(), str(simpler.SOPInstanceUID)))
    return outcome


def _post(client: WebClient, file: bytes, uid: str) -> Outcome:
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": DICOM_JSON,
    }
    answer = client.request(
        "POST", "/studies", body=b"".join((head, file, f"\r\n--{boundary}--\r\n".encode())), headers=headers
    )
    return judge_store(answer, uid)


def judge_store(answer: Answer, uid: str) -> Outcome:
    """Return the outcome of a request with one instance (PS3.18, 10.5.3 and annex I).

    Args:
        answer: answer of the service.
        uid: SOP Instance UID of the instance.
    """
    http = f"HTTP {answer.status}"
    if answer.status not in _WHOLE:
        result, code = judge_http(answer.status)
        if result is Result.DONE:  # 201 or 204, for example: nothing says what became of the instance
            result, code = Result.RETRY, OutcomeCode.UNCLEAR_ANSWER
        return Outcome(result, code, answer=http)
    failure = _number(_item(answer, (_FAILED, _OTHER_FAILURES), uid), _REASON)
    if failure is not None:
        return _failure(failure)
    warning = _number(_item(answer, (_STORED,), uid), _WARNING)
    if warning is not None and answer.status != 409:
        return Outcome(Result.WARNED, OutcomeCode.WARNING, warning)
    return Outcome(*_WHOLE[answer.status], answer=http)


def _failure(reason: int) -> Outcome:
    result, code = judge_status(reason)
    if result in {Result.DONE, Result.WARNED} and code is not OutcomeCode.DUPLICATE:  # no reason for a failure
        result, code = Result.DEAD, OutcomeCode.FAILURE
    return Outcome(result, code, reason)


def _item(answer: Answer, sequences: Sequence[str], uid: str) -> Any:
    """Return the item about an instance, of the first of some sequences that has one; one without a UID is about it,
    too, since the request had one instance.
    """
    document = _document(answer)
    for sequence in sequences:
        for item in _values(document, sequence):
            uids = _values(item, _INSTANCE)
            if not uids or uid in uids:
                return item
    return None


def _document(answer: Answer) -> Any:
    """Return the answer as DICOM JSON; None if it is something else."""
    if not answer.is_json:
        return None
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def _values(item: Any, tag: str) -> list[Any]:
    element = item.get(tag) if isinstance(item, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _number(item: Any, tag: str) -> int | None:
    values = _values(item, tag)
    return values[0] if values and isinstance(values[0], int) and 0 <= values[0] <= 0xFFFF else None


def find_stored(service: DicomWebService, node: NodeSettings, references: Sequence[Reference]) -> QueryOutcome:
    """Ask a service which of some instances it has (PS3.18, 10.6).

    Args:
        service: receiver of the instances.
        node: the node, with its certificates.
        references: the instances, with the UIDs of study and series.

    Returns:
        The instances that it has. A service without QIDO-RS gives `Result.DEAD`. Nothing is raised for a fault of
        service or network.
    """
    by_series: dict[tuple[str, str], set[str]] = defaultdict(set)
    for reference in references:
        by_series[reference.study_uid, reference.series_uid].add(reference.sop_instance_uid)
    stored: set[str] = set()
    try:
        with connected(service, node) as client:
            for (study, series), wanted in by_series.items():
                path = f"/studies/{study}/series/{series}/instances"
                stored |= wanted & set(_matches(client.request("GET", path, headers={"Accept": DICOM_JSON})))
    except RequestError as error:
        failure = error.outcome
        return QueryOutcome(failure.result, failure.code, None, frozenset(stored), answer=failure.answer)
    return QueryOutcome(Result.DONE, OutcomeCode.SUCCESS, None, frozenset(stored))


def _matches(answer: Answer) -> Iterator[str]:
    """Yield the SOP Instance UIDs of an answer to a query."""
    if answer.status == 204:
        return
    document = _document(answer)
    if answer.status != 200 or not isinstance(document, list):
        result, code = judge_http(answer.status)
        if result is Result.DONE:
            result, code = Result.DEAD, OutcomeCode.UNCLEAR_ANSWER
        raise RequestError(result, code, f"HTTP {answer.status}")
    for match in document:
        yield from (uid for uid in _values(match, _SOP_INSTANCE) if isinstance(uid, str))
