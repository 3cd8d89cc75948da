"""Servers for tests, in process: HTTP with scripted answers, a FHIR server with transactions, an MLLP listener."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from boneage.node.mllp import END, START, control_id_of


@dataclass(frozen=True)
class Request:
    """A request as a server received it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """The answer to a request."""

    status: int
    body: bytes = b""
    content_type: str = "application/dicom+json"

    @classmethod
    def json(cls, status: int, document: Any, content_type: str = "application/dicom+json") -> Reply:
        """Return an answer with a document."""
        return cls(status, json.dumps(document).encode(), content_type)


@dataclass
class WebServer:
    """A running server.

    Attributes:
        url: its address.
        requests: requests in the order of arrival.
    """

    url: str = ""
    requests: list[Request] = field(default_factory=list)


@contextmanager
def web_server(answer: Callable[[Request], Reply], context: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    """Serve HTTP at a free port of the loopback interface."""
    served = WebServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            received = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            served.requests.append(received)
            reply = answer(received)
            self.send_response(reply.status)
            if reply.status != 204:
                self.send_header("Content-Type", reply.content_type)
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST  # noqa: N815 - the name of the base class

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Ignore clients that break a connection."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        served.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}/base"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


class FhirStore:
    """A FHIR server of the smallest kind: transactions with conditional create and update, and conditional references.

    A transaction that fails changes nothing. References between entries are resolved to what the server holds.
    """

    def __init__(self, *patients: str) -> None:
        self.resources: dict[str, dict[str, dict[str, Any]]] = {
            "Patient": {name: {"identifier": [{"system": "urn:p", "value": name}]} for name in patients}
        }
        self.history = 0

    def answer(self, request: Request) -> Reply:
        """Execute a transaction."""
        bundle = json.loads(request.body)
        assert bundle["type"] == "transaction"
        places: dict[str, str] = {}
        entries: list[tuple[str, str, Any]] = []
        statuses: list[str] = []
        for entry in bundle["entry"]:
            method, url = entry["request"]["method"], urlsplit(entry["request"]["url"])
            condition = entry["request"]["ifNoneExist"] if method == "POST" else url.query
            matches = self.find(url.path, condition)
            if len(matches) > 1:
                return Reply.json(412, {"resourceType": "OperationOutcome"}, "application/fhir+json")
            key = matches[0] if matches else f"{len(self.resources.get(url.path, {})) + len(entries)}"
            places[entry["fullUrl"]] = f"{url.path}/{key}"
            statuses.append("200 OK" if matches else "201 Created")
            if method == "PUT" or not matches:
                entries.append((url.path, key, entry["resource"]))
        try:
            resolved = [(kind, key, self._resolved(resource, places)) for kind, key, resource in entries]
        except LookupError:
            return Reply.json(412, {"resourceType": "OperationOutcome"}, "application/fhir+json")
        for kind, key, resource in resolved:
            self.resources.setdefault(kind, {})[key] = resource
            self.history += 1
        entries_made = [{"response": {"status": status}} for status in statuses]
        made = {"resourceType": "Bundle", "type": "transaction-response", "entry": entries_made}
        return Reply.json(200, made, "application/fhir+json")

    def find(self, kind: str, condition: str) -> list[str]:
        """Return the keys of the resources with an identifier."""
        ((name, (value,)),) = parse_qs(condition).items()
        assert name == "identifier"
        system, _, identifier = value.partition("|")
        wanted = {"system": system, "value": identifier}
        return [key for key, one in self.resources.get(kind, {}).items() if wanted in one["identifier"]]

    def _resolved(self, value: Any, places: dict[str, str]) -> Any:
        if isinstance(value, list):
            return [self._resolved(one, places) for one in value]
        if not isinstance(value, dict):
            return value
        made = {key: self._resolved(one, places) for key, one in value.items()}
        reference = made.get("reference", "")
        if reference.startswith("urn:uuid:"):
            made["reference"] = places[reference]
        elif "?" in reference:
            kind, _, condition = reference.partition("?")
            (key,) = self.find(kind, condition) or [""]
            if not key:
                raise LookupError(unquote(reference))
            made["reference"] = f"{kind}/{key}"
        return made


@dataclass
class MllpServer:
    """A running receiver of HL7 messages.

    Attributes:
        port: its port.
        messages: messages in the order of arrival.
        connections: number of connections.
    """

    port: int = 0
    messages: list[bytes] = field(default_factory=list)
    connections: int = 0


def acknowledgement(message: bytes, code: str = "AA", error: str = "") -> bytes:
    """Return the frame that acknowledges a message."""
    segments = [
        "MSH|^~\\&|RIS||boneage||20260101||ACK^R01^ACK|77|P|2.5.1",
        f"MSA|{code}|{control_id_of(message)}",
        *([f"ERR||PID^1|{error}|E"] if error else []),
    ]
    return START + "\r".join(segments).encode() + b"\r" + END


@contextmanager
def mllp_server(
    answer: Callable[[bytes], bytes] = acknowledgement, context: ssl.SSLContext | None = None
) -> Iterator[MllpServer]:
    """Serve MLLP at a free port; an empty answer closes the connection."""
    served = MllpServer()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            served.connections += 1
            pending, connection = b"", self.request
            if context is not None:
                try:
                    connection = context.wrap_socket(connection, server_side=True)
                except OSError:
                    return
            with suppress(OSError), connection:
                while True:
                    while END not in pending:
                        received = connection.recv(4096)
                        if not received:
                            return
                        pending += received
                    frame, _, pending = pending.partition(END)
                    assert frame.startswith(START)
                    served.messages.append(frame[1:])
                    reply = answer(frame[1:])
                    if not reply:
                        return
                    connection.sendall(reply)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        served.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


def closed_port() -> int:
    """Return a port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
