"""The ASGI application that the web server runs. It receives request bodies and sends responses; Django's threads
answer.

A thread is used only for a request that has arrived completely, and is free again before its response is sent. Clients
that send or read slowly therefore cost some memory, which is limited, but no thread:

* A form must arrive within `PATIENCE_SECONDS`. A radiograph must deliver `PIECE_BYTES` in each such period, and a
  client must read its response at the same rate.
* All bodies and responses in transit share `Limits.transit_bytes`. A transfer that needs more ends those that have
  taken longest.
* ``/health`` and what is below it are answered from memory (`boneage.web.health.condition.Watch`), without a thread
  and without the database.

The server itself limits unfinished headers and idle connections (`boneage.web.processes.http_server`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BytesIO
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from boneage.web.configuration import AMBIGUOUS_HEADERS
from boneage.web.privacy import note_access

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
"""Time for a whole form, for `PIECE_BYTES` of a radiograph, or for a client to read as many of a response."""

PIECE_BYTES = 64 * 1024

THREADS = 72
"""Number of requests that are answered at once: 60 clients may wait for a result, and pages are still served. Each
thread keeps a connection to the database, of which PostgreSQL has 100 unless configured otherwise."""

QUEUE_SECONDS = 30.0
"""Longest time for which a request waits for a thread."""

RETRY_SECONDS = 10
"""Seconds after which a client may try again after ``busy``."""

_BEGAN = "boneage.began"
"""Key of a request's environment for the time at which it began."""

HEALTH_PATHS = ("/health", "/health/ready")
"""Addresses of the service's condition."""

LIVE_PATH = "/health/live"
"""Address that answers 200 as long as this process runs."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Environ = dict[str, Any]
WsgiApplication = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class Health(Protocol):
    """Source of the service's condition."""

    def start(self) -> None:
        """Begin to check; this may block until the first check has finished."""

    def report(self) -> tuple[int, Mapping[str, Any]]:
        """Return the HTTP status and the body at once."""


@dataclass(frozen=True)
class Limits:
    """Maximum numbers of bytes of a request.

    Attributes:
        form_bytes: maximum for any request.
        radiograph_bytes: maximum for a request to an address in `radiograph_paths` that `may_send_radiograph` accepts,
            with its fields.
        transit_bytes: maximum for all bodies and responses in transit.
        radiograph_paths: addresses that accept radiographs.
        may_send_radiograph: function that decides by the headers of a request whether it may carry a radiograph; it
            checks no secret.
    """

    form_bytes: int
    radiograph_bytes: int
    transit_bytes: int
    radiograph_paths: tuple[str, ...] = ()
    may_send_radiograph: Callable[[Environ], bool] = lambda _environ: True

    def of(self, environ: Environ) -> int:
        """Return the limit of one request."""
        takes_radiographs = environ["PATH_INFO"] in self.radiograph_paths and self.may_send_radiograph(environ)
        return self.radiograph_bytes if takes_radiographs else self.form_bytes


@dataclass(frozen=True)
class Reply:
    """A complete response."""

    status: int
    headers: Headers
    body: bytes


class BodyTimeoutError(Exception):
    """A body that arrived too slowly, or had to make room."""


class ClientGoneError(Exception):
    """The client does not send the announced body, or does not read its response."""


@dataclass(eq=False)
class Transfer:
    """A body or a response in transit.

    Attributes:
        size: bytes held for it.
        clock: its deadline while it waits for the client; None while the service works on it.
        is_dropped: true if it was ended to make room.
    """

    size: int = 0
    clock: asyncio.Timeout | None = None
    is_dropped: bool = False

    def wait_on(self) -> None:
        """Give the client time again."""
        if self.clock is not None and not self.is_dropped:
            self.clock.reschedule(asyncio.get_running_loop().time() + PATIENCE_SECONDS)

    def drop(self) -> None:
        """End the transfer as soon as the event loop continues."""
        if self.clock is not None and not self.is_dropped:
            self.is_dropped = True
            self.clock.reschedule(asyncio.get_running_loop().time())


@dataclass
class Transit:
    """All transfers, the oldest first, within a number of bytes."""

    limit: int
    total: int = 0
    _transfers: dict[Transfer, None] = field(default_factory=dict)

    def begin(self) -> Transfer:
        """Return a new transfer."""
        transfer = Transfer()
        self._transfers[transfer] = None
        return transfer

    def hold(self, transfer: Transfer, count: int) -> None:
        """Hold more bytes. If there is no room for them, the oldest transfers that wait for their clients end."""
        transfer.size += count
        self.total += count
        excess = self.total - self.limit
        for one in self._transfers:
            if excess <= 0:
                return
            if one.clock is not None and one.size:
                one.drop()
                excess -= one.size

    def release(self, transfer: Transfer, count: int) -> None:
        """Release bytes that have been sent."""
        transfer.size -= count
        self.total -= count

    def end(self, transfer: Transfer) -> None:
        """End a transfer."""
        self.release(transfer, transfer.size)
        del self._transfers[transfer]


class Gate:
    """The ASGI application around a WSGI application.

    Args:
        application: answers requests, each in a thread.
        limits: limits of request bodies.
        health: answers `HEALTH_PATHS`.
        others: applications by address that answer in place of `application`, also in a thread. They check no host.
        threads: number of requests that are answered at once.
    """

    def __init__(
        self,
        application: WsgiApplication,
        limits: Limits,
        health: Health,
        others: Mapping[str, WsgiApplication] = MappingProxyType({}),
        threads: int = THREADS,
    ) -> None:
        self._application = application
        self._others = others
        self._limits = limits
        self._health = health
        self._transit = Transit(limits.transit_bytes)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._free = asyncio.Semaphore(threads)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, or take part in start and stop."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        transfer = self._transit.begin()
        with suppress(ClientGoneError):
            try:
                reply = await self._reply(scope, receive, transfer)
                await self._send(reply, send, transfer, is_head=scope["method"] == "HEAD")
            finally:
                self._transit.end(transfer)

    async def _live(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] == "lifespan.startup":
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.to_thread(self._health.start), PATIENCE_SECONDS)
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    async def _reply(self, scope: Mapping[str, Any], receive: Receive, transfer: Transfer) -> Reply:
        environ = {**environ_of(scope), _BEGAN: time.perf_counter()}
        path, is_safe = environ["PATH_INFO"], scope["method"] in {"GET", "HEAD"}
        if path in HEALTH_PATHS and is_safe:
            status, report = self._health.report()
            return _json(status, report)
        if path == LIVE_PATH and is_safe:
            return _json(HTTPStatus.OK, {"status": "ok"})
        application = self._others.get(path, self._application) if is_safe else self._application
        try:
            environ["wsgi.input"] = await self._body(environ, receive, transfer)
        except BodyTimeoutError:
            return rejection(environ, HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "The request came in too slowly.")
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            return rejection(environ, HTTPStatus.SERVICE_UNAVAILABLE, "busy", "Too many requests are waiting.")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, run, application, environ)
        except Exception:
            log.exception("a request could not be answered")
            return rejection(environ, HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "A fault of the program.")
        finally:
            self._free.release()
            self._transit.release(transfer, transfer.size)

    async def _body(self, environ: Environ, receive: Receive, transfer: Transfer) -> BytesIO:
        """Return the complete body; empty if none is announced, or more than allowed: the application then rejects it
        unread.

        Raises:
            BodyTimeoutError: it came too slowly.
            ClientGoneError: the client is gone.
        """
        announced = _length(environ)
        limit = self._limits.of(environ)
        if not 0 < announced <= limit:
            return BytesIO()
        body = BytesIO()
        owed = PIECE_BYTES if limit > self._limits.form_bytes else announced
        try:
            async with asyncio.timeout(PATIENCE_SECONDS) as transfer.clock:
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise ClientGoneError
                    self._transit.hold(transfer, body.write(message.get("body", b"")))
                    if not message.get("more_body"):
                        break
                    if body.tell() >= owed:
                        owed = body.tell() + PIECE_BYTES
                        transfer.wait_on()
        except TimeoutError:
            raise BodyTimeoutError from None
        finally:
            transfer.clock = None
        if body.tell() != announced:
            raise ClientGoneError
        body.seek(0)
        return body

    async def _send(self, reply: Reply, send: Send, transfer: Transfer, *, is_head: bool) -> None:
        """Send a response in pieces, as fast as the client reads it.

        Raises:
            ClientGoneError: it does not take it; leaving ends the connection.
        """
        body = b"" if is_head else reply.body
        self._transit.hold(transfer, len(body))
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        try:
            async with asyncio.timeout(PATIENCE_SECONDS) as transfer.clock:
                for first in range(0, max(1, len(body)), PIECE_BYTES):
                    piece = body[first : first + PIECE_BYTES]
                    more = first + PIECE_BYTES < len(body)
                    await send({"type": "http.response.body", "body": piece, "more_body": more})
                    transfer.wait_on()
        except TimeoutError:
            raise ClientGoneError from None
        finally:
            transfer.clock = None


def environ_of(scope: Mapping[str, Any]) -> Environ:
    """Return a request in the form of WSGI (PEP 3333), without its body.

    Headers with an underscore in their name are left out: they could imitate headers that only a proxy may set. Their
    names, and those of headers that occur more than once, are kept under `AMBIGUOUS_HEADERS`.
    """
    server, client = scope.get("server") or ("localhost", 80), scope.get("client")
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope.get("raw_path") or scope["path"].encode()).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0] if client else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    ambiguous: set[str] = set()
    for name, value in scope["headers"]:
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
        if b"_" in name or key in environ:
            ambiguous.add(key)
        if b"_" in name:
            continue
        text, joint = value.decode("latin-1"), "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{joint}{text}" if key in environ else text
    environ[AMBIGUOUS_HEADERS] = frozenset(ambiguous)
    return environ


def run(application: WsgiApplication, environ: Environ) -> Reply:
    """Return the application's response to one request. This runs in a thread."""
    begun: list[tuple[int, Headers]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _error: object = None) -> None:
        begun[:] = [
            (int(status[:3]), [(name.encode("latin-1"), value.strip().encode("latin-1")) for name, value in headers])
        ]

    parts = application(environ, start_response)
    try:
        body = b"".join(parts)
    finally:
        if hasattr(parts, "close"):
            parts.close()
    status, headers = begun[0]
    if not any(name.lower() == b"content-length" for name, _ in headers):
        headers.append((b"Content-Length", str(len(body)).encode()))
    return Reply(status, headers, body)


def rejection(environ: Environ, status: HTTPStatus, code: str, message: str) -> Reply:
    """Return the gate's own response: JSON to programs, a sentence to browsers. The connection ends."""
    if environ["PATH_INFO"].startswith("/api/") or "json" in environ.get("HTTP_ACCEPT", ""):
        reply = _json(status, {"code": code, "message": message})
    else:
        reply = Reply(status, [*_PLAIN, (b"Content-Type", b"text/plain; charset=utf-8")], message.encode())
    note_access(environ["REQUEST_METHOD"], "-", status, time.perf_counter() - environ.get(_BEGAN, time.perf_counter()))
    retry = (b"Retry-After", str(RETRY_SECONDS).encode())
    return Reply(reply.status, [*reply.headers, retry, (b"Connection", b"close")], reply.body)


_PLAIN: Headers = [(b"Cache-Control", b"no-store"), (b"X-Content-Type-Options", b"nosniff")]


def _json(status: int, body: Mapping[str, Any]) -> Reply:
    return Reply(status, [*_PLAIN, (b"Content-Type", b"application/json")], json.dumps(body).encode())


def _length(environ: Environ) -> int:
    """Return the announced length of the body, bytes; 0 without a valid one."""
    text = environ.get("CONTENT_LENGTH", "")
    return int(text) if text.isascii() and text.isdecimal() else 0
