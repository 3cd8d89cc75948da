"""Sending of HL7 version 2 messages over MLLP (HL7 Minimal Lower Layer Protocol, release 1), and acknowledgements."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from boneage.node.configuration import NodeSettings
from boneage.node.destinations import Hl7Receiver
from boneage.node.outcome import Outcome, OutcomeCode, RequestError, Result, SendOutcome

START, END = b"\x0b", b"\x1c\r"
"""Frame of a message."""
_LARGEST_ANSWER = 2**16
_MOST_OTHER_ANSWERS = 10
"""Acknowledgements of other messages that are passed over, such as late ones of an engine that relays."""
_PASSING_ERRORS = {"206", "207"}
"""Codes of table 0357: a record is locked, or the application has an internal error."""
_STAYING_REJECTIONS = {"200", "201", "202", "203"}
"""Codes of table 0357: type, event, processing or version of the message are not supported."""


def transmit(receiver: Hl7Receiver, node: NodeSettings, messages: Sequence[bytes]) -> list[SendOutcome]:
    r"""Send messages over one connection, in this order, each after the acknowledgement of the one before.

    After a failure of the connection the rest is not attempted and shares its outcome.

    Args:
        receiver: receiver.
        node: the node, with its certificates.
        messages: messages whose segments end with ``\r``, UTF-8. MSH-10 identifies a message.

    Returns:
        One outcome for each message. Nothing is raised for a fault of receiver or network.
    """
    outcomes: list[SendOutcome] = []
    try:
        with connected(receiver, node) as connection:
            for message in messages:
                outcomes.append(_exchange(connection, receiver, message))  # noqa: PERF401  # those before an error are kept
    except RequestError as error:
        failed = SendOutcome(error.outcome.result, error.outcome.code, answer=error.outcome.answer)
        outcomes += [failed] * (len(messages) - len(outcomes))
    return outcomes


@contextmanager
def connected(receiver: Hl7Receiver, node: NodeSettings) -> Iterator[socket.socket]:
    """Open a connection to a receiver.

    Args:
        receiver: receiver.
        node: the node, with its certificates.

    Raises:
        RequestError: there is no connection.
    """
    try:
        connection = socket.create_connection((receiver.host, receiver.port), receiver.timeout_seconds)
    except TimeoutError:
        raise RequestError(Result.RETRY, OutcomeCode.TIMEOUT) from None
    except OSError:
        raise RequestError(Result.RETRY, OutcomeCode.UNREACHABLE) from None
    with connection:
        if not receiver.tls:
            yield connection
            return
        try:
            name = receiver.tls_name or receiver.host
            secured = _context(receiver, node).wrap_socket(connection, server_hostname=name)
        except OSError:  # also of a certificate that is not accepted, or of files that cannot be read
            raise RequestError(Result.RETRY, OutcomeCode.UNREACHABLE) from None
        with secured:
            yield secured


def _context(receiver: Hl7Receiver, node: NodeSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=receiver.ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if receiver.certificate:
        context.load_cert_chain(node.tls.cert, node.tls.key, password="")
    return context


def _exchange(connection: socket.socket, receiver: Hl7Receiver, message: bytes) -> SendOutcome:
    """Send a message, and return the outcome that its acknowledgement gives."""
    control_id = control_id_of(message)
    if not control_id or START in message or END[:1] in message:
        return SendOutcome(Result.DEAD, OutcomeCode.INVALID)
    try:
        connection.settimeout(receiver.timeout_seconds)
        connection.sendall(b"".join((START, message, END)))
        deadline, pending = time.monotonic() + receiver.timeout_seconds, bytearray()
        for _ in range(_MOST_OTHER_ANSWERS):
            outcome = judge_acknowledgement(_read_frame(connection, deadline, pending), control_id)
            if outcome is not None:
                return SendOutcome(outcome.result, outcome.code, answer=outcome.answer)
    except TimeoutError:
        raise RequestError(Result.RETRY, OutcomeCode.TIMEOUT) from None
    except OSError:
        raise RequestError(Result.RETRY, OutcomeCode.ABORTED) from None
    raise RequestError(Result.RETRY, OutcomeCode.UNCLEAR_ANSWER)


def _read_frame(connection: socket.socket, deadline: float, pending: bytearray) -> bytes:
    """Return the content of the next frame; what follows it stays in `pending`."""
    while END not in pending:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        received = connection.recv(4096)
        if not received:
            raise ConnectionError
        pending += received
        if len(pending) > _LARGEST_ANSWER:
            raise RequestError(Result.RETRY, OutcomeCode.UNCLEAR_ANSWER)
    frame, _, rest = bytes(pending).partition(END)
    pending[:] = rest
    return frame.partition(START)[2]


def control_id_of(message: bytes) -> str:
    """Return the control identifier of a message (MSH-10); empty if it is no message."""
    fields = _segments(message).get("MSH", [])
    return fields[9] if len(fields) > 9 else ""


def judge_acknowledgement(frame: bytes, control_id: str) -> Outcome | None:
    """Return the outcome of a message by its acknowledgement (HL7 2.5.1, 2.9.2 and table 0008).

    An accepted message is done. An error (AE, CE) stays, unless the receiver says that it is one of its own or a locked
    record. A rejection (AR, CR) may pass, unless the receiver says that it does not take such messages.

    Args:
        frame: content of a frame.
        control_id: control identifier of the message.

    Returns:
        None if the frame acknowledges another message.
    """
    segments = _segments(frame)
    acknowledgement = segments.get("MSA", [])
    code = acknowledgement[1].strip().upper() if len(acknowledgement) > 1 else ""
    if code not in {"AA", "CA", "AE", "CE", "AR", "CR"}:
        return Outcome(Result.RETRY, OutcomeCode.UNCLEAR_ANSWER)
    if len(acknowledgement) < 3 or acknowledgement[2].strip() != control_id:
        return None
    if code in {"AA", "CA"}:
        return Outcome(Result.DONE, OutcomeCode.SUCCESS, answer=code)
    error = segments.get("ERR", [])
    reason = error[3].partition("^")[0].strip()[:16] if len(error) > 3 else ""
    answer = f"{code} {reason}".strip()
    passes = reason in _PASSING_ERRORS if code in {"AE", "CE"} else reason not in _STAYING_REJECTIONS
    if passes:
        return Outcome(Result.RETRY, OutcomeCode.BUSY, answer=answer)
    return Outcome(Result.DEAD, OutcomeCode.NOT_UNDERSTOOD, answer=answer)


def _segments(message: bytes) -> dict[str, list[str]]:
    """Return the fields of the first segment of each kind; of MSH, field 1 is left out as its separator."""
    text = message.decode("utf-8", "replace").replace("\n", "\r")
    separator = text[3:4] if text.startswith("MSH") else "|"
    segments: dict[str, list[str]] = {}
    for line in text.split("\r"):
        if separator:
            fields = line.split(separator)
            segments.setdefault(fields[0], fields)
    return segments
