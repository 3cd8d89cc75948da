"""Workers, supervisors and clients at the same moment: one begins, one answer is written, and limits hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from boneage.web.models import Assessment, Case, Picture, Sending
from boneage.web.queue import jobs
from tests.web.queue.jobs.queued_radiographs import answer, at_once, claim, expire, radiograph_of, submit


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
