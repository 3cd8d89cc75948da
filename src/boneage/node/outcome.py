"""Outcomes of requests to a peer, and how DICOM statuses and failures of the network become outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from boneage.node.intake import CommitmentReport


class Result(StrEnum):
    """Consequence of a request to a peer."""

    DONE = "done"
    """The peer did it."""
    WARNED = "warned"
    """The peer did it and warns (status Bxxx)."""
    RETRY = "retry"
    """It failed for a reason that may pass: the same request is made again later."""
    DEAD = "dead"
    """It failed for a reason that stays: the same request would fail again."""


class OutcomeCode(StrEnum):
    """Reason of an outcome."""

    SUCCESS = "success"
    """Status 0x0000, or the association did what it was for."""
    WARNING = "warning"
    """Status 0x0001, 0x0107, 0x0116 or 0xBxxx."""
    DUPLICATE = "duplicate"
    """Status 0x0111: the peer has an instance with this UID, which only equal bytes have."""
    UNREACHABLE = "unreachable"
    """No connection: nothing listens there, no route, no such host, or no certificate that is accepted."""
    REJECTED_TRANSIENT = "rejected_transient"
    """The peer rejected the association for the moment."""
    REJECTED = "rejected"
    """The peer rejected the association for good: it does not know an AE title."""
    NOT_ACCEPTED = "not_accepted"
    """The peer accepts no presentation context for the SOP class."""
    ABORTED = "aborted"
    """The association was aborted, or the connection ended."""
    TIMEOUT = "timeout"
    """The peer did not answer in time."""
    OUT_OF_RESOURCES = "out_of_resources"
    """Status 0xA7xx."""
    BUSY = "busy"
    """Another status that may pass: 0x0110, 0x0210 or 0x0213; HTTP 408, 409, 425, 429 or 5xx; HL7 error 206 or 207."""
    NOT_AUTHORISED = "not_authorised"
    """Status 0x0124, or HTTP status 401 or 403."""
    MISMATCH = "mismatch"
    """Status 0xA9xx: the data set does not match its SOP class."""
    NOT_UNDERSTOOD = "not_understood"
    """Status 0xCxxx: the peer cannot process the data set."""
    FAILURE = "failure"
    """Any other failure status."""
    INVALID = "invalid"
    """The file to send is no valid DICOM object or message; nothing was sent."""
    NO_SECRET = "no_secret"  # noqa: S105 - no password
    """The password or token of the destination cannot be read; nothing was sent."""
    UNCLEAR_ANSWER = "unclear_answer"
    """The destination answers in another way than its protocol says."""

    @property
    def advice(self) -> str:
        """Advice for an administrator; empty where the code is clear enough."""
        return _ADVICE.get(self, "")


_ADVICE: Mapping[OutcomeCode, str] = MappingProxyType(
    {
        OutcomeCode.UNREACHABLE: "Check host and port, the firewall, and with TLS the certificates.",
        OutcomeCode.REJECTED: "Enter the node there: its AE title, address and port; check the peer's AE title here.",
        OutcomeCode.REJECTED_TRANSIENT: "The peer is busy. Try again.",
        OutcomeCode.ABORTED: "The peer ends the connection. Check whether it expects TLS and knows the node.",
        OutcomeCode.TIMEOUT: "The peer accepts connections and does not answer. Check whether it expects TLS.",
        OutcomeCode.NOT_ACCEPTED: "The peer accepts none of the classes that are proposed.",
        OutcomeCode.NOT_AUTHORISED: "Check user and secret here, and the rights of the account there.",
        OutcomeCode.NO_SECRET: "Set the environment variable, or write the file that `secret` names.",
        OutcomeCode.UNCLEAR_ANSWER: "Check the address: another service seems to answer there.",
    }
)

_BY_STATUS: Mapping[int, tuple[Result, OutcomeCode]] = MappingProxyType(
    {
        0x0000: (Result.DONE, OutcomeCode.SUCCESS),
        **dict.fromkeys((0x0001, 0x0107, 0x0116), (Result.WARNED, OutcomeCode.WARNING)),
        0x0111: (Result.WARNED, OutcomeCode.DUPLICATE),
        0x0122: (Result.DEAD, OutcomeCode.NOT_ACCEPTED),
        0x0124: (Result.DEAD, OutcomeCode.NOT_AUTHORISED),
        **dict.fromkeys((0x0110, 0x0210, 0x0213), (Result.RETRY, OutcomeCode.BUSY)),
    }
)
"""Statuses of PS3.7, annex C."""
_BY_CLASS: Mapping[int, tuple[Result, OutcomeCode]] = MappingProxyType(
    {
        0xA7: (Result.RETRY, OutcomeCode.OUT_OF_RESOURCES),
        0xA9: (Result.DEAD, OutcomeCode.MISMATCH),
        **dict.fromkeys(range(0xB0, 0xC0), (Result.WARNED, OutcomeCode.WARNING)),
        **dict.fromkeys(range(0xC0, 0xD0), (Result.DEAD, OutcomeCode.NOT_UNDERSTOOD)),
    }
)
"""Statuses of storage by their first byte (PS3.4, B.2.3)."""


def judge_status(status: int) -> tuple[Result, OutcomeCode]:
    """Return what follows from a DICOM status, and its reason.

    Args:
        status: 0x0000 to 0xFFFF.
    """
    return _BY_STATUS.get(status) or _BY_CLASS.get(status >> 8, (Result.DEAD, OutcomeCode.FAILURE))


@dataclass(frozen=True)
class Outcome:
    """Outcome of a request to a peer.

    Attributes:
        result: consequence.
        code: reason.
        status: DICOM status of the response; None if there was none.
        answer: status of another protocol, as people write it, such as ``HTTP 503``; empty without one.
    """

    result: Result
    code: OutcomeCode
    status: int | None = None
    answer: str = field(default="", kw_only=True)

    @property
    def status_text(self) -> str:
        """The status as its protocol writes it, such as ``0xA700``; empty without one."""
        return self.answer if self.status is None else f"0x{self.status:04X}"


class RequestError(Exception):
    """A request that failed with its connection or association.

    Attributes:
        outcome: its outcome.
    """

    def __init__(self, result: Result, code: OutcomeCode, answer: str = "") -> None:
        super().__init__(code.value)
        self.outcome = Outcome(result, code, answer=answer)


@dataclass(frozen=True)
class SendOutcome(Outcome):
    """Outcome of sending one object.

    Attributes:
        sop_class_uid, sop_instance_uid: UIDs of the object as it was sent, or would have been. They differ from those
            of the file where a structured report was sent in another class (`boneage.node.result_classes`).
    """

    sop_class_uid: str = ""
    sop_instance_uid: str = ""


@dataclass(frozen=True)
class EchoOutcome(Outcome):
    """Outcome of a C-ECHO.

    Attributes:
        accepted: UIDs of the SOP classes, of those that were proposed, for which the peer accepts a context.
        seconds: time from the connection to the answer.
    """

    accepted: frozenset[str] = frozenset()
    seconds: float = 0.0


@dataclass(frozen=True)
class CommitmentOutcome(Outcome):
    """Outcome of a request for storage commitment.

    Attributes:
        report: report that the peer gave on the same association; usually None, and the listener takes it later.
    """

    report: CommitmentReport | None = None


@dataclass(frozen=True)
class QueryOutcome(Outcome):
    """Outcome of a question which instances a peer has.

    Attributes:
        stored: SOP Instance UIDs that it has, of those in question.
    """

    stored: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Reference:
    """An instance to which a request refers.

    Attributes:
        sop_class_uid, sop_instance_uid: its UIDs as it was sent.
        study_uid, series_uid: UIDs of its study and series; a query at the level IMAGE needs both (PS3.4, C.4.1).
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str = ""
    series_uid: str = ""
