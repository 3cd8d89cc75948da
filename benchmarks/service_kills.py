"""Radiographs are lost by nobody's death: many go through the real service while parts of it are ended or taken away.

    python benchmarks/service_kills.py --radiographs 800 --kills 200                     # SQLite in a temporary folder
    python benchmarks/service_kills.py --radiographs 800 --kills 200 --database URL      # an empty database of
    PostgreSQL

Radiographs are drawn, and go in through the REST API, in the mode clinic, each with an ``Idempotency-Key``; a request
that is not answered is sent again. At random moments, as often as asked for:

* ``--kills``: a worker is killed (SIGKILL, as all of these);
* ``--server-kills``: the process that answers requests is;
* ``--supervisor-kills``: ``boneage serve`` itself is, and is started again;
* ``--database-restarts``: the command ``--restart-database`` is run, which restarts PostgreSQL;
* ``--clock-shifts``: the clock of all the service's processes goes an hour forward, and back the next time (PostgreSQL
  keeps its own; Linux with a C compiler: a small library is laid before the system's clock);
* ``--read-only``: PostgreSQL takes no writes for some seconds;
* ``--full-disks``: SQLite's disk (``--disk-mebibytes``, a file system in memory, which root alone can mount) is filled
  for some seconds.

That no answer was written twice is counted by the database: a trigger notes each time that an assessment's state
becomes a final one. Ends with 1 if a radiograph was lost, doubled, answered twice, or not answered by an age.
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
"""Radiographs in the queue, or nearly so, when a worker is killed."""

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
"""By kind of database: what notes each answer that is written."""


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        submitted: ids that the service gave out.
        states: how many assessments are in which state at the end.
        answers: how many assessments were answered so many times.
        attempts: how many assessments took so many attempts.
        pictures: how many assessments have so many pictures besides the radiograph.
        audited: events of submission in the audit log, and assessments that they name.
        happened: by event how often it did, and how often a radiograph was at hand then.
        repeats: how many submissions were sent again, by why.
        seconds: from the first radiograph to the last answer.
        stop_seconds: how long the service took to stop.
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
        """What is not as it must be."""
        wanted = {
            "submitted": (len(set(self.submitted)), radiographs),
            "states": (dict(self.states), {"done": radiographs}),
            "answers": (dict(self.answers), {1: radiographs}),
            "pictures": (dict(self.pictures), {2: radiographs}),
            "audited": (self.audited, (radiographs, radiographs)),
        }
        return [f"{name}: {found}, not {right}" for name, (found, right) in wanted.items() if found != right]


@dataclass(frozen=True)
class Plan:
    """What is done.

    Attributes:
        radiographs: radiographs.
        height: of a radiograph, pixels.
        events: how often each of `EVENTS` happens.
        workers: processes.
        bundle: name or folder.
        database: URL; empty for SQLite.
        port: of the service.
        seed: of all chance.
        ahead: radiographs that may wait when the next event is due, so that it finds some; 0 for any number.
        restart_database: a shell command.
        disk_mebibytes: size of a disk of its own for SQLite; 0 for a folder.
        pause: seconds that a full disk or a read-only database lasts.
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
        """After how many answers each event happens, in order; none in the last quarter."""
        names = [name for name, count in self.events.items() for _ in range(count)]
        chance.shuffle(names)
        whens = sorted(chance.choice(range(self.radiographs * 3 // 4)) for _ in names)
        return list(zip(whens, names, strict=True))


class Scene:
    """The service and what can happen to it.

    Attributes:
        service: that runs.
        happened: how often each event did, and how often a radiograph was at hand then.
    """

    def __init__(self, plan: Plan, service: Service, folder: Path, chance: random.Random) -> None:
        self.service = service
        self.happened: Counter[str] = Counter()
        self.at_hand: Counter[str] = Counter()
        self._plan = plan
        self._folder = folder
        self._chance = chance

    def happen(self, name: str) -> bool:
        """Let an event happen. False if there was nothing that it could happen to."""
        running = _asked(lambda: _model("Assessment").objects.filter(state="running").count(), 0)
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
        """Set the clock an hour forward, or back again."""
        set_clock(self._folder, forward=self.happened["clock-shifts"] % 2 == 0)
        return True

    def reject_writes(self) -> bool:
        """Let PostgreSQL take no writes for a while."""
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
"""The time of day with an offset from a file. Clocks that waiting goes by stay: libfaketime breaks Python's."""


def movable_clock(folder: Path) -> dict[str, str]:
    """Make the library, with an offset of 0. Returns the environment of processes that go by it."""
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
    """Run the service in a temporary folder, submit, disturb, count."""
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
    """A file system of its own for a folder, if it has a size."""
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


def _asked(ask: Callable[[], int], otherwise: int) -> int:
    """What the database says, or something else while it is away."""
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
    answered, last_told = 0, 0.0
    while answered < plan.radiographs:
        answered = _asked(lambda: _model("Assessment").objects.filter(state__in=FINAL).count(), answered)
        if due and answered >= due[0][0] and scene.happen(due[0][1]):
            due.pop(0)
        if time.monotonic() - last_told > 15:
            last_told = time.monotonic()
            state = f"{len(outcome.submitted)} sent, {answered} answered, {dict(scene.happened)}"
            print(f"{last_told - begun:5.0f} s: {state}", file=sys.stderr, flush=True)
        is_over = not submitting.is_alive() and len(outcome.submitted) < plan.radiographs
        if is_over or time.monotonic() - begun > LONGEST_SECONDS:
            break
        time.sleep(chance.uniform(0.02, 0.3))
    submitting.join(60)
    outcome.seconds = time.monotonic() - begun
    outcome.happened = {name: (count, scene.at_hand[name]) for name, count in scene.happened.items()}


def _submit(plan: Plan, scene: Scene, outcome: Outcome, due: list[tuple[int, str]], token: str) -> None:
    """Send radiographs, but only so many more than must be answered before the next event that some wait then."""
    service, begun = scene.service, time.monotonic()
    for number in range(plan.radiographs):
        while plan.ahead and due and number > due[0][0] + plan.ahead:
            time.sleep(0.01)
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"radiograph-{number}"}
        radiograph = drawn_radiograph(number, plan.height, plan.height * 3 // 4)
        while time.monotonic() - begun < LONGEST_SECONDS:
            browser = Browser(service.host, service.port)
            try:
                said = browser.post_radiograph("/api/assessments", radiograph, {"sex": "FM"[number % 2]}, headers)
            except (OSError, http.client.HTTPException):
                outcome.repeats["no answer"] += 1
                time.sleep(0.2)
                continue
            if said.status in {200, 202}:
                outcome.submitted.append(str(said.json()["id"]))
                break
            outcome.repeats[f"{said.status} {said.json().get('code')}"] += 1
            if said.status < 500:
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
    """How many keys come how often."""
    return Counter(Counter(keys).values())


def _model(name: str) -> Any:
    """One of `boneage.web.models`, which cannot be imported before Django is set up."""
    return apps.get_model("web", name)


def main() -> int:
    """Measure and print."""
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
