"""The queue: a film submitted is assessed once in effect, whatever dies meanwhile.

django-tasks' database backend is the queue. What it does not do, taking up again what a killed worker left, is done
here by a lease: `begin` marks the assessment as running for a while and counts the attempt; `finish` writes the answer
in one transaction, and only if this attempt is still the one that counts. `take_up_lost` puts back what was begun and
not finished in time, or what a supervisor says its dead worker had.

An answer that comes too late, from a worker that was thought dead, changes nothing.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django_tasks import TaskResultStatus, task
from django_tasks_db.models import DBTaskResult

from boneage.errors import BoneageError
from boneage.sex import Sex
from boneage.web.models import Assessment, Case, Picture, PictureKind, State, User, configuration

log = logging.getLogger(__name__)

WORKER_LOST = "worker_lost"
"""Code of a film that was tried too often: each worker that took it died."""


@dataclass(frozen=True)
class Submission:
    """A film with what the user said of it; valid values only (`boneage.web.forms` and `boneage.web.api` see to that).

    Attributes:
        film: bytes of the file.
        film_name: as the user called it.
        sex: required.
        birth_date: of the child, if given.
        study_date: of the film, if given.
        given_age_months: chronological age, if given.
        note: free text.
        case: in the mode ``clinic``, the child, if a reference was given.
        user: who submits; None in the mode ``open``.
        client: hash of the client's address; empty in the mode ``clinic``.
    """

    film: bytes = field(repr=False)
    film_name: str
    sex: Sex
    birth_date: date | None = None
    study_date: date | None = None
    given_age_months: float | None = None
    note: str = ""
    case: Case | None = None
    user: User | None = None
    client: str = ""


class BusyError(BoneageError):
    """``busy``: too many films wait. ``too_many``: this client has submitted too many in the last hour."""


@transaction.atomic
def submit(submission: Submission) -> Assessment:
    """Keep a film and put it into the queue.

    Raises:
        BusyError: ``busy`` or ``too_many``; nothing was kept.
    """
    _refuse_too_many(submission.client)
    assessment = Assessment.objects.create(
        case=submission.case,
        submitted_by=submission.user,
        client=submission.client,
        film_name=submission.film_name[:255],
        film_bytes=len(submission.film),
        film_sha256=hashlib.sha256(submission.film).hexdigest(),
        sex=submission.sex.value,
        birth_date=submission.birth_date,
        study_date=submission.study_date,
        given_age_months=submission.given_age_months,
        note=submission.note,
    )
    if submission.case is not None:
        Case.objects.filter(pk=submission.case.pk).update(changed_at=timezone.now())
    Picture.objects.create(
        assessment=assessment, kind=PictureKind.FILM, media_type="application/octet-stream", data=submission.film
    )
    _enqueue(assessment)
    return assessment


def _refuse_too_many(client: str) -> None:
    limits = configuration()
    if waiting() >= limits.waiting:
        raise BusyError("busy", "Too many films are waiting. Please try again in a few minutes.")
    if not (limits.is_open and limits.open_hourly and client):
        return
    recent = Assessment.objects.filter(client=client, submitted_at__gt=timezone.now() - timedelta(hours=1))
    if recent.count() >= limits.open_hourly:
        raise BusyError("too_many", f"At most {limits.open_hourly} films an hour can be assessed here.")


def waiting() -> int:
    """How many films are waiting or being assessed."""
    return Assessment.objects.filter(state__in=[State.QUEUED, State.RUNNING]).count()


def _enqueue(assessment: Assessment) -> None:
    result = assess_film.enqueue(str(assessment.pk))
    assessment.task_id = uuid.UUID(result.id)
    assessment.save(update_fields=["task_id"])


@task(queue_name="films", takes_context=True)
def assess_film(context: Any, assessment_id: str) -> None:
    """What a worker does for one film. Runs in the worker's process, where the nets are loaded."""
    from boneage.web.work import assess_bytes  # noqa: PLC0415 - the web server never loads the nets

    run(assessment_id, worker=context.task_result.worker_ids[-1], assess=assess_bytes)


@dataclass(frozen=True)
class Answer:
    """What a worker found: either an answer, or why there is none.

    Attributes:
        state: a final one.
        code: of a refusal or failure.
        message: the same as a sentence.
        age_months: of an answer.
        chronological_age_months: of the child at the study, as far as known.
        result: as `Assessment.result`.
        pictures: (media type, bytes) by kind.
    """

    state: State
    code: str = ""
    message: str = ""
    age_months: float | None = None
    chronological_age_months: float | None = None
    result: dict[str, Any] | None = None
    pictures: dict[PictureKind, tuple[str, bytes]] = field(default_factory=dict)


def run(assessment_id: str, *, worker: str, assess: Callable[[Assessment, bytes], Answer]) -> bool:
    """One attempt at one film. Whether its answer was kept.

    Args:
        assessment_id: of the film.
        worker: name of the process that does it.
        assess: the film's bytes to an answer; raises nothing for a bad film.
    """
    begun = begin(assessment_id, worker)
    if begun is None:
        return False
    film = bytes(begun.pictures.get(kind=PictureKind.FILM).data)
    return finish(begun, assess(begun, film))


@transaction.atomic
def begin(assessment_id: str, worker: str) -> Assessment | None:
    """Take a waiting film for a while; None if it is not waiting any more, or was deleted."""
    assessment = Assessment.objects.select_for_update().filter(pk=assessment_id, state=State.QUEUED).first()
    if assessment is None:
        return None
    assessment.state = State.RUNNING
    assessment.attempt += 1
    assessment.worker = worker
    assessment.lease_until = timezone.now() + timedelta(seconds=configuration().lease_seconds)
    assessment.save(update_fields=["state", "attempt", "worker", "lease_until"])
    return assessment


@transaction.atomic
def finish(begun: Assessment, answer: Answer) -> bool:
    """Write the answer of an attempt, if that is still the one that counts."""
    current = Assessment.objects.filter(pk=begun.pk, state=State.RUNNING, attempt=begun.attempt)
    now = timezone.now()
    limits = configuration()
    kept = current.update(
        state=answer.state,
        code=answer.code,
        message=answer.message,
        age_months=answer.age_months,
        chronological_age_months=answer.chronological_age_months,
        result=answer.result,
        finished_at=now,
        lease_until=None,
        expires_at=now + timedelta(minutes=limits.open_minutes) if limits.is_open else None,
    )
    if not kept:
        return False
    for kind, (media_type, data) in answer.pictures.items():
        Picture.objects.create(assessment=begun, kind=kind, media_type=media_type, data=data)
    if limits.is_open:
        Picture.objects.filter(assessment=begun, kind=PictureKind.FILM).delete()
    return True


@transaction.atomic
def take_up_lost(*, dead_worker: str = "") -> int:
    """Put films back into the queue whose worker is lost. Returns how many were found.

    Lost are those that run past their lease, those that `dead_worker` was at, and those that wait although no task for
    them is ready: their worker died between taking the task and beginning. A second task for a film does no harm, since
    only one can begin.

    Args:
        dead_worker: name of a worker that its supervisor saw dying.
    """
    now = timezone.now()
    lost = Q(state=State.RUNNING, lease_until__lt=now)
    if dead_worker:
        lost |= Q(state=State.RUNNING, worker=dead_worker)
    ready = DBTaskResult.objects.filter(pk=OuterRef("task_id"), status=TaskResultStatus.READY)
    patience = timedelta(0) if dead_worker else timedelta(seconds=configuration().lease_seconds)
    untaken = Q(state=State.QUEUED, submitted_at__lte=now - patience) & ~Q(Exists(ready))
    found = list(Assessment.objects.select_for_update(skip_locked=True).filter(lost | untaken))
    for assessment in found:
        _put_back(assessment)
    return len(found)


def _put_back(assessment: Assessment) -> None:
    """Queue a lost film again, or give it up after so many attempts: it may be the film that kills the workers."""
    if assessment.attempt >= configuration().attempts:
        log.warning("assessment %s was given up after %d attempts", assessment.pk, assessment.attempt)
        finish(assessment, Answer(State.FAILED, WORKER_LOST, "The film could not be assessed: each attempt broke off."))
        return
    log.warning("assessment %s is queued again after attempt %d", assessment.pk, assessment.attempt)
    assessment.state = State.QUEUED
    assessment.lease_until = None
    assessment.save(update_fields=["state", "lease_until"])
    _enqueue(assessment)
