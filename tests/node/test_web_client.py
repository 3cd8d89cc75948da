"""Requests over HTTP: credentials, certificates, limits of time and size, and what statuses mean."""

from __future__ import annotations

import base64
import ssl
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.node.configuration import NodeSettings
from boneage.node.destinations import DicomWebService
from boneage.node.outcome import OutcomeCode, RequestError, Result
from boneage.node.web_client import Answer, connected, judge_http
from tests.node.certificates import Certificates
from tests.node.web_servers import Reply, closed_port, web_server

NODE = NodeSettings()


def service(url: str, **changes: object) -> DicomWebService:
    return DicomWebService(name="archive", url=url, results=("sc",), timeout_seconds=1.0, **changes)  # type: ignore[arg-type]


def get(of: DicomWebService, node: NodeSettings = NODE) -> Answer:
    with connected(of, node) as client:
        return client.request("GET", "/x")


def failure(of: DicomWebService, node: NodeSettings = NODE) -> OutcomeCode:
    with pytest.raises(RequestError) as error:
        get(of, node)
    assert error.value.outcome.result is Result.RETRY
    return error.value.outcome.code


def test_request_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user has a password, a token is a bearer, and nothing is added where nothing is configured."""
    (tmp_path / "token").write_text("t0ken\n")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("PACS_PASSWORD", "pässword")
    with web_server(lambda _: Reply(200)) as server:
        get(service(server.url))
        get(service(server.url, secret=f"file:{tmp_path / 'token'}"))
        get(service(server.url, user="boneage", secret="env:PACS_PASSWORD"))
        assert failure(service(server.url, secret="env:PACS_NOTHING")) is OutcomeCode.NO_SECRET
        sent = [one.headers.get("authorization") for one in server.requests]
    basic = base64.b64encode("boneage:pässword".encode()).decode()
    assert sent == [None, "Bearer t0ken", f"Basic {basic}"]


def test_request_failures() -> None:
    """No connection, no answer, a broken one, one that is too long, and one that trickles are named; all may pass."""

    def trickle(_: object) -> Reply:
        time.sleep(1.5)
        return Reply(200)

    assert failure(service(f"http://127.0.0.1:{closed_port()}/base")) is OutcomeCode.UNREACHABLE
    assert failure(service("http://no-such-host.invalid/base")) is OutcomeCode.UNREACHABLE
    with web_server(trickle) as server:
        assert failure(service(server.url)) is OutcomeCode.TIMEOUT
    with web_server(lambda _: Reply(200, bytes(5 * 2**20))) as server:
        assert failure(service(server.url)) is OutcomeCode.UNCLEAR_ANSWER
    with web_server(lambda _: 1 / 0) as server:  # type: ignore[arg-type, return-value]
        assert failure(service(server.url)) is OutcomeCode.ABORTED


def test_request_follows_no_redirection() -> None:
    """A result goes nowhere else."""
    with web_server(lambda _: Reply(302, b"", "text/plain")) as server:
        assert get(service(server.url)).status == 302
        assert len(server.requests) == 1


def test_request_tls(certificates: Certificates) -> None:
    """The server's certificate must be signed by the configured authority; the node shows its own on request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.peer.cert, certificates.peer.key)
    context.load_verify_locations(certificates.peer.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    node = NodeSettings(tls=certificates.node)
    with web_server(lambda _: Reply(200), context) as server:
        assert get(service(server.url, ca=certificates.node.ca, certificate=True), node).status == 200
        assert failure(service(server.url, certificate=True), node) is OutcomeCode.UNREACHABLE
        assert failure(service(server.url, ca=certificates.node.ca), node) in {
            OutcomeCode.UNREACHABLE,
            OutcomeCode.ABORTED,
        }


@given(st.integers(100, 599))
def test_judge_http(status: int) -> None:
    """Success is success only, and nothing that may pass ends an attempt for good."""
    result, code = judge_http(status)
    assert (result is Result.DONE) == (200 <= status < 300)
    assert (code is OutcomeCode.SUCCESS) == (result is Result.DONE)
    if status in {401, 403, 408, 429, 500, 502, 503, 504}:
        assert result is Result.RETRY
    if status in {400, 404, 413, 415, 422, 501} or 300 <= status < 400:
        assert result is Result.DEAD
