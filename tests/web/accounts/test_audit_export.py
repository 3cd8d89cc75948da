"""Export of the audit log by syslog: form of the lines, order, interruptions, servers that fail."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from django.db import connection, transaction

from boneage.web.accounts import audit_export
from boneage.web.accounts.audit import Action, record
from boneage.web.accounts.audit_export import AuditExportError, Tls, export
from boneage.web.models import AuditEvent, AuditExport, User
from tests.web.databases import database_of_all_threads, postgresql

LINE = re.compile(
    rb"<(8[45])>1 (\S+) (\S+) boneage - DICOM\+RFC3881 "
    rb'\[origin software="boneage" swVersion="[^"]+"\]\[meta sequenceId="(\d+)"\] '
    rb"\xef\xbb\xbf(<AuditMessage>.*</AuditMessage>)"
)


def numbers(lines: list[bytes]) -> list[int]:
    """Numbers of events, from lines of the right form."""
    matched = [LINE.fullmatch(line) for line in lines]
    assert None not in matched, lines
    return [int(one[4]) for one in matched if one is not None]


def log_events(user: User, count: int) -> list[int]:
    """Add events, and return their numbers."""
    before = set(AuditEvent.objects.values_list("pk", flat=True))
    for number in range(count):
        record(user, Action.VIEW if number % 2 else Action.DENIED, what="worklist", rows=number)
    return sorted(set(AuditEvent.objects.values_list("pk", flat=True)) - before)


@pytest.fixture
def rhea(clinic: None, make_user: Callable[..., User]) -> User:
    return make_user(name="rhea")


class Server:
    """A syslog server that reads messages with their lengths, and closes when the client has sent all."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.messages: list[bytes] = []
        self.resets = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._context = context
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            if self.resets:
                self.resets -= 1
                connected.recv(64)
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connected.close()
                continue
            with self._context.wrap_socket(connected, server_side=True) if self._context else connected as channel:
                data = b"".join(iter(lambda: channel.recv(65536), b""))
                while data:  # before the client sees the end, since the test looks at the messages then
                    length, _, rest = data.partition(b" ")
                    self.messages.append(rest[: int(length)])
                    data = rest[int(length) :]
                if isinstance(channel, ssl.SSLSocket):
                    channel.unwrap()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def test_file_gets_each_event_once(rhea: User, tmp_path: Path) -> None:
    """A file gets each event once and in order, over several exports, and is readable by its owner alone."""
    path = tmp_path / "audit.log"
    first = log_events(rhea, 5)
    assert export(str(path)) == 5
    assert export(str(path)) == 0
    second = log_events(rhea, 3)
    assert export(str(path)) == 3
    lines = path.read_bytes().splitlines()
    assert numbers(lines) == first + second
    assert path.stat().st_mode & 0o077 == 0
    matched = LINE.fullmatch(lines[0])
    assert matched is not None
    assert datetime.fromisoformat(matched[2].decode()).utcoffset() is not None
    assert matched[1] == b"84"  # a denial is a warning


@pytest.mark.parametrize("lost_place", [True, False])
def test_interrupted_file_continues(rhea: User, tmp_path: Path, *, lost_place: bool) -> None:
    """After an end in the middle of a line, before the place was stored, the file continues with the next event."""
    path = tmp_path / "audit.log"
    events = log_events(rhea, 6)
    export(str(path))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]) + lines[4][:100])
    AuditExport.objects.update(last_event=0 if lost_place else events[3])
    assert export(str(path)) == 2
    assert numbers(path.read_bytes().splitlines()) == events


def test_rotated_file_continues(rhea: User, tmp_path: Path) -> None:
    """A file that was moved away is continued in a new one."""
    path = tmp_path / "audit.log"
    log_events(rhea, 3)
    export(str(path))
    path.rename(tmp_path / "audit.log.1")
    events = log_events(rhea, 2)
    assert export(str(path)) == 2
    assert numbers(path.read_bytes().splitlines()) == events


def test_server_gets_each_event_once(rhea: User, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server gets each event once and in order; each destination has its own place."""
    monkeypatch.setattr(audit_export, "AT_ONCE", 2)
    first = log_events(rhea, 5)
    address = f"tcp://127.0.0.1:{server.port}"
    assert export(address) == 5
    second = log_events(rhea, 1)
    assert export(address) == 1
    assert numbers(server.messages) == first + second


def test_failing_server_gets_rest_later(rhea: User, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that a server has not read are sent again, with the same numbers; none is left out."""
    monkeypatch.setattr(audit_export, "AT_ONCE", 2)
    events = log_events(rhea, 4)
    address = f"tcp://127.0.0.1:{server.port}"
    server.resets = 1
    with pytest.raises(AuditExportError) as caught:
        export(address)
    assert caught.value.code == "audit_destination_failed"
    assert export(address) == 4
    assert numbers(server.messages) == events
    server.resets = 1
    log_events(rhea, 1)
    with pytest.raises(AuditExportError):
        export(address)


def test_datagrams(rhea: User) -> None:
    """Each message is a datagram with UDP."""
    events = log_events(rhea, 3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        assert export(f"udp://127.0.0.1:{receiver.getsockname()[1]}") == 3
        assert numbers([receiver.recv(65536) for _ in range(3)]) == events


def test_tls_checks_server(rhea: User, tmp_path: Path) -> None:
    """The server's certificate is checked with TLS."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    events = log_events(rhea, 2)
    running = Server(context)
    address = f"tls://localhost:{running.port}"
    assert export(address, Tls(authorities=certificate)) == 2
    assert numbers(running.messages) == events
    log_events(rhea, 1)
    running.close()


@pytest.mark.parametrize(
    "destination", ["http://127.0.0.1", "tcp://", "tcp://host:port", "tls://host/path", "syslog://host"]
)
def test_invalid_destinations(rhea: User, destination: str) -> None:
    """An address of another kind is rejected."""
    with pytest.raises(AuditExportError) as caught:
        export(destination)
    assert caught.value.code == "audit_destination_invalid"


def test_concurrent_export_to_file_is_rejected(rhea: User, tmp_path: Path) -> None:
    """Two exports to one file at once are not possible."""
    path = tmp_path / "audit.log"
    log_events(rhea, 1)
    with audit_export._opened(str(path), Tls()), pytest.raises(AuditExportError) as caught:
        export(str(path))
    assert caught.value.code == "audit_export_running"


def test_command(rhea: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command exports to a file."""
    from boneage.commands import audit_log

    monkeypatch.setattr(audit_log, "open_store", lambda _store, _database: None)
    log_events(rhea, 2)
    path = tmp_path / "audit.log"
    result: Any = CliRunner().invoke(audit_log.audit_log, ["export", str(path)])
    assert (result.exit_code, result.output) == (0, f"2 events have been sent to {path}.\n")
    assert len(path.read_bytes().splitlines()) == 2


def test_open_transactions_are_awaited(
    clinic: None, tmp_path: Path, django_db_blocker: Any, new_postgres: Callable[[], str]
) -> None:
    """PostgreSQL gives numbers before commits: an event that is committed later than the next one is not left out."""
    path = tmp_path / "audit.log"
    is_written, may_commit = threading.Event(), threading.Event()

    def write_slowly() -> None:
        with transaction.atomic():
            record("system", Action.VIEW)
            is_written.set()
            may_commit.wait(30)
        connection.close()

    def export_all() -> None:
        export(str(path))
        connection.close()

    with database_of_all_threads(django_db_blocker, postgresql(new_postgres())):
        slow, exporting = threading.Thread(target=write_slowly), threading.Thread(target=export_all)
        slow.start()
        assert is_written.wait(30)
        record("system", Action.VIEW)
        exporting.start()
        exporting.join(1)
        assert exporting.is_alive()
        may_commit.set()
        slow.join()
        exporting.join()
        events = list(AuditEvent.objects.order_by("pk").values_list("pk", flat=True))
    assert numbers(path.read_bytes().splitlines()) == events
    assert len(events) == 2
