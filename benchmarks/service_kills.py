"""Robustness of the service: many radiographs pass while its processes are killed and its storage fails.

    python benchmarks/service_kills.py --radiographs 800 --kills 200                     # SQLite in a temporary folder
    python benchmarks/service_kills.py --radiographs 800 --kills 200 --database URL      # an empty database of
    PostgreSQL

Drawn radiographs are submitted through the REST API in the mode clinic, each with an ``Idempotency-Key``. A request
without an answer is sent again. These events happen at random moments, as often as requested:

* ``--kills``: a worker is killed (SIGKILL, as in all cases);
* ``--server-kills``: the process that answers requests is killed;
* ``--supervisor-kills``: ``boneage serve`` itself is killed, and is started again;
* ``--database-restarts``: the command ``--restart-database`` restarts PostgreSQL;
* ``--clock-shifts``: the clock of all processes of the service moves an hour forward, and back the next time (Linux
  with a C compiler, which builds a small library in front of the system's clock; PostgreSQL keeps its own clock);
* ``--read-only``: PostgreSQL rejects writes for some seconds;
* ``--full-disks``: the disk of SQLite is filled for some seconds (``--disk-mebibytes``, a file system in memory, which
  needs root).

A trigger of the database counts answers: it records each change of an assessment to a final state. The exit status is 1
if a radiograph was lost, duplicated, answered twice or never, or answered without an age.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django
from django.apps import apps
from django.db import Error, connection

from service_process import Browser, Service, drawn_radiograph, made_atlas, serving

PASSWORD = "to be killed at random"
LONGEST_SECONDS = 2 * 3600
AHEAD = 6
"""Approximate number of radiographs in the queue when a worker is killed."""

FINAL = ("done", "rejected", "failed")

_NOTE = {
    "sqlite": [
        "CREATE TABLE answered (assessment text)",
        "CREATE TRIGGER note_answer AFTER UPDATE OF state ON web_assessment "
        "WHEN NEW.state IN ('done','rejected','failed') BEGIN INSERT INTO answered VALUES (NEW.id); END",
    ],
    "postgresql": [
        "CREATE TABLE answered (assessment text)",
        "CREATE FUNCTION note_answer() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO answered VALUES (NEW.id::text); RETURN NEW; END $$",
        "CREATE TRIGGER note_answer AFTER UPDATE OF state ON web_assessment FOR EACH ROW "
        "WHEN (NEW.state IN ('done','rejected','failed')) EXECUTE FUNCTION note_answer()",
    ],
}
"""Statements that record each written answer, by kind of database."""


@dataclass
class Outcome:
    """Outcome of a run.

    Attributes:
        submitted: Ids from the service.
        states: Number of assessments by final state.
        answers: Number of assessments by number of answers.
        attempts: Number of assessments by number of attempts.
        pictures: Number of assessments by number of pictures besides the radiograph.
        audited: Number of submissions in the audit log, and of the assessments that they name.
        happened: Number of events, and of those during an assessment, by event.
        repeats: Number of repeated submissions by reason.
        seconds: Time from the first radiograph to the last answer.
        stop_seconds: Time that the service took to stop.
    """

    submitted: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    pictures: Counter[int] = field(default_factory=Counter)
    audited: tuple[int, int] = (0, 0)
    happened: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    repeats: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    stop_seconds: float = 0.0

    def faults(self, radiographs: int) -> list[str]:
        """Return the differences from the required outcome."""
        wanted = {
            "submitted": (len(set(self.submitted)), radiographs),
            "states": (dict(self.states), {"done": radiographs}),
            "answers": (dict(self.answers), {1: radiographs}),
            "pictures": (dict(self.pictures), {3: radiographs}),
            "audited": (self.audited, (radiographs, radiographs)),
        }
        return [f"{name}: {measured}, not {right}" for name, (measured, right) in wanted.items() if measured != right]


@dataclass(frozen=True)
class Plan:
    """Plan of a run.

    Attributes:
        radiographs: Number of radiographs.
        height: Height of a radiograph, pixels.
        events: Number of times for each of `EVENTS`.
        workers: Number of worker processes.
        bundle: Name or folder of the bundle.
        database: URL of the database; empty for SQLite.
        port: Port of the service.
        seed: Seed of all random choices.
        ahead: Maximum number of radiographs that wait when the next event is due; 0 for any number.
        restart_database: Shell command that restarts the database.
        disk_mebibytes: Size of a separate disk for SQLite; 0 for a folder.
        pause: Duration of a full disk or a read-only database, seconds.
    """

    radiographs: int
    height: int
    events: Mapping[str, int]
    workers: int
    bundle: str
    database: str
    port: int
    seed: int
    ahead: int
    restart_database: str
    disk_mebibytes: int
    pause: float

    def dues(self, chance: random.Random) -> list[tuple[int, str]]:
        """Return the number of answers before each event, in order; no event happens in the last quarter."""
        names = [name for name, count in self.events.items() for _ in range(count)]
        chance.shuffle(names)
        whens = sorted(chance.choice(range(self.radiographs * 3 // 4)) for _ in names)
        return list(zip(whens, names, strict=True))


class Scene:
    """Running service, and the events that can happen to it.

    Attributes:
        service: Running service.
        happened: Number of times each event happened.
    """

    def __init__(self, plan: Plan, service: Service, folder: Path, chance: random.Random) -> None:
        self.service = service
        self.happened: Counter[str] = Counter()
        self.at_hand: Counter[str] = Counter()
        self._plan = plan
        self._folder = folder
        self._chance = chance

    def happen(self, name: str) -> bool:
        """Let an event happen, and return False if it was impossible."""
        running = _queried(lambda: _model("Assessment").objects.filter(state="running").count(), 0)
        if not EVENTS[name](self):
            return False
        self.happened[name] += 1
        self.at_hand[name] += running > 0
        return True

    def kill_worker(self) -> bool:
        """Kill one of the workers."""
        return self._kill(self.service.worker_pids())

    def kill_server(self) -> bool:
        """Kill the process that answers requests."""
        return self._kill(self.service.server_pids())

    def _kill(self, pids: list[int]) -> bool:
        if not pids:
            return False
        try:
            os.kill(self._chance.choice(pids), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def kill_supervisor(self) -> bool:
        """Kill the supervisor and start it again."""
        self.service.start_again()
        return True

    def restart_database(self) -> bool:
        """Restart PostgreSQL."""
        done = subprocess.run(
            self._plan.restart_database, shell=True, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return done.returncode == 0

    def shift_clock(self) -> bool:
        """Move the clock an hour forward, or back again."""
        set_clock(self._folder, forward=self.happened["clock-shifts"] % 2 == 0)
        return True

    def reject_writes(self) -> bool:
        """Let PostgreSQL reject writes for a while."""
        for value in ("on", "off"):
            with connection.cursor() as cursor:
                cursor.execute("SET transaction_read_only = off")
                cursor.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
                cursor.execute("SELECT pg_reload_conf()")
            time.sleep(self._plan.pause if value == "on" else 0)
        return True

    def fill_disk(self) -> bool:
        """Leave SQLite no room for a while."""
        filler = self._folder / "store" / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        time.sleep(self._plan.pause)
        filler.unlink()
        return True


EVENTS: dict[str, Callable[[Scene], bool]] = {
    "kills": Scene.kill_worker,
    "server-kills": Scene.kill_server,
    "supervisor-kills": Scene.kill_supervisor,
    "database-restarts": Scene.restart_database,
    "clock-shifts": Scene.shift_clock,
    "read-only": Scene.reject_writes,
    "full-disks": Scene.fill_disk,
}


_CLOCK = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static const volatile int64_t *offset;
__attribute__((constructor)) static void begin(void) {
  int file = open(getenv("CLOCK_OFFSET"), O_RDONLY | O_CLOEXEC);
  void *map = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
  offset = map == MAP_FAILED ? 0 : map;
  close(file);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, clock, now);
  if (!failed && clock == CLOCK_REALTIME && offset) now->tv_sec += *offset;
  return failed;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  struct timespec found;
  int failed = clock_gettime(CLOCK_REALTIME, &found);
  now->tv_sec = found.tv_sec;
  now->tv_usec = found.tv_nsec / 1000;
  return failed;
}
time_t time(time_t *into) {
  struct timespec found;
  clock_gettime(CLOCK_REALTIME, &found);
  if (into) *into = found.tv_sec;
  return found.tv_sec;
}
"""
"""Source of a library that adds an offset from a file to the time of day.

Monotonic clocks stay unchanged, because libfaketime breaks those of Python.
"""


def movable_clock(folder: Path) -> dict[str, str]:
    """Build the library with an offset of 0, and return the environment of processes that use it."""
    set_clock(folder, forward=False)
    (folder / "clock.c").write_text(_CLOCK, encoding="ascii")
    library = folder / "clock.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, folder / "clock.c"], check=True)
    return {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(folder / "clock")}


def set_clock(folder: Path, *, forward: bool) -> None:
    """Write the offset of the clock, in place: processes have the file mapped."""
    with (folder / "clock").open("r+b" if (folder / "clock").exists() else "wb") as file:
        file.write((3600 if forward else 0).to_bytes(8, "little"))


def measure(plan: Plan) -> Outcome:
    """Run the service in a temporary folder, submit radiographs, cause the events and count the answers."""
    with tempfile.TemporaryDirectory() as place, _disk(Path(place) / "store", plan.disk_mebibytes):
        folder = Path(place)
        environment = {
            "BONEAGE_MODE": "clinic",
            "BONEAGE_DATABASE": plan.database,
            "BONEAGE_STORE": str(folder / "store"),
            "BONEAGE_WAITING": str(2 * plan.radiographs),
            "BONEAGE_ADMIN_PASSWORD": PASSWORD,
        }
        options = {
            "bundle": plan.bundle,
            "atlas": str(made_atlas(folder / "atlas")),
            "workers": str(plan.workers),
            "create-administrator": "killer",
        }
        os.environ.update({**environment, "DJANGO_SETTINGS_MODULE": "boneage.web.settings"})
        if plan.events.get("clock-shifts"):
            environment |= movable_clock(folder)
        outcome, chance = Outcome(), random.Random(plan.seed)
        with serving(options, environment, plan.port) as service:
            django.setup()
            _note_answers()
            scene = Scene(plan, service, folder, chance)
            _run(plan, scene, outcome, chance)
            outcome.stop_seconds = service.stop()
        _count(outcome)
        return outcome


@contextmanager
def _disk(folder: Path, mebibytes: int) -> Iterator[None]:
    """Mount a separate file system on a folder, if it has a size."""
    if not mebibytes:
        yield
        return
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        connection.close()
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _note_answers() -> None:
    with connection.cursor() as cursor:
        for statement in _NOTE[connection.vendor]:
            cursor.execute(statement)


def _queried(ask: Callable[[], int], otherwise: int) -> int:
    """Return the result of a query, or another value while the database is unreachable."""
    try:
        return ask()
    except Error:
        connection.close()
        return otherwise


def _run(plan: Plan, scene: Scene, outcome: Outcome, chance: random.Random) -> None:
    _, token = _model("ApiToken").issue(_model("User").objects.get(username="killer"), "kills")
    begun = time.monotonic()
    due = plan.dues(chance)
    submitting = threading.Thread(target=_submit, args=(plan, scene, outcome, due, token), daemon=True)
    submitting.start()
    answered, last_report = 0, 0.0
    while answered < plan.radiographs:
        answered = _queried(lambda: _model("Assessment").objects.filter(state__in=FINAL).count(), answered)
        if due and answered >= due[0][0] and scene.happen(due[0][1]):
            due.pop(0)
        if time.monotonic() - last_report > 15:
            last_report = time.monotonic()
            state = f"{len(outcome.submitted)} sent, {answered} answered, {dict(scene.happened)}"
            print(f"{last_report - begun:5.0f} s: {state}", file=sys.stderr, flush=True)
        is_over = not submitting.is_alive() and len(outcome.submitted) < plan.radiographs
        if is_over or time.monotonic() - begun > LONGEST_SECONDS:
            break
        time.sleep(chance.uniform(0.02, 0.3))
    submitting.join(60)
    outcome.seconds = time.monotonic() - begun
    outcome.happened = {name: (count, scene.at_hand[name]) for name, count in scene.happened.items()}


def _submit(plan: Plan, scene: Scene, outcome: Outcome, due: list[tuple[int, str]], token: str) -> None:
    """Send radiographs with a limited lead over the next event, so that some are waiting when it happens."""
    service, begun = scene.service, time.monotonic()
    for number in range(plan.radiographs):
        while plan.ahead and due and number > due[0][0] + plan.ahead:
            time.sleep(0.01)
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"radiograph-{number}"}
        radiograph = drawn_radiograph(number, plan.height, plan.height * 3 // 4)
        while time.monotonic() - begun < LONGEST_SECONDS:
            browser = Browser(service.host, service.port)
            try:
                answer = browser.post_radiograph("/api/assessments", radiograph, {"sex": "FM"[number % 2]}, headers)
            except (OSError, http.client.HTTPException):
                outcome.repeats["no answer"] += 1
                time.sleep(0.2)
                continue
            if answer.status in {200, 202}:
                outcome.submitted.append(str(answer.json()["id"]))
                break
            outcome.repeats[f"{answer.status} {answer.json().get('code')}"] += 1
            if answer.status < 500:
                return
            time.sleep(0.2)


def _count(outcome: Outcome) -> None:
    connection.close()
    assessments = _model("Assessment").objects
    outcome.states = Counter(assessments.values_list("state", flat=True))
    outcome.attempts = Counter(assessments.values_list("attempt", flat=True))
    with connection.cursor() as cursor:
        cursor.execute("SELECT assessment FROM answered")
        outcome.answers = _times(row[0] for row in cursor.fetchall())
    made = _model("Picture").objects.exclude(kind="radiograph")
    outcome.pictures = _times(made.values_list("assessment_id", flat=True))
    submissions = _model("AuditEvent").objects.filter(action="submit", object_type="assessment")
    events = submissions.values_list("object_id", flat=True)
    outcome.audited = (events.count(), len(set(events)))


def _times(keys: Iterable[object]) -> Counter[int]:
    """Return the number of keys by frequency."""
    return Counter(Counter(keys).values())


def _model(name: str) -> Any:
    """Return a class of `boneage.web.models`, which cannot be imported before Django is set up."""
    return apps.get_model("web", name)


def main() -> int:
    """Run the plan and print the outcome."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--radiographs", type=int, default=200)
    for name in EVENTS:
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bundle", default="residual")
    parser.add_argument("--height", type=int, default=1000, help="of a radiograph, pixels")
    parser.add_argument("--database", default="", help="URL of an empty database; SQLite if left out")
    parser.add_argument("--restart-database", default="", help="a shell command")
    parser.add_argument("--disk-mebibytes", type=int, default=0)
    parser.add_argument("--pause", type=float, default=15.0, help="seconds that a full disk lasts")
    parser.add_argument("--ahead", type=int, default=AHEAD, help="radiographs that wait at an event; 0 for any number")
    parser.add_argument("--port", type=int, default=8106)
    parser.add_argument("--seed", type=int, default=0)
    given = vars(parser.parse_args())
    events = {name: given.pop(name.replace("-", "_")) for name in EVENTS}
    plan = Plan(**given, events={name: count for name, count in events.items() if count})
    outcome = measure(plan)
    kind = "PostgreSQL" if plan.database else "SQLite"
    print(f"{kind}, bundle {plan.bundle}, {plan.workers} workers, {plan.radiographs} radiographs, seed {plan.seed}.")
    print(f"{outcome.seconds:.0f} s; stopping took {outcome.stop_seconds:.1f} s.\n")
    print("| | |\n|---|---|")
    for name in plan.events:
        times, at_hand = outcome.happened.get(name, (0, 0))
        print(f"| {name}, of them while a radiograph was at hand | {times}, {at_hand} |")
    print(f"| radiographs that the service took | {len(set(outcome.submitted))} |")
    print(f"| submissions sent again, by why | {dict(outcome.repeats)} |")
    print(f"| states at the end | {dict(outcome.states)} |")
    print(f"| answers written: radiographs by times | {dict(outcome.answers)} |")
    print(f"| pictures: radiographs by number | {dict(outcome.pictures)} |")
    print(f"| attempts: radiographs by number | {dict(sorted(outcome.attempts.items()))} |")
    print(f"| events of submission, radiographs in them | {outcome.audited} |")
    faults = outcome.faults(plan.radiographs)
    faults += [
        f"{name}: {outcome.happened.get(name, (0, 0))[0]}"
        for name, count in plan.events.items()
        if outcome.happened.get(name, (0, 0))[0] != count
    ]
    print(f"\n{'All as it must be.' if not faults else 'WRONG: ' + '; '.join(faults)}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
