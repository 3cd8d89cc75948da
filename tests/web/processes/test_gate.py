"""The gate before Django's threads: slow clients cost no thread, memory is limited, health is always answered."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from io import BytesIO
from typing import Any

import pytest

from boneage.web.processes import gate
from boneage.web.processes.gate import Gate, Limits

FORM, RADIOGRAPH = 1000, 50_000


class Healthy:
    def start(self) -> None:
        pass

    def report(self) -> tuple[int, Mapping[str, Any]]:
        return 503, {"status": "storage_full"}


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers with the length of the body that it could read."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Set-Cookie", " a=1"), ("Set-Cookie", " b=2")])
    return [str(len(environ["wsgi.input"].read())).encode()]


class Client:
    """One connection: sends parts of a body with pauses, and reads with others."""

    def __init__(self, gate_: Gate, *, reads: bool = True) -> None:
        self._gate = gate_
        self._reads = reads
        self.sent: list[dict[str, Any]] = []

    async def ask(
        self,
        path: str = "/",
        *,
        announced: int | None = None,
        parts: Iterable[bytes | float | None] = (),
        method: str = "POST",
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> Client:
        """Bytes are parts of the body, numbers pauses; None is the end of the connection; the end is silence."""
        left = list(parts)
        length = [] if announced is None else [(b"content-length", str(announced).encode())]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "http_version": "1.1",
            "headers": [*length, *headers],
            "client": ("192.0.2.7", 1),
            "server": ("127.0.0.1", 80),
        }
        brought = 0

        async def receive() -> dict[str, Any]:
            nonlocal brought
            while left:
                part = left.pop(0)
                if part is None:
                    return {"type": "http.disconnect"}
                if isinstance(part, bytes):
                    brought += len(part)
                    return {"type": "http.request", "body": part, "more_body": brought < (announced or 0)}
                await asyncio.sleep(part)
            await asyncio.sleep(60)
            raise AssertionError("waited for a body that does not come")

        async def send(message: dict[str, Any]) -> None:
            if not self._reads and message["type"] == "http.response.body":
                await asyncio.sleep(60)
            self.sent.append(message)

        await self._gate(scope, receive, send)  # type: ignore[arg-type]  # messages are dictionaries
        return self

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(gate, "PIECE_BYTES", 1000)


def gated(application: Any = echo, transit: int = 10**6, threads: int = 2, may: bool = True) -> Gate:
    limits = Limits(FORM, RADIOGRAPH, transit, ("/radiograph",), lambda _environ: may)
    return Gate(application, limits, Healthy(), threads=threads)


def answered(request: Awaitable[Client]) -> Client:
    async def main() -> Client:
        return await asyncio.wait_for(request, 20)

    return asyncio.run(main())


def test_whole_body_arrives() -> None:
    client = answered(Client(gated()).ask(announced=600, parts=[b"x" * 500, 0.01, b"x" * 100]))
    assert (client.status, client.body) == (200, b"600")
    headers = client.sent[0]["headers"]
    assert (b"Content-Length", b"3") in headers
    assert [value for name, value in headers if name == b"Set-Cookie"] == [b"a=1", b"b=2"]


def test_unfinished_form_takes_no_thread() -> None:
    """Unfinished form is rejected and takes no thread."""
    calls: list[object] = []
    client = answered(Client(gated(lambda *given: calls.append(given))).ask("/api/x", announced=600, parts=[b"x"]))
    assert client.status == 408
    assert json.loads(client.body)["code"] == "request_timeout"
    assert (b"Connection", b"close") in client.sent[0]["headers"]
    assert not calls


def test_slow_form_is_rejected() -> None:
    """Form that trickles is rejected."""
    trickle = [part for _ in range(100) for part in (b"x", 0.02)]
    assert answered(Client(gated()).ask(announced=600, parts=trickle)).status == 408


def test_radiograph_may_take_longer_at_its_rate() -> None:
    """Radiograph may take longer while it keeps its rate."""
    steady = [part for _ in range(8) for part in (b"x" * 1000, 0.05)]
    client = answered(Client(gated()).ask("/radiograph", announced=8000, parts=steady))
    assert (client.status, client.body) == (200, b"8000")
    slow = [part for _ in range(8) for part in (b"x" * 300, 0.1)]
    assert answered(Client(gated()).ask("/radiograph", announced=8000, parts=slow)).status == 408


def test_client_that_leaves_gets_nothing() -> None:
    assert answered(Client(gated()).ask(announced=600, parts=[b"x", None])).sent == []


@pytest.mark.parametrize(
    ("path", "may", "length"),
    [("/", True, FORM + 1), ("/radiograph", False, FORM + 1), ("/radiograph", True, RADIOGRAPH + 1)],
)
def test_body_over_limit_is_left_unread(path: str, may: bool, length: int) -> None:
    """Body over the limit is left to the application unread."""
    client = answered(Client(gated(may=may)).ask(path, announced=length, parts=[b"x" * length]))
    assert client.body == b"0"


@pytest.mark.parametrize("length", [b"-5", b"many", b"1e3", "٣".encode()])
def test_invalid_length_means_no_body(length: bytes) -> None:
    """A malformed length means no body."""
    client = answered(Client(gated()).ask(headers=[(b"content-length", length)], parts=[b"x"]))
    assert client.body == b"0"


def test_slow_reader_holds_no_thread() -> None:
    """Slow readers are left and hold no thread."""

    async def main() -> tuple[list[Client], Client]:
        gate_ = gated(threads=1)
        slow = [asyncio.create_task(Client(gate_, reads=False).ask(method="GET")) for _ in range(20)]
        await asyncio.sleep(0.05)
        quick = await asyncio.wait_for(Client(gate_).ask(method="GET"), 5)
        return await asyncio.gather(*slow), quick

    slow, quick = asyncio.run(main())
    assert quick.status == 200
    assert all(client.body == b"" for client in slow)


def test_other_application_for_any_host() -> None:
    """An address of another application is answered by it, whatever host the request names, and life by the gate."""

    def application(_environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])
        return [b"metrics"]

    limits = Limits(FORM, RADIOGRAPH, 10**6)
    gate_ = Gate(echo, limits, Healthy(), {"/metrics": application})
    assert answered(Client(gate_).ask("/metrics", method="GET")).body == b"metrics"
    assert json.loads(answered(Client(gate_).ask("/health/live", method="GET")).body) == {"status": "ok"}
    assert answered(Client(gate_).ask("/health/ready", method="GET")).status == 503


def test_health_without_free_threads() -> None:
    """Health is answered while all threads are taken."""
    release = threading.Event()

    def stuck(_environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
        release.wait(20)
        start_response("200 OK", [])
        return []

    async def main() -> tuple[Client, list[Client]]:
        gate_ = gated(stuck, threads=2)
        busy = [asyncio.create_task(Client(gate_).ask()) for _ in range(5)]
        await asyncio.sleep(0.05)
        health = await asyncio.wait_for(Client(gate_).ask("/health", method="GET"), 5)
        release.set()
        return health, await asyncio.gather(*busy)

    health, busy = asyncio.run(main())
    assert (health.status, json.loads(health.body)) == (503, {"status": "storage_full"})
    assert [client.status for client in busy] == [200] * 5


def test_request_without_thread_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Request that no thread takes is turned away."""
    monkeypatch.setattr(gate, "QUEUE_SECONDS", 0.1)
    release = threading.Event()

    def stuck(_environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
        release.wait(20)
        start_response("200 OK", [])
        return []

    async def main() -> Client:
        gate_ = gated(stuck, threads=1)
        busy = asyncio.create_task(Client(gate_).ask())
        await asyncio.sleep(0.02)
        late = await Client(gate_).ask("/api/x")
        release.set()
        await busy
        return late

    late = asyncio.run(main())
    assert (late.status, json.loads(late.body)["code"]) == (503, "busy")
    assert b"Retry-After" in dict(late.sent[0]["headers"])


def test_oldest_transfer_makes_room() -> None:
    async def main() -> list[Client]:
        gate_ = gated(transit=5000)
        received = []
        for _ in range(3):  # the first two stall with 2,000 bytes each
            received.append(asyncio.create_task(Client(gate_).ask("/radiograph", announced=4000, parts=[b"x" * 2000])))
            await asyncio.sleep(0.01)
        received.append(asyncio.create_task(Client(gate_).ask("/radiograph", announced=3000, parts=[b"x" * 3000])))
        done = await asyncio.gather(*received)
        assert gate_._transit.total == 0
        return done

    *stalled, quick = asyncio.run(main())
    assert [client.status for client in stalled] == [408, 408, 408]
    assert quick.body == b"3000"


def test_head_sends_no_body() -> None:
    """Head sends no body and says its length."""
    client = answered(Client(gated()).ask(method="HEAD"))
    assert (client.status, client.body) == (200, b"")
    assert (b"Content-Length", b"1") in client.sent[0]["headers"]


def test_fault_of_application_is_answered() -> None:
    """Fault of the application is an answer."""

    def broken(_environ: Any, _start_response: Any) -> list[bytes]:
        raise ValueError("patient")

    client = answered(Client(gated(broken)).ask("/api/x"))
    assert (client.status, json.loads(client.body)["code"]) == (500, "internal_error")


def test_environ_matches_wsgi() -> None:
    """Environ as wsgi has it."""
    scope = {
        "method": "GET",
        "path": "/a\ufffd",
        "raw_path": b"/a%ff%C3%A4",
        "query_string": b"q=%20\xff",
        "http_version": "1.1",
        "headers": [
            (b"host", b"x"),
            (b"cookie", b"a=1"),
            (b"cookie", b"b=2"),
            (b"x-forwarded-for", b"1.1.1.1"),
            (b"x-forwarded-for", b"2.2.2.2"),
            (b"x_forwarded_proto", b"https"),
        ],
    }
    environ = gate.environ_of(scope)
    assert environ["PATH_INFO"].encode("latin-1") == b"/a\xff\xc3\xa4"
    assert environ["QUERY_STRING"] == "q=%20\xff"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_FORWARDED_FOR"] == "1.1.1.1,2.2.2.2"
    assert "HTTP_X_FORWARDED_PROTO" not in environ
    assert environ["REMOTE_ADDR"] == ""
    assert isinstance(environ["wsgi.input"], BytesIO)


def test_lifespan_events() -> None:
    """Start and stop are taken part in."""

    async def main() -> list[str]:
        incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        lines: list[str] = []

        async def receive() -> Any:
            return incoming.pop(0)

        async def send(message: Any) -> None:
            lines.append(message["type"])

        await gated()({"type": "lifespan"}, receive, send)
        return lines

    assert asyncio.run(main()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
