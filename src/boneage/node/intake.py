"""Protocol of the durable store to which the listener hands instances and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from boneage.errors import BoneageError
from boneage.node.instance import InstanceHeader, ReceivedInstance


class IntakeUnavailableError(BoneageError):
    """The store cannot keep an instance now: its database is away, or the disk is full. The sender tries again."""

    def __init__(self, message: str) -> None:
        super().__init__("intake_unavailable", message)


class DenialReason(StrEnum):
    """Reason why an association or a message is not accepted."""

    CALLED_AE_TITLE = "called_ae_title"
    """The caller addresses another AE title."""
    CALLER_UNKNOWN = "caller_unknown"
    """No peer of the configuration has this AE title and address."""
    CALLER_MAY_NOT_SEND = "caller_may_not_send"
    """The peer is not allowed to send radiographs."""
    TOO_MANY_ASSOCIATIONS = "too_many_associations"
    """The limit of associations is reached."""
    UIDS_DIFFER = "uids_differ"
    """The data set has other UIDs than the request, answered 0xA900."""
    UNREADABLE = "unreadable"
    """The data set cannot be parsed or lacks an identifier, answered 0xC000."""
    TOO_LARGE = "too_large"
    """The data set exceeds the limit of size; the association is aborted."""
    UNAVAILABLE = "unavailable"
    """The store cannot keep the instance now, answered 0xA700."""
    MALFORMED = "malformed"
    """The peer broke the protocol, left a message incomplete or fell silent; the association is aborted."""


@dataclass(frozen=True)
class Caller:
    """The other end of an association.

    Attributes:
        ae_title: AE title that it states.
        address: its IP address.
        peer: name of the peer in the configuration; empty for an unknown one.
        called_ae_title: AE title by which it calls the node; empty for what does not come by an association.
    """

    ae_title: str
    address: str
    peer: str = ""
    called_ae_title: str = ""


@dataclass(frozen=True)
class CommitmentReport:
    """Report of a peer on storage commitment (PS3.4, J.3.3).

    Attributes:
        peer: name of the peer that reports.
        transaction_uid: UID of the request.
        stored: SOP Instance UIDs that it vouches for.
        failed: Failure Reason by SOP Instance UID of those that it does not.
    """

    peer: str
    transaction_uid: str
    stored: Sequence[str] = ()
    failed: Mapping[str, int] = field(default_factory=dict)


class Intake(Protocol):
    """Durable store of instances and reports. Its methods are called from several threads at once.

    Each of them is one transaction and returns after its commit.
    """

    def take(self, instance: ReceivedInstance, header: InstanceHeader) -> None:
        """Keep an instance, of which the same bytes may be there already.

        Raises:
            IntakeUnavailableError: it cannot be kept now. The listener answers 0xA700, and the sender tries again.
        """

    def skip(self, sop_class_uid: str, sop_instance_uid: str, caller: Caller) -> None:
        """Note an instance of a storage class that is never read. Its bytes are dropped, and 0x0000 is answered.

        Args:
            sop_class_uid: its storage class.
            sop_instance_uid: its UID.
            caller: its sender.

        Raises:
            IntakeUnavailableError: it cannot be noted now.
        """

    def committed(self, report: CommitmentReport) -> None:
        """Keep a report on storage commitment, which may be about an unknown or a finished transaction.

        Raises:
            IntakeUnavailableError: it cannot be kept now. The listener answers 0x0110, and the peer may report again.
        """

    def denied(self, reason: DenialReason, caller: Caller) -> None:
        """Count an association or a message that was not accepted. It raises nothing."""
