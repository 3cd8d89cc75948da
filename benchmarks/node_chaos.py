"""Robustness of the DICOM node: radiographs arrive while its processes and the PACS are killed.

    python benchmarks/node_chaos.py --radiographs 200 --kills 30                  # SQLite in a temporary folder
    python benchmarks/node_chaos.py --radiographs 200 --kills 30 --database URL   # an empty database of PostgreSQL

Modalities send radiographs (an average hand of the atlas), each of a patient and study of its own, over several
associations at a time, and send again what was not acknowledged, as modalities do. A real Orthanc receives the results
and commits to them. Listener, dispatcher, a worker, the supervisor and Orthanc are killed at random moments (SIGKILL);
the last two are started again.

At the end, every acknowledged radiograph must be in one final state, and the PACS must hold one structured report and
one Secondary Capture of each, with the very bytes of the database. The exit status is 1 otherwise.
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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django
from django.db import Error, connection

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests are not installed

from boneage.files import sha256_of
from boneage.node.configuration import NodeSettings, Peer
from boneage.node.outcome import Result
from boneage.node.sender import send
from boneage.reading.dicom.object import meta_end
from service_process import Service, serving
from tests.node.orthanc import Orthanc, free_port
from tests.web.node.arrivals import HOSPITAL, configured, radiograph

LONGEST_SECONDS = 2 * 3600
QUIET_SECONDS = 1
COMMITMENT_SECONDS = 20
"""Longest wait for the PACS to commit to the last results. An interrupted commitment is only queried after a day."""
ROOT = "1.2.826.0.1.3680043.2.1125.77"
MODALITY = NodeSettings(ae_title="DXROOM1", timeout_seconds=10)
_PREAMBLE_BYTES = 132
_SETTLED = ("stored", "committed", "dead", "given_up")

PROGRAMS = {
    "listener": "boneage.web.processes.listener_process",
    "dispatcher": "boneage.web.processes.dispatcher_process",
    "worker": "boneage.web.processes.worker_process",
}
"""Programs of the processes that the supervisor starts again, by name."""

VICTIMS = (*PROGRAMS, "supervisor", "pacs")


@dataclass
class Outcome:
    """Outcome of a run.

    Attributes:
        acknowledged: SOP Instance UIDs that the node acknowledged.
        reports: number of structured reports that are stored.
        repeats: number of radiographs that were sent again, by reason.
        kills: number of kills by victim.
        instances: number of instances by state.
        deliveries: number of deliveries by state.
        attempts: number of deliveries by number of attempts.
        faults: differences from the required outcome.
        seconds: time from the first radiograph to the last delivery.
        latencies: time from the acknowledgement to the stored report, seconds.
    """

    acknowledged: set[str] = field(default_factory=set)
    reports: int = 0
    repeats: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    instances: Mapping[str, int] = field(default_factory=dict)
    deliveries: Mapping[str, int] = field(default_factory=dict)
    attempts: Mapping[int, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)


def sender(
    numbers: list[int], ahead: int, lock: threading.Lock, node: Peer, outcome: Outcome, stopping: threading.Event
) -> None:
    """Send radiographs one after the other, each until it is acknowledged, with a limited lead over the reports."""
    while not stopping.is_set():
        with lock:
            if not numbers:
                return
            is_early = numbers[-1] > outcome.reports + ahead
            number = 0 if is_early else numbers.pop()
        if is_early:
            time.sleep(0.1)
            continue
        study = f"{ROOT}.{number}"
        patient = {"PatientID": f"P{number}", "AccessionNumber": f"A{number}", "PatientSex": "FM"[number % 2]}
        file = radiograph(study=study, level=number, is_plate=True, **patient)  # type: ignore[arg-type]
        while not stopping.is_set():
            (one,) = send(node, MODALITY, [file])
            if one.result is Result.DONE:
                with lock:
                    outcome.acknowledged.add(f"{study}.9.1")
                break
            with lock:
                outcome.repeats[one.code.value] += 1
            time.sleep(0.5)


def kill(victim: str, service: Service, orthanc: Orthanc, chance: random.Random) -> bool:
    """Kill a process, and start it again if nothing else does. Return False if it was not running."""
    if victim == "supervisor":
        service.start_again()
        return True
    if victim == "pacs":
        orthanc.kill()
        time.sleep(chance.uniform(0, 3))
        orthanc.start()
        return True
    pids = service.pids(PROGRAMS[victim])
    if not pids:
        return False
    try:
        os.kill(chance.choice(pids), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def measure(arguments: argparse.Namespace) -> Outcome:
    """Run service and PACS in a temporary folder, send radiographs, kill, and compare what is left."""
    outcome, chance = Outcome(), random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        node_port = free_port()
        (folder / "orthanc").mkdir()
        orthanc = Orthanc(folder / "orthanc", node_port)
        pacs = configured(folder, HOSPITAL, quiet=QUIET_SECONDS, port=node_port, pacs_port=orthanc.dicom_port)
        environment = {
            "BONEAGE_MODE": "clinic",
            "BONEAGE_PACS": str(pacs),
            "BONEAGE_DATABASE": arguments.database,
            "BONEAGE_STORE": str(folder / "store"),
            "BONEAGE_SECRET_KEY": "chaos " * 12,
        }
        os.environ.update({**environment, "DJANGO_SETTINGS_MODULE": "boneage.web.settings"})
        options = {"bundle": arguments.bundle, "workers": str(arguments.workers)}
        orthanc.start()
        try:
            with serving(options, environment, free_port()) as service:
                django.setup()
                _run(arguments, outcome, chance, service, orthanc, Peer("node", "BONEAGE", "127.0.0.1", node_port))
                _compare(outcome, orthanc)
        finally:
            orthanc.stop()
    return outcome


def _run(
    arguments: argparse.Namespace,
    outcome: Outcome,
    chance: random.Random,
    service: Service,
    orthanc: Orthanc,
    node: Peer,
) -> None:
    lock, stopping, begun = threading.Lock(), threading.Event(), time.monotonic()
    numbers = list(range(arguments.radiographs, 0, -1))
    senders = [
        threading.Thread(target=sender, args=(numbers, arguments.ahead, lock, node, outcome, stopping), daemon=True)
        for _ in range(arguments.associations)
    ]
    victims = [VICTIMS[number % len(VICTIMS)] for number in range(arguments.kills)]
    chance.shuffle(victims)
    # Kills are due by the number of radiographs whose report is stored; none in the last quarter.
    whens = sorted(chance.choice(range(max(1, arguments.radiographs * 3 // 4))) for _ in victims)
    due = list(zip(whens, victims, strict=True))
    for one in senders:
        one.start()
    last_report = 0.0
    while time.monotonic() - begun < LONGEST_SECONDS:
        settled = _of("Delivery").filter(result__kind="sr", state__in=_SETTLED)
        reports = outcome.reports = _queried(settled.count, outcome.reports)
        if due and reports >= due[0][0] and kill(due[0][1], service, orthanc, chance):
            outcome.kills[due.pop(0)[1]] += 1
        if time.monotonic() - last_report > 15:
            last_report = time.monotonic()
            line = f"{len(outcome.acknowledged)} acknowledged, {reports} reports, killed {dict(outcome.kills)}"
            print(f"{last_report - begun:5.0f} s: {line}", file=sys.stderr, flush=True)
        if not due and reports >= arguments.radiographs and not _queried(_under_way):
            break
        time.sleep(chance.uniform(0.1, 0.6))
    stopping.set()
    outcome.seconds = time.monotonic() - begun
    ends = time.monotonic() + COMMITMENT_SECONDS
    while time.monotonic() < ends and _queried(lambda: _of("Delivery").filter(state="stored").count()):
        time.sleep(0.5)


def _of(name: str) -> Any:
    from django.apps import apps  # noqa: PLC0415 - Django is set up only now

    return apps.get_model("node", name).objects


def _under_way() -> int:
    states = ("waiting", "reserve", "queued")
    return int(_of("Delivery").exclude(state__in=_SETTLED).count() + _of("Instance").filter(state__in=states).count())


def _queried(ask: Callable[[], int], otherwise: int = 1) -> int:
    """Return the result of a query, or another value while the database is unreachable."""
    try:
        return ask()
    except Error:
        connection.close()
        return otherwise


def _compare(outcome: Outcome, orthanc: Orthanc) -> None:
    """Compare the database with what was acknowledged, and the PACS with the database."""
    rows = {row.sop_instance_uid: row for row in _of("Instance").select_related("assessment").defer("file")}
    outcome.instances = Counter(row.state for row in rows.values())
    deliveries = list(_of("Delivery").select_related("result__instance"))
    outcome.deliveries = Counter(row.state for row in deliveries)
    outcome.attempts = Counter(row.attempts for row in deliveries)
    outcome.latencies = sorted(
        (row.stored_at - row.result.instance.received_at).total_seconds()
        for row in deliveries
        if row.result.kind == "sr" and row.stored_at is not None
    )
    if lost := outcome.acknowledged - set(rows):
        outcome.faults.append(f"{len(lost)} acknowledged radiographs are lost")
    for uid in sorted(outcome.acknowledged & set(rows)):
        row = rows[uid]
        if row.state != "rendered" or row.assessment is None or row.assessment.state != "done":
            outcome.faults.append(f"{uid} ends as {row.state}")
    held = Counter[tuple[str, str]]()
    for one in orthanc.instances():
        file = orthanc.file(one["SOPInstanceUID"])
        stored = _of("ResultFile").filter(sop_instance_uid=one["SOPInstanceUID"]).first()
        if stored is None or _data_set(file) != _data_set(bytes(stored.file)):
            outcome.faults.append(f"the PACS holds other bytes of {one['SOPInstanceUID']}")
        else:
            held[stored.instance.sop_instance_uid, stored.kind] += 1
    for uid in sorted(outcome.acknowledged):
        for kind in ("sc", "sr"):
            if held[uid, kind] != 1:
                outcome.faults.append(f"the PACS holds {held[uid, kind]} {kind} of {uid}")
    if extra := {uid for uid, _ in held} - outcome.acknowledged:
        outcome.faults.append(f"the PACS holds results of {len(extra)} radiographs that were not acknowledged")


def _data_set(file: bytes) -> str:
    """Return the checksum of a file's data set; the File Meta Information is the PACS's own."""
    return sha256_of(file[_PREAMBLE_BYTES + meta_end(file[_PREAMBLE_BYTES:]) :])


def main() -> int:
    """Run, print the outcome, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--radiographs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--associations", type=int, default=8)
    parser.add_argument("--ahead", type=int, default=12, help="radiographs that are sent before the next report")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--bundle", default="fast")
    parser.add_argument("--database", default="")
    parser.add_argument("--seed", type=int, default=0)
    outcome = measure(parser.parse_args())
    middle = outcome.latencies[len(outcome.latencies) // 2] if outcome.latencies else float("nan")
    print(f"acknowledged {len(outcome.acknowledged)}, sent again {dict(outcome.repeats)}")
    print(f"killed {dict(outcome.kills)}")
    print(f"instances {dict(outcome.instances)}, deliveries {dict(outcome.deliveries)}")
    print(f"attempts at a delivery {dict(sorted(outcome.attempts.items()))}")
    longest = outcome.latencies[-1] if outcome.latencies else float("nan")
    print(f"received to stored report: median {middle:.1f} s, longest {longest:.1f} s; all {outcome.seconds:.0f} s")
    for fault in outcome.faults:
        print(f"FAULT: {fault}")
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
