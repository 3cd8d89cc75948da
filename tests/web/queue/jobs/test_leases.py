"""Leases: a radiograph whose worker is lost or hangs is put back or given up, and is answered once at most."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import transaction
from django.utils import timezone
from django_tasks import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from boneage.web.models import Assessment, Picture, State
from boneage.web.queue import jobs
from boneage.web.queue.answer import Answer, PutOffError
from tests.web.queue.jobs.queued_radiographs import answer, claim, expire, radiograph_of, submit

LEASE = django_settings.CONFIGURATION.lease_seconds


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
