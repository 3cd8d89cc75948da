"""Export of the audit log by syslog (RFC 5424), each event a DICOM audit message, to a server or into a file.

The place up to which a destination has received the log is stored, so that each event is sent once and in order,
however often the export is interrupted. A file holds the place itself as well: its last complete line counts.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

import boneage
from boneage.errors import BoneageError
from boneage.web.accounts.audit_message import kind_of, message_of
from boneage.web.models import AuditEvent, AuditExport, configuration

AT_ONCE = 500
"""Number of events after which the place is stored."""

MESSAGE_ID = "DICOM+RFC3881"
"""Identifier of the kind of message (PS3.15, A.6)."""

_SECURITY = 10
"""Facility of messages on security and authorisation."""

_NOTICE, _WARNING = 5, 4
_TIMEOUT_SECONDS = 10.0
_PORTS = {"udp": 514, "tcp": 601, "tls": 6514}
_SEQUENCE = re.compile(rb'\[meta sequenceId="([0-9]+)"\]')

Send = Callable[[Sequence[bytes]], None]


class AuditExportError(BoneageError):
    """The audit log cannot be exported.

    ``audit_destination_invalid``: the address of the destination is not one.
    ``audit_destination_failed``: the destination cannot be reached, or does not take the messages.
    ``audit_export_running``: another export to this destination runs.
    """


@dataclass(frozen=True)
class Tls:
    """Files for TLS: the certificates of trusted authorities, and the service's own certificate and key, if any."""

    authorities: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def export(destination: str, tls: Tls | None = None) -> int:
    """Send the events that a destination has not received yet. Return their number.

    Args:
        destination: ``udp://host:514``, ``tcp://host:601``, ``tls://host:6514``, or the path of a file, to which lines
            are appended.
        tls: files for TLS.

    Raises:
        AuditExportError: see there. Events that were not sent are sent by the next export.
    """
    try:
        with _opened(destination, tls or Tls()) as (send, begin):
            return _send_all(destination, send, begin)
    except OSError as error:
        raise AuditExportError(
            "audit_destination_failed", f"{destination} does not take the audit log: {error.strerror or error}."
        ) from error


def line_of(event: AuditEvent, host: str) -> bytes:
    """Return an event as a syslog message (RFC 5424), without framing."""
    severity = _WARNING if kind_of(event).is_failure else _NOTICE
    time = event.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    data = f'[origin software="boneage" swVersion="{boneage.__version__}"][meta sequenceId="{event.pk}"]'
    head = f"<{8 * _SECURITY + severity}>1 {time} {host[:255]} boneage - {MESSAGE_ID} {data} "
    return head.encode("ascii", "replace") + b"\xef\xbb\xbf" + message_of(event, host).encode()


def _send_all(destination: str, send: Send, begin: int) -> int:
    host = urlsplit(configuration().url).hostname or socket.gethostname()
    place, _is_new = AuditExport.objects.get_or_create(destination=destination)
    done, count = max(place.last_event, begin), 0
    stored = place.last_event
    last = _last_event()
    while done < last:
        events = list(AuditEvent.objects.filter(pk__gt=done, pk__lte=last).order_by("pk")[:AT_ONCE])
        send([line_of(event, host) for event in events])
        done, count = events[-1].pk, count + len(events)
        if not AuditExport.objects.filter(pk=place.pk, last_event=stored).update(last_event=done, at=timezone.now()):
            raise AuditExportError("audit_export_running", f"Another export to {destination} runs.")
        stored = done
    return count


def _last_event() -> int:
    """Return the number of the last event below which no event can appear any more.

    PostgreSQL gives numbers before transactions are visible. The lock waits for those that are writing events.
    """
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '30s'")
                cursor.execute(f"LOCK TABLE {AuditEvent._meta.db_table} IN SHARE MODE")
        return AuditEvent.objects.aggregate(last=Max("pk"))["last"] or 0


@contextmanager
def _opened(destination: str, tls: Tls) -> Iterator[tuple[Send, int]]:
    """Yield what sends messages to a destination, and the number of the last event that it is known to have."""
    if "://" not in destination:
        with _open_file(Path(destination)) as file:
            yield _into(file), _last_in(file)
        return
    address = urlsplit(destination)
    if address.scheme not in _PORTS or not address.hostname or address.path not in ("", "/"):
        raise AuditExportError(
            "audit_destination_invalid",
            f"The destination must be udp://, tcp:// or tls://HOST:PORT, not {destination}.",
        )
    try:
        target = address.hostname, address.port or _PORTS[address.scheme]
    except ValueError:
        raise AuditExportError("audit_destination_invalid", f"The port of {destination} is not a number.") from None
    if address.scheme == "udp":
        yield (lambda messages: _send_datagrams(target, messages)), 0
    else:
        context = _context(tls) if address.scheme == "tls" else None
        yield (lambda messages: _send_stream(target, messages, context)), 0


# --- files ------------------------------------------------------------------------------------------------------------


@contextmanager
def _open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for this export alone, readable by this user alone."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AuditExportError("audit_export_running", f"Another export to {path} runs.") from None
        yield file


def _last_in(file: BinaryIO) -> int:
    """Return the number of the last event in a file; 0 for an empty one. An incomplete last line is removed."""
    size = file.seek(0, os.SEEK_END)
    tail_size = min(size, 64 * 1024)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    complete = tail[: tail.rfind(b"\n") + 1]
    file.truncate(size - tail_size + len(complete))
    numbers = _SEQUENCE.findall(complete)
    return int(numbers[-1]) if numbers else 0


def _into(file: BinaryIO) -> Send:
    def send(messages: Sequence[bytes]) -> None:
        file.seek(0, os.SEEK_END)
        file.write(b"".join(message + b"\n" for message in messages))
        file.flush()
        os.fsync(file.fileno())

    return send


# --- servers ----------------------------------------------------------------------------------------------------------


def _send_datagrams(target: tuple[str, int], messages: Sequence[bytes]) -> None:
    """Send each message as a datagram (RFC 5426). Nothing confirms that they arrive."""
    family, kind, protocol, _name, address = socket.getaddrinfo(*target, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as connected:
        for message in messages:
            connected.sendto(message, address)


def _send_stream(target: tuple[str, int], messages: Sequence[bytes], context: ssl.SSLContext | None) -> None:
    """Send messages with their lengths (RFC 6587, RFC 5425), and wait until the server has read them all."""
    with socket.create_connection(target, _TIMEOUT_SECONDS) as plain:
        connected = plain if context is None else context.wrap_socket(plain, server_hostname=target[0])
        with connected:
            for message in messages:
                connected.sendall(b"%d %b" % (len(message), message))
            if isinstance(connected, ssl.SSLSocket):
                connected = connected.unwrap()
            connected.shutdown(socket.SHUT_WR)
            while connected.recv(1024):  # a server reads to the end before it closes the connection
                pass


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if tls.authorities is None else str(tls.authorities))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context
