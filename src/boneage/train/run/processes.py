"""Trainings as separate processes, several at a time; a failed one does not stop the others.

A job's process reads one line of JSON from its standard input. The input stays open as long as the parent process
lives. When it closes, the job stops as on Ctrl-C. No job therefore outlives its parent, however the parent ends.
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

from boneage.errors import BoneageError

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.25
_PATIENCE_SECONDS = 60.0
"""Time limit for a job that was requested to stop. It ends after its current batch, or is killed after this time."""

_REPORTED = re.compile(r"^\S+ \S+ ((?:epoch \d+:|continuing after) .*)$")
"""Lines of a job's log that are reported, without their time."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """Training as a process.

    Attributes:
        name: name in reports.
        module: module run as ``python -m``, whose exit status is that of `fulfil`.
        order: instructions as JSON, to which ``threads`` is added.
        log: file to which the output is appended.
        threads: number of threads for arithmetic.
    """

    name: str
    module: str
    order: Mapping[str, Any]
    log: Path
    threads: int = 1


def fulfil(work: Callable[[dict[str, Any]], None]) -> int:
    """Run `work` in a job's process, with a log, on the number of threads in the order.

    `run_jobs` limits torch by the environment, which torch reads when it is imported.

    Returns:
        Exit status.
    """
    order = read_order()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
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
    """Read the order in a job's process.

    The process is interrupted from then on when its parent ends or requests it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have had it ignored
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_interrupt_at_end_of_input, daemon=True).start()
    return order


def _interrupt_at_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 1):  # past Python's buffer, whose lock would be missed at the process's end
        pass
    os.kill(os.getpid(), signal.SIGINT)


class _Running:
    """Job in progress, and the position in its log."""

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
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then requests the stop
            )
        pipe = self._input
        pipe.write(json.dumps({**job.order, "threads": job.threads}).encode() + b"\n")
        pipe.flush()

    @property
    def _input(self) -> IO[bytes]:
        assert self.process.stdin is not None  # noqa: S101 - opened as a pipe; for the type checker
        return self.process.stdin

    def request_stop(self) -> None:
        self._input.close()

    def news(self) -> list[str]:
        """Return the complete lines that the log has gained."""
        with self.job.log.open("rb") as log:
            log.seek(self._place)
            lines = log.read()
        lines = lines[: lines.rfind(b"\n") + 1]
        self._place += len(lines)
        return lines.decode(errors="replace").splitlines()


def run_jobs(jobs: Sequence[Job], at_once: int, report: Report) -> dict[str, int]:
    """Run jobs in order, several at a time.

    Args:
        jobs: jobs with different names.
        at_once: number of jobs at a time, at least 1.
        report: receives each line of the report.

    Returns:
        Exit status of failed jobs by name.

    Raises:
        KeyboardInterrupt: The run was interrupted. All jobs have been stopped.
    """
    waiting, running, failed = deque(jobs), list[_Running](), dict[str, int]()
    last: dict[str, str] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(_Running(waiting.popleft()))
                report(f"{running[-1].job.name}: started, {len(waiting)} waiting")
            time.sleep(_POLL_SECONDS)
            for each in list(running):
                ended = each.process.poll() is not None  # checked before the log is read, which is then complete
                _report_news(each, report, last)
                if ended:
                    running.remove(each)
                    _report_end(each, report, last, failed)
    except BaseException:
        _stop(running)
        raise
    return failed


def _report_news(running: _Running, report: Report, last: dict[str, str]) -> None:
    for line in running.news():
        last[running.job.name] = line
        if match := _REPORTED.match(line):
            report(f"{running.job.name}: {match[1]}")


def _report_end(running: _Running, report: Report, last: Mapping[str, str], failed: dict[str, int]) -> None:
    job, status = running.job, running.process.returncode
    running.request_stop()  # closes our end of the pipe
    if status == 0:
        report(f"{job.name}: done in {time.monotonic() - running.began:.0f} s")
        return
    failed[job.name] = status
    report(f"{job.name}: FAILED ({status}): {last.get(job.name, 'no output')}; see {job.log}")


def _stop(running: Sequence[_Running]) -> None:
    """Request all jobs to stop, and wait until they did. A second Ctrl-C kills them at once."""
    try:
        for each in running:
            each.request_stop()
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
