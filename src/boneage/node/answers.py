"""Answers to C-STORE requests, to files of STOW-RS requests, and to reports of storage commitment."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from pydicom.uid import UID
from pynetdicom.dimse_primitives import C_STORE, N_EVENT_REPORT

from boneage.errors import Rejection
from boneage.node.callers import CallerList
from boneage.node.commitment import read_report
from boneage.node.instance import InstanceHeader, ReceivedInstance, dicom_file, is_uid, read_header, read_meta
from boneage.node.intake import Caller, DenialReason, Intake, IntakeUnavailableError
from boneage.node.selection import is_private_class, is_read_class

logger = logging.getLogger(__name__)

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
INVALID_ARGUMENT = 0x0115
OUT_OF_RESOURCES = 0xA700
STATUSES: dict[DenialReason, int] = {
    DenialReason.CALLER_MAY_NOT_SEND: 0x0124,
    DenialReason.UIDS_DIFFER: 0xA900,
    DenialReason.UNREADABLE: 0xC000,
    DenialReason.TOO_LARGE: 0xC000,
    DenialReason.UNAVAILABLE: OUT_OF_RESOURCES,
}
"""Statuses of C-STORE (PS3.4, B.2.3; PS3.7, annex C)."""


class _Denied(Exception):  # noqa: N818 - not an error of the program
    """An instance that is not accepted.

    Attributes:
        reason: the reason.
    """

    def __init__(self, reason: DenialReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True)
class StoredFile:
    """Outcome of a file.

    Attributes:
        sop_class_uid, sop_instance_uid: UIDs of the file; empty if it cannot be read.
        status: status of C-STORE.
    """

    sop_class_uid: str
    sop_instance_uid: str
    status: int


class Answers:
    """Answers of the node to messages of peers.

    Args:
        callers: the peers.
        intake: durable store.
        largest_bytes: largest data set that is accepted, bytes.
    """

    def __init__(self, callers: CallerList, intake: Intake, largest_bytes: int) -> None:
        self._callers, self._intake, self._largest_bytes = callers, intake, largest_bytes

    def store(self, request: C_STORE, transfer_syntax: UID, caller: Caller) -> int:
        """Keep an instance, and return the status of the response.

        Args:
            request: the request, with at most `largest_bytes` + 1 bytes of its data set.
            transfer_syntax: transfer syntax of the presentation context.
            caller: its sender.
        """
        return self._status(lambda: self._store(request, transfer_syntax, caller), caller)

    def store_file(self, file: bytes, caller: Caller) -> StoredFile:
        """Keep an instance that came as a file, as STOW-RS has it, and return its status.

        Args:
            file: DICOM file (PS3.10).
            caller: its sender, who may send.
        """
        try:
            meta = read_meta(file)
        except Rejection as rejection:
            logger.warning("a file is not read: %s", rejection.message)
            self._intake.denied(DenialReason.UNREADABLE, caller)
            return StoredFile("", "", STATUSES[DenialReason.UNREADABLE])
        uids = meta.sop_class_uid, meta.sop_instance_uid
        status = self._status(
            lambda: self._keep(*uids, UID(meta.transfer_syntax_uid), file[meta.length :], caller), caller
        )
        return StoredFile(*uids, status)

    def _status(self, keep: Callable[[], None], caller: Caller) -> int:
        """Keep an instance by a function, and return the status."""
        try:
            keep()
        except _Denied as denied:
            reason = denied.reason
        except IntakeUnavailableError as error:
            logger.warning("an instance cannot be kept now: %s", error.message)
            reason = DenialReason.UNAVAILABLE
        except Exception:  # the sender tries again, so that a fault of the program loses nothing
            logger.exception("an instance cannot be kept")
            reason = DenialReason.UNAVAILABLE
        else:
            return SUCCESS
        logger.warning("an instance of %s (%s) is not accepted: %s", caller.peer, caller.address, reason.value)
        self._intake.denied(reason, caller)
        return STATUSES[reason]

    def _store(self, request: C_STORE, transfer_syntax: UID, caller: Caller) -> None:
        sop_class, uid = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
        peer = self._callers.named(caller.peer)
        if peer is None or not peer.may_send:
            raise _Denied(DenialReason.CALLER_MAY_NOT_SEND)
        data = b"" if request.DataSet is None else request.DataSet.getvalue()
        self._keep(sop_class, uid, transfer_syntax, data, caller)

    def _keep(self, sop_class: str, uid: str, transfer_syntax: UID, data: bytes, caller: Caller) -> None:
        if not is_uid(sop_class) or not is_uid(uid):
            raise _Denied(DenialReason.UNREADABLE)
        if not is_read_class(sop_class):
            self._intake.skip(sop_class, uid, caller)
            return
        if len(data) > self._largest_bytes:
            raise _Denied(DenialReason.TOO_LARGE)
        file = dicom_file(sop_class, uid, transfer_syntax, data)
        try:
            header = self._header(file, sop_class, uid)
        except _Denied as denied:
            if denied.reason is not DenialReason.UNREADABLE or not is_private_class(sop_class):
                raise
            self._intake.skip(sop_class, uid, caller)  # a manufacturer's raw data, for example
            return
        instance = ReceivedInstance(
            sop_class_uid=sop_class,
            sop_instance_uid=uid,
            transfer_syntax_uid=str(transfer_syntax),
            peer=caller.peer,
            calling_ae_title=caller.ae_title,
            called_ae_title=caller.called_ae_title,
            address=caller.address,
            file=file,
        )
        self._intake.take(instance, header)

    def _header(self, file: bytes, sop_class: str, uid: str) -> InstanceHeader:
        try:
            header = read_header(file, max(2 * len(file), self._largest_bytes))
        except Rejection as rejection:
            logger.warning("an instance is not read: %s", rejection.message)
            raise _Denied(DenialReason.UNREADABLE) from None
        if (header.sop_class_uid, header.sop_instance_uid) != (sop_class, uid):
            raise _Denied(DenialReason.UIDS_DIFFER)
        return header

    def report(self, request: N_EVENT_REPORT, transfer_syntax: UID, caller: Caller) -> int:
        """Keep a report of storage commitment, and return the status of the response.

        Args:
            request: the request.
            transfer_syntax: transfer syntax of the presentation context.
            caller: its sender.
        """
        try:
            self._intake.committed(read_report(caller.peer, request, transfer_syntax))
        except Rejection as rejection:
            logger.warning("a report on storage commitment is not read: %s", rejection.message)
            return INVALID_ARGUMENT
        except IntakeUnavailableError as error:
            logger.warning("a report on storage commitment cannot be kept now: %s", error.message)
            return PROCESSING_FAILURE
        except Exception:
            logger.exception("a report on storage commitment cannot be kept")
            return PROCESSING_FAILURE
        return SUCCESS
