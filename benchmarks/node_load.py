"""Load on the DICOM node: latency from C-STORE to the result in the PACS, rate of a long queue, memory, other peers.

    python benchmarks/node_load.py --instances 1000                  # SQLite in a temporary folder
    python benchmarks/node_load.py --instances 1000 --database URL   # an empty database of PostgreSQL

A modality sends radiographs (an average hand of the atlas), each of a patient and study of its own, and a real Orthanc
receives the results. Three measurements follow one another:

* *unloaded*: one radiograph at a time, each after the report of the one before is stored;
* *disturbed*: the same, while a second PACS is silent after it accepts connections, an HL7 receiver takes seconds for
  each acknowledgement, and peers hold connections and associations to the node in silence;
* *queue*: all instances as fast as the node takes them, over several associations.

The latency is the time from the commit of the received instance to the commit of the stored report, by the clock of the
database. The service waits `QUIET_SECONDS` for the rest of a study; that wait is part of it. The exit status is
1 if a result is missing.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django
from django.db import connection

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests are not installed

from boneage.node.configuration import NodeSettings, Peer
from boneage.node.outcome import Result
from boneage.node.sender import send
from service_process import Service, serving
from tests.node.orthanc import Orthanc, free_port
from tests.node.web_servers import acknowledgement, mllp_server
from tests.web.node.arrivals import HOSPITAL, configured, radiograph

QUIET_SECONDS = 1.0
LONGEST_SECONDS = 3 * 3600
SLOW_SECONDS = 5.0
SILENT_CONNECTIONS = 4
ROOT = "1.2.826.0.1.3680043.2.1125.78"
MODALITY = NodeSettings(ae_title="DXROOM1", timeout_seconds=30)
PROGRAMS = {
    "web server": "boneage.web.processes.http_server",
    "listener": "boneage.web.processes.listener_process",
    "dispatcher": "boneage.web.processes.dispatcher_process",
    "worker": "boneage.web.processes.worker_process",
}
OTHERS = """
[[peer]]
name = "silent"
ae_title = "SILENT"
host = "127.0.0.1"
port = {silent}
results = ["sr"]

[[hl7]]
name = "slow"
host = "127.0.0.1"
port = {slow}

[deliver]
to = ["silent", "slow", "pacs"]
"""


@dataclass
class Memory(threading.Thread):
    """Largest resident memory of the service's processes, MiB by name."""

    service: Service
    peaks: dict[str, float] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Sample until the end."""
        while not self.ended.wait(2.0):
            for name, program in PROGRAMS.items():
                used = sum(_resident(pid) for pid in self.service.pids(program))
                self.peaks[name] = max(self.peaks.get(name, 0.0), used)


def _resident(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)


def instance(number: int) -> bytes:
    """Return the radiograph with a number, of a patient and study of its own."""
    patient = {"PatientID": f"P{number}", "AccessionNumber": f"A{number}", "PatientSex": "FM"[number % 2]}
    level = number % 4096
    return radiograph(study=f"{ROOT}.{number}", level=level, is_plate=True, **patient)  # type: ignore[arg-type]


def push(node: Peer, numbers: list[int]) -> None:
    """Send radiographs over one association after the other, 10 each, until every one is acknowledged."""
    for first in range(0, len(numbers), 10):
        files = [instance(number) for number in numbers[first : first + 10]]
        while files:
            outcomes = send(node, MODALITY, files)
            files = [file for file, one in zip(files, outcomes, strict=True) if one.result is not Result.DONE]
            if files:
                time.sleep(0.5)


def reports(peer: str = "pacs", kind: str = "sr") -> Any:
    """Return the deliveries of stored reports, or of results of another kind."""
    from boneage.web.node.models import Delivery  # noqa: PLC0415 - Django is set up only now

    stored = Delivery.objects.filter(peer=peer, result__kind=kind, state__in=["stored", "committed"])
    return stored.select_related("result__instance").defer("result__file", "result__instance__file")


def until(condition: Callable[[], bool], event: str) -> None:
    """Wait until a condition is true."""
    ends = time.monotonic() + LONGEST_SECONDS
    while not condition():
        if time.monotonic() > ends:
            raise SystemExit(f"{event}: not within {LONGEST_SECONDS} s")
        time.sleep(0.05)


def latencies(numbers: list[int]) -> list[float]:
    """Return the times from the received instance to the stored report, seconds, in ascending order."""
    studies = {f"{ROOT}.{number}" for number in numbers}
    rows = [row for row in reports() if row.result.instance.study_uid in studies]
    assert len(rows) == len(numbers), "a result is missing"
    return sorted((row.stored_at - row.result.instance.received_at).total_seconds() for row in rows)


def one_by_one(node: Peer, numbers: list[int]) -> list[float]:
    """Send radiographs, each after the report of the one before is stored, and return the latencies."""
    for number in numbers:
        push(node, [number])
        study = f"{ROOT}.{number}"
        until(reports().filter(result__instance__study_uid=study).exists, "a report")
    return latencies(numbers)


@contextmanager
def silence(port: int, node: Peer) -> Iterator[None]:
    """Hold connections to the node in silence, as long as the node lets them."""
    ended = threading.Event()

    def hold() -> None:
        while not ended.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5.0) as opened:
                    opened.sendall(b"\x01\x00")
                    opened.settimeout(40.0)
                    opened.recv(1)
            except OSError:
                ended.wait(1.0)

    for _ in range(SILENT_CONNECTIONS):
        threading.Thread(target=hold, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@contextmanager
def silent_server() -> Iterator[int]:
    """Accept connections and say nothing; yield the port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield int(server.getsockname()[1])
        for one in kept:
            one.close()


def slow_acknowledgement(message: bytes) -> bytes:
    """Acknowledge a message after a while."""
    time.sleep(SLOW_SECONDS)
    return acknowledgement(message)


def described(values: list[float]) -> str:
    """Return median, 95 % quantile and maximum in words."""
    high = values[min(len(values) - 1, int(0.95 * len(values)))]
    return (
        f"median {statistics.median(values):.2f} s, 95 % {high:.2f} s, longest {values[-1]:.2f} s (n = {len(values)})"
    )


def measure(arguments: argparse.Namespace) -> None:
    """Run service and PACS in a temporary folder, and print the measurements."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        node_port = free_port()
        (folder / "orthanc").mkdir()
        orthanc = Orthanc(folder / "orthanc", node_port)
        others = OTHERS.format(
            silent=stack.enter_context(silent_server()),
            slow=stack.enter_context(mllp_server(slow_acknowledgement)).port,
        )
        plain, disturbed = folder / "plain", folder / "disturbed"
        ports = {"quiet": QUIET_SECONDS, "port": node_port, "pacs_port": orthanc.dicom_port}
        for place, text in ((plain, HOSPITAL), (disturbed, HOSPITAL.partition("[deliver]")[0] + others)):
            place.mkdir()
            configured(place, text, **ports)  # type: ignore[arg-type]
        environment = {
            "BONEAGE_MODE": "clinic",
            "BONEAGE_DATABASE": arguments.database,
            "BONEAGE_STORE": str(folder / "store"),
            "BONEAGE_SECRET_KEY": "load " * 12,
            "BONEAGE_PACS": str(plain / "pacs.toml"),
        }
        os.environ.update({**environment, "DJANGO_SETTINGS_MODULE": "boneage.web.settings"})
        orthanc.start()
        stack.callback(orthanc.stop)
        options = {"bundle": arguments.bundle, "workers": str(arguments.workers)}
        node, few = Peer("node", "BONEAGE", "127.0.0.1", node_port), arguments.single
        with serving(options, environment, free_port()) as service:
            django.setup()
            warm_up = one_by_one(node, [1, 2])
            print(f"first two, while models load: {described(warm_up)}", flush=True)
            print(f"unloaded:  {described(one_by_one(node, list(range(10, 10 + few))))}", flush=True)
            queue(arguments, node, service)
        changed = {**environment, "BONEAGE_PACS": str(disturbed / "pacs.toml")}
        with serving(options, changed, free_port()), silence(node_port, node):
            one_by_one(node, [3, 4])
            numbers = list(range(1000, 1000 + few))
            print(f"disturbed: {described(one_by_one(node, numbers))}", flush=True)
            slow, silent = reports("slow", "hl7").count(), reports("silent").count()
            print(
                f"           reports that the silent PACS has stored: {silent}, messages of the slow receiver: {slow}"
            )
        connection.close()


def queue(arguments: argparse.Namespace, node: Peer, service: Service) -> None:
    """Measure the rate of a long queue, and print it."""
    numbers = list(range(10_000, 10_000 + arguments.instances))
    memory = Memory(service)
    memory.start()
    senders = [
        threading.Thread(target=push, args=(node, numbers[place :: arguments.associations]))
        for place in range(arguments.associations)
    ]
    before, begun = reports().count(), time.monotonic()
    for one in senders:
        one.start()
    for one in senders:
        one.join()
    sent = time.monotonic() - begun
    until(lambda: reports().count() >= before + len(numbers), "all reports")
    seconds = time.monotonic() - begun
    memory.ended.set()
    memory.join()
    print(f"queue:     {len(numbers)} acknowledged in {sent:.0f} s ({len(numbers) / sent:.1f} a second)")
    print(f"           results in the PACS after {seconds:.0f} s ({len(numbers) / seconds:.2f} a second)")
    print(f"           {described(latencies(numbers))}")
    print(f"           peak memory, MiB: { {name: round(value) for name, value in memory.peaks.items()} }", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--single", type=int, default=20, help="radiographs that are sent one at a time")
    parser.add_argument("--associations", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bundle", default="fast")
    parser.add_argument("--database", default="")
    load = os.getloadavg()
    print(f"load of the machine at the start: {load[0]:.1f} (1 min), {load[1]:.1f} (5 min)")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
