"""The queue, on both databases: a radiograph is answered once, whatever dies, comes late or is deleted meanwhile."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection, connections, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_tasks import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from boneage.sex import Sex
from boneage.web.models import Assessment, Case, Picture, PictureKind, Sending, State, User
from boneage.web.queue import jobs
from boneage.web.queue.answer import Answer, PutOffError
from boneage.web.queue.jobs import Submission
from tests.web.conftest import answer_of_phantom
from tests.web.databases import database_of_all_threads, postgresql, sqlite

LEASE = django_settings.CONFIGURATION.lease_seconds


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any
) -> Iterator[str]:
    """Kind of the database."""
    if request.param == "sqlite":
        described = sqlite(tmp_path_factory.mktemp("jobs"))
    else:
        described = postgresql(request.getfixturevalue("new_postgres")())
    with database_of_all_threads(django_db_blocker, described):
        yield request.param


@pytest.fixture(autouse=True)
def empty(database: str) -> Iterator[None]:
    yield
    for rows in (Assessment, Case, DBTaskResult, User):
        rows.objects.all().delete()


@pytest.fixture
def limits(settings: Any) -> Callable[..., None]:
    """Changes the configuration, ``limits(waiting=3)``."""

    def change(**changed: object) -> None:
        settings.CONFIGURATION = replace(settings.CONFIGURATION, **changed)

    return change


def submit(**fields: Any) -> Assessment:
    return jobs.submit(
        Submission(**{"radiograph": b"a radiograph", "radiograph_name": "radiograph.png", "sex": Sex.FEMALE, **fields})
    )


def answer(age: float = 94.0) -> Answer:
    pictures = dict.fromkeys((PictureKind.RADIOGRAPH, PictureKind.HEAT), ("image/png", b"picture"))
    return replace(answer_of_phantom(age), pictures=pictures)


def claim(worker: str) -> DBTaskResult[..., Any] | None:
    """The task that a worker takes before it begins."""
    with transaction.atomic():
        task = DBTaskResult.objects.ready().get_locked()
        if task is not None:
            task.claim(worker)
    return task


def radiograph_of(task: DBTaskResult[..., Any]) -> str:
    return str(task.args_kwargs["args"][0])


def expire(assessment: Assessment) -> None:
    """Let an hour pass for this radiograph and its task."""
    ago = timezone.now() - timedelta(hours=1)
    Assessment.objects.filter(pk=assessment.pk, state=State.RUNNING).update(lease_until=ago)
    task_of(assessment).update(started_at=ago)


def task_of(assessment: Assessment) -> QuerySet[DBTaskResult[..., Any]]:
    """The task that is to do a radiograph."""
    key = Assessment.objects.get(pk=assessment.pk).task_id
    assert key is not None
    return DBTaskResult.objects.filter(pk=key)


def kinds(assessment: Assessment) -> set[str]:
    return set(assessment.pictures.values_list("kind", flat=True))


def at_once(count: int, do: Callable[[int], object]) -> list[object]:
    """Results, errors included, of threads that begin at the same moment."""
    start, results = threading.Barrier(count), [None] * count

    def one(number: int) -> None:
        start.wait()
        try:
            results[number] = do(number)  # type: ignore[call-overload]
        except Exception as error:
            results[number] = error  # type: ignore[call-overload]
        finally:
            connections.close_all()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results  # type: ignore[return-value]


# --- one radiograph's way
# ---------------------------------------------------------------------------------------------------


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


# --- leases -----------------------------------------------------------------------------------------------------------


def test_take_up_lost_leaves_running_lease() -> None:
    """An attempt within its lease is left alone."""
    assessment = submit()
    task = claim("w")
    assert task is not None
    assert jobs.take_up_lost() == 0  # taken, not yet begun
    assert jobs.begin(radiograph_of(task), "w")
    assert jobs.take_up_lost(dead_worker="another") == 0
    assessment.refresh_from_db()
    assert assessment.lease_until is not None
    left = (assessment.lease_until - timezone.now()).total_seconds()
    assert LEASE - 5 < left <= LEASE + 1


def test_take_up_lost_after_lease_ignores_late_answer() -> None:
    """A lease that is over gives the radiograph to another and the late answer counts for nothing."""
    assessment = submit()
    claim("slow")
    slow = jobs.begin(str(assessment.pk), "slow")
    assert slow is not None
    expire(assessment)
    assert jobs.take_up_lost() == 1
    assert not jobs.finish(slow, answer(1.0))
    quick = jobs.begin(str(assessment.pk), "quick")
    assert quick is not None
    assert not jobs.finish(slow, answer(2.0))
    assert jobs.finish(quick, answer(3.0))
    assert not jobs.finish(slow, answer(4.0))
    assessment.refresh_from_db()
    assert (assessment.age_months, assessment.attempt, assessment.worker) == (3.0, 2, "quick")


@pytest.mark.parametrize("begun", [False, True])
def test_take_up_lost_of_dead_worker(begun: bool) -> None:
    """The radiograph of a dead worker is put back at once."""
    assessment, other = submit(), submit()
    for name in ("dead", "alive"):
        task = claim(name)
        assert task is not None
        if begun:
            jobs.begin(radiograph_of(task), name)
    assert jobs.take_up_lost(dead_worker="dead") == 1
    assert jobs.take_up_lost(dead_worker="dead") == 0
    task = claim("next")
    assert task is not None
    assert radiograph_of(task) == str(assessment.pk)
    assert claim("next") is None
    assert Assessment.objects.get(pk=other.pk).state == ("running" if begun else "queued")


def test_take_up_lost_of_task_never_begun() -> None:
    """A task that was taken and never begun is put back when patience ends."""
    assessment = submit()
    claim("gone")
    assert jobs.take_up_lost() == 0
    expire(assessment)
    assert jobs.take_up_lost() == 1
    assert jobs.take_up_lost() == 0
    assert claim("next") is not None


@pytest.mark.parametrize("status", [TaskResultStatus.FAILED, None])
def test_take_up_lost_without_task(status: str | None) -> None:
    """After a task that failed before it began, or whose record was deleted."""
    submit()
    task = claim("w")
    assert task is not None
    if status:
        DBTaskResult.objects.filter(pk=task.pk).update(status=status)
    else:
        DBTaskResult.objects.all().delete()
    assert jobs.take_up_lost() == 1
    assert claim("next") is not None


def test_take_up_lost_gives_up_after_attempts(limits: Callable[..., None]) -> None:
    """A radiograph that kills each worker is given up."""
    limits(attempts=3)
    assessment = submit()
    for number in range(3):
        task = claim(f"w{number}")
        assert task is not None
        assert jobs.begin(radiograph_of(task), f"w{number}")
        assert jobs.take_up_lost(dead_worker=f"w{number}") == 1
    assessment.refresh_from_db()
    assert (assessment.state, assessment.code, assessment.attempt) == ("failed", jobs.WORKER_LOST, 3)
    assert claim("w") is None
    assert jobs.take_up_lost() == 0


def test_put_back_is_tried_despite_lower_limit(limits: Callable[..., None]) -> None:
    """A radiograph put back is tried even if fewer attempts are allowed since."""
    assessment = submit()
    for number in range(2):
        claim(f"w{number}")
        jobs.begin(str(assessment.pk), f"w{number}")
        jobs.take_up_lost(dead_worker=f"w{number}")
    limits(attempts=1)
    assert claim("dies before it begins") is not None
    assert jobs.take_up_lost(dead_worker="dies before it begins") == 1
    assert jobs.run(str(assessment.pk), worker="w", assess=lambda *_: answer())


@pytest.mark.parametrize("begun", [True, False])
def test_put_back_order(begun: bool) -> None:
    """A radiograph whose worker was lost goes last if it was begun and else first."""
    lost, waits = submit(), submit()
    task = claim("w")
    assert task is not None
    if begun:
        jobs.begin(radiograph_of(task), "w")
    jobs.take_up_lost(dead_worker="w")
    order = [radiograph_of(task) for task in (claim("next"), claim("next")) if task is not None]
    assert order == [str(one.pk) for one in ((waits, lost) if begun else (lost, waits))]


def test_take_up_lost_gives_up_after_two_hangs() -> None:
    """A radiograph that hangs twice is given up."""
    assessment = submit()
    for number in range(jobs.HUNG_ATTEMPTS):
        assert Assessment.objects.get(pk=assessment.pk).state == "queued"
        claim(f"w{number}")
        jobs.begin(str(assessment.pk), f"w{number}")
        expire(assessment)
        assert jobs.take_up_lost() == 1
    assessment.refresh_from_db()
    assert (assessment.state, assessment.code, assessment.attempt) == ("failed", jobs.WORKER_LOST, 2)
    assert claim("w") is None


def test_put_off_goes_last() -> None:
    """A radiograph that is put off goes last and is tried again."""
    slow, other = submit(), submit()
    calls: list[int] = []

    def assess(begun: Assessment, _radiograph: bytes) -> Answer:
        calls.append(begun.attempt)
        if begun.attempt == 1:
            raise PutOffError
        return answer()

    claim("w")
    assert not jobs.run(str(slow.pk), worker="w", assess=assess)
    slow.refresh_from_db()
    assert (slow.state, slow.lease_until) == ("queued", None)
    assert [radiograph_of(task) for task in (claim("w"), claim("w")) if task is not None] == [
        str(other.pk),
        str(slow.pk),
    ]
    assert jobs.run(str(slow.pk), worker="w", assess=assess)
    assert calls == [1, 2]


def test_put_off_too_late() -> None:
    """A radiograph that is put off too late changes nothing."""
    assessment = submit()

    def assess(begun: Assessment, _radiograph: bytes) -> Answer:
        expire(begun)
        jobs.take_up_lost()
        jobs.begin(str(begun.pk), "another")
        raise PutOffError

    claim("w")
    assert not jobs.run(str(assessment.pk), worker="w", assess=assess)
    assessment.refresh_from_db()
    assert (assessment.state, assessment.worker) == ("running", "another")


def test_hung_radiograph_may_lose_worker(limits: Callable[..., None]) -> None:
    """A worker that is killed is not the radiograph's fault as surely as a lease that runs out."""
    limits(attempts=5)
    assessment = submit()
    for name in ("dies", "hangs", "dies again"):
        claim(name)
        jobs.begin(str(assessment.pk), name)
        if name == "hangs":
            expire(assessment)
        jobs.take_up_lost(dead_worker="" if name == "hangs" else name)
    assert jobs.run(str(assessment.pk), worker="w", assess=lambda *_: answer())


# --- chance -----------------------------------------------------------------------------------------------------------


class Chance:
    """Workers take radiographs, begin, finish, die seen and unseen, come late; supervisors look; in random order."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.answers: Counter[str] = Counter()
        self._taken: list[tuple[str, DBTaskResult[..., Any]]] = []
        self._begun: list[tuple[str, Assessment]] = []
        self._late: list[Assessment] = []
        self._steps = [self._take, self._begin, self._finish] * 2
        self._steps += [self._die, self._die_unseen, self._come_late, self._check, self._twice]

    def run(self, steps: int) -> None:
        for number in range(steps):
            self._random.choice(self._steps)(f"w{number}")

    def end(self) -> None:
        """All workers die, one does what is left, and then all come late."""
        for name, _ in self._begun + self._taken:
            jobs.take_up_lost(dead_worker=name)
        for assessment in Assessment.objects.filter(state=State.RUNNING):
            expire(assessment)
        jobs.take_up_lost()
        while task := claim("last"):
            attempt = jobs.begin(radiograph_of(task), "last")
            if attempt:
                self._answer(attempt)
        for attempt in [*self._late, *(attempt for _, attempt in self._begun)]:
            self._answer(attempt)

    def _answer(self, attempt: Assessment) -> None:
        self.answers[str(attempt.pk)] += jobs.finish(attempt, answer())

    def _one_of(self, items: list[Any]) -> list[Any]:
        """One of a list, taken out of it; none of an empty one."""
        return [items.pop(self._random.randrange(len(items)))] if items else []

    def _take(self, name: str) -> None:
        task = claim(name)
        self._taken += [(name, task)] if task else []

    def _begin(self, _name: str) -> None:
        for name, task in self._one_of(self._taken):
            attempt = jobs.begin(radiograph_of(task), name)
            self._begun += [(name, attempt)] if attempt else []

    def _finish(self, _name: str) -> None:
        for _, attempt in self._one_of(self._begun):
            self._answer(attempt)

    def _die(self, _name: str) -> None:
        for name, _task in self._one_of(self._taken):
            jobs.take_up_lost(dead_worker=name)
        for name, attempt in self._one_of(self._begun):
            jobs.take_up_lost(dead_worker=name)
            self._late.append(attempt)

    def _die_unseen(self, _name: str) -> None:
        for _, attempt in self._one_of(self._begun):
            expire(attempt)
            self._late.append(attempt)

    def _come_late(self, _name: str) -> None:
        for attempt in self._one_of(self._late):
            self._answer(attempt)

    def _check(self, _name: str) -> None:
        jobs.take_up_lost()

    def _twice(self, _name: str) -> None:
        """One task more than there should be."""
        with transaction.atomic():
            waits = Assessment.objects.filter(state=State.QUEUED).first()
            if waits is not None:
                jobs._enqueue(waits)


@pytest.mark.parametrize("seed", range(6))
def test_answered_once_with_dying_workers(
    seed: int, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each radiograph is answered once by workers that die at any moment."""
    limits(attempts=1000)
    monkeypatch.setattr(jobs, "HUNG_ATTEMPTS", 1000)
    radiographs = {str(submit().pk) for _ in range(8)}
    deleted = submit()
    chance = Chance(seed)
    chance.run(60)
    jobs.delete(Assessment.objects.filter(pk=deleted.pk))
    chance.end()
    assert set(Assessment.objects.values_list("state", flat=True)) == {State.DONE}
    assert {str(pk) for pk in Assessment.objects.values_list("pk", flat=True)} == radiographs
    assert {radiograph: chance.answers[radiograph] for radiograph in radiographs} == dict.fromkeys(radiographs, 1)
    assert set(Counter(Picture.objects.filter(kind="heat").values_list("assessment", flat=True)).values()) == {1}


# --- at the same moment -----------------------------------------------------------------------------------------------


def test_begin_only_one_of_many() -> None:
    """One of many workers begins."""
    assessment = submit()
    got = at_once(6, lambda number: jobs.begin(str(assessment.pk), f"w{number}"))
    (begun,) = (one for one in got if one is not None)
    assert isinstance(begun, Assessment)
    assessment.refresh_from_db()
    assert (assessment.attempt, assessment.worker) == (1, begun.worker)


def test_submit_limit_of_waiting(limits: Callable[..., None]) -> None:
    """No more radiographs come in than may wait."""
    limits(waiting=3)
    got = at_once(8, lambda _number: submit())
    assert Counter(type(one).__name__ for one in got) == {"Assessment": 3, "BusyError": 5}
    assert {one.code for one in got if isinstance(one, jobs.BusyError)} == {"busy"}
    assert (jobs.waiting(), Picture.objects.count(), DBTaskResult.objects.count()) == (3, 3, 3)


def test_submit_limit_of_client(limits: Callable[..., None]) -> None:
    """No more radiographs come in than a client may send."""
    limits(mode="open", open_hourly=2)
    got = at_once(6, lambda number: submit(client="ab"[number % 2]))
    assert Counter(type(one).__name__ for one in got) == {"Assessment": 4, "BusyError": 2}
    assert {one.code for one in got if isinstance(one, jobs.BusyError)} == {"too_many"}
    Assessment.objects.all().delete()  # deleted radiographs still count
    with pytest.raises(jobs.BusyError):
        submit(client="a")
    Sending.objects.update(at=timezone.now() - timedelta(minutes=61))
    assert submit(client="a")


def test_take_up_lost_by_several_supervisors() -> None:
    """Several supervisors put a radiograph back so that it is answered once."""
    radiographs = [submit() for _ in range(4)]
    for number, radiograph in enumerate(radiographs):
        claim(f"w{number}")
        jobs.begin(str(radiograph.pk), f"w{number}")
        expire(radiograph)
    got = at_once(4, lambda _number: jobs.take_up_lost())
    assert not [one for one in got if isinstance(one, Exception)]
    answered = 0
    while task := claim("w"):
        answered += jobs.run(radiograph_of(task), worker="w", assess=lambda *_: answer())
    assert answered == len(radiographs)


@pytest.mark.parametrize("repeat", range(5))
def test_finish_or_take_up_lost_writes_one_answer(repeat: int) -> None:
    """One answer is written when worker and supervisor meet."""
    assessment = submit()
    claim("w")
    begun = jobs.begin(str(assessment.pk), "w")
    assert begun is not None
    expire(assessment)
    got = at_once(2, lambda number: jobs.take_up_lost() if number else jobs.finish(begun, answer()))
    assert got in ([True, 0], [False, 1])
    assert Assessment.objects.get(pk=assessment.pk).state == ("done" if got[0] else "queued")


@pytest.mark.parametrize("repeat", range(3))
@pytest.mark.parametrize("of_case", [False, True])
def test_delete_and_finish_leave_nothing(limits: Callable[..., None], of_case: bool, repeat: int) -> None:
    """Deletion and answer at the same moment leave nothing."""
    limits(mode="clinic")
    case = Case.objects.create(reference="P-1", sex="F") if of_case else None
    begun = jobs.begin(str(submit(case=case).pk), "w")
    assert begun is not None

    def delete() -> object:
        return jobs.delete_case(case) if case else jobs.delete(Assessment.objects.filter(pk=begun.pk))

    got = at_once(2, lambda number: delete() if number else jobs.finish(begun, answer()))
    assert got[0] in {True, False}, got
    assert got[1] == 1, got
    assert not Assessment.objects.exists()
    assert not Picture.objects.exists()
    assert not Case.objects.exists()


@pytest.mark.parametrize("repeat", range(3))
def test_submit_to_case_being_deleted(limits: Callable[..., None], repeat: int) -> None:
    """A radiograph for a case that is being deleted goes with it or is not taken."""
    limits(mode="clinic")
    case = Case.objects.create(reference="P-1", sex="F")
    got = at_once(2, lambda number: jobs.delete_case(case) if number else submit(case=case))
    assert isinstance(got[0], Assessment | Case.DoesNotExist), got
    assert got[1] is True, got
    assert not jobs.delete_case(case)
    assert not Assessment.objects.exists()


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


def test_finish_waits_for_database(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer waits for a database that is away."""
    monkeypatch.setattr(jobs, "_PAUSE_SECONDS", 0.05)
    assessment = submit()
    away: list[threading.Thread] = []
    prepared = answer()  # takes longer than the database is away

    def assess(_begun: Assessment, _radiograph: bytes) -> Answer:
        away.append(cut_off(database))
        return prepared

    assert jobs.run(str(assessment.pk), worker="w", assess=assess)
    away[0].join()
    assert Assessment.objects.get(pk=assessment.pk).state == State.DONE


def test_finish_gives_up_with_lease(database: str, limits: Callable[..., None]) -> None:
    """An answer is given up with its lease."""
    limits(lease_seconds=0)
    assessment = submit()
    away: list[threading.Thread] = []
    prepared = answer()  # takes longer than the database is away

    def assess(_begun: Assessment, _radiograph: bytes) -> Answer:
        away.append(cut_off(database))
        return prepared

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


# --- the same radiograph under two patients ---------------------------------------------------------------------------


def test_results_at_the_same_moment_see_each_other() -> None:
    """Two workers that finish one radiograph of two patients at once both give it the warning."""
    cases = [Case.objects.create(reference=f"P-{number}", sex="F") for number in range(4)]
    begun = []
    for case in cases:
        taken = jobs.begin(str(submit(case=case).pk), "w")
        assert taken is not None
        begun.append(taken)
    same = replace(answer(), pixels_sha256="f" * 64)

    def finish(number: int) -> bool:
        try:
            return jobs.finish(begun[number], same)
        finally:
            connections.close_all()

    assert at_once(len(begun), finish) == [True] * len(begun)
    assert list(Assessment.objects.values_list("same_radiograph_elsewhere", "severity")) == [(True, "critical")] * 4
    assert jobs.delete(Assessment.objects.exclude(case=cases[0])) == 3
    assert not Assessment.objects.get().same_radiograph_elsewhere
