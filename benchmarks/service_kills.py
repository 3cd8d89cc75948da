"""Films are lost by no worker's death: many films through the real service while its workers are killed at random.

    python benchmarks/service_kills.py --films 200 --kills 20                      # SQLite in a temporary folder
    python benchmarks/service_kills.py --films 200 --kills 20 --database URL       # an empty database of PostgreSQL

Films are drawn, and go in through the REST API, in the mode clinic. Kills are SIGKILL, spread at random over the films.
That no answer was written twice is counted by the database: a trigger notes each time that an assessment's state
becomes a final one. Ends with 1 if a film was lost, answered twice, or not answered by an age.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django
from django.apps import apps
from django.db import connection

from service_process import Browser, Service, drawn_film, made_atlas, serving

PASSWORD = "to be killed at random"
LONGEST_SECONDS = 3600
AHEAD = 6
"""Films in the queue, or nearly so, when a worker is killed."""

FINAL = ("done", "refused", "failed")

_NOTE = {
    "sqlite": [
        "CREATE TABLE answered (assessment text)",
        "CREATE TRIGGER note_answer AFTER UPDATE OF state ON web_assessment "
        "WHEN NEW.state IN ('done','refused','failed') BEGIN INSERT INTO answered VALUES (NEW.id); END",
    ],
    "postgresql": [
        "CREATE TABLE answered (assessment text)",
        "CREATE FUNCTION note_answer() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO answered VALUES (NEW.id::text); RETURN NEW; END $$",
        "CREATE TRIGGER note_answer AFTER UPDATE OF state ON web_assessment FOR EACH ROW "
        "WHEN (NEW.state IN ('done','refused','failed')) EXECUTE FUNCTION note_answer()",
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
        pictures: how many assessments have so many pictures besides the film.
        audited: events of submission in the audit log, and assessments that they name.
        kills: processes killed, and how many of them had a film at hand.
        seconds: from the first film to the last answer.
        stop_seconds: how long the service took to stop.
    """

    submitted: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    pictures: Counter[int] = field(default_factory=Counter)
    audited: tuple[int, int] = (0, 0)
    kills: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    stop_seconds: float = 0.0

    def faults(self, films: int) -> list[str]:
        """What is not as it must be."""
        wanted = {
            "submitted": (len(set(self.submitted)), films),
            "states": (dict(self.states), {"done": films}),
            "answers": (dict(self.answers), {1: films}),
            "pictures": (dict(self.pictures), {2: films}),
            "audited": (self.audited, (films, films)),
        }
        return [f"{name}: {found}, not {right}" for name, (found, right) in wanted.items() if found != right]


def measure(films: int, kills: int, workers: int, bundle: str, database: str, port: int, seed: int) -> Outcome:
    """Run the service in a temporary folder, submit, kill, count."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "BONEAGE_MODE": "clinic",
            "BONEAGE_DATABASE": database,
            "BONEAGE_STORE": f"{folder}/store",
            "BONEAGE_WAITING": str(2 * films),
            "BONEAGE_ATTEMPTS": str(kills + 1),  # chance may pick the same film often
            "BONEAGE_ADMIN_PASSWORD": PASSWORD,
        }
        options = {
            "bundle": bundle,
            "atlas": str(made_atlas(Path(folder) / "atlas")),
            "workers": str(workers),
            "create-administrator": "killer",
        }
        os.environ.update({**environment, "DJANGO_SETTINGS_MODULE": "boneage.web.settings"})
        outcome = Outcome()
        with serving(options, environment, port) as service:
            django.setup()
            _note_answers()
            _run(service, outcome, films, kills, random.Random(seed))
            outcome.stop_seconds = service.stop()
        _count(outcome)
        return outcome


def _note_answers() -> None:
    with connection.cursor() as cursor:
        for statement in _NOTE[connection.vendor]:
            cursor.execute(statement)


def _run(service: Service, outcome: Outcome, films: int, kills: int, chance: random.Random) -> None:
    _, token = _model("ApiToken").issue(_model("User").objects.get(username="killer"), "kills")
    answered_ones = _model("Assessment").objects.filter(state__in=FINAL)
    begun = time.monotonic()
    due = sorted(chance.sample(range(films * 3 // 4), kills))
    submitting = threading.Thread(target=_submit, args=(service, outcome, films, due, token), daemon=True)
    submitting.start()
    killed = busy = 0
    last_told = 0.0
    while (answered := answered_ones.count()) < films:
        if due and answered >= due[0]:
            done = _kill_one(service, chance)
            if done is not None:
                due.pop(0)
                killed, busy = killed + 1, busy + done
        if time.monotonic() - last_told > 15:
            last_told = time.monotonic()
            print(f"{last_told - begun:5.0f} s: {answered} answered, {killed} killed", file=sys.stderr, flush=True)
        if time.monotonic() - begun > LONGEST_SECONDS or (not submitting.is_alive() and len(outcome.submitted) < films):
            break
        time.sleep(chance.uniform(0.02, 0.3))
    submitting.join(60)
    outcome.seconds = time.monotonic() - begun
    outcome.kills = (killed, busy)


def _kill_one(service: Service, chance: random.Random) -> bool | None:
    """Kill one of the workers. Whether a film was at hand then; None if there was no worker."""
    running: int = _model("Assessment").objects.filter(state="running").count()
    pids = service.worker_pids()
    if not pids:
        return None
    try:
        os.kill(chance.choice(pids), signal.SIGKILL)
    except ProcessLookupError:
        return None
    return running > 0


def _submit(service: Service, outcome: Outcome, films: int, due: list[int], token: str) -> None:
    """Send films, but only so many more than must be answered before the next kill that it finds some in the queue."""
    browser = Browser(service.host, service.port)
    for number in range(films):
        while due and number > due[0] + AHEAD:
            time.sleep(0.01)
        said = browser.post_film(
            "/api/assessments", drawn_film(number), {"sex": "FM"[number % 2]}, {"Authorization": f"Bearer {token}"}
        )
        if said.status not in {200, 202}:
            print(f"film {number} was answered with {said.status}: {said.text[:300]}", *service.log[-30:], sep="\n")
            return
        outcome.submitted.append(str(said.json()["id"]))


def _count(outcome: Outcome) -> None:
    connection.close()
    assessments = _model("Assessment").objects
    outcome.states = Counter(assessments.values_list("state", flat=True))
    outcome.attempts = Counter(assessments.values_list("attempt", flat=True))
    with connection.cursor() as cursor:
        cursor.execute("SELECT assessment FROM answered")
        outcome.answers = _times(row[0] for row in cursor.fetchall())
    made = _model("Picture").objects.exclude(kind="film")
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
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bundle", default="residual")
    parser.add_argument("--database", default="", help="URL of an empty database; SQLite if left out")
    parser.add_argument("--port", type=int, default=8106)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    outcome = measure(given.films, given.kills, given.workers, given.bundle, given.database, given.port, given.seed)
    kind = "PostgreSQL" if given.database else "SQLite"
    killed, busy = outcome.kills
    print(f"{kind}, bundle {given.bundle}, {given.workers} workers, {given.films} films, seed {given.seed}.\n")
    print(f"{killed} workers killed, {busy} of them while a film was at hand; {outcome.seconds:.0f} s.")
    print(f"Stopping took {outcome.stop_seconds:.1f} s.\n")
    print("| | |\n|---|---|")
    print(f"| films that the service took | {len(set(outcome.submitted))} |")
    print(f"| states at the end | {dict(outcome.states)} |")
    print(f"| answers written: films by times | {dict(outcome.answers)} |")
    print(f"| pictures: films by number | {dict(outcome.pictures)} |")
    print(f"| attempts: films by number | {dict(sorted(outcome.attempts.items()))} |")
    print(f"| events of submission, films in them | {outcome.audited} |")
    faults = outcome.faults(given.films)
    print(f"\n{'All as it must be.' if not faults else 'WRONG: ' + '; '.join(faults)}")
    return 1 if faults or killed != given.kills else 0


if __name__ == "__main__":
    sys.exit(main())
