"""Trainings as processes of their own, some at a time: one that fails does not stop the others.

A job's process reads one line of JSON from its standard input, which then stays open for as long as the process that
started it lives: when it closes, the job stops as at Ctrl-C. So no job outlives its parent, however that ends.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import torch

from boneage.errors import BoneageError

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.25
_PATIENCE_SECONDS = 60.0
"""A job that was asked to stop ends after the batch under way; one that does not is killed."""

_TOLD = re.compile(r"^\S+ \S+ ((?:epoch \d+:|going on after) .*)$")
"""Lines of a job's log that are worth telling, without their time."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One process.

    Attributes:
        name: for people.
        module: run as ``python -m``; it ends with the exit status of `fulfil`.
        order: what to do, for JSON; the job is told ``threads`` besides.
        log: file to which its output is added.
        threads: for its arithmetic.
    """

    name: str
    module: str
    order: Mapping[str, Any]
    log: Path
    threads: int = 1


def fulfil(work: Callable[[dict[str, Any]], None]) -> int:
    """In a job's process: do what is ordered, with a log, on so many threads as the order's ``threads`` says.

    Returns:
        The exit status.
    """
    order = read_order()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(order["threads"])
    cv2.setNumThreads(order["threads"])
    try:
        work(order)
    except KeyboardInterrupt:
        return 130
    except BoneageError as error:
        log.error("%s", error)
        return error.exit_status
    return 0


def read_order() -> dict[str, Any]:
    """In a job's process: what to do. From here on the process is interrupted if its parent ends or asks it to."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have had it ignored
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_interrupt_at_end_of_input, daemon=True).start()
    return order


def _interrupt_at_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 1):  # past Python's buffer, whose lock would be missed at the process's end
        pass
    os.kill(os.getpid(), signal.SIGINT)


class _Running:
    """A job under way, and what it has told."""

    def __init__(self, job: Job) -> None:
        self.job, self.began = job, time.monotonic()
        job.log.parent.mkdir(parents=True, exist_ok=True)
        self._place = job.log.stat().st_size if job.log.exists() else 0
        limit = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(job.threads))
        with job.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - this program itself
                [sys.executable, "-m", job.module],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **limit},
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then asks
            )
        pipe = self._input
        pipe.write(json.dumps({**job.order, "threads": job.threads}).encode() + b"\n")
        pipe.flush()

    @property
    def _input(self) -> IO[bytes]:
        assert self.process.stdin is not None  # noqa: S101 - a pipe was asked for; for the type checker
        return self.process.stdin

    def ask_to_stop(self) -> None:
        self._input.close()

    def news(self) -> list[str]:
        """Whole lines that the log has gained."""
        with self.job.log.open("rb") as log:
            log.seek(self._place)
            lines = log.read()
        lines = lines[: lines.rfind(b"\n") + 1]
        self._place += len(lines)
        return lines.decode(errors="replace").splitlines()


def run_jobs(jobs: Sequence[Job], at_once: int, tell: Tell) -> dict[str, int]:
    """Run jobs in order, so many at a time.

    Args:
        jobs: of different names.
        at_once: at least 1.
        tell: takes a line for people.

    Returns:
        Exit status by name, of those that failed.

    Raises:
        KeyboardInterrupt: after all jobs have been stopped.
    """
    waiting, running, failed = deque(jobs), list[_Running](), dict[str, int]()
    last: dict[str, str] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(_Running(waiting.popleft()))
                tell(f"{running[-1].job.name}: begun, {len(waiting)} waiting")
            time.sleep(_POLL_SECONDS)
            for each in list(running):
                ended = each.process.poll() is not None  # before the news are read, so that they are all
                _tell_news(each, tell, last)
                if ended:
                    running.remove(each)
                    _tell_end(each, tell, last, failed)
    except BaseException:
        _stop(running)
        raise
    return failed


def _tell_news(running: _Running, tell: Tell, last: dict[str, str]) -> None:
    for line in running.news():
        last[running.job.name] = line
        if told := _TOLD.match(line):
            tell(f"{running.job.name}: {told[1]}")


def _tell_end(running: _Running, tell: Tell, last: Mapping[str, str], failed: dict[str, int]) -> None:
    job, status = running.job, running.process.returncode
    running.ask_to_stop()  # closes our end of the pipe
    if status == 0:
        tell(f"{job.name}: done in {time.monotonic() - running.began:.0f} s")
        return
    failed[job.name] = status
    tell(f"{job.name}: FAILED ({status}): {last.get(job.name, 'it said nothing')}; see {job.log}")


def _stop(running: Sequence[_Running]) -> None:
    """Ask all to stop, and see to it that they do; a second Ctrl-C is not waited with."""
    try:
        for each in running:
            each.ask_to_stop()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for each in running:
            each.process.wait(max(deadline - time.monotonic(), 0.1))
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        pass
    finally:
        for each in running:
            if each.process.poll() is None:
                each.process.kill()
                each.process.wait()
