"""Objects are sent once, in order, and each failure has its consequence."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import _config, build_context, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    Verification,
)

from boneage.dicom.objects import result_objects
from boneage.node.configuration import Peer
from boneage.node.outcome import OutcomeCode, Result
from boneage.node.sender import send
from tests.dicom.sources import NOW, PICTURE, document, source
from tests.node.orthanc import free_port
from tests.node.parts import instance_file, peer_serving, sender_settings

NODE = sender_settings("BONEAGE", timeout_seconds=1.0)


def sent(handler: Any, files: list[bytes], **settings: Any) -> list[tuple[Result, OutcomeCode, int | None]]:
    """Return the outcomes of sending files to a peer that answers C-STORE by a handler."""
    with peer_serving((evt.EVT_C_STORE, handler), **settings) as peer:
        return [(one.result, one.code, one.status) for one in send(peer, NODE, files)]


def test_send_keeps_order_and_values() -> None:
    """All files arrive in their order; the data set is the very bytes of the file."""
    files, arrived = [instance_file() for _ in range(3)], []

    def store(event: evt.Event) -> int:
        arrived.append(event.encoded_dataset(include_meta=False))
        return 0

    outcomes = sent(store, files)
    assert outcomes == [(Result.DONE, OutcomeCode.SUCCESS, 0)] * 3
    assert all(file.endswith(data) for file, data in zip(files, arrived, strict=True))


def test_send_converts_transfer_syntax() -> None:
    """A peer with Implicit VR Little Endian alone gets the same values."""
    file, arrived = instance_file(), []

    def store(event: evt.Event) -> int:
        arrived.append(event.dataset)
        return 0

    contexts = [build_context(pydicom.dcmread(BytesIO(file)).SOPClassUID, ImplicitVRLittleEndian)]
    _config.UNRESTRICTED_STORAGE_SERVICE = False
    try:
        assert sent(store, [file], contexts=contexts)[0][0] is Result.DONE
    finally:
        _config.UNRESTRICTED_STORAGE_SERVICE = True
    assert arrived == [pydicom.dcmread(BytesIO(file))]


def test_send_statuses() -> None:
    """The status of one object has no effect on the next."""
    statuses = iter([0xB000, 0xA700, 0xA900, 0xC001, 0x0124, 0])
    outcomes = sent(lambda _event: next(statuses), [instance_file() for _ in range(6)])
    assert [result for result, _, _ in outcomes] == [
        Result.WARNED,
        Result.RETRY,
        Result.DEAD,
        Result.DEAD,
        Result.DEAD,
        Result.DONE,
    ]
    assert [status for _, _, status in outcomes] == [0xB000, 0xA700, 0xA900, 0xC001, 0x0124, 0]


def test_send_peer_aborts() -> None:
    """The object whose response is missing and all after it are sent again later."""
    count = iter(range(3))

    def store(event: evt.Event) -> int:
        if next(count) == 1:
            event.assoc.abort()
        return 0

    outcomes = sent(store, [instance_file() for _ in range(3)])
    assert [result for result, _, _ in outcomes] == [Result.DONE, Result.RETRY, Result.RETRY]
    assert outcomes[1][1] is outcomes[2][1] is OutcomeCode.ABORTED


def test_send_peer_does_not_answer() -> None:
    def store(_event: evt.Event) -> int:
        time.sleep(2.0)
        return 0

    begun = time.monotonic()
    assert sent(store, [instance_file()]) == [(Result.RETRY, OutcomeCode.TIMEOUT, None)]
    assert time.monotonic() - begun < 6.0


def test_send_nothing_listens() -> None:
    peer = Peer("pacs", "PACS", "127.0.0.1", free_port())
    (outcome,) = send(peer, NODE, [instance_file()])
    assert (outcome.result, outcome.code) == (Result.RETRY, OutcomeCode.UNREACHABLE)
    assert outcome.sop_instance_uid
    (unknown,) = send(replace(peer, host="no-such-host.invalid"), NODE, [instance_file()])
    assert unknown.code is OutcomeCode.UNREACHABLE


def test_send_rejected() -> None:
    """A wrong AE title is final; a peer that is full is tried again."""
    with peer_serving(require_called_aet=True) as peer:
        (outcome,) = send(replace(peer, ae_title="OTHER"), NODE, [instance_file()])
    assert (outcome.result, outcome.code) == (Result.DEAD, OutcomeCode.REJECTED)

    def reject(event: evt.Event) -> None:
        event.assoc.acse.send_reject(2, 3, 2)
        event.assoc.kill()

    with peer_serving((evt.EVT_REQUESTED, reject)) as peer:
        (outcome,) = send(peer, NODE, [instance_file()])
    assert (outcome.result, outcome.code) == (Result.RETRY, OutcomeCode.REJECTED_TRANSIENT)


@contextmanager
def bare_server(answer: bytes, *, closes: bool = False) -> Iterator[Peer]:
    """Serve bytes to every connection, and then silence or the end of the connection."""
    ended = threading.Event()

    def serve(server: socket.socket) -> None:
        opened: list[socket.socket] = []
        server.settimeout(0.1)
        while not ended.is_set():
            try:
                one, _ = server.accept()
            except TimeoutError:
                continue
            one.sendall(answer)
            if closes:
                one.close()
            else:
                opened.append(one)
        for one in opened:
            one.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield Peer("pacs", "PACS", "127.0.0.1", server.getsockname()[1])
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize(
    ("answer", "closes", "codes"),
    [
        (b"", False, {OutcomeCode.TIMEOUT}),
        (b"", True, {OutcomeCode.ABORTED}),
        (b"\2\0", False, {OutcomeCode.TIMEOUT, OutcomeCode.ABORTED}),
        (b"\2\0\xff\xff\xff\xff" + bytes(1000), False, {OutcomeCode.ABORTED}),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, {OutcomeCode.ABORTED}),
    ],
)
def test_send_to_something_else(answer: bytes, closes: bool, codes: set[OutcomeCode]) -> None:
    """A server that does not speak DICOM, or stops in the middle, does not hold up the sender."""
    begun = time.monotonic()
    with bare_server(answer, closes=closes) as peer:
        (outcome,) = send(peer, NODE, [instance_file()])
    assert outcome.result is Result.RETRY
    assert outcome.code in codes
    assert time.monotonic() - begun < 6.0


def test_send_invalid_files() -> None:
    """A file that is not DICOM is dead at once, and does not stop the others."""
    outcomes = sent(lambda _event: 0, [b"no file", instance_file(), b""])
    assert [(result, code) for result, code, _ in outcomes] == [
        (Result.DEAD, OutcomeCode.INVALID),
        (Result.DONE, OutcomeCode.SUCCESS),
        (Result.DEAD, OutcomeCode.INVALID),
    ]
    assert send(Peer("pacs", "PACS", "127.0.0.1", 1), NODE, [b""])[0].code is OutcomeCode.INVALID


@pytest.mark.parametrize("accepted", [ComprehensiveSRStorage, EnhancedSRStorage, None])
def test_send_report_in_simpler_class(monkeypatch: pytest.MonkeyPatch, accepted: Any) -> None:
    """The report goes out in the best class that the peer accepts, with a UID that repeats itself."""
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)
    radiograph = source(SOPInstanceUID=generate_uid())
    (report,) = result_objects(radiograph, document(), PICTURE, now=NOW, kinds=["sr"])
    arrived: list[Any] = []

    def store(event: evt.Event) -> int:
        arrived.append(event.dataset)
        return 0

    contexts = [
        build_context(one, ExplicitVRLittleEndian)
        for one in (accepted, SecondaryCaptureImageStorage, Verification)
        if one is not None
    ]
    with peer_serving((evt.EVT_C_STORE, store), contexts=contexts) as peer:
        first, second = (send(peer, NODE, [report.to_bytes()])[0] for _ in range(2))
    assert first == second
    if accepted is None:
        assert (first.result, first.code, arrived) == (Result.DEAD, OutcomeCode.NOT_ACCEPTED, [])
        return
    assert (first.result, first.sop_class_uid) == (Result.DONE, accepted)
    assert {str(one.SOPInstanceUID) for one in arrived} == {first.sop_instance_uid}
    assert first.sop_instance_uid != report.dataset.SOPInstanceUID
    assert arrived[0].ContentSequence == report.dataset.ContentSequence
