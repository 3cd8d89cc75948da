"""Deletion of expired data: results of the mode ``open``, cases after the retention period, ended sessions, and remains
of deleted rows in SQLite's files.

`boneage.web.queue.jobs.forget_tasks` deletes the queue's own records, which hold only the id of an assessment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from axes.helpers import get_cool_off
from axes.models import AccessAttempt
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from boneage.web.accounts import sessions
from boneage.web.accounts.audit import SYSTEM, Action, record
from boneage.web.cases.idempotency import KEPT
from boneage.web.models import FINAL, Assessment, Case, Decision, Sending, SubmissionKey, configuration
from boneage.web.queue import same_radiograph
from boneage.web.queue.jobs import COUNTED, locked

log = logging.getLogger(__name__)

LONGEST_OPEN = timedelta(days=1)
"""Maximum time for which a radiograph of the mode ``open`` is stored, even if nobody assessed it."""

AT_ONCE = 25
"""Number of cases or assessments deleted in one transaction, so that others need not wait for long."""

CHECKPOINT_WAIT_MS = 2000


@dataclass(frozen=True)
class Swept:
    """Numbers of rows that a sweep has deleted.

    Attributes:
        expired: assessments of the mode ``open``.
        cases: cases of the mode ``clinic``, with all that belongs to them.
        assessments: assessments of the mode ``clinic`` that belonged to no case.
        sessions: old and idle sessions.
        sendings: submissions of clients that no longer count towards the hourly limit.
        keys: keys of submissions that are no longer valid (`boneage.web.cases.idempotency`).
        attempts: failed logins that no longer count.
    """

    expired: int = 0
    cases: int = 0
    assessments: int = 0
    sessions: int = 0
    sendings: int = 0
    keys: int = 0
    attempts: int = 0

    @property
    def total(self) -> int:
        """Return the number of all rows."""
        return sum(getattr(self, field.name) for field in fields(self))


def sweep(now: datetime | None = None) -> Swept:
    """Delete all expired data. It runs every minute; two sweeps at a time do no harm.

    Args:
        now: present time, for tests.
    """
    now = now or timezone.now()
    swept = Swept(
        expired=_delete(_expired(now), Assessment),
        cases=_delete(_old_cases(now), Case, _record_case),
        assessments=_delete(_old_assessments(now), Assessment, _record_assessment),
        sessions=sessions.sweep(now),
        sendings=Sending.objects.filter(at__lt=now - COUNTED).delete()[0],
        keys=SubmissionKey.objects.filter(at__lt=now - KEPT).delete()[0],
        attempts=AccessAttempt.objects.filter(attempt_time__lt=now - get_cool_off()).delete()[0],
    )
    if swept.total:
        log.info("deleted: %s", ", ".join(f"{field.name} {getattr(swept, field.name)}" for field in fields(swept)))
    wipe_journal()
    return swept


def _expired(now: datetime) -> QuerySet[Assessment]:
    """Return the expired assessments of the mode ``open``, in whichever mode the service runs now.

    Only the mode ``open`` sets ``client``, so that the assessments of a clinic never match.
    """
    return Assessment.objects.filter(
        Q(expires_at__lte=now) | (~Q(client="") & Q(submitted_by=None, case=None, submitted_at__lte=now - LONGEST_OPEN))
    )


def _old_cases(now: datetime) -> QuerySet[Case]:
    """Return the cases without a submission, result or decision within the retention period."""
    since = _retained_since(now)
    if since is None:
        return Case.objects.none()
    changed = Assessment.objects.filter(case=OuterRef("pk")).filter(_changed(since))
    return Case.objects.filter(~Exists(changed), changed_at__lt=since)


def _old_assessments(now: datetime) -> QuerySet[Assessment]:
    """Return the assessments without a case and without a change within the retention period."""
    since = _retained_since(now)
    if since is None:
        return Assessment.objects.none()
    return Assessment.objects.filter(~_changed(since), case=None, expires_at=None)


def _changed(since: datetime) -> Q:
    """Return a condition for assessments that were submitted, finished or decided since then, or are unfinished."""
    decided = Decision.objects.filter(assessment=OuterRef("pk"), decided_at__gte=since)
    return Q(submitted_at__gte=since) | Q(finished_at__gte=since) | ~Q(state__in=FINAL) | Q(Exists(decided))


def _retained_since(now: datetime) -> datetime | None:
    """Return the time before which unchanged data are deleted; None if nothing is. The mode ``open`` never deletes a
    clinic's data.
    """
    limits = configuration()
    return None if limits.is_open or not limits.retention_days else now - timedelta(days=limits.retention_days)


def _delete(
    wanted: QuerySet[Any], kind: type[Assessment] | type[Case], note: Callable[[Any], None] | None = None
) -> int:
    """Delete rows in small groups, each with its audit events in one transaction. Return their number."""
    count = 0
    while True:
        with transaction.atomic():
            ids: Iterable[UUID] = list(wanted.order_by("pk").values_list("pk", flat=True)[:AT_ONCE])
            if not ids:
                return count
            theirs = Q(case__in=ids) if kind is Case else Q(pk__in=ids)
            warned = Assessment.objects.filter(theirs, same_radiograph_elsewhere=True)
            checksums = list(warned.values_list("pixels_sha256", flat=True).distinct())
            same_radiograph.hold(checksums)
            if kind is Case:
                locked(Assessment.objects.filter(case__in=ids))
            # Rows that changed before they could be locked stay.
            mine = [row.pk for row in kind._default_manager.select_for_update().filter(pk__in=ids).only("pk")]
            rows = list(wanted.filter(pk__in=mine).only("pk"))
            for row in rows if note else ():
                note(row)  # type: ignore[misc]  # it is there
            kind._default_manager.filter(pk__in=[row.pk for row in rows]).delete()
            same_radiograph.mark(checksums)
            count += len(rows)


def _record_case(case: Case) -> None:
    record(SYSTEM, Action.RETENTION, case, assessments=case.assessments.count())


def _record_assessment(assessment: Assessment) -> None:
    record(SYSTEM, Action.RETENTION, assessment, assessments=1)


def wipe_journal() -> None:
    """On SQLite, empty the journal, which may still hold pages that were overwritten in the database.

    If another transaction is in the way, the next sweep does it.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return
    usual = int(connection.settings_dict["OPTIONS"].get("timeout", 5) * 1000)
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA busy_timeout={CHECKPOINT_WAIT_MS}")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        is_busy = cursor.fetchone()[0]
        cursor.execute(f"PRAGMA busy_timeout={usual}")
    if is_busy:
        log.info("the journal could not be emptied; the next sweep tries again")
