"""Attack on the service: sockets that never finish, and files that hang a reader, beside a normal radiograph.

    python benchmarks/service_attack.py --sockets 500 --seconds 30     # each kind of socket in turn
    python benchmarks/service_attack.py --hang                         # hanging files before a good one, one worker

It runs its own service (mode open, SQLite, one worker) and connects to 127.0.0.1 only. Kinds of sockets:

* ``body``: a slow upload;
* ``form``: a slow form;
* ``headers``: headers without an end;
* ``silent``: no data;
* ``reader``: many requests whose answers are not read;
* ``flood``: large uploads that fill the allowed memory and stall.

The exit status is 1 if `/health` took 1 s or longer, or a radiograph 10 s (15 s beside hanging files).
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from service_process import Browser, Service, drawn_radiograph, made_atlas, serving

HEALTH_SECONDS, RADIOGRAPH_SECONDS, HANG_SECONDS = 1.0, 10.0, 15.0
"""Maximum times, seconds."""

HANG = b"hangs its reader"
"""End of a file on which `_HOOK` makes the reading process hang."""

_HOOK = f"""
import sys
if any("boneage.reading.process" in word for word in sys.orig_argv):
    import boneage.reading.process as process
    read = process.read_radiograph
    def read_or_hang(data, *given):
        while data.endswith({HANG!r}):
            pass
        return read(data, *given)
    process.read_radiograph = read_or_hang
"""
"""Source of a ``sitecustomize.py`` that stands for an unknown cause of a hang."""

_HOST = b"Host: localhost\r\n"
_UPLOAD = b"POST /api/assessments HTTP/1.1\r\n" + _HOST + b"Content-Type: multipart/form-data; boundary=x\r\n"


@dataclass
class Kind:
    """Method of holding a socket open.

    Attributes:
        begin: Data sent at once.
        more: Data sent twice a second after that.
        reads: True if the client reads an answer; otherwise its buffer is small and stays full.
    """

    begin: bytes
    more: bytes = b""
    reads: bool = True


def kinds(path: str) -> dict[str, Kind]:
    """Return all kinds by name; `path` is the address of a large answer."""
    form = b"POST /account/login HTTP/1.1\r\n" + _HOST + b"Content-Type: application/x-www-form-urlencoded\r\n"
    return {
        "body": Kind(_UPLOAD + b"Content-Length: 5000000\r\n\r\n--x\r\n", b"a"),
        "form": Kind(form + b"Content-Length: 2000\r\n\r\na=", b"a"),
        "headers": Kind(b"POST / HTTP/1.1\r\n" + _HOST, b"X: y\r\n"),
        "silent": Kind(b""),
        "reader": Kind((b"GET " + path.encode() + b" HTTP/1.1\r\n" + _HOST + b"\r\n") * 20, reads=False),
        "flood": Kind(_UPLOAD + b"Content-Length: 60000000\r\n\r\n--x\r\n" + b"a" * 1_000_000, b"a" * 100_000),
    }


class Attackers:
    """Sockets of one kind, opened again as soon as the service ends them."""

    def __init__(self, service: Service, kind: Kind, count: int) -> None:
        self.reopened = 0
        self.rejected = 0
        self._address = (service.host, service.port)
        self._kind = kind
        self._count = count
        self._sockets: list[socket.socket] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)

    def _open(self) -> socket.socket:
        one = socket.socket()
        if not self._kind.reads:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        one.settimeout(10)
        one.connect(self._address)
        one.setblocking(False)
        with suppress(BlockingIOError):
            one.send(self._kind.begin)
        return one

    def _hold(self) -> None:
        while not self._stop.is_set():
            alive = []
            for one in self._sockets:
                try:
                    with suppress(BlockingIOError):
                        one.send(self._kind.more)
                    alive.append(one)
                except OSError:
                    one.close()
                    self.reopened += 1
            self._sockets = alive
            while len(self._sockets) < self._count and not self._stop.is_set():
                try:
                    self._sockets.append(self._open())
                except OSError:
                    self.rejected += 1
                    break
            self._stop.wait(0.5)

    def __enter__(self) -> Attackers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for one in self._sockets:
            one.close()


@dataclass
class Times:
    """Times of requests during the attack, seconds.

    Attributes:
        health: Times of `/health`.
        radiographs: Times between sending a radiograph and its answer.
        faults: Wrong answers.
    """

    health: list[float] = field(default_factory=list)
    radiographs: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def is_good(self) -> bool:
        """Return True if all answers were correct and in time."""
        quick = max(self.health, default=99) < HEALTH_SECONDS and max(self.radiographs, default=99) < RADIOGRAPH_SECONDS
        return quick and not self.faults


def request_times(service: Service, seconds: float) -> Times:
    """Request `/health` five times a second, and radiographs one after the other, for a number of seconds."""
    times, ends = Times(), time.monotonic() + seconds

    def repeat(ask: Callable[[Browser, int], str], into: list[float], pause: float) -> None:
        number = 0
        while time.monotonic() < ends:
            begun = time.monotonic()
            try:
                fault = ask(Browser(service.host, service.port, timeout=30), number)
            except OSError as error:
                fault = repr(error)
            into.append(time.monotonic() - begun)
            times.faults += [fault] if fault else []
            number += 1
            time.sleep(pause)

    def health(browser: Browser, _number: int) -> str:
        answer = browser.get("/health")
        return "" if answer.status == 200 else answer.text

    def radiograph(browser: Browser, number: int) -> str:
        answer = browser.post_radiograph("/api/assessments?wait=25", drawn_radiograph(number), {"sex": "F"}, {})
        return "" if answer.status == 200 and answer.json()["state"] == "done" else answer.text[:200]

    threads = [
        threading.Thread(target=repeat, args=given)
        for given in ((health, times.health, 0.2), (radiograph, times.radiographs, 0.5))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def web_mebibytes(service: Service) -> float:
    """Return the memory of the web server's largest process, MiB."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "rss=,args="], capture_output=True, text=True, check=True).stdout
    mine = f"boneage.web.processes.http_server {service.host} {service.port}"
    return max(int(line.split()[0]) for line in listed.splitlines() if mine in line) / 1024


def largest_static(service: Service) -> str:
    """Return the address of the largest script or style of the first page."""
    browser = Browser(service.host, service.port)
    paths: list[str] = re.findall(r'"(/static/[^"]+)"', browser.get("/").text)
    return max(paths, key=lambda path: len(browser.get(path).body))


def attack(service: Service, names: list[str], sockets: int, seconds: float) -> bool:
    """Attack with each kind of socket in turn, print a table, and return True if all answers were right."""
    all_kinds = kinds(largest_static(service))
    print("| sockets | health, most s | radiograph, most s | asked | ended by the service | web server, MiB |")
    print("|---|---:|---:|---:|---:|---:|")
    good = True
    for name in ["none", *(names or all_kinds)]:
        with Attackers(service, all_kinds.get(name, Kind(b"")), 0 if name == "none" else sockets) as attackers:
            time.sleep(2)
            times = request_times(service, seconds)
            memory = web_mebibytes(service)
        good = good and times.is_good()
        count = f"{len(times.health)} + {len(times.radiographs)}"
        row = (
            name,
            f"{max(times.health):.3f}",
            f"{max(times.radiographs):.2f}",
            count,
            attackers.reopened,
            f"{memory:.0f}",
        )
        print("| " + " | ".join(map(str, row)) + " |", *times.faults[:3], flush=True)
    return good


# --- files that hang --------------------------------------------------------------------------------------------------


def _explicit(group: int, element: int, kind: bytes, content: bytes) -> bytes:
    tag = group.to_bytes(2, "little") + element.to_bytes(2, "little") + kind
    if kind in {b"SQ", b"OB"}:
        return tag + b"\0\0" + len(content).to_bytes(4, "little") + content
    return tag + len(content).to_bytes(2, "little") + content


def _dicom(*elements: bytes) -> bytes:
    syntax = _explicit(2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0")
    meta = _explicit(2, 0, b"UL", len(syntax).to_bytes(4, "little")) + syntax
    return bytes(128) + b"DICM" + meta + b"".join(elements)


def nested_sequence() -> bytes:
    """Return a text element (BodyPartExamined) as nested sequences, 1,000 deep."""
    content = b""
    for _ in range(1000):
        item = b"\xfe\xff\x00\xe0" + len(content).to_bytes(4, "little") + content
        content = _explicit(0x28, 0x3010, b"SQ", item)
    item = b"\xfe\xff\x00\xe0" + len(content).to_bytes(4, "little") + content
    return _dicom(_explicit(0x18, 0x15, b"SQ", item), _pixels(100, 100))


def thousand_shutters() -> bytes:
    """Return 1,000 shapes of a shutter over 8,000 x 7,900 missing pixels."""
    shapes = b"\\".join([b"CIRCULAR"] * 1000) + b" "
    radius = _explicit(0x18, 0x1612, b"IS", b"3000")
    centre = _explicit(0x18, 0x1610, b"IS", b"4000\\4000 ")
    return _dicom(_explicit(0x18, 0x1600, b"CS", shapes), centre, radius, _pixels(8000, 7900, missing=True))


def _pixels(rows: int, columns: int, *, missing: bool = False) -> bytes:
    def number(element: int, value: int) -> bytes:
        return _explicit(0x28, element, b"US", value.to_bytes(2, "little"))

    head = number(2, 1) + _explicit(0x28, 4, b"CS", b"MONOCHROME2 ") + number(0x10, rows) + number(0x11, columns)
    head += number(0x100, 8) + number(0x101, 8) + number(0x102, 7) + number(0x103, 0)
    return head + _explicit(0x7FE0, 0x10, b"OB", bytes(100 if missing else rows * columns))


def hanging_files() -> dict[str, bytes]:
    """Return the files by name."""
    return {"nested sequence": nested_sequence(), "1,000 shutters": thousand_shutters(), "unknown hang": HANG}


def hang(service: Service) -> bool:
    """Send hanging files and a good radiograph after them, and return True if that was answered in time."""
    browser = Browser(service.host, service.port)
    sent = {}
    begun = time.monotonic()
    for name, data in hanging_files().items():
        sent[name] = browser.post_radiograph("/api/assessments", data, {"sex": "F"}, {}).json()["id"]
    behind = time.monotonic()
    good = browser.post_radiograph("/api/assessments?wait=30", drawn_radiograph(0), {"sex": "F"}, {}).json()
    seconds = time.monotonic() - behind
    print("| file | state | code | s |\n|---|---|---|---:|")
    for name, radiograph in sent.items():
        answer = browser.get(f"/api/assessments/{radiograph}?wait=30").json()
        print(f"| {name} | {answer['state']} | {answer['code']} | {time.monotonic() - begun:.1f} at most |")
    print(f"| ordinary, sent last | {good['state']} | | {seconds:.1f} |")
    return good["state"] == "done" and seconds < HANG_SECONDS


@contextmanager
def own_service(port: int, bundle: str, *, hook: bool) -> Iterator[Service]:
    """Run a service with one worker in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"BONEAGE_STORE": f"{folder}/store", "BONEAGE_MODE": "open", "BONEAGE_OPEN_HOURLY": "0"}
        if hook:
            (Path(folder) / "sitecustomize.py").write_text(_HOOK, encoding="utf-8")
            environment["PYTHONPATH"] = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
        options = {"workers": "1", "bundle": bundle, "atlas": str(made_atlas(Path(folder) / "atlas"))}
        with serving(options, environment, port) as service:
            yield service


def main() -> int:
    """Measure and print the times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hang", action="store_true", help="files that hang, in place of sockets")
    parser.add_argument("--sockets", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=30.0, help="duration for each kind, seconds")
    parser.add_argument("--kind", action="append", default=[], help="some kinds; all unless given")
    parser.add_argument("--bundle", default="residual")
    parser.add_argument("--port", type=int, default=8108)
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with own_service(given.port, given.bundle, hook=given.hang) as service:
        good = hang(service) if given.hang else attack(service, given.kind, given.sockets, given.seconds)
        log = [line for line in service.log if "ERROR" in line]
    print("\n" + ("All as it must be." if good else "WRONG."), *log[:10], sep="\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
