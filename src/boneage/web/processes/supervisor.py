"""Supervised processes: started again when they end, stopped together."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

log = logging.getLogger(__name__)

STEADY_SECONDS = 20.0
"""Running time after which a process that ends is restarted at once, as one that has done a task is; others after a
pause."""

SHORTEST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
"""Seconds between the end of a process and its restart; the pause doubles with each early end."""


class Child:
    """A process in its own session, so that signals of a terminal reach it only through its supervisor.

    Attributes:
        name: name for the log.
        started: start time by `time.monotonic`.
        was_ready: true once it has reported ``ready``.
        busy_since: start of its present task by `time.monotonic`; None without one.
        tasks_done: number of tasks that it has finished.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.started = time.monotonic()
        self.was_ready = False
        self.busy_since: float | None = None
        self.tasks_done = 0
        self._process = subprocess.Popen(  # noqa: S603 - our own programs
            command,
            env=dict(environment),
            stdin=subprocess.PIPE,  # its lifeline: closed by the system when this process ends
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._listener = threading.Thread(target=self._listen, name=f"listen-{self.pid}", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  # narrows the type
        with self._process.stdout as lines:
            for line in lines:
                word = line.strip()
                if word == b"ready":
                    self.was_ready = True
                elif word == b"begin":
                    self.busy_since = time.monotonic()
                elif word == b"end":
                    self.busy_since = None
                    self.tasks_done += 1

    @property
    def exit_status(self) -> int | None:
        """Return the status like `subprocess.Popen.poll`; None while the process runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Request the process to end."""
        if self.exit_status is None:
            self._process.terminate()

    def kill(self) -> None:
        """End the process and its own children now."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._listener.join()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self, seconds: float) -> bool:
        """Return whether the process ended within this number of seconds."""
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True


class SupervisedProcess:
    """A place for one process, which is restarted when it ends.

    Args:
        start: function that starts it.
        ended: function that receives each process that ended by itself.
        longest_task: seconds after which a process that is still at the same task is killed; None for any time.
    """

    def __init__(
        self, start: Callable[[], Child], ended: Callable[[Child], None], longest_task: float | None = None
    ) -> None:
        self._start = start
        self._ended = ended
        self._longest_task = longest_task
        self._pause = 0.0
        self._due = 0.0
        self.child: Child | None = None
        self.early_ends = 0
        """Number of processes in a row that ended before they were ready."""

    def update(self) -> None:
        """Start the process if it is due, kill it if it hangs, and notice if it has ended."""
        now = time.monotonic()
        child = self.child
        if child is None:
            if now >= self._due:
                self.child = self._start()
        elif child.exit_status is not None:
            self._remove_ended(child, now)
        elif self._longest_task is not None and child.busy_since and now - child.busy_since > self._longest_task:
            log.error("%s has been at one task for %.0f s and is killed", child.name, now - child.busy_since)
            child.kill()
            self._remove_ended(child, time.monotonic())

    def _remove_ended(self, child: Child, now: float) -> None:
        log.error("%s ended with status %s and is started again", child.name, child.exit_status)
        child.kill()  # its own children
        self.child = None
        self.early_ends = 0 if child.was_ready else self.early_ends + 1
        steady = child.tasks_done > 0 or (child.was_ready and now - child.started > STEADY_SECONDS)
        self._pause = 0.0 if steady else min(LONGEST_PAUSE, max(SHORTEST_PAUSE, 2 * self._pause))
        self._due = now + self._pause
        self._ended(child)


def stop_all(children: Sequence[Child], seconds: float) -> list[Child]:
    """Stop processes, and kill those that have not ended after this number of seconds. Return the killed ones."""
    for child in children:
        child.stop()
    ends = time.monotonic() + seconds
    late = [child for child in children if not child.wait(ends - time.monotonic())]
    for child in children:
        child.kill()
    return late
