"""The worker, which takes radiographs from the queue one after the other. Django must be set up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from django.db import close_old_connections, connection
from django_tasks_db.management.commands.db_worker import Worker
from django_tasks_db.models import DBTaskResult

from boneage.web.queue.jobs import DATABASE_AWAY, QUEUE

log = logging.getLogger(__name__)

POLL_SECONDS = 0.04
"""Time between two checks of an empty queue."""

_AWAY_SECONDS = 1.0
"""Time between two attempts while the database is unreachable."""


class RadiographWorker(Worker):
    """django-tasks' worker on the queue of radiographs. It survives the absence of the database and never interrupts a
    radiograph.

    Args:
        name: name of the worker, never used before.
        say: function that receives ``begin`` and ``end`` of each task.
    """

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        super().__init__(
            queue_names=[QUEUE],
            interval=POLL_SECONDS,
            batch=True,
            backend_name="default",
            startup_delay=False,
            max_tasks=None,
            worker_id=name,
            excluded_queue_names=[],
        )
        self._say = say

    def shutdown(self, signum: int = 0, frame: FrameType | None = None) -> None:
        """Stop after the current radiograph."""
        self.running = False

    def run_task(self, db_task_result: DBTaskResult[..., Any]) -> None:
        """Run a task."""
        self._say("begin")
        try:
            super().run_task(db_task_result)
        finally:
            self._say("end")

    def run_until_stopped(self) -> None:
        """Run tasks as they arrive.

        Checking an empty queue takes no lock: django-tasks' own loop, which does, runs only while there are tasks.
        """
        away = False
        while self.running:
            try:
                close_old_connections()
                if DBTaskResult.objects.ready().filter(queue_name__in=self.queue_names).exists():
                    self.run()
                else:
                    time.sleep(self.interval)
                away = False
            except DATABASE_AWAY as error:
                if not away:
                    log.warning("worker %s waits for the database: %s", self.worker_id, type(error).__name__)
                away = True
                connection.close()
                time.sleep(_AWAY_SECONDS)
