"""The queue: a radiograph submitted is assessed once in effect, whatever dies meanwhile.

django-tasks' database backend is the queue. What it does not do, taking up again what a killed worker left, is done
here by a lease: `begin` marks the assessment as running for a while and counts the attempt; `finish` writes the answer
in one transaction, and only if this attempt is still the one that counts. `take_up_lost` puts back what was begun and
not finished in time, or what a supervisor says its dead worker had.

An answer that comes too late, from a worker that was thought dead, changes nothing. More than one task for a radiograph
does no harm: one of them can begin, and the others find nothing that waits. So whatever is in doubt is queued again.

Leases are by the database's clock, for machines' clocks differ. On SQLite each transaction that writes is alone from
its beginning (``transaction_mode`` in the settings); on PostgreSQL, READ COMMITTED, each change of state is one UPDATE
with the old state as its condition, or a row that is locked before it is read.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import BooleanField, DateField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from django_tasks import TaskResultStatus, task
from django_tasks_db.models import DBTaskResult

from boneage.errors import BoneageError
from boneage.files import sha256_of
from boneage.sex import Sex
from boneage.web.models import Assessment, Case, Picture, PictureKind, Sending, State, User, configuration
from boneage.web.queue.answer import Answer, PutOffError

log = logging.getLogger(__name__)

WORKER_LOST = "worker_lost"
"""Code of a radiograph that was tried too often: each worker that took it died."""

QUEUE = "radiographs"

DATABASE_AWAY = (OperationalError, InterfaceError)
"""What is raised while a database restarts, cannot be reached, or (SQLite) is locked for too long."""

_PAUSE_SECONDS = 0.5
"""Between attempts to write an answer while the database is away."""

HUNG_ATTEMPTS = 2
"""A radiograph is given up when so many attempts have run out of their lease: it hangs."""

_NOT_BEGUN_PRIORITY = 1
"""A radiograph whose worker died before it began goes first, for it has waited. Others go to the end of the queue: they
may be what kills the workers, and good ones must not wait behind them.
"""

_TASKS_KEPT = timedelta(hours=1)

_SUBMIT_LOCK = 0x626F6E65
"""Number of the lock on PostgreSQL under which radiographs are counted and added."""


@dataclass(frozen=True)
class Submission:
    """A radiograph with what the user said of it; valid values only (`boneage.web.cases.forms` and
    `boneage.web.api.operations` see to that).

    Attributes:
        radiograph: bytes of the file.
        radiograph_name: as the user called it.
        sex: required.
        birth_date: of the child, if given.
        study_date: of the radiograph, if given.
        given_age_months: chronological age, if given.
        note: free text.
        case: in the mode ``clinic``, the child, if a reference was given.
        user: who submits; None in the mode ``open``.
        client: hash of the client's address; empty in the mode ``clinic``.
    """

    radiograph: bytes = field(repr=False)
    radiograph_name: str
    sex: Sex
    birth_date: date | None = None
    study_date: date | None = None
    given_age_months: float | None = None
    note: str = ""
    case: Case | None = None
    user: User | None = None
    client: str = ""


COUNTED = timedelta(hours=1)
"""For so long a client's radiographs count against `Configuration.open_hourly`, whether they are still here or not."""


class BusyError(BoneageError):
    """``busy``: too many radiographs wait. ``too_many``: this client has submitted too many in the last hour."""


@transaction.atomic
def submit(submission: Submission) -> Assessment:
    """Keep a radiograph and put it into the queue.

    Raises:
        BusyError: ``busy`` or ``too_many``; nothing was kept.
        Case.DoesNotExist: the case was deleted meanwhile; nothing was kept.
    """
    _one_submission_at_a_time()
    _reject_too_many(submission.client)
    # Before anything refers to it: this locks the case against its deletion.
    case = submission.case
    if case is not None and not Case.objects.filter(pk=case.pk).update(changed_at=timezone.now()):
        raise Case.DoesNotExist("The case was deleted meanwhile.")
    assessment = Assessment.objects.create(
        case=case,
        submitted_by=submission.user,
        client=submission.client,
        radiograph_name=submission.radiograph_name[:255],
        radiograph_bytes=len(submission.radiograph),
        radiograph_sha256=sha256_of(submission.radiograph),
        sex=submission.sex.value,
        birth_date=submission.birth_date,
        study_date=submission.study_date,
        given_age_months=submission.given_age_months,
        note=submission.note,
    )
    Picture.objects.create(
        assessment=assessment,
        kind=PictureKind.UPLOAD,
        media_type="application/octet-stream",
        data=submission.radiograph,
    )
    _enqueue(assessment)
    return assessment


def _one_submission_at_a_time() -> None:
    """So that no more radiographs come in than the limits allow. SQLite has one writer at a time anyway."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_SUBMIT_LOCK])


def _reject_too_many(client: str) -> None:
    limits = configuration()
    if waiting() >= limits.waiting:
        raise BusyError("busy", "Too many radiographs are waiting. Please try again in a few minutes.")
    if not (limits.is_open and limits.open_hourly and client):
        return
    if Sending.objects.filter(client=client, at__gt=timezone.now() - COUNTED).count() >= limits.open_hourly:
        raise BusyError("too_many", f"At most {limits.open_hourly} radiographs an hour can be assessed here.")
    Sending.objects.create(client=client)


def waiting() -> int:
    """How many radiographs are waiting or being assessed."""
    return Assessment.objects.filter(state__in=[State.QUEUED, State.RUNNING]).count()


def position(assessment: Assessment) -> int:
    """Its place in the queue: 1 for the radiograph that comes next; 0 for one that does not wait."""
    if assessment.state != State.QUEUED:
        return 0
    return 1 + Assessment.objects.filter(state=State.QUEUED, submitted_at__lt=assessment.submitted_at).count()


def _enqueue(assessment: Assessment, priority: int = 0) -> None:
    result = assess_radiograph.using(priority=priority).enqueue(str(assessment.pk))
    assessment.task_id = uuid.UUID(result.id)
    assessment.save(update_fields=["task_id"])


@task(queue_name=QUEUE, takes_context=True)
def assess_radiograph(context: Any, assessment_id: str) -> None:
    """What a worker does for one radiograph. Runs in the worker's process, where the networks are loaded."""
    from boneage.web.queue.work import assess_bytes  # noqa: PLC0415 - the web server never loads the networks

    run(assessment_id, worker=context.task_result.worker_ids[-1], assess=assess_bytes)


def run(assessment_id: str, *, worker: str, assess: Callable[[Assessment, bytes], Answer]) -> bool:
    """One attempt at one radiograph. Whether its answer was kept.

    Args:
        assessment_id: of the radiograph.
        worker: name of the process that does it.
        assess: the radiograph's bytes to an answer; raises nothing for a bad file but `PutOffError`.
    """
    begun = begin(assessment_id, worker)
    if begun is None:
        return False
    radiograph = begun.pictures.filter(kind=PictureKind.UPLOAD).values_list("data", flat=True).first()
    if radiograph is None:
        return False  # deleted since
    ends = time.monotonic() + configuration().lease_seconds
    try:
        answer = assess(begun, bytes(radiograph))
    except PutOffError:
        _put_off(begun)
        return False
    return _finish_until(ends, begun, answer)


@transaction.atomic
def _put_off(begun: Assessment) -> None:
    """Put a radiograph to the end of the queue, if this attempt is still the one that counts."""
    current = Assessment.objects.filter(pk=begun.pk, state=State.RUNNING, attempt=begun.attempt)
    if current.update(state=State.QUEUED, lease_until=None):
        log.warning("assessment %s takes long and is put off", begun.pk)
        _enqueue(begun)


def _finish_until(ends: float, begun: Assessment, answer: Answer) -> bool:
    """As `finish`, but wait for a database that is away as long as the lease lasts.

    Args:
        ends: when it ends, by `time.monotonic`.
        begun: as `begin` gave it.
        answer: to write.
    """
    while True:
        try:
            return finish(begun, answer)
        except DATABASE_AWAY:
            if time.monotonic() + _PAUSE_SECONDS > ends:
                raise
            log.warning("the answer to assessment %s waits for the database", begun.pk)
            connection.close()
            time.sleep(_PAUSE_SECONDS)


@transaction.atomic
def begin(assessment_id: str, worker: str) -> Assessment | None:
    """Take a waiting radiograph for a while; None if it is not waiting any more, or was deleted."""
    taken = Assessment.objects.filter(pk=assessment_id, state=State.QUEUED).update(
        state=State.RUNNING,
        attempt=F("attempt") + 1,
        worker=worker,
        lease_until=Now() + timedelta(seconds=configuration().lease_seconds),
    )
    return Assessment.objects.get(pk=assessment_id) if taken else None


@transaction.atomic
def finish(begun: Assessment, answer: Answer) -> bool:
    """Write the answer of an attempt, if that is still the one that counts."""
    current = Assessment.objects.filter(pk=begun.pk, state=State.RUNNING, attempt=begun.attempt)
    now = timezone.now()
    is_open = _came_in_open(begun)
    kept = current.update(
        state=answer.state,
        code=answer.code,
        message=answer.message,
        age_months=answer.age_months,
        chronological_age_months=answer.chronological_age_months,
        study_date=Coalesce("study_date", Value(answer.study_date, output_field=DateField())),
        result=answer.result,
        finished_at=now,
        lease_until=None,
        expires_at=now + timedelta(minutes=configuration().open_minutes) if is_open else None,
    )
    if not kept:
        return False
    for kind, (media_type, data) in answer.pictures.items():
        Picture.objects.create(assessment=begun, kind=kind, media_type=media_type, data=data)
    if is_open:
        Picture.objects.filter(assessment=begun, kind=PictureKind.UPLOAD).delete()
    return True


def _came_in_open(assessment: Assessment) -> bool:
    """Whether it was submitted in the mode ``open``, and is not to be kept.

    It says so itself: a worker on another machine whose mode was not set must not delete a clinic's radiographs.
    """
    is_of_somebody = assessment.submitted_by_id is not None or assessment.case_id is not None
    return bool(assessment.client) or (configuration().is_open and not is_of_somebody)


@transaction.atomic
def take_up_lost(*, dead_worker: str = "") -> int:
    """Put radiographs back into the queue whose worker is lost. Returns how many were found.

    Lost are those that run past their lease, those that `dead_worker` was at, and those that wait although no task for
    them is ready: their worker died between taking the task and beginning.

    Args:
        dead_worker: name of a worker that its supervisor saw dying.
    """
    lost = Q(state=State.RUNNING, lease_until__lt=Now())
    its_task = DBTaskResult.objects.filter(pk=OuterRef("task_id"))
    taken_lately = Q(status=TaskResultStatus.RUNNING, started_at__gt=Now() - _patience())
    if dead_worker:
        lost |= Q(state=State.RUNNING, worker=dead_worker)
        taken_lately &= ~Q(worker_ids__0=dead_worker)  # of several workers a task knows the first: there is no other
    has_task = Exists(its_task.filter(Q(status=TaskResultStatus.READY) | taken_lately))
    lost |= Q(~has_task, state=State.QUEUED)
    ran_out = ExpressionWrapper(Q(lease_until__lt=Now()), output_field=BooleanField())
    rows = Assessment.objects.select_for_update(skip_locked=True).filter(lost).annotate(ran_out=ran_out)
    found = list(rows.order_by("submitted_at"))
    for assessment in found:
        _put_back(assessment, hung=bool(assessment.ran_out))
    return len(found)


def _patience() -> timedelta:
    """How long a worker that has taken a task may need to begin, before it counts as dead."""
    return timedelta(seconds=configuration().lease_seconds)


def _put_back(assessment: Assessment, *, hung: bool) -> None:
    """Queue a lost radiograph again, or give it up after so many attempts: it may be what kills the workers.

    Args:
        assessment: running, or waiting without a task.
        hung: whether its attempt ran out of its lease; else its worker died.
    """
    was_begun = assessment.state == State.RUNNING
    assessment.hangs += hung
    too_often = assessment.attempt >= configuration().attempts or assessment.hangs >= HUNG_ATTEMPTS
    if was_begun and too_often:
        log.warning("assessment %s was given up after %d attempts", assessment.pk, assessment.attempt)
        finish(
            assessment,
            Answer(State.FAILED, WORKER_LOST, "The radiograph could not be assessed: every attempt was interrupted."),
        )
        return
    log.warning("assessment %s is queued again after attempt %d", assessment.pk, assessment.attempt)
    assessment.state = State.QUEUED
    assessment.lease_until = None
    assessment.save(update_fields=["state", "lease_until", "hangs"])
    _enqueue(assessment, priority=0 if was_begun else _NOT_BEGUN_PRIORITY)


@transaction.atomic
def delete(found: QuerySet[Assessment]) -> int:
    """Delete assessments with their pictures and decisions, running ones too. Returns how many.

    They are locked first: a worker that is about to write an answer to one of them then comes before or after, and not
    between the deletion of its pictures and its own.

    Args:
        found: which.
    """
    keys = locked(found)
    Assessment.objects.filter(pk__in=keys).delete()
    return len(keys)


def locked(found: QuerySet[Assessment]) -> list[UUID]:
    """Lock assessments until the transaction ends; to be done before their case is, for all others do so too.

    Args:
        found: which.
    """
    return list(found.order_by("pk").select_for_update(of=("self",)).values_list("pk", flat=True))


@transaction.atomic
def delete_case(case: Case) -> bool:
    """Delete a case with its assessments, also one that is being submitted to or assessed. False if it was gone."""
    delete(Assessment.objects.filter(case=case))  # first: see `locked`
    if Case.objects.select_for_update().filter(pk=case.pk).first() is None:
        return False
    delete(Assessment.objects.filter(case=case))
    Case.objects.filter(pk=case.pk).delete()
    return True


def forget_tasks() -> int:
    """Delete the queue's records of tasks that ended, or broke off, more than an hour ago. Returns how many."""
    kept = max(_TASKS_KEPT, 2 * _patience())
    old = DBTaskResult.objects.exclude(status=TaskResultStatus.READY).filter(started_at__lt=Now() - kept)
    return old.delete()[0]
