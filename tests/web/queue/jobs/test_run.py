"""A radiograph's way through the queue: it is answered once, whatever is deleted or fails meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from boneage.web.models import Assessment, Case, Picture, State, User
from boneage.web.queue import jobs
from boneage.web.queue.answer import Answer
from tests.web.queue.jobs.queued_radiographs import answer, claim, expire, submit, task_of


def kinds(assessment: Assessment) -> set[str]:
    return set(assessment.pictures.values_list("kind", flat=True))


@pytest.mark.parametrize(
    ("mode", "kept"), [("open", {"radiograph", "heat"}), ("clinic", {"upload", "radiograph", "heat"})]
)
def test_run_stores_answer_only_in_clinic(limits: Callable[..., None], mode: str, kept: set[str]) -> None:
    """A radiograph is answered and kept only in the clinic."""
    limits(mode=mode)
    assessment = submit()
    seen: list[tuple[str, bytes]] = []

    def assess(begun: Assessment, radiograph: bytes) -> Answer:
        seen.append((begun.state, radiograph))
        return answer(120.0)

    assert jobs.run(str(assessment.pk), worker="w", assess=assess)
    assert seen == [("running", b"a radiograph")]
    assessment.refresh_from_db()
    assert (assessment.state, assessment.age_months, assessment.attempt) == ("done", 120.0, 1)
    assert kinds(assessment) == kept
    assert (assessment.expires_at is not None) == (mode == "open")
    assert not jobs.run(str(assessment.pk), worker="w", assess=assess)  # a second task finds nothing that waits
    assert len(seen) == 1


@pytest.mark.parametrize("of_case", [False, True])
def test_run_in_other_mode_keeps_clinic_radiograph(limits: Callable[..., None], of_case: bool) -> None:
    """A worker of the other mode keeps a clinics radiograph."""
    limits(mode="clinic")
    case = Case.objects.create(reference="P-1", sex="F") if of_case else None
    user = None if of_case else User.objects.create_user("anna")
    assessment = submit(case=case, user=user)
    limits(mode="open")
    assert jobs.run(str(assessment.pk), worker="w", assess=lambda *_: answer())
    assessment.refresh_from_db()
    assert kinds(assessment) == {"upload", "radiograph", "heat"}
    assert assessment.expires_at is None


def test_run_in_other_mode_deletes_open_radiograph(limits: Callable[..., None]) -> None:
    """A worker of the other mode keeps no radiograph of an open service."""
    limits(mode="open")
    assessment = submit(client="somebody")
    limits(mode="clinic")
    assert jobs.run(str(assessment.pk), worker="w", assess=lambda *_: answer())
    assessment.refresh_from_db()
    assert kinds(assessment) == {"radiograph", "heat"}
    assert assessment.expires_at is not None


def test_run_deleted_after_begin() -> None:
    """A radiograph deleted after it was begun is no error."""
    assessment = submit()

    def assess(begun: Assessment, _radiograph: bytes) -> Answer:
        jobs.delete(Assessment.objects.filter(pk=begun.pk))
        return answer()

    assert not jobs.run(str(assessment.pk), worker="w", assess=assess)
    assert not Picture.objects.exists()
    assert not jobs.run(str(assessment.pk), worker="w", assess=assess)


def test_run_picture_deleted_before_reading() -> None:
    """A radiograph whose picture went before it was read is no error."""
    assessment = submit()
    assessment.pictures.all().delete()
    assert not jobs.run(str(assessment.pk), worker="w", assess=lambda *_: answer())


# --- reading it -------------------------------------------------------------------------------------------------------


def test_waiting_and_position() -> None:
    """The queue has a number of waiting radiographs and a next one."""
    assert jobs.waiting() == 0
    radiographs = [submit() for _ in range(3)]
    Assessment.objects.filter(pk=radiographs[0].pk).update(submitted_at=timezone.now() - timedelta(seconds=40))
    for radiograph in radiographs:
        radiograph.refresh_from_db()
    assert [jobs.position(radiograph) for radiograph in radiographs] == [1, 2, 3]
    begun = jobs.begin(str(radiographs[0].pk), "w")
    assert begun is not None
    assert jobs.waiting() == 3
    assert [jobs.position(radiograph) for radiograph in (begun, *radiographs[1:])] == [0, 1, 2]
    jobs.finish(begun, answer())
    assert jobs.waiting() == 2


def test_forget_tasks_keeps_ready_ones() -> None:
    """Old records of tasks go and ready ones stay."""
    old, new = submit(), submit()
    claim("w")
    DBTaskResult.objects.update(enqueued_at=timezone.now() - timedelta(days=2))
    assert jobs.forget_tasks() == 0
    expire(old)
    task_of(old).update(started_at=timezone.now() - timedelta(days=1))
    assert jobs.forget_tasks() == 1
    assert list(DBTaskResult.objects.values_list("pk", flat=True)) == [new.task_id]
    assert jobs.take_up_lost() == 1  # its record is gone, the radiograph is not


# --- a database that goes away ----------------------------------------------------------------------------------------


def answering_without(database: str, away: list[threading.Thread]) -> Callable[[Assessment, bytes], Answer]:
    """Return an assessment during which the database goes away; `away` receives the thread that brings it back."""
    prepared = answer()  # takes longer than the database is away

    def assess(_begun: Assessment, _radiograph: bytes) -> Answer:
        away.append(cut_off(database))
        return prepared

    return assess


def test_finish_waits_for_database(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer waits for a database that is away."""
    monkeypatch.setattr(jobs, "_PAUSE_SECONDS", 0.05)
    assessment = submit()
    away: list[threading.Thread] = []
    assess = answering_without(database, away)
    assert jobs.run(str(assessment.pk), worker="w", assess=assess)
    away[0].join()
    assert Assessment.objects.get(pk=assessment.pk).state == State.DONE


def test_finish_gives_up_with_lease(database: str, limits: Callable[..., None]) -> None:
    """An answer is given up with its lease."""
    limits(lease_seconds=0)
    assessment = submit()
    away: list[threading.Thread] = []
    assess = answering_without(database, away)
    with pytest.raises(jobs.DATABASE_AWAY):
        jobs.run(str(assessment.pk), worker="w", assess=assess)
    connection.close()
    away[0].join()
    assert jobs.take_up_lost() == 1


def cut_off(database: str) -> threading.Thread:
    """Let the database fail this thread's next statement; a while later it is there again, and the thread ends."""
    failing = threading.Event()
    with connection.cursor() as cursor:
        if database == "sqlite":
            cursor.execute("PRAGMA busy_timeout = 20")
        else:
            cursor.execute("SELECT pg_backend_pid()")
            (backend,) = cursor.fetchone()

    def fail() -> None:
        with transaction.atomic(), connection.cursor() as cursor:  # on SQLite this alone locks all others out
            if database == "postgresql":
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])
            failing.set()
            time.sleep(0.3)
        connections.close_all()

    thread = threading.Thread(target=fail)
    thread.start()
    assert failing.wait(10)
    return thread
