"""Jobs are processes that fail alone, and never outlive the one that started them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from boneage.train.run import processes as jobs
from boneage.train.run.processes import Job, run_jobs


def _job(folder: Path, name: str, **order: Any) -> Job:
    return Job(name, "tests.train.drawn_job", order, folder / "logs" / f"{name}.log", threads=3)


def test_run_jobs_failure_does_not_stop_others(tmp_path: Path) -> None:
    messages: list[str] = []
    failed = run_jobs(
        [
            _job(tmp_path, "bad", say=["first", "error: it broke [broken]"], status=5),
            _job(tmp_path, "good", say=["a b epoch 1: loss 0.5", "a b something else"], tell_threads=True),
        ],
        1,
        messages.append,
    )
    assert failed == {"bad": 5}
    assert messages[0] == "bad: started, 1 waiting"
    assert "bad: FAILED (5): error: it broke [broken]; see" in messages[1]
    assert messages[2:4] == ["good: started, 0 waiting", "good: epoch 1: loss 0.5"]
    assert messages[4].startswith("good: done in ")
    assert (tmp_path / "logs" / "good.log").read_text().splitlines()[-1] == "threads 3"


def test_run_jobs_limit_at_once(tmp_path: Path) -> None:
    messages: list[str] = []
    run_jobs([_job(tmp_path, str(number), sleep=0.2) for number in range(4)], 2, messages.append)
    at_once = highest = 0
    for line in messages:
        at_once += 1 if "started" in line else -1
        highest = max(highest, at_once)
    assert (at_once, highest) == (0, 2)


def test_run_jobs_interruption_stops_all(tmp_path: Path) -> None:
    """An interruption asks all to stop and waits for them."""

    def interrupt(line: str) -> None:
        if "epoch" in line:
            raise KeyboardInterrupt

    marks = [tmp_path / name for name in "ab"]
    work = [
        _job(
            tmp_path, mark.name, say=["a b epoch 1: x"] * (mark.name == "b"), sleep=60.0, stopped=str(mark), linger=0.3
        )
        for mark in marks
    ]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([*work, _job(tmp_path, "never")], 2, interrupt)
    assert time.monotonic() - began < 30
    assert marks[1].exists()
    assert not (tmp_path / "logs" / "never.log").exists()


def test_run_jobs_kills_unresponsive_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_PATIENCE_SECONDS", 0.2)

    def interrupt(line: str) -> None:
        if "epoch" in line:
            raise KeyboardInterrupt

    job = _job(tmp_path, "deaf", say=["a b epoch 1: x"], sleep=60.0, stopped=str(tmp_path / "mark"), linger=60.0)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job], 1, interrupt)
    assert time.monotonic() - began < 30


def test_jobs_do_not_outlive_killed_parent(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    program = (
        "import json, sys; from pathlib import Path; from boneage.train.run.processes import Job, run_jobs\n"
        "order = json.loads(sys.argv[1])\n"
        "job = Job('one', 'tests.train.drawn_job', order, Path(sys.argv[2]))\n"
        "run_jobs([job], 1, lambda line: print(line, flush=True))"
    )
    order = {"say": ["a b epoch 1: x"], "sleep": 60.0, "stopped": str(mark)}
    command = [sys.executable, "-c", program, json.dumps(order), str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert any("epoch" in line for line in iter(parent.stdout.readline, ""))
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert mark.exists()
