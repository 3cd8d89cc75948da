"""What is not to be kept goes: answers of the mode ``open`` when their time is over, a clinic's cases after the
retention time, ended sessions, and what a deletion left in SQLite's files.

`boneage.web.queue.jobs.forget_tasks` sees to the queue's own records, which hold no more than an assessment's id.
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
from boneage.web.queue.jobs import COUNTED, locked

log = logging.getLogger(__name__)

LONGEST_OPEN = timedelta(days=1)
"""In the mode ``open`` a radiograph goes after that even if nobody assessed it."""

AT_ONCE = 25
"""So many cases or assessments are deleted in one transaction, so that others need not wait for long."""

CHECKPOINT_WAIT_MS = 2000


@dataclass(frozen=True)
class Swept:
    """What a sweep deleted: numbers of rows.

    Attributes:
        expired: assessments of the mode ``open``.
        cases: of the mode ``clinic``, with all that belongs to them.
        assessments: of the mode ``clinic`` that belonged to no case.
        sessions: old and idle ones.
        sendings: of clients' radiographs that do not count against the hourly limit any more.
        keys: of submissions that do not count any more (`boneage.web.cases.idempotency`).
        attempts: failed logins that do not count any more.
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
        """All rows."""
        return sum(getattr(self, field.name) for field in fields(self))


def sweep(now: datetime | None = None) -> Swept:
    """Delete all whose time is over. To be called every minute; two at once do no harm.

    Args:
        now: of the clock, unless a test says otherwise.
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
    """Of the mode ``open``, whichever the mode is now. ``client`` is set there alone: a clinic's never match."""
    return Assessment.objects.filter(
        Q(expires_at__lte=now) | (~Q(client="") & Q(submitted_by=None, case=None, submitted_at__lte=now - LONGEST_OPEN))
    )


def _old_cases(now: datetime) -> QuerySet[Case]:
    """Cases at which nothing was submitted, assessed or decided for the retention time."""
    since = _retained_since(now)
    if since is None:
        return Case.objects.none()
    changed = Assessment.objects.filter(case=OuterRef("pk")).filter(_changed(since))
    return Case.objects.filter(~Exists(changed), changed_at__lt=since)


def _old_assessments(now: datetime) -> QuerySet[Assessment]:
    """The same for assessments without a case."""
    since = _retained_since(now)
    if since is None:
        return Assessment.objects.none()
    return Assessment.objects.filter(~_changed(since), case=None, expires_at=None)


def _changed(since: datetime) -> Q:
    """Assessments that came, were answered or decided upon since then, or are not finished."""
    decided = Decision.objects.filter(assessment=OuterRef("pk"), decided_at__gte=since)
    return Q(submitted_at__gte=since) | Q(finished_at__gte=since) | ~Q(state__in=FINAL) | Q(Exists(decided))


def _retained_since(now: datetime) -> datetime | None:
    """What has not changed since then goes; None if nothing does. The mode ``open`` leaves a clinic's data alone."""
    limits = configuration()
    return None if limits.is_open or not limits.retention_days else now - timedelta(days=limits.retention_days)


def _delete(
    wanted: QuerySet[Any], kind: type[Assessment] | type[Case], note: Callable[[Any], None] | None = None
) -> int:
    """Delete rows a few at a time, each few with their audit events in one transaction. Returns how many there were."""
    count = 0
    while True:
        with transaction.atomic():
            ids: Iterable[UUID] = list(wanted.order_by("pk").values_list("pk", flat=True)[:AT_ONCE])
            if not ids:
                return count
            if kind is Case:
                locked(Assessment.objects.filter(case__in=ids))
            # What changed until it could be locked stays.
            mine = [row.pk for row in kind._default_manager.select_for_update().filter(pk__in=ids).only("pk")]
            rows = list(wanted.filter(pk__in=mine).only("pk"))
            for row in rows if note else ():
                note(row)  # type: ignore[misc]  # it is there
            kind._default_manager.filter(pk__in=[row.pk for row in rows]).delete()
            count += len(rows)


def _record_case(case: Case) -> None:
    record(SYSTEM, Action.RETENTION, case, assessments=case.assessments.count())


def _record_assessment(assessment: Assessment) -> None:
    record(SYSTEM, Action.RETENTION, assessment, assessments=1)


def wipe_journal() -> None:
    """On SQLite, empty the journal: pages that were overwritten in the database may still stand there.

    Somebody else's transaction may be in the way; then the next sweep does it.
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
