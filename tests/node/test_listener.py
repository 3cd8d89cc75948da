"""The listener keeps what it acknowledges, answers by the standard, and serves others whatever one peer does."""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom.sop_class import _STORAGE_CLASSES, StorageCommitmentPushModel  # type: ignore[attr-defined]

from boneage.errors import ConfigurationError
from boneage.node.configuration import Peer
from boneage.node.echo import echo
from boneage.node.intake import DenialReason
from boneage.node.listener import Listener
from boneage.node.outcome import OutcomeCode, Result
from boneage.node.sender import send
from boneage.reading.dicom.uids import RADIOGRAPH_CLASSES
from tests.node.parts import (
    CR,
    MODALITY,
    MemoryIntake,
    configuration,
    implicit_data,
    instance_file,
    listening,
    node_peer,
    raw_association,
    sender_settings,
    store_raw,
    wait_for,
)

PACS = Peer("pacs", "PACS", "127.0.0.1", 104, may_send=True)


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Listener, MemoryIntake]]:
    """Return a listener with its intake, for tests that do not stop it."""
    intake = MemoryIntake()
    with listening(intake, MODALITY, Peer("viewer", "VIEWER", "127.0.0.1", 0), timeout_seconds=1.0) as listener:
        yield listener, intake


@contextmanager
def connection(listener: Listener) -> Iterator[socket.socket]:
    """Open a bare connection to a listener."""
    with socket.create_connection(("127.0.0.1", listener.port), timeout=10.0) as opened:
        yield opened


def is_served(listener: Listener, ae_title: str = "DXROOM1") -> bool:
    """Return whether a peer is answered."""
    return echo(node_peer(listener), sender_settings(ae_title)).result is Result.DONE


# --- what is kept ---


def test_listener_keeps_exact_bytes() -> None:
    """The data set that is kept is the one that was sent, byte for byte."""
    intake, file = MemoryIntake(), instance_file()
    with listening(intake) as listener:
        (outcome,) = send(node_peer(listener), sender_settings(), [file])
    assert (outcome.result, outcome.code, outcome.status) == (Result.DONE, OutcomeCode.SUCCESS, 0)
    ((instance, header),) = intake.taken
    assert instance.file[-20_000:] == file[-20_000:]
    assert header.patient_id == "4711"
    assert (instance.peer, instance.calling_ae_title, instance.address) == ("modality", "DXROOM1", "127.0.0.1")
    assert instance.called_ae_title == "BONEAGE"


@pytest.mark.parametrize(
    ("settings", "answered"),
    [
        ({}, {"BONEAGE"}),
        ({"called_ae_titles": ("KIDS", "TRAUMA")}, {"BONEAGE", "KIDS", "TRAUMA"}),
        ({"any_called_ae_title": True}, {"BONEAGE", "KIDS", "TRAUMA", "ANYTHING"}),
    ],
)
def test_listener_answers_to_its_titles(settings: dict[str, Any], answered: set[str]) -> None:
    """A peer may call by each title of the configuration and no other one, and the intake learns by which."""
    intake = MemoryIntake()
    with listening(intake, **settings) as listener:
        for called in ("BONEAGE", "KIDS", "TRAUMA", "ANYTHING"):
            (outcome,) = send(node_peer(listener, ae_title=called), sender_settings(), [instance_file()])
            assert (outcome.result is Result.DONE) == (called in answered)
    assert {instance.called_ae_title for instance, _ in intake.taken} == answered


def test_listener_accepts_every_storage_class(shared: tuple[Listener, MemoryIntake]) -> None:
    """Instances that are no radiographs are answered with success, and only noted."""
    listener, intake = shared
    intake.skipped.clear()
    others = sorted({str(uid) for uid in _STORAGE_CLASSES.values()} - RADIOGRAPH_CLASSES)[::12]
    files = [instance_file(SOPClassUID=uid) for uid in [*others, "1.2.826.0.1.3680043.2.1125.99"]]
    outcomes = send(node_peer(listener), sender_settings(), files)
    assert {one.status for one in outcomes} == {0}
    assert [sop_class for sop_class, _, _ in intake.skipped] == others


def test_listener_skips_unreadable_private_object(shared: tuple[Listener, MemoryIntake]) -> None:
    """A manufacturer's raw data without a study does not stop the forwarding of its study."""
    listener, intake = shared
    private = "1.2.826.0.1.3680043.2.1125.98"
    (outcome,) = send(
        node_peer(listener), sender_settings(), [instance_file(SOPClassUID=private, StudyInstanceUID=None)]
    )
    assert outcome.status == 0
    assert intake.skipped[-1][0] == private


# --- statuses ---


def test_listener_compares_uids(shared: tuple[Listener, MemoryIntake]) -> None:
    """A data set with another UID than its request is answered with 0xA900."""
    listener, intake = shared
    uid = generate_uid()
    data = implicit_data(instance_file(SOPInstanceUID=uid))
    with raw_association(listener) as association:
        assert store_raw(association, data, "1.2.3") == 0xA900
        assert store_raw(association, data, uid) == 0
    assert DenialReason.UIDS_DIFFER in intake.reasons


@pytest.mark.parametrize("data", [b"\0", b"no data set", bytes(1000), b"\x08\x00\x18\x00\xff\xff\xff\x7f1.2.3"])
def test_listener_answers_damaged_data(shared: tuple[Listener, MemoryIntake], data: bytes) -> None:
    listener, intake = shared
    with raw_association(listener) as association:
        assert store_raw(association, data) == 0xC000
    assert DenialReason.UNREADABLE in intake.reasons


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_listener_needs_study_and_series(shared: tuple[Listener, MemoryIntake], keyword: str) -> None:
    listener, _ = shared
    (outcome,) = send(node_peer(listener), sender_settings(), [instance_file(**{keyword: None})])
    assert (outcome.result, outcome.status) == (Result.DEAD, 0xC000)


def test_listener_limits_size() -> None:
    """A data set that is too large is answered with 0xC000, and the next one on the association is kept."""
    intake = MemoryIntake()
    large = instance_file(ImageComments="x", EncapsulatedDocument=bytes(2 * 2**20))
    with listening(intake, object_mebibytes=1) as listener:
        outcomes = send(node_peer(listener), sender_settings(), [large, instance_file()])
    assert [one.status for one in outcomes] == [0xC000, 0]
    assert intake.reasons == [DenialReason.TOO_LARGE]


def test_listener_without_store() -> None:
    """While the store is away the sender has to try again, and nothing counts as kept."""
    intake = MemoryIntake(is_available=False)
    file = instance_file()
    with listening(intake) as listener:
        (away,) = send(node_peer(listener), sender_settings(), [file])
        intake.is_available = True
        (again,) = send(node_peer(listener), sender_settings(), [file])
    assert (away.result, away.status, again.status) == (Result.RETRY, 0xA700, 0)
    assert len(intake.taken) == 1


def test_listener_fault_of_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the program is answered like an unavailable store, so that no radiograph is lost."""
    intake = MemoryIntake()

    def fail(*_arguments: object) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr(intake, "take", fail)
    with listening(intake) as listener:
        (outcome,) = send(node_peer(listener), sender_settings(), [instance_file()])
    assert outcome.status == 0xA700


# --- who may call ---


def test_listener_rejects_unknown_caller(shared: tuple[Listener, MemoryIntake]) -> None:
    """An unknown AE title, another called AE title and an unknown address are rejected for good."""
    listener, intake = shared
    intake.denials.clear()
    peer = node_peer(listener)
    assert echo(peer, sender_settings("STRANGER")).code is OutcomeCode.REJECTED
    assert echo(node_peer(listener, ae_title="OTHER"), sender_settings()).code is OutcomeCode.REJECTED
    assert intake.reasons == [DenialReason.CALLER_UNKNOWN, DenialReason.CALLED_AE_TITLE]


def test_listener_rejects_unknown_address() -> None:
    intake = MemoryIntake()
    with listening(intake, Peer("modality", "DXROOM1", "127.0.0.9", 0, may_send=True)) as listener:
        assert echo(node_peer(listener), sender_settings()).result is Result.DEAD
    assert intake.reasons == [DenialReason.CALLER_UNKNOWN]


def test_listener_peer_without_right_to_send(shared: tuple[Listener, MemoryIntake]) -> None:
    listener, intake = shared
    (outcome,) = send(node_peer(listener), sender_settings("VIEWER"), [instance_file()])
    assert (outcome.result, outcome.status) == (Result.DEAD, 0x0124)
    assert intake.reasons[-1] is DenialReason.CALLER_MAY_NOT_SEND


def test_listener_limits_associations() -> None:
    """Above the limit an association is rejected for the moment, and a place comes free when another one ends."""
    intake = MemoryIntake()
    with listening(intake, associations=2) as listener:
        with raw_association(listener), raw_association(listener):
            assert echo(node_peer(listener), sender_settings()).code is OutcomeCode.REJECTED_TRANSIENT
            assert intake.reasons == [DenialReason.TOO_MANY_ASSOCIATIONS]
        wait_for(lambda: listener.associations == 0)
        assert is_served(listener)


def test_listener_keeps_a_place_for_others() -> None:
    """One peer cannot take all places while another peer has none."""
    with listening(MemoryIntake(), MODALITY, PACS, associations=3) as listener, ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(raw_association(listener))
        assert not is_served(listener)
        assert is_served(listener, "PACS")


# --- storage commitment ---


def report(association: object, information: Dataset | None) -> int:
    """Send a report of storage commitment, and return the status."""
    status, _ = association.send_n_event_report(  # type: ignore[attr-defined]
        information, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
    )
    return int(status.Status)


def commitment(transaction: str | None) -> Dataset:
    """Return a report of one instance that is stored and one that is not."""
    information, stored, failed = Dataset(), Dataset(), Dataset()
    if transaction:
        information.TransactionUID = transaction
    stored.ReferencedSOPClassUID, stored.ReferencedSOPInstanceUID = CR, "1.2.1"
    failed.ReferencedSOPClassUID, failed.ReferencedSOPInstanceUID, failed.FailureReason = CR, "1.2.2", 0x0112
    information.ReferencedSOPSequence, information.FailedSOPSequence = [stored], [failed]
    return information


def test_listener_takes_reports(shared: tuple[Listener, MemoryIntake]) -> None:
    listener, intake = shared
    with raw_association(listener, "VIEWER") as association:
        assert report(association, commitment("1.2.9")) == 0
        assert report(association, commitment(None)) == 0x0115
        intake.is_available = False
        assert report(association, commitment("1.2.9")) == 0x0110
        intake.is_available = True
    (kept,) = intake.reports
    assert (kept.peer, kept.transaction_uid, kept.stored, kept.failed) == (
        "viewer",
        "1.2.9",
        ("1.2.1",),
        {"1.2.2": 0x0112},
    )


# --- hostile peers ---

ASSOCIATE_RQ, P_DATA, RELEASE_RQ, ABORT = 1, 4, 5, 7


def pdu(kind: int, content: bytes = b"", length: int | None = None) -> bytes:
    """Return a protocol data unit, with any announced length."""
    return struct.pack(">BBL", kind, 0, len(content) if length is None else length) + content


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        pdu(ASSOCIATE_RQ, length=0xFFFFFFFF),
        pdu(ASSOCIATE_RQ, bytes(68)),
        pdu(ASSOCIATE_RQ, b"\0\1\0\0" + b"BONEAGE".ljust(16) + b"DXROOM1".ljust(16) + bytes(32) + b"\x10\0\xff\xff"),
        pdu(P_DATA, b"\0\0\0\2\1\3"),
        pdu(RELEASE_RQ, bytes(4)),
        pdu(ABORT, bytes(4)) * 100,
        pdu(9),
    ],
)
def test_listener_survives_first_bytes(shared: tuple[Listener, MemoryIntake], data: bytes) -> None:
    """Whatever the first bytes are, the connection ends within the limit of time, and others are served meanwhile."""
    listener, _ = shared
    with connection(listener) as opened:
        opened.sendall(data)
        assert is_served(listener)
        opened.settimeout(8.0)
        try:
            while opened.recv(4096):
                pass
        except ConnectionResetError:
            pass
    wait_for(lambda: listener.associations == 0)


def test_listener_rejects_too_many_contexts(shared: tuple[Listener, MemoryIntake]) -> None:
    """A request with more contexts than there are identifiers is rejected."""
    listener, _ = shared
    names = b"\x30\0\0\x11" + b"1.2.840.10008.1.1" + b"\x40\0\0\x11" + b"1.2.840.10008.1.2"
    context = b"\x20\0" + struct.pack(">H", 4 + len(names)) + b"\1\0\0\0" + names
    user = b"\x50\0\0\x08\x51\0\0\4\0\0\x40\0"
    head = b"\0\1\0\0" + b"BONEAGE".ljust(16) + b"DXROOM1".ljust(16) + bytes(32)
    head += b"\x10\0\0\x15" + b"1.2.840.10008.3.1.1.1"
    for count, kind in ((128, 2), (129, 3)):
        with connection(listener) as opened:
            opened.sendall(pdu(ASSOCIATE_RQ, head + context * count + user))
            assert opened.recv(1) == bytes([kind])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=300), st.none() | st.integers(0, 2**32 - 1)), max_size=4)
)
def test_listener_survives_any_units(
    shared: tuple[Listener, MemoryIntake], units: list[tuple[int, bytes, int | None]]
) -> None:
    listener, _ = shared
    with connection(listener) as opened:
        try:
            for unit in units:
                opened.sendall(pdu(*unit))
        except OSError:  # it was closed
            pass
    assert is_served(listener)


@pytest.mark.parametrize(
    "data",
    [
        pdu(P_DATA, b"\0\0\0\2\1"),
        pdu(P_DATA, b"\0\0\0\1\1"),
        pdu(P_DATA, b"\0\0\0\4\1\3\0\0"),
        pdu(P_DATA, b"\0\0\xff\xff\1\3"),
        pdu(P_DATA, struct.pack(">LBB", 60_002, 1, 1) + bytes(60_000)) * 2,  # command set without an end
        pdu(P_DATA, struct.pack(">LBB", 12, 1, 3) + b"\0\0\0\1\x02\0\0\0\x30\0"),  # neither command set type nor UID
        pdu(ASSOCIATE_RQ, bytes(68)),
        pdu(P_DATA, length=2**31),
        b"\4\0\0",
    ],
)
def test_listener_aborts_malformed_messages(shared: tuple[Listener, MemoryIntake], data: bytes) -> None:
    """A peer that breaks the protocol within an association loses it, and its place comes free."""
    listener, intake = shared
    with raw_association(listener) as association:
        opened = association.dul.socket
        assert opened is not None
        assert opened.socket is not None
        opened.socket.sendall(data)
        wait_for(lambda: listener.associations == 0)
    assert intake.reasons[-1] is DenialReason.MALFORMED
    assert is_served(listener)


def is_open(connected: socket.socket) -> bool:
    """Return whether the other end has not closed a connection on which it sends nothing."""
    connected.settimeout(0.01)
    try:
        return connected.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False


def test_listener_drops_flood_of_connections() -> None:
    """Connections without an association are limited in number; the peer is served again when they end."""
    with listening(MemoryIntake(), timeout_seconds=60.0) as listener:
        with ExitStack() as stack:
            connected = [stack.enter_context(connection(listener)) for _ in range(60)]
            wait_for(lambda: sum(is_open(one) for one in connected) == 16)
        wait_for(lambda: is_served(listener))


def test_listener_forgets_closed_connections() -> None:
    """Connections that end at once, such as the checks of a monitor, take no places until the timeout."""
    with listening(MemoryIntake(), timeout_seconds=60.0) as listener:
        for number in range(100):
            with connection(listener) as opened:
                opened.sendall(pdu(P_DATA, b"x")[: 20 * (number % 2)])
        wait_for(lambda: is_served(listener), 3.0)


def test_listener_closes_silent_association() -> None:
    """An association without messages is aborted."""
    with listening(MemoryIntake(), idle_seconds=1.0) as listener, raw_association(listener):
        wait_for(lambda: listener.associations == 1)
        wait_for(lambda: listener.associations == 0)


def test_listener_serves_while_store_is_slow() -> None:
    """A slow store for one peer does not delay the answer to another."""
    intake = MemoryIntake(seconds=2.0)
    with listening(intake, MODALITY, PACS) as listener:
        sending = threading.Thread(target=send, args=(node_peer(listener), sender_settings(), [instance_file()]))
        sending.start()
        begun = time.monotonic()
        assert is_served(listener, "PACS")
        assert time.monotonic() - begun < 1.5
        sending.join()
    assert len(intake.taken) == 1


# --- start, stop, logs ---


def test_listener_stops_completely() -> None:
    """After `stop` no thread of the listener is left, and its port is free, whatever peers do."""
    before = set(threading.enumerate())
    with listening(MemoryIntake()) as listener:
        port = listener.port
        with raw_association(listener), connection(listener):
            listener.stop()
        with listening(MemoryIntake(), port=port) as second:
            assert is_served(second)
    wait_for(lambda: set(threading.enumerate()) <= before)


def test_listener_answers_before_it_stops() -> None:
    """An instance at hand is kept and answered, though the listener stops."""
    intake, outcomes = MemoryIntake(seconds=1.0), []
    with listening(intake) as listener:
        peer = node_peer(listener)
        sending = threading.Thread(target=lambda: outcomes.extend(send(peer, sender_settings(), [instance_file()])))
        sending.start()
        wait_for(lambda: listener.associations == 1)
        time.sleep(0.5)
    sending.join()
    assert [one.result for one in outcomes] == [Result.DONE]


def test_listener_ends_without_denial() -> None:
    """A peer that aborts between messages, as some do in place of a release, broke nothing."""
    intake = MemoryIntake()
    with listening(intake) as listener:
        with raw_association(listener) as association:
            assert store_raw(association, implicit_data(instance_file(SOPInstanceUID="1.2.3.4"))) == 0
        wait_for(lambda: listener.associations == 0)
    assert intake.reasons == []


def test_listener_port_in_use(shared: tuple[Listener, MemoryIntake]) -> None:
    listener, intake = shared
    for host, port, code in (("127.0.0.1", listener.port, "port_in_use"), ("203.0.113.7", 0, "address_invalid")):
        with pytest.raises(ConfigurationError) as error:
            Listener(configuration(host=host, port=port), intake).start()
        assert error.value.code == code


def test_listener_logs_no_patient(shared: tuple[Listener, MemoryIntake], caplog: pytest.LogCaptureFixture) -> None:
    """Logs hold no name, identifier or date of a patient, whether an instance is kept or not."""
    listener, _ = shared
    names = {"PatientName": "Secret^Person", "PatientID": "SECRETID", "PatientBirthDate": "20111213"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = [
            instance_file(**names),
            instance_file(**names, StudyInstanceUID=None),
            instance_file(**(names | {"PatientBirthDate": "Secret", "PatientID": "SECRETID" * 20})),
        ]
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    send(node_peer(listener), sender_settings(), files)
    assert caplog.records
    assert not [one for one in caplog.messages if "secret" in one.lower() or "20111213" in one]
