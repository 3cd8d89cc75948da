"""Parts of the node's tests: an intake that remembers, configurations, and files of instances."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pydicom
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, build_context, build_role
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from boneage.node.association import Entity, close
from boneage.node.configuration import NodeConfiguration, NodeSettings, Peer
from boneage.node.instance import InstanceHeader, ReceivedInstance
from boneage.node.intake import Caller, CommitmentReport, DenialReason, IntakeUnavailableError
from boneage.node.listener import Listener
from tests.dicom.sources import source

CR = "1.2.840.10008.5.1.4.1.1.1"
"""SOP class Computed Radiography."""
MODALITY = Peer("modality", "DXROOM1", "127.0.0.1", 0, may_send=True)


@dataclass
class MemoryIntake:
    """Intake that keeps everything in memory."""

    taken: list[tuple[ReceivedInstance, InstanceHeader]] = field(default_factory=list)
    skipped: list[tuple[str, str, Caller]] = field(default_factory=list)
    reports: list[CommitmentReport] = field(default_factory=list)
    denials: list[tuple[DenialReason, Caller]] = field(default_factory=list)
    is_available: bool = True
    seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, instance: ReceivedInstance, header: InstanceHeader) -> None:
        """Keep an instance."""
        self._check()
        with self.lock:
            self.taken.append((instance, header))

    def skip(self, sop_class_uid: str, sop_instance_uid: str, caller: Caller) -> None:
        """Note an instance that is never read."""
        self._check()
        with self.lock:
            self.skipped.append((sop_class_uid, sop_instance_uid, caller))

    def committed(self, report: CommitmentReport) -> None:
        """Keep a report."""
        self._check()
        with self.lock:
            self.reports.append(report)

    def denied(self, reason: DenialReason, caller: Caller) -> None:
        """Note a denial."""
        with self.lock:
            self.denials.append((reason, caller))

    @property
    def reasons(self) -> list[DenialReason]:
        """Reasons of all denials."""
        with self.lock:
            return [reason for reason, _ in self.denials]

    def _check(self) -> None:
        time.sleep(self.seconds)
        if not self.is_available:
            raise IntakeUnavailableError("The database is away.")


def configuration(*peers: Peer, **settings: Any) -> NodeConfiguration:
    """Return a configuration of a node at a free port, with short timeouts."""
    usual: dict[str, Any] = {"port": 0, "timeout_seconds": 5.0, "idle_seconds": 20.0}
    return NodeConfiguration(peer=peers or (MODALITY,), node=NodeSettings(**(usual | settings)))


@contextmanager
def listening(intake: MemoryIntake, *peers: Peer, **settings: Any) -> Iterator[Listener]:
    """Start a listener, and stop it at the end of the block."""
    listener = Listener(configuration(*peers, **settings), intake)
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()


def node_peer(listener: Listener, **changes: Any) -> Peer:
    """Return the node as the peer of a sender in the test."""
    usual: dict[str, Any] = {"name": "node", "ae_title": "BONEAGE", "host": "127.0.0.1", "port": listener.port}
    return Peer(**(usual | changes))


def sender_settings(ae_title: str = "DXROOM1", **settings: Any) -> NodeSettings:
    """Return the settings by which a test sends to the node, with short timeouts."""
    usual: dict[str, Any] = {"ae_title": ae_title, "timeout_seconds": 5.0}
    return NodeSettings(**(usual | settings))


def instance_file(**elements: Any) -> bytes:
    """Return a drawn radiograph as a DICOM file with a new SOP Instance UID; None removes an element."""
    dataset = source(**({"SOPInstanceUID": generate_uid()} | elements))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3")
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "1.2.3")
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until a condition is true, and fail if it stays false."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@contextmanager
def raw_association(listener: Listener, ae_title: str = "DXROOM1", **changes: Any) -> Iterator[Association]:
    """Open an association with the node for contexts of CR, in Implicit VR Little Endian, and abort it at the end."""
    peer = node_peer(listener)
    entity = Entity(sender_settings(ae_title, **changes))
    contexts = [build_context(ComputedRadiographyImageStorage), build_context(StorageCommitmentPushModel)]
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    association = entity.associate(peer.host, peer.port, contexts, ae_title=peer.ae_title, ext_neg=[role])
    assert association.is_established
    try:
        yield association
    finally:
        association.abort()
        close(association)


def store_raw(association: Association, data: bytes, uid: str = "1.2.3.4", sop_class: str = CR) -> int | None:
    """Send any bytes as the data set of a C-STORE request, and return the status, or None without a response."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = UID(sop_class), UID(uid)
    request.DataSet = BytesIO(data)
    association._reactor_checkpoint.clear()
    wait_for(lambda: association._is_paused)
    (context,) = [
        one.context_id for one in association.accepted_contexts if one.abstract_syntax == CR and one.context_id
    ]
    association.dimse.send_msg(request, context)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return getattr(response, "Status", None)


def implicit_data(file: bytes) -> bytes:
    """Return the data set of a DICOM file in Implicit VR Little Endian."""
    dataset = pydicom.dcmread(BytesIO(file))
    return bytes(encode(dataset, True, True) or b"")


@contextmanager
def peer_serving(*handlers: Any, contexts: list[PresentationContext] | None = None, **settings: Any) -> Iterator[Peer]:
    """Serve a peer with handlers of its own for all storage classes, C-ECHO, C-FIND and storage commitment."""
    entity = AE("PACS")
    for name, value in settings.items():
        setattr(entity, name, value)
    entity.supported_contexts = contexts or [
        *AllStoragePresentationContexts[:120],
        build_context(ComprehensiveSRStorage),
        build_context(Verification),
        build_context(StudyRootQueryRetrieveInformationModelFind),
        build_context(StorageCommitmentPushModel),
    ]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers))
    assert server is not None
    try:
        yield Peer("pacs", "PACS", "127.0.0.1", server.server_address[1], results=("sc", "sr"), commit=True)
    finally:
        server.shutdown()
        entity.shutdown()
