"""The first stretch: an instance is in the database before the listener answers the peer."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

from django.db import Error, IntegrityError, close_old_connections, connection, transaction
from django.db.models.functions import Now

from boneage.node.instance import InstanceHeader, ReceivedInstance
from boneage.node.intake import Caller, CommitmentReport, DenialReason, IntakeUnavailableError
from boneage.node.selection import SkipReason
from boneage.web.accounts.audit import SYSTEM, Action, client_address, record
from boneage.web.models import User, configuration
from boneage.web.node import following, outbox, tallies
from boneage.web.node.models import Delivery, Instance, InstanceState, ResultFile

log = logging.getLogger(__name__)


class DatabaseIntake:
    """`boneage.node.intake.Intake` on the database of the service.

    Args:
        actor: the user who sends, for the audit log, or `SYSTEM` for a peer.
        detail: details of the audit events, such as the user's token.
    """

    def __init__(self, actor: User | str = SYSTEM, detail: Mapping[str, str] = MappingProxyType({})) -> None:
        self._actor, self._detail = actor, detail

    def take(self, instance: ReceivedInstance, header: InstanceHeader) -> None:
        """Store an instance.

        Raises:
            IntakeUnavailableError: the database is away or full.
        """
        with _database(instance.address):
            try:
                self._take(instance, header)
            except IntegrityError:  # the same instance has just arrived on another association
                self._take(instance, header)
            _note_received(instance.peer)

    @transaction.atomic
    def _take(self, instance: ReceivedInstance, header: InstanceHeader) -> None:
        change = _take(instance, header)
        if change is not None:
            again = {"again": True} if change.is_again else {}
            record(self._actor, Action.RECEIVE, change.instance, peer=instance.peer, **again, **self._detail)

    def skip(self, sop_class_uid: str, sop_instance_uid: str, caller: Caller) -> None:
        """Note an instance of a storage class that is never read.

        Raises:
            IntakeUnavailableError: the database is away or full.
        """
        with _database(caller.address):
            try:
                reason = _skip(sop_class_uid, sop_instance_uid, caller)
            except IntegrityError:
                reason = None
            if reason is not None:
                tallies.add(tallies.SKIPPED, reason.value)
            _note_received(caller.peer)

    def committed(self, report: CommitmentReport) -> None:
        """Store a report on storage commitment.

        Raises:
            IntakeUnavailableError: the database is away or full.
        """
        with _database(None):
            outbox.take_report(report)

    def denied(self, reason: DenialReason, caller: Caller) -> None:
        """Count what was not accepted."""
        try:
            with _database(caller.address):
                tallies.add(tallies.DENIED, reason.value)
        except IntakeUnavailableError:
            log.warning("a denial could not be counted: %s", reason.value)


@contextmanager
def _database(address: str | None) -> Iterator[None]:
    """Use a connection of the listener's thread, which ends with its association.

    Args:
        address: address of the caller, for the audit log.
    """
    token = client_address.set(address)
    try:
        close_old_connections()
        yield
    except Error as error:
        raise IntakeUnavailableError(f"The database cannot be used: {type(error).__name__}.") from error
    except OSError as error:
        raise IntakeUnavailableError(f"The database cannot be used: {error.strerror}.") from error
    finally:
        client_address.reset(token)
        if not connection.in_atomic_block:
            connection.close()


def _note_received(peer: str) -> None:
    tallies.add(tallies.RECEIVED, peer)
    tallies.contact(peer, "received_at")


@dataclass(frozen=True)
class _Change:
    """A new instance, or another header of one that had arrived before."""

    instance: Instance
    is_again: bool


def _take(instance: ReceivedInstance, header: InstanceHeader) -> _Change | None:
    """Store an instance in the open transaction. Return None if nothing of it is new, or its pixels are others."""
    present = Instance.objects.select_for_update().filter(sop_instance_uid=header.sop_instance_uid).first()
    if present is None:
        made = Instance(sop_instance_uid=header.sop_instance_uid, peer=instance.peer, file=instance.file)
        made.take_header(header)
        made.department = _department_of(instance, header)
        made.save()
        return _Change(made, is_again=False)
    if present.data_sha256 == header.data_sha256:
        return None
    if present.pixels_sha256 and present.pixels_sha256 != header.pixels_sha256:
        log.warning("instance %d arrived again with other pixels, which are dropped", present.pk)
        present.uid_conflicts += 1
        present.save(update_fields=["uid_conflicts"])
        return None
    _update(present, instance, header)
    return _Change(present, is_again=True)


def _update(present: Instance, instance: ReceivedInstance, header: InstanceHeader) -> None:
    """Take another header of the same radiograph. It is assessed again only if sex, birth or study date changed. The
    results are made again if the patient changed, since they belong to that of the file.
    """
    is_read = present.assessment_id is not None
    before = (present.patient_id, present.issuer)
    changed = is_read and (present.state == InstanceState.NEEDS_SEX or _changes_reading(present, header))
    present.take_header(header)
    present.file = instance.file
    if not is_read:
        present.department = _department_of(instance, header)
    if changed or not is_read:
        present.state, present.reason = InstanceState.WAITING, ""
        Instance.objects.filter(pk=present.pk).update(changed_at=Now())
        present.save(update_fields=[*_HEADER_FIELDS, "state", "reason"])
    else:
        present.save(update_fields=_HEADER_FIELDS)
        if before != (present.patient_id, present.issuer):
            following.revise(Instance.objects.filter(pk=present.pk))


def _department_of(instance: ReceivedInstance, header: InstanceHeader) -> str:
    return configuration().department_list.of_instance(
        header.department, instance.called_ae_title, instance.calling_ae_title
    )


_HEADER_FIELDS = (
    "header_values",
    "sop_class_uid",
    "study_uid",
    "patient_id",
    "issuer",
    "accession",
    "data_sha256",
    "pixels_sha256",
    "file",
    "department",
)


def _changes_reading(present: Instance, header: InstanceHeader) -> bool:
    before, assessment = present.header, present.assessment
    if assessment is None:
        return True
    sex = header.sex in {"F", "M"} and header.sex not in {before.sex, assessment.sex}
    return sex or header.birth_date != before.birth_date or header.study_date != before.study_date


@transaction.atomic
def _skip(sop_class_uid: str, sop_instance_uid: str, caller: Caller) -> SkipReason | None:
    """Note an instance that is not read. Return the reason; None if the instance is known."""
    reason = SkipReason.OWN_RESULT if _is_own(sop_instance_uid) else SkipReason.STORAGE_CLASS
    _row, is_new = Instance.objects.get_or_create(
        sop_instance_uid=sop_instance_uid,
        defaults={
            "sop_class_uid": sop_class_uid,
            "peer": caller.peer,
            "department": configuration().department_list.of_instance("", caller.called_ae_title, caller.ae_title),
            "state": InstanceState.SKIPPED,
            "reason": reason.value,
        },
    )
    return reason if is_new else None


def _is_own(sop_instance_uid: str) -> bool:
    """Return whether an instance is a result of this installation, which a PACS forwards to it."""
    made = ResultFile.objects.filter(sop_instance_uid=sop_instance_uid)
    return made.exists() or Delivery.objects.filter(sent_instance_uid=sop_instance_uid).exists()
