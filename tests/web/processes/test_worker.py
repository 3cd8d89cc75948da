"""A worker does radiographs as they come, ends when it should, and outlives the database's absence."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction
from django_tasks_db.models import DBTaskResult

from boneage.sex import Sex
from boneage.web.models import Assessment, State
from boneage.web.processes import worker
from boneage.web.processes.worker import RadiographWorker
from boneage.web.queue import jobs, work
from boneage.web.queue.answer import Answer
from boneage.web.queue.jobs import Submission
from tests.web.databases import database_of_all_threads, postgresql, sqlite


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any
) -> Iterator[str]:
    """Kind of the database; on SQLite the worker waits for a lock a tenth of a second only."""
    if request.param == "sqlite":
        described = sqlite(tmp_path_factory.mktemp("worker"), timeout=0.1)
    else:
        described = postgresql(request.getfixturevalue("new_postgres")())
    with database_of_all_threads(django_db_blocker, described):
        yield request.param


@pytest.fixture(autouse=True)
def quick(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Radiographs are answered at once; the ids of those that were."""
    seen: list[str] = []

    def assess(begun: Assessment, _radiograph: bytes) -> Answer:
        seen.append(str(begun.pk))
        return Answer(State.REJECTED, "unreadable", "No radiograph.")

    monkeypatch.setattr(work, "assess_bytes", assess)
    monkeypatch.setattr(worker, "_AWAY_SECONDS", 0.05)
    yield seen
    Assessment.objects.all().delete()
    DBTaskResult.objects.all().delete()


@pytest.fixture
def running() -> Iterator[Callable[[str], list[str]]]:
    """Starts a worker in a thread; what it says."""
    workers: list[tuple[RadiographWorker, threading.Thread]] = []

    def start(name: str) -> list[str]:
        printed: list[str] = []
        one = RadiographWorker(name, printed.append)

        def run() -> None:
            one.run_until_stopped()
            printed.append("stopped")
            connections.close_all()

        thread = threading.Thread(target=run)
        thread.start()
        workers.append((one, thread))
        return printed

    yield start
    for one, thread in workers:
        one.shutdown()
        thread.join(10)
        assert not thread.is_alive()


def submit() -> str:
    """Ids of a radiograph and of the service's patience with a locked database."""
    for _ in range(100):
        try:
            return str(jobs.submit(Submission(radiograph=b"radiograph", radiograph_name="", sex=Sex.MALE)).pk)
        except jobs.DATABASE_AWAY:
            time.sleep(0.02)
    raise AssertionError("the database is locked")


def until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.01)


def test_worker_takes_radiographs_in_order(running: Callable[[str], list[str]], quick: list[str]) -> None:
    """Radiographs are done in their order by the worker of that name."""
    radiographs = [submit() for _ in range(3)]
    printed = running("machine-1-a")
    until(lambda: printed.count("end") == 3)
    radiographs.append(submit())
    until(lambda: printed.count("end") == 4)
    assert quick == radiographs
    assert printed == ["begin", "end"] * 4
    assert set(Assessment.objects.values_list("worker", "state")) == {("machine-1-a", "rejected")}


def test_worker_stops_after_current_radiograph(
    running: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is stopped finishes the radiograph at hand and takes no other."""
    started, go_on = threading.Event(), threading.Event()

    def assess(_begun: Assessment, _radiograph: bytes) -> Answer:
        started.set()
        assert go_on.wait(20)
        return Answer(State.REJECTED, "unreadable", "No radiograph.")

    monkeypatch.setattr(work, "assess_bytes", assess)
    first, second = submit(), submit()
    stopped: list[RadiographWorker] = []
    usual = RadiographWorker.run_task

    def run_task(self: RadiographWorker, task: DBTaskResult[..., Any]) -> None:
        stopped.append(self)
        usual(self, task)

    monkeypatch.setattr(RadiographWorker, "run_task", run_task)
    printed = running("w")
    assert started.wait(20)
    stopped[0].shutdown()
    go_on.set()
    until(lambda: "stopped" in printed)
    assert printed == ["begin", "end", "stopped"]
    states = dict(Assessment.objects.values_list("pk", "state"))
    assert {str(key): state for key, state in states.items()} == {first: "rejected", second: "queued"}


def test_worker_survives_database_restart(
    database: str, running: Callable[[str], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """A worker goes on after the database was away."""
    radiographs = {submit()}
    if database == "sqlite":
        with transaction.atomic():  # locks all others out
            printed = running("w")
            until(lambda: "waits for the database" in caplog.text)
    else:
        printed = running("w")
        until(lambda: "end" in printed)
        with shut_down():
            until(lambda: "waits for the database" in caplog.text)
    radiographs.add(submit())
    until(lambda: printed.count("end") == 2)
    assert {str(key) for key in Assessment.objects.filter(state="rejected").values_list("pk", flat=True)} == radiographs
    assert caplog.text.count("waits for the database") == 1


@contextmanager
def shut_down() -> Iterator[None]:
    """PostgreSQL ends all connections to the database and takes none, while the context lasts."""
    given = connection.get_connection_params()
    name = given["dbname"]
    connection.close()
    with psycopg.connect(host=given["host"], user=given["user"], dbname="postgres", autocommit=True) as other:
        other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield
        other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


@pytest.mark.skipif(sys.platform != "linux", reason="the system has no such limit")
def test_limit_memory() -> None:
    """Memory is limited."""
    code = (
        "from boneage.web.processes.worker_process import limit_memory\nlimit_memory(1024)\nbytearray(600 * 2**20)\n"
        "try:\n    bytearray(1200 * 2**20)\nexcept MemoryError:\n    print('rejected')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "rejected\n"
