"""Radiographs in the queue: they are submitted, taken, answered, and left by workers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.db import connections, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from boneage.sex import Sex
from boneage.web.models import Assessment, PictureKind, State
from boneage.web.queue import jobs
from boneage.web.queue.answer import Answer
from boneage.web.queue.jobs import Submission
from tests.web.conftest import answer_of_phantom


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


def task_of(assessment: Assessment) -> QuerySet[DBTaskResult[..., Any]]:
    """The task that is to do a radiograph."""
    key = Assessment.objects.get(pk=assessment.pk).task_id
    assert key is not None
    return DBTaskResult.objects.filter(pk=key)


def expire(assessment: Assessment) -> None:
    """Let an hour pass for this radiograph and its task."""
    ago = timezone.now() - timedelta(hours=1)
    Assessment.objects.filter(pk=assessment.pk, state=State.RUNNING).update(lease_until=ago)
    task_of(assessment).update(started_at=ago)


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
