"""The service as one command runs it: real processes, a tiny bundle, real kills."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from boneage.errors import ConfigurationError
from boneage.phantom import sample_png
from boneage.web.processes import preparation
from boneage.web.processes.server import reachable, worker_name
from tests.atlases import draw_atlas
from tests.bundles import tiny_bundle

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "service_kills.py"
START_SECONDS = 90


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny bundle and a drawn atlas, as options."""
    folder = tmp_path_factory.mktemp("service")
    return {"bundle": str(tiny_bundle(folder / "tiny")), "atlas": str(draw_atlas(folder / "atlas", (96,)))}


@pytest.fixture
def port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def environment(**settings: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("BONEAGE_", "DJANGO_"))}
    return {**clean, "PYTHONWARNINGS": "ignore", **settings}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "boneage", *map(str, arguments)]


def options(parts: dict[str, str], **more: object) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in {**parts, **more}.items()]


class Running:
    """A service of a test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        timer = threading.Timer(START_SECONDS, process.kill)
        timer.start()
        self.first_line = process.stdout.readline()
        timer.cancel()

    def children(self) -> set[int]:
        """All processes that it started, and that these started."""
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        of = {int(pid): int(parent) for pid, parent in (line.split() for line in listed.splitlines())}
        tree = {self.process.pid}
        while more := {pid for pid, parent in of.items() if parent in tree} - tree:
            tree |= more
        return tree - {self.process.pid}


@pytest.fixture
def serve(parts: dict[str, str], tmp_path: Path, port: int) -> Iterator[Callable[..., Running]]:
    """Starts ``boneage serve`` and waits for its first line."""
    running: list[Running] = []

    def start(**settings: str) -> Running:
        arguments = command("serve", *options(parts, port=port, workers=1, store=tmp_path / "store"))
        running.append(
            Running(
                subprocess.Popen(
                    arguments, env=environment(**settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
            )
        )
        return running[-1]

    yield start
    for one in running:
        one.process.kill()
        one.process.communicate()


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_serve_finishes_current_radiograph(serve: Callable[..., Running], tmp_path: Path, port: int) -> None:
    """One command serves and stops with the radiograph at hand finished."""
    service = serve(BONEAGE_OPEN_MINUTES="5")
    assert service.first_line.startswith(f"boneage is at http://127.0.0.1:{port} (mode open, bundle ")
    store = tmp_path / "store"
    assert permissions(store) == 0o700
    files = {path.name: permissions(path) for path in store.iterdir()}
    assert {"secret.key", "boneage.sqlite3"} <= set(files)
    assert set(files.values()) == {0o600}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=20) as answer:
        assert answer.status == 200

    ids = [submit(port) for _ in range(5)]
    begun = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(30) == 0
    assert time.monotonic() - begun < 15
    assert not service.children()
    with closing(sqlite3.connect(store / "boneage.sqlite3")) as database:
        states = dict(database.execute("SELECT id, state FROM web_assessment"))
    assert set(states) == {one.replace("-", "") for one in ids}
    assert set(states.values()) <= {"queued", "done"}

    # It resumes with the same key, and its processes end with it, however it ends.
    key = (store / "secret.key").read_text(encoding="ascii")
    again = serve(BONEAGE_OPEN_MINUTES="5")
    assert (store / "secret.key").read_text(encoding="ascii") == key
    until(lambda: {state_of(port, one) for one in ids} == {"done"})
    children = again.children()
    assert len(children) == 4  # the web server's two, a worker, and the process in which it reads
    again.process.kill()
    until(lambda: not any(is_there(pid) for pid in children))


def test_unfinished_requests_block_nobody(serve: Callable[..., Running], port: int) -> None:
    """More of them than there are threads, each way of being unfinished."""
    serve(BONEAGE_OPEN_HOURLY="0")
    head = b"POST /api/assessments HTTP/1.1\r\nHost: localhost\r\n"
    form = b"POST /account/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\na="
    kinds = [head, head + b"Content-Length: 5000000\r\n\r\n--x", form, b""]
    with ExitStack() as open_ones:
        for number in range(40 * len(kinds)):
            one = open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            one.sendall(kinds[number % len(kinds)])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            assert json.load(answer)["status"] == "ok"
        radiograph = submit(port)
        until(lambda: state_of(port, radiograph) == "done")


def submit(port: int) -> str:
    boundary = "a-boundary-that-no-radiograph-holds"
    parts = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="sex"\r\n\r\nF\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="radiograph"; filename="f.png"\r\n\r\n'
    )
    body = parts.encode() + sample_png() + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/assessments",
        data=body,
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(json.load(answer)["id"])


def state_of(port: int, radiograph: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/assessments/{radiograph}", timeout=30) as answer:
        return str(json.load(answer)["state"])


def is_there(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2][:3]
    except OSError:
        return False


def until(holds: Callable[[], object], seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_killed_workers_lose_no_radiograph(
    kind: str, parts: dict[str, str], port: int, request: pytest.FixtureRequest
) -> None:
    """No radiograph is lost or answered twice when workers are killed."""
    database = request.getfixturevalue("new_postgres")() if kind == "postgresql" else ""
    arguments = [
        "--radiographs=40",
        "--kills=3",
        f"--bundle={parts['bundle']}",
        f"--port={port}",
        f"--database={database}",
    ]
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| kills, of them while a radiograph was at hand | 3, " in done.stdout
    assert done.stdout.rstrip().endswith("All as it must be.")


@pytest.mark.parametrize(
    ("arguments", "variables", "code"),
    [
        (["serve", "--mode", "closed"], {}, "setting_invalid"),
        (["serve"], {"BONEAGE_WAITING": "none"}, "setting_invalid"),
        (["serve"], {"BONEAGE_SECRET_KEY": "short"}, "setting_invalid"),
        (["serve", "--bundle", "no-such"], {}, "bundle_not_found"),
        (["serve", "--atlas", "no-such"], {}, "atlas_not_found"),
        (["serve", "--database", "postgresql://nobody@127.0.0.1:1/none"], {}, "database_unusable"),
        (["serve", "--database", "mysql://me:word@host/name"], {}, "setting_invalid"),
        (["worker"], {}, "database_outdated"),
        (["serve", "--port", "70000"], {}, "usage"),
        (["serve", "--workers", "0"], {}, "usage"),
    ],
)
def test_serve_reports_fault_in_one_line(
    arguments: list[str], variables: dict[str, str], code: str, parts: dict[str, str], tmp_path: Path, port: int
) -> None:
    """An obstacle to the start is reported in one line."""
    given = {"store": tmp_path / "store", **parts} | ({"port": port} if arguments[0] == "serve" else {})
    rest = [f"--{name}={value}" for name, value in given.items() if f"--{name}" not in arguments]
    if arguments[0] == "worker":
        (tmp_path / "store").mkdir()
    done = subprocess.run(
        command(*arguments, *rest),
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(f"[{code}]")
    assert done.returncode not in {0, 1}
    assert not re.search("nobody@|word", line)  # no address of a database


def test_ensure_free_port_in_use(port: int) -> None:
    """A port in use is reported."""
    preparation.ensure_free("127.0.0.1", port)
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        for settings, named in (((), "--port"), (("`node.port`",), "`node.port`")):
            with pytest.raises(ConfigurationError, match=str(port)) as caught:
                preparation.ensure_free("127.0.0.1", port, *settings)
            assert caught.value.code == "port_in_use"
            assert f"{named} takes another" in caught.value.message


def test_ensure_free_foreign_address() -> None:
    """An address of another machine is reported."""
    with pytest.raises(ConfigurationError) as caught:
        preparation.ensure_free("192.0.2.1", 8000)  # of documentation, RFC 5737
    assert caught.value.code == "address_invalid"


def test_secret_key_is_private_and_stable(tmp_path: Path) -> None:
    """The key is long private and stays."""
    path = tmp_path / "store" / "secret.key"
    key = preparation.secret_key(path)
    assert len(key) >= 50
    assert permissions(path) == 0o600
    assert preparation.secret_key(path) == key
    assert preparation.secret_key(tmp_path / "other.key") != key


def test_worker_names_are_unique() -> None:
    """Names of workers are unique and fit into their column."""
    names = {worker_name() for _ in range(100)}
    assert len(names) == 100
    assert all(str(os.getpid()) in name and len(name) <= 64 for name in names)


@pytest.mark.parametrize(("host", "own"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.5", "10.0.0.5")])
def test_reachable(host: str, own: str) -> None:
    """Where this machine reaches it."""
    assert reachable(host) == own
