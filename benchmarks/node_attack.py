"""Attack the node's listener and its reader of data sets, while a peer sends radiographs.

    python benchmarks/node_attack.py --minutes 10 --seed 0

The listener runs in a process of its own. Attackers at another loopback address know the AE title of a peer; they cut
associations, announce wrong lengths, send damaged data sets and mutated records of valid sessions, fall silent, send
byte by byte, and open many connections at once. Meanwhile a well-behaved peer sends a radiograph twice a second. Each
of them must be answered with success. Another process reads damaged data sets by `read_header`.

The exit status is 1 if a process died, an exception was not caught, the well-behaved peer was once not served, or the
listener's memory, threads or open files grew by more than the limits.
"""

from __future__ import annotations

import argparse
import logging
import random
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests are not installed

from boneage.errors import Rejection  # needs the path above
from boneage.node.configuration import NodeConfiguration, NodeSettings, Peer
from boneage.node.instance import InstanceHeader, ReceivedInstance, read_header
from boneage.node.intake import Caller, CommitmentReport, DenialReason
from boneage.node.listener import Listener
from boneage.node.outcome import Result
from boneage.node.sender import send
from tests.node.parts import instance_file
from tests.radiograph_files import VALID
from tests.structure_mutations import mutate_dicom

SETTINGS = NodeSettings(port=0, object_mebibytes=4, timeout_seconds=2.0, idle_seconds=5.0)
ATTACKER, GOOD = "127.0.0.2", "127.0.0.1"
PEERS = (
    Peer("good", "GOOD", GOOD, 0, may_send=True),
    Peer("attacker", "ATTACKER", ATTACKER, 0, may_send=True),
)
GROWTH_MEBIBYTES, GROWTH_THREADS, GROWTH_FILES = 100, 10, 20
WARM_SECONDS = 60.0
"""Time after which growth is measured: by then every kind of attack has run."""


# --- the listener ---


class CountingIntake:
    """Intake that counts and keeps nothing."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def take(self, instance: ReceivedInstance, header: InstanceHeader) -> None:
        """Count an instance."""
        self.counts[f"taken from {instance.peer}"] += 1

    def skip(self, sop_class_uid: str, sop_instance_uid: str, caller: Caller) -> None:
        """Count an instance that is never read."""
        self.counts["skipped"] += 1

    def committed(self, report: CommitmentReport) -> None:
        """Count a report."""
        self.counts["reports"] += 1

    def denied(self, reason: DenialReason, caller: Caller) -> None:
        """Count a denial."""
        self.counts[f"denied: {reason.value}"] += 1


def serve() -> None:
    """Serve until standard input ends; print the port at the start and the counts at the end."""
    logging.getLogger("boneage").setLevel(logging.ERROR)
    intake = CountingIntake()
    listener = Listener(NodeConfiguration(peer=PEERS, node=SETTINGS), intake)
    listener.start()
    print(listener.port, flush=True)
    sys.stdin.read()
    listener.stop()
    left = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
    print(f"threads after the stop: {len(left)}")
    for name, count in sorted(intake.counts.items()):
        print(f"{name}: {count}")


# --- attacks: each opens connections to a port, and returns when it has done its work ---


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=3.0, source_address=(ATTACKER, 0))


def _pdu(kind: int, content: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BBL", kind, 0, len(content) if length is None else length) + content


def record_session() -> list[bytes]:
    """Return the protocol data units that a sender of one radiograph writes: association, object, release."""
    units: list[bytes] = []
    listener = Listener(
        NodeConfiguration(peer=(Peer("a", "ATTACKER", GOOD, 0, may_send=True),), node=SETTINGS), CountingIntake()
    )
    listener.start()
    with socket.create_server((GOOD, 0)) as relay:
        thread = threading.Thread(target=_relay, args=(relay, listener.port, units))
        thread.start()
        peer = Peer("node", "BONEAGE", GOOD, relay.getsockname()[1])
        send(peer, NodeSettings("ATTACKER"), [instance_file()])
        thread.join()
    listener.stop()
    return units


def _relay(relay: socket.socket, port: int, units: list[bytes]) -> None:
    client, _ = relay.accept()
    with client, socket.create_connection((GOOD, port)) as server:
        back = threading.Thread(target=_pump, args=(server, client))
        back.start()
        with suppress(OSError):
            while header := client.recv(6, socket.MSG_WAITALL):
                unit = header + client.recv(struct.unpack(">L", header[2:])[0], socket.MSG_WAITALL)
                units.append(unit)
                server.sendall(unit)
        server.close()
        back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)


class Attacks:
    """All attacks on one port.

    Args:
        port: port of the listener.
        session: units of a valid session.
    """

    def __init__(self, port: int, session: list[bytes]) -> None:
        self._port, self._session = port, session
        self.kinds: dict[str, Callable[[random.Random], None]] = {
            "random bytes": self.random_bytes,
            "wrong lengths": self.wrong_lengths,
            "mutated session": self.mutated_session,
            "cut session": self.cut_session,
            "repeated units": self.repeated_units,
            "damaged data sets": self.damaged_data_sets,
            "silence": self.silence,
            "byte by byte": self.byte_by_byte,
            "connections": self.connections,
            "too large": self.too_large,
        }

    def random_bytes(self, chance: random.Random) -> None:
        """Send random bytes."""
        with _connect(self._port) as opened:
            opened.sendall(chance.randbytes(chance.choice([1, 6, 10, 100, 10_000, 200_000])))

    def wrong_lengths(self, chance: random.Random) -> None:
        """Announce lengths that are not those of the units."""
        with _connect(self._port) as opened:
            for _ in range(chance.randint(1, 5)):
                length = chance.choice([0, 1, 5, 2**16, 2**31, 2**32 - 1, chance.randrange(2**32)])
                opened.sendall(_pdu(chance.randint(0, 9), chance.randbytes(chance.randint(0, 500)), length))

    def _play(self, units: list[bytes], chance: random.Random) -> None:
        with _connect(self._port) as opened:
            opened.settimeout(1.0)
            for number, unit in enumerate(units):
                opened.sendall(unit)
                if number == 0 or chance.random() < 0.1:
                    opened.recv(65_536)

    def mutated_session(self, chance: random.Random) -> None:
        """Repeat a valid session with changed bytes."""
        units = [bytearray(unit) for unit in self._session]
        for _ in range(chance.randint(1, 8)):
            unit = chance.choice(units[: chance.choice([1, 2, len(units)])])
            unit[chance.randrange(min(len(unit), 400))] = chance.choice([0, 1, 255, chance.randrange(256)])
        self._play([bytes(unit) for unit in units], chance)

    def cut_session(self, chance: random.Random) -> None:
        """End the connection somewhere within a valid session."""
        units = self._session[: chance.randint(1, len(self._session))]
        units[-1] = units[-1][: chance.randrange(len(units[-1]))]
        self._play(units, chance)

    def repeated_units(self, chance: random.Random) -> None:
        """Send units of a valid session in any order, many times."""
        self._play([self._session[0], *(chance.choice(self._session) for _ in range(chance.randint(1, 200)))], chance)

    def damaged_data_sets(self, chance: random.Random) -> None:
        """Store damaged data sets by a valid protocol."""
        begin, command = self._session[0], self._session[1]
        data = damaged_data(chance)
        fragments = [data[place : place + 16_000] for place in range(0, len(data), 16_000)] or [b""]
        context = command[10:11]
        units = [
            _pdu(4, struct.pack(">L", len(one) + 2) + context + (b"\2" if one is fragments[-1] else b"\0") + one)
            for one in fragments
        ]
        self._play([begin, command, *units, self._session[-1]], chance)

    def silence(self, chance: random.Random) -> None:
        """Hold connections and associations in silence."""
        with _connect(self._port) as first, _connect(self._port) as second:
            first.sendall(self._session[0][: chance.randrange(len(self._session[0]))])
            second.sendall(self._session[0])
            time.sleep(chance.uniform(0.5, 6.0))

    def byte_by_byte(self, chance: random.Random) -> None:
        """Send a valid session slowly."""
        with _connect(self._port) as opened:
            for byte in b"".join(self._session)[: chance.randint(20, 400)]:
                opened.sendall(bytes([byte]))
                time.sleep(0.02)

    def connections(self, chance: random.Random) -> None:
        """Open many connections at once."""
        opened: list[socket.socket] = []
        with suppress(OSError):
            for _ in range(chance.randint(10, 150)):
                opened.append(_connect(self._port))  # noqa: PERF401  # an error ends it
        for one in opened:
            one.close()

    def too_large(self, chance: random.Random) -> None:
        """Store a data set beyond the limit."""
        begin, command = self._session[0], self._session[1]
        fragment = _pdu(4, struct.pack(">L", 100_002) + command[10:11] + b"\0" + bytes(100_000))
        self._play([begin, command, *[fragment] * chance.randint(30, 120)], chance)


def damaged_data(chance: random.Random) -> bytes:
    """Return a damaged data set without its file meta group."""
    return _damaged_file(chance)[132 + 200 :] if chance.random() < 0.1 else _body(_damaged_file(chance))


def _body(file: bytes) -> bytes:
    length = struct.unpack_from("<I", file, 140)[0] if len(file) > 144 else 0
    return file[144 + length :]


def _with_study(file: bytes) -> bytes:
    dataset = pydicom.dcmread(BytesIO(file))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.PatientID = "1.2", "1.2.3", "4711"
    written = BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    return written.getvalue()


_FILES = [_with_study(content) for name, content in VALID.items() if name.startswith("dicom")]


def _damaged_file(chance: random.Random) -> bytes:
    file = chance.choice(_FILES)
    with suppress(Exception):  # a mutation that the file does not allow
        file = mutate_dicom(file, np.random.default_rng(chance.randrange(2**32)))
    damaged = bytearray(file)
    for _ in range(chance.randint(0, 5)):
        damaged[chance.randrange(min(2000, len(damaged)))] = chance.randrange(256)
    return bytes(damaged)


# --- the well-behaved peer, and the reader of data sets ---


class GoodPeer(threading.Thread):
    """Peer that sends a radiograph twice a second."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._peer, self._port = Peer("node", "BONEAGE", GOOD, port), port
        self.ended = threading.Event()
        self.seconds: list[float] = []
        self.failures: Counter[str] = Counter()

    def run(self) -> None:
        """Send until the end."""
        settings = NodeSettings("GOOD", timeout_seconds=30.0)
        while not self.ended.wait(0.5):
            begun = time.monotonic()
            (outcome,) = send(self._peer, settings, [instance_file()])
            self.seconds.append(time.monotonic() - begun)
            if outcome.result is not Result.DONE:
                self.failures[f"{outcome.code.value} {outcome.status}"] += 1


def read_damaged(seconds: float, seed: int) -> None:
    """Read damaged data sets for a time, and print the counts; another error than a rejection ends it."""
    logging.getLogger("boneage").setLevel(logging.ERROR)
    chance, counts, slowest = random.Random(seed), Counter[str](), 0.0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        file = _damaged_file(chance)
        begun = time.process_time()
        try:
            read_header(file)
            counts["header"] += 1
        except Rejection as rejection:
            counts[rejection.code] += 1
        slowest = max(slowest, time.process_time() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{counts.total()} data sets: {dict(counts)}, slowest {slowest:.2f} s, peak {peak:.0f} MiB")


# --- measurement ---


def _measured(pid: int) -> tuple[float, int, int]:
    """Return resident memory in MiB, threads, and open files of a process."""
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        if ":" in line
    )
    files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), files


def _attack(attacks: Attacks, seed: int, ended: threading.Event, counts: Counter[str]) -> None:
    chance = random.Random(seed)
    while not ended.is_set():
        name = chance.choice(list(attacks.kinds))
        with suppress(OSError):  # the listener closed the connection
            attacks.kinds[name](chance)
        counts[name] += 1


def main() -> int:
    """Run the attack, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "role", nargs="?", choices=["attack", "serve", "read"], default="attack", help=argparse.SUPPRESS
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="duration, minutes")
    parser.add_argument("--seed", type=int, default=0, help="seed of the attacks")
    parser.add_argument("--attackers", type=int, default=6, help="threads that attack")
    options = parser.parse_args()
    if options.role == "serve":
        serve()
        return 0
    if options.role == "read":
        read_damaged(options.minutes * 60, options.seed)
        return 0
    return attack(options.minutes * 60, options.seed, options.attackers)


def attack(seconds: float, seed: int, attackers: int) -> int:
    """Attack for a time, print a report, and return the exit status."""
    this = str(Path(__file__).resolve())
    session = record_session()
    with tempfile.TemporaryFile("w+") as errors:
        listener = subprocess.Popen(
            [sys.executable, this, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        reader = subprocess.Popen(
            [sys.executable, this, "read", "--minutes", str(seconds / 60), "--seed", str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert listener.stdout is not None
        port = int(listener.stdout.readline())
        good, ended, counts = GoodPeer(port), threading.Event(), Counter[str]()
        good.start()
        attacks = Attacks(port, session)
        threads = [
            threading.Thread(target=_attack, args=(attacks, 1000 * seed + number, ended, counts), daemon=True)
            for number in range(attackers)
        ]
        for thread in threads:
            thread.start()
        samples = _watch(listener, seconds)
        ended.set()
        for thread in threads:
            thread.join(30.0)
        good.ended.set()
        good.join(60.0)
        printed, _ = listener.communicate(timeout=60)
        read, read_errors = reader.communicate(timeout=120)
        errors.seek(0)
        uncaught = errors.read()
    return _report(samples, good, counts, printed, uncaught, read + read_errors, listener.returncode, reader.returncode)


def _watch(listener: subprocess.Popen[str], seconds: float) -> list[tuple[float, float, int, int]]:
    """Return time, memory, threads and open files of the listener, once a second."""
    samples, begun = [], time.monotonic()
    while (passed := time.monotonic() - begun) < seconds and listener.poll() is None:
        samples.append((passed, *_measured(listener.pid)))
        time.sleep(1.0)
    return samples


def _report(
    samples: list[tuple[float, float, int, int]],
    good: GoodPeer,
    counts: Counter[str],
    printed: str,
    uncaught: str,
    read: str,
    *statuses: int,
) -> int:
    warm = [one for one in samples if one[0] >= min(WARM_SECONDS, samples[-1][0] / 2)]
    third = max(1, len(warm) // 3)
    growth = [
        float(np.median([one[column] for one in warm[-third:]]) - np.median([one[column] for one in warm[:third]]))
        for column in (1, 2, 3)
    ]
    times = np.array(good.seconds or [0.0])
    print(f"attacks: {counts.total()}, {dict(counts)}")
    print(f"listener: {printed.strip()}".replace("\n", "\n  "))
    print(
        f"memory: median {np.median([one[1] for one in warm]):.0f} MiB, peak {max(one[1] for one in samples):.0f} MiB"
    )
    print(
        f"growth from the first to the last third: {growth[0]:+.1f} MiB, {growth[1]:+.0f} threads,"
        f" {growth[2]:+.0f} files"
    )
    print(f"well-behaved peer: {len(times)} radiographs, failures {dict(good.failures)}")
    print(f"  seconds from connection to release: median {np.median(times):.2f}, 99 % {np.quantile(times, 0.99):.2f}")
    print(f"reader: {read.strip()}")
    if uncaught:
        print(f"uncaught in the listener:\n{uncaught[-4000:]}")
    limits = (GROWTH_MEBIBYTES, GROWTH_THREADS, GROWTH_FILES)
    grew = any(change > limit for change, limit in zip(growth, limits, strict=True))
    return int(any(statuses) or bool(uncaught) or bool(good.failures) or grew)


if __name__ == "__main__":
    sys.exit(main())
