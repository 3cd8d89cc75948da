"""Messages go to an HL7 receiver over MLLP, and its acknowledgements are understood."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.node.configuration import NodeSettings
from boneage.node.destinations import Hl7Receiver
from boneage.node.mllp import END, START, judge_acknowledgement, transmit
from boneage.node.outcome import OutcomeCode, Result
from tests.node.certificates import Certificates
from tests.node.web_servers import acknowledgement, closed_port, mllp_server

NODE = NodeSettings()


def message(number: int = 1) -> bytes:
    return f"MSH|^~\\&|boneage||||20260101||ORU^R01^ORU_R01|m{number}|P|2.5.1\rOBX|1|TX|||Größe\r".encode()


def receiver(port: int, **changes: object) -> Hl7Receiver:
    return Hl7Receiver(name="ris", host="127.0.0.1", port=port, timeout_seconds=1.0, **changes)  # type: ignore[arg-type]


def test_transmit() -> None:
    """All messages go over one connection, in their order, byte for byte."""
    sent = [message(number) for number in range(3)]
    with mllp_server() as server:
        outcomes = transmit(receiver(server.port), NODE, sent)
    assert [(one.result, one.answer) for one in outcomes] == [(Result.DONE, "AA")] * 3
    assert (server.messages, server.connections) == (sent, 1)


@pytest.mark.parametrize(
    ("code", "error", "result"),
    [
        ("CA", "", Result.DONE),
        ("AE", "", Result.DEAD),
        ("AE", "101^Required field missing^HL70357", Result.DEAD),
        ("AE", "207^Application internal error^HL70357", Result.RETRY),
        ("CE", "206", Result.RETRY),
        ("AR", "", Result.RETRY),
        ("AR", "207", Result.RETRY),
        ("CR", "200^Unsupported message type^HL70357", Result.DEAD),
    ],
)
def test_transmit_acknowledgement(code: str, error: str, result: Result) -> None:
    """Faults that stay end the attempts, and faults that may pass do not. The next message is sent anyway."""
    with mllp_server(lambda one: acknowledgement(one, *((code, error) if b"m1" in one else ()))) as server:
        first, second = transmit(receiver(server.port), NODE, [message(1), message(2)])
    assert (first.result, second.result) == (result, Result.DONE)
    assert first.answer == f"{code} {error.partition('^')[0]}".strip()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", OutcomeCode.ABORTED),
        (b"\x0bMSH|^~\\&|RIS", OutcomeCode.TIMEOUT),
        (START + b"HTTP/1.1 400 Bad Request\r" + END, OutcomeCode.UNCLEAR_ANSWER),
        (START + bytes(100_000), OutcomeCode.UNCLEAR_ANSWER),
        (acknowledgement(message(9)) * 20, OutcomeCode.UNCLEAR_ANSWER),
    ],
)
def test_transmit_no_acknowledgement(answer: bytes, code: OutcomeCode) -> None:
    """Without an acknowledgement of this message it is sent again later, and the rest is not attempted."""
    with mllp_server(lambda _: answer) as server:
        outcomes = transmit(receiver(server.port), NODE, [message(1), message(2)])
    assert outcomes[0].code is code
    if code is not OutcomeCode.UNCLEAR_ANSWER or len(server.messages) == 1:
        assert outcomes[1] == outcomes[0]
    assert {one.result for one in outcomes} == {Result.RETRY}


def test_transmit_late_acknowledgement() -> None:
    """An acknowledgement of another message before this one's own is passed over."""
    with mllp_server(lambda one: acknowledgement(message(9)) + acknowledgement(one)) as server:
        (outcome,) = transmit(receiver(server.port), NODE, [message()])
    assert outcome.result is Result.DONE


def test_transmit_nobody_and_nothing() -> None:
    """Nobody listens: later again. Bytes that are no message, or would end their frame, are not sent."""
    (outcome,) = transmit(receiver(closed_port()), NODE, [message()])
    assert (outcome.result, outcome.code) == (Result.RETRY, OutcomeCode.UNREACHABLE)
    with mllp_server() as server:
        outcomes = transmit(receiver(server.port), NODE, [b"no message", message() + b"\x1c", message()])
    assert [one.result for one in outcomes] == [Result.DEAD, Result.DEAD, Result.DONE]
    assert len(server.messages) == 1


def test_transmit_tls(certificates: Certificates) -> None:
    """Over TLS both ends show certificates; one of an unknown authority is not accepted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.peer.cert, certificates.peer.key)
    context.load_verify_locations(certificates.peer.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    node = NodeSettings(tls=certificates.node)
    with mllp_server(context=context) as server:
        trusted = receiver(server.port, tls=True, ca=certificates.node.ca, certificate=True)
        assert transmit(trusted, node, [message()])[0].result is Result.DONE
        assert transmit(receiver(server.port, tls=True), node, [message()])[0].code is OutcomeCode.UNREACHABLE
        other_name = receiver(server.port, tls=True, tls_name="other.example.org", ca=certificates.node.ca)
        assert transmit(other_name, node, [message()])[0].code is OutcomeCode.UNREACHABLE


@given(st.binary(max_size=200) | st.text(alphabet="MSAERH|^\r\nAm1", max_size=60).map(str.encode))
def test_judge_acknowledgement_any_bytes(frame: bytes) -> None:
    """Whatever comes becomes an outcome, and only an acknowledgement of this message is success."""
    outcome = judge_acknowledgement(frame, "m1")
    if outcome is not None and outcome.result is Result.DONE:
        assert b"MSA" in frame
        assert b"m1" in frame
