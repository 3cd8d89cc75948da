"""Processes that end are started again, those that hang are ended, and all end with their supervisor."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from boneage.web.processes import supervisor
from boneage.web.processes.supervisor import Child, SupervisedProcess, stop_all

PROGRAMS = {
    "steady": "print('ready', flush=True); time.sleep(60)",
    "busy": "print('ready\\nbegin\\nend\\nbegin', flush=True); time.sleep(60)",
    "brief": "pass",
    "done": "print('ready\\nbegin\\nend', flush=True)",
    "deaf": "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)",
    "kind": "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print('ready', flush=True); time.sleep(60)",
    "parent": (
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], stdout=sys.stdout)\n"
        "print('ready', flush=True); child.wait()"
    ),
}


@pytest.fixture
def start() -> Iterator[Callable[[str], Child]]:
    children: list[Child] = []

    def started(program: str) -> Child:
        code = f"import signal, subprocess, sys, time\n{PROGRAMS[program]}"
        children.append(Child(program, [sys.executable, "-S", "-c", code], os.environ))
        return children[-1]

    yield started
    for child in children:
        child.kill()


def until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.01)


def looked_at(ended: list[Child], *places: SupervisedProcess) -> list[Child]:
    """The workers that have ended after a check of these places."""
    for kept in places:
        kept.update()
    return ended


def test_child_reports_state(start: Callable[[str], Child]) -> None:
    """A child tells how it stands."""
    child = start("busy")
    until(lambda: child.tasks_done == 1 and child.busy_since)
    assert child.was_ready
    assert child.exit_status is None
    child.kill()
    assert child.exit_status == -9


def test_process_restarts_with_longer_pauses(start: Callable[[str], Child], monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that ends is started again after longer and longer pauses."""
    monkeypatch.setattr(supervisor, "SHORTEST_PAUSE", 0.05)
    starts: list[float] = []
    ended: list[Child] = []

    def started() -> Child:
        starts.append(time.monotonic())
        return start("brief")

    kept = SupervisedProcess(started, ended.append)
    while len(starts) < 4:
        kept.update()
        time.sleep(0.005)
    assert kept.early_ends == len(ended) == 3
    pauses = [late - early for early, late in pairwise(starts)]
    assert all(pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.2), strict=True))


def test_process_restarts_at_once_after_task(start: Callable[[str], Child]) -> None:
    """A worker that has done a task is started again at once."""
    ended: list[Child] = []
    kept = SupervisedProcess(lambda: start("done"), ended.append)
    kept.update()
    first = kept.child
    until(lambda: looked_at(ended, kept))
    kept.update()
    assert kept.child not in {None, first}
    assert kept.early_ends == 0


def test_process_hanging_at_task_is_killed(start: Callable[[str], Child]) -> None:
    """A worker that hangs at a task is killed."""
    ended: list[Child] = []
    kept = SupervisedProcess(lambda: start("busy"), ended.append, longest_task=0.3)
    idle = SupervisedProcess(lambda: start("steady"), ended.append, longest_task=0.3)
    until(lambda: looked_at(ended, idle, kept))
    assert [child.name for child in ended] == ["busy"]
    assert ended[0].exit_status == -9
    assert idle.child is not None
    assert idle.child.exit_status is None


def test_stop_all_kills_late_processes(start: Callable[[str], Child]) -> None:
    """All are stopped and the deaf are killed."""
    children = [start("kind"), start("deaf")]
    until(lambda: all(child.was_ready for child in children))
    assert [child.name for child in stop_all(children, 0.3)] == ["deaf"]
    assert [child.exit_status for child in children] == [0, -9]


def test_kill_ends_children_of_child(start: Callable[[str], Child]) -> None:
    """Processes that a child started are killed with it."""
    child = start("parent")
    until(lambda: child.was_ready)
    began = time.monotonic()
    child.kill()  # waits for the end of its output, which its own child holds too
    assert time.monotonic() - began < 10


def test_when_parent_is_gone() -> None:
    """A process learns that its supervisor is gone."""
    code = """
        import sys, threading
        from boneage.web.processes.lifeline import when_parent_is_gone
        gone = threading.Event()
        when_parent_is_gone(gone.set)
        print(gone.is_set(), flush=True)
        print(gone.wait(20), flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "False\n"
        child.stdin.close()
        assert child.stdout.readline() == "True\n"
