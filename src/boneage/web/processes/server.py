"""The service as one command runs it: a process that answers requests, workers, the DICOM node, recurring tasks.

This process supervises. It answers no request and opens no radiograph, so that it can restart whatever dies.
"""

from __future__ import annotations

import http.client
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from boneage.errors import BoneageError
from boneage.web.processes.supervisor import Child, SupervisedProcess, stop_all

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
"""Time between two checks of the processes."""

LOST_SECONDS = 3.0
"""Time between two searches for radiographs whose workers are lost, on whatever machine."""

SWEEP_SECONDS = 60.0
"""Time between two deletions of expired data."""

STOP_SECONDS = 10.0
"""Maximum time to finish the current radiograph when the service stops."""

HANG_SECONDS = 5.0
"""Time beyond its lease after which a worker that is still at a radiograph is killed."""

EARLY_ENDS = 3
"""Number of times that a process may end before it was ever ready while the service starts."""

NO_ADDRESS = ("", 0)


def worker_name() -> str:
    """Return a new name for a worker, at most 64 characters: machine, supervisor's process, and a random part."""
    return f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}"


@dataclass
class _Chore:
    """A recurring task, which may fail while the database is unreachable."""

    every: float
    do: Callable[[], object]
    due: float = field(default_factory=time.monotonic)


class Service:
    """Workers and, if an address is given, the process that answers requests. Django must be set up.

    Args:
        workers: number of workers, at least 1.
        lease_seconds: see `Configuration`.
        address: host and port to listen at; `NO_ADDRESS` for workers alone.
        is_node: True to run the listener and the dispatcher of the DICOM node.
    """

    def __init__(
        self, workers: int, lease_seconds: int, address: tuple[str, int] = NO_ADDRESS, *, is_node: bool = False
    ) -> None:
        self._address = address
        self._stopping = threading.Event()
        self._dead_workers: set[str] = set()
        self._dead_dispatchers: set[str] = set()
        longest = lease_seconds + HANG_SECONDS
        self._crew = [SupervisedProcess(_start_worker, self._worker_ended, longest) for _ in range(workers)]
        self._http = [] if address == NO_ADDRESS else [SupervisedProcess(self._start_http, lambda _ended: None)]
        self._node = [
            SupervisedProcess(_start_listener, lambda _ended: None),
            SupervisedProcess(_start_dispatcher, self._dispatcher_ended),
        ][: 2 * is_node]
        self._chores = [_Chore(LOST_SECONDS, _take_up_lost)]
        if self._http:
            self._chores.append(_Chore(SWEEP_SECONDS, _sweep))

    def run(self, started: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT.

        Args:
            started: called once, when the address answers and a worker is ready.

        Raises:
            BoneageError: ``service_failed``: a process ended again and again before it was ready.
        """
        is_started = False
        with _stopped_by_signals(self._stopping):
            try:
                while not self._stopping.is_set():
                    for process in self._processes:
                        process.update()
                    if not is_started:
                        self._reject_early_ends()
                        is_started = self._is_ready()
                        if is_started:
                            started()
                    self._do_chores()
                    self._stopping.wait(TICK_SECONDS)
            finally:
                self._stop()

    def _start_http(self) -> Child:
        host, port = self._address
        command = [sys.executable, "-m", "boneage.web.processes.http_server", host, str(port)]
        return Child("the web server", command, os.environ)

    @property
    def _processes(self) -> list[SupervisedProcess]:
        return [*self._http, *self._crew, *self._node]

    def _worker_ended(self, child: Child) -> None:
        self._dead_workers.add(child.name)

    def _dispatcher_ended(self, child: Child) -> None:
        self._dead_dispatchers.add(child.name)

    def _reject_early_ends(self) -> None:
        for process in self._processes:
            if process.early_ends >= EARLY_ENDS:
                raise BoneageError("service_failed", "The service does not start; see its output above.")

    def _is_ready(self) -> bool:
        working = any(process.child is not None and process.child.was_ready for process in self._crew)
        listening = all(process.child is not None and process.child.was_ready for process in self._node)
        return working and listening and (not self._http or self._answers())

    def _answers(self) -> bool:
        host, port = self._address
        connection = http.client.HTTPConnection(reachable(host), port, timeout=10)
        try:
            connection.request("GET", "/health", headers={"Host": "localhost"})
            connection.getresponse()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        if self._http[0].child is not None:
            self._http[0].child.was_ready = True
        return True

    def _do_chores(self) -> None:
        for name in list(self._dead_workers):
            if _done(lambda name=name: _take_up_lost(name)):  # type: ignore[misc]  # a default binds it
                self._dead_workers.discard(name)
        for name in list(self._dead_dispatchers):
            if _done(lambda name=name: _release(name)):  # type: ignore[misc]  # a default binds it
                self._dead_dispatchers.discard(name)
        now = time.monotonic()
        for chore in self._chores:
            if now >= chore.due:
                chore.due = now + chore.every
                _done(chore.do)

    def _stop(self) -> None:
        running = [process.child for process in self._processes if process.child is not None]
        stop_all(running, STOP_SECONDS)
        # Also of those that ended well: the database says what, if anything, they had left.
        for child in running:
            self._worker_ended(child)
            self._dispatcher_ended(child)
        self._chores = []
        self._do_chores()


def reachable(host: str) -> str:
    """Return the host by which this machine reaches a listening address; its own for all addresses."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared


def _start_worker() -> Child:
    name = worker_name()
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # there are as many workers as cores
    return Child(name, [sys.executable, "-m", "boneage.web.processes.worker_process", name], os.environ | one_thread)


def _start_listener() -> Child:
    return Child("the DICOM listener", [sys.executable, "-m", "boneage.web.processes.listener_process"], os.environ)


def _start_dispatcher() -> Child:
    name = worker_name()
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "boneage.web.processes.dispatcher_process", name]
    return Child(name, command, os.environ | one_thread)


def _release(dead_dispatcher: str) -> None:
    from boneage.web.node import outbox  # noqa: PLC0415 - models are there only once Django is set up

    outbox.release(dead_dispatcher)


def _take_up_lost(dead_worker: str = "") -> None:
    from boneage.web.queue import jobs  # noqa: PLC0415 - models are there only once Django is set up

    jobs.take_up_lost(dead_worker=dead_worker)


def _sweep() -> None:
    from boneage.web.cases import retention  # noqa: PLC0415
    from boneage.web.node.retention import sweep  # noqa: PLC0415
    from boneage.web.queue import jobs  # noqa: PLC0415

    retention.sweep()
    sweep()
    jobs.forget_tasks()


def _done(do: Callable[[], object]) -> bool:
    """Return whether a task succeeded; a failure is logged."""
    from django.db import close_old_connections, connection  # noqa: PLC0415

    try:
        close_old_connections()
        do()
    except Exception as error:
        log.error("put off: %s", type(error).__name__, exc_info=bool(os.environ.get("BONEAGE_TRACEBACK")))
        connection.close()
        return False
    return True


@contextmanager
def _stopped_by_signals(stopping: threading.Event) -> Iterator[None]:
    """Set the event at SIGTERM or SIGINT. A second signal has its usual effect, for those who do not want to wait."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()
        restore()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        yield
    finally:
        restore()
