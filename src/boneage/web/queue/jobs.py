"""The queue: a submitted radiograph is assessed once in effect, whatever process dies meanwhile.

django-tasks' database backend is the queue. It does not recover the task of a killed worker; a lease does. `begin`
marks the assessment as running for a while and counts the attempt. `finish` writes the result in one transaction, and
only if this attempt still counts. `take_up_lost` puts back radiographs that were not finished in time, and those of a
worker that its supervisor has seen dying.

A late result, from a worker that was considered dead, changes nothing. Several tasks for one radiograph do no harm: one
of them can begin, and the others find nothing that waits. When in question, a radiograph is therefore queued again.

Leases use the clock of the database, because the clocks of machines differ. On SQLite, a writing transaction is alone
from its beginning (``transaction_mode`` in the settings). On PostgreSQL (READ COMMITTED), each change of state is one
UPDATE with the old state as its condition, or locks the row before it reads it.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
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
from boneage.web.departments import NO_DEPARTMENT
from boneage.web.documents import stored_value
from boneage.web.models import Assessment, Case, Picture, PictureKind, Sending, State, User, configuration
from boneage.web.queue import same_radiograph
from boneage.web.queue.answer import Answer, PutOffError
from boneage.web.reading_columns import reading_columns

log = logging.getLogger(__name__)

WORKER_LOST = "worker_lost"
"""Code of a radiograph that was tried too often: each worker that took it died."""

QUEUE = "radiographs"

DATABASE_AWAY = (OperationalError, InterfaceError)
"""Exceptions while a database restarts, is unreachable, or (SQLite) is locked for too long."""

_PAUSE_SECONDS = 0.5
"""Time between attempts to write a result while the database is unreachable."""

HUNG_ATTEMPTS = 2
"""Number of attempts beyond their lease after which a radiograph fails, because it hangs."""

_NOT_BEGUN_PRIORITY = 1
"""Priority of a radiograph whose worker died before it began: it has waited and goes first. Others go to the end of the
queue: they may be what kills the workers, and good ones must not wait behind them."""

_TASKS_KEPT = timedelta(hours=1)

_SUBMIT_LOCK = 0x626F6E65
"""Number of the PostgreSQL lock under which radiographs are counted and added."""


@dataclass(frozen=True)
class Submission:
    """A radiograph with the user's data; valid values only, as `boneage.web.cases.forms` ensures.

    Attributes:
        radiograph: bytes of the file.
        radiograph_name: name of the user's file.
        sex: one of `boneage.web.models.SEXES`, required.
        birth_date: date of birth of the child, if given.
        study_date: date of the radiograph, if given.
        given_age_months: chronological age, if given.
        given_age_precision: unit to which it is known; empty for an exact age.
        note: free text.
        case: case of the child in the mode ``clinic``, if a reference was given.
        department: name of the department that sees the radiograph, if it has no case; otherwise that of the case
            counts.
        user: the user; None in the mode ``open``.
        client: hash of the client's address; empty in the mode ``clinic``.
    """

    radiograph: bytes = field(repr=False)
    radiograph_name: str
    sex: str
    birth_date: date | None = None
    study_date: date | None = None
    given_age_months: float | None = None
    given_age_precision: str = ""
    note: str = ""
    case: Case | None = None
    department: str = NO_DEPARTMENT
    user: User | None = None
    client: str = ""


COUNTED = timedelta(hours=1)
"""Time for which the radiographs of a client count towards `Configuration.open_hourly`, even after their deletion."""


class BusyError(BoneageError):
    """``busy``: too many radiographs wait. ``too_many``: this client has submitted too many in the last hour."""


@transaction.atomic
def submit(submission: Submission) -> Assessment:
    """Store a radiograph and put it into the queue.

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
        department=submission.department if case is None else case.department,
        submitted_by=submission.user,
        client=submission.client,
        radiograph_name=submission.radiograph_name[:255],
        radiograph_bytes=len(submission.radiograph),
        radiograph_sha256=sha256_of(submission.radiograph),
        sex=submission.sex,
        birth_date=submission.birth_date,
        study_date=submission.study_date,
        given_age_months=submission.given_age_months,
        given_age_precision=submission.given_age_precision,
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
    """Serialise submissions, so that no more radiographs arrive than the limits allow. SQLite has one writer at a time
    anyway.
    """
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
    """Return the number of radiographs that are waiting or being assessed."""
    return Assessment.objects.filter(state__in=[State.QUEUED, State.RUNNING]).count()


def position(assessment: Assessment) -> int:
    """Return the place in the queue: 1 for the next radiograph; 0 for one that does not wait."""
    if assessment.state != State.QUEUED:
        return 0
    return 1 + Assessment.objects.filter(state=State.QUEUED, submitted_at__lt=assessment.submitted_at).count()


def _enqueue(assessment: Assessment, priority: int = 0) -> None:
    result = assess_radiograph.using(priority=priority).enqueue(str(assessment.pk))
    assessment.task_id = uuid.UUID(result.id)
    assessment.save(update_fields=["task_id"])


@task(queue_name=QUEUE, takes_context=True)
def assess_radiograph(context: Any, assessment_id: str) -> None:
    """Assess one radiograph. This task runs in the worker's process, where the networks are loaded."""
    from boneage.web.queue.work import assess_bytes  # noqa: PLC0415 - the web server never loads the networks

    run(assessment_id, worker=context.task_result.worker_ids[-1], assess=assess_bytes)


def run(assessment_id: str, *, worker: str, assess: Callable[[Assessment, bytes], Answer]) -> bool:
    """Make one attempt at one radiograph. Return whether its result was stored.

    Args:
        assessment_id: id of the radiograph's assessment.
        worker: name of the worker process.
        assess: function from the radiograph's bytes to an answer; it raises nothing for a bad file but `PutOffError`.
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
    """Put a radiograph to the end of the queue, if this attempt still counts."""
    current = Assessment.objects.filter(pk=begun.pk, state=State.RUNNING, attempt=begun.attempt)
    if current.update(state=State.QUEUED, lease_until=None):
        log.warning("assessment %s takes long and is put off", begun.pk)
        _enqueue(begun)


def _finish_until(ends: float, begun: Assessment, answer: Answer) -> bool:
    """Call `finish`, and wait for an unreachable database as long as the lease lasts.

    Args:
        ends: end of the lease by `time.monotonic`.
        begun: the assessment from `begin`.
        answer: the answer to write.
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
    """Take a waiting radiograph for a while. Return None if it is no longer waiting, or was deleted."""
    taken = Assessment.objects.filter(pk=assessment_id, state=State.QUEUED).update(
        state=State.RUNNING,
        attempt=F("attempt") + 1,
        worker=worker,
        lease_until=Now() + timedelta(seconds=configuration().lease_seconds),
    )
    return Assessment.objects.get(pk=assessment_id) if taken else None


@transaction.atomic
def finish(begun: Assessment, answer: Answer) -> bool:
    """Write the result of an attempt, if the attempt still counts. Return whether it does."""
    same_radiograph.hold([answer.pixels_sha256])
    current = Assessment.objects.filter(pk=begun.pk, state=State.RUNNING, attempt=begun.attempt)
    now = timezone.now()
    is_open = _came_in_open(begun)
    kept = current.update(
        state=answer.state,
        code=answer.code,
        message=answer.message,
        age_months=answer.age_months,
        chronological_age_months=answer.chronological_age_months,
        chronological_age_precision=answer.chronological_age_precision,
        study_date=Coalesce("study_date", Value(answer.study_date, output_field=DateField())),
        pixels_sha256=answer.pixels_sha256,
        result=stored_value(answer.results),
        **asdict(reading_columns(answer.results)),
        finished_at=now,
        lease_until=None,
        expires_at=now + timedelta(minutes=configuration().open_minutes) if is_open else None,
    )
    if not kept:
        return False
    same_radiograph.mark([answer.pixels_sha256])
    for kind, (media_type, data) in answer.pictures.items():
        Picture.objects.create(assessment=begun, kind=kind, media_type=media_type, data=data)
    if is_open:
        Picture.objects.filter(assessment=begun, kind=PictureKind.UPLOAD).delete()
    return True


def _came_in_open(assessment: Assessment) -> bool:
    """Return whether an assessment was submitted in the mode ``open``, and is not to be stored permanently.

    The assessment itself decides: a worker on another machine whose mode was not set must not delete a clinic's
    radiographs.
    """
    is_of_somebody = assessment.submitted_by_id is not None or assessment.case_id is not None
    return bool(assessment.client) or (configuration().is_open and not is_of_somebody)


@transaction.atomic
def take_up_lost(*, dead_worker: str = "") -> int:
    """Put radiographs whose worker is lost back into the queue. Return their number.

    Lost are those that run past their lease, those of `dead_worker`, and those that wait although no task for them is
    ready: their worker died between taking the task and beginning.

    Args:
        dead_worker: name of a worker that its supervisor has seen dying.
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
    lost_assessments = list(rows.order_by("submitted_at"))
    for assessment in lost_assessments:
        _put_back(assessment, hung=bool(getattr(assessment, "ran_out", False)))
    return len(lost_assessments)


def _patience() -> timedelta:
    """Return the time in which a worker that has taken a task must begin, before it counts as dead."""
    return timedelta(seconds=configuration().lease_seconds)


def _put_back(assessment: Assessment, *, hung: bool) -> None:
    """Queue a lost radiograph again, or fail it after too many attempts: it may be what kills the workers.

    Args:
        assessment: running, or waiting without a task.
        hung: true if its attempt ran out of its lease; otherwise its worker died.
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
def delete(assessments: QuerySet[Assessment]) -> int:
    """Delete assessments with their pictures and decisions, running ones too. Return their number.

    They are locked first: a worker that is about to write a result to one of them then does so before or after, and not
    between the deletion of its pictures and its own.

    Args:
        assessments: assessments to delete.
    """
    checksums = list(assessments.exclude(pixels_sha256="").values_list("pixels_sha256", flat=True).distinct())
    same_radiograph.hold(checksums)
    keys = locked(assessments)
    Assessment.objects.filter(pk__in=keys).delete()
    same_radiograph.mark(checksums)
    return len(keys)


def locked(assessments: QuerySet[Assessment]) -> list[UUID]:
    """Lock assessments until the transaction ends. Their case must be locked afterwards, because all other code does so
    too.

    Args:
        assessments: assessments to lock.
    """
    return list(assessments.order_by("pk").select_for_update(of=("self",)).values_list("pk", flat=True))


@transaction.atomic
def delete_case(case: Case) -> bool:
    """Delete a case with its assessments, even during a submission or assessment. Return False if it did not exist."""
    delete(Assessment.objects.filter(case=case))  # first: see `locked`
    if Case.objects.select_for_update().filter(pk=case.pk).first() is None:
        return False
    delete(Assessment.objects.filter(case=case))
    Case.objects.filter(pk=case.pk).delete()
    return True


def forget_tasks() -> int:
    """Delete the queue's records of tasks that ended or broke off over an hour ago. Return their number."""
    kept = max(_TASKS_KEPT, 2 * _patience())
    old = DBTaskResult.objects.exclude(status=TaskResultStatus.READY).filter(started_at__lt=Now() - kept)
    return old.delete()[0]
