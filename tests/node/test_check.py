"""The check of a configuration says what is missing."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
from pynetdicom import _config, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    Verification,
)

from boneage.errors import ConfigurationError
from boneage.node.check import check_address, check_destination, check_peer, check_peers
from boneage.node.configuration import NodeConfiguration, Peer
from boneage.node.destinations import DicomWebService, FhirServer, Hl7Receiver
from boneage.node.outcome import OutcomeCode
from tests.node.orthanc import free_port
from tests.node.parts import MODALITY, MemoryIntake, listening, peer_serving, sender_settings
from tests.node.web_servers import Reply, Request, closed_port, mllp_server, web_server

NODE = sender_settings("BONEAGE", timeout_seconds=1.0)


def test_check_peer() -> None:
    """A peer that accepts everything is ready, with the class in which it takes reports."""
    with peer_serving() as peer:
        check = check_peer(peer, NODE)
    assert check.is_ready
    assert list(check.accepted) == ["sc", "sr", "ko", "commitment", "query"]


def test_check_peer_without_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)
    contexts = [build_context(one) for one in (Verification, SecondaryCaptureImageStorage, EnhancedSRStorage)]
    with peer_serving(contexts=contexts) as peer:
        check = check_peer(peer, NODE)
    assert not check.is_ready
    assert check.missing == ("ko", "commitment", "query")
    assert check.accepted["sr"] == EnhancedSRStorage


def test_check_peers_that_are_away() -> None:
    away = Peer("pacs", "PACS", "127.0.0.1", free_port(), results=("sr",))
    (check,) = check_peers(NodeConfiguration(peer=(MODALITY, away), node=NODE))
    assert (check.is_ready, check.outcome.code, check.missing) == (False, OutcomeCode.UNREACHABLE, ())


def test_check_address() -> None:
    """A free address is usable; one with a DICOM node is in use; one with another program is a fault."""
    assert check_address(replace(NODE, port=0))
    intake = MemoryIntake()
    with listening(intake) as listener:
        assert not check_address(replace(NODE, port=listener.port))
    assert intake.reasons == [], "the check of a running node is no denial"
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ConfigurationError) as error:
        check_address(replace(NODE, port=server.getsockname()[1]))
    assert error.value.code == "port_in_use"
    with pytest.raises(ConfigurationError) as error:
        check_address(replace(NODE, host="203.0.113.7"))
    assert error.value.code == "address_invalid"


def test_check_destination_web() -> None:
    """The check searches a DICOMweb service for no study, and reads the capabilities of a FHIR server."""
    statement = {
        "resourceType": "CapabilityStatement",
        "fhirVersion": "4.0.1",
        "rest": [{"interaction": [{"code": "transaction"}]}],
    }

    def answer(request: Request) -> Reply:
        assert request.method == "GET"
        return Reply.json(200, statement if request.path.endswith("/metadata") else [])

    with web_server(answer) as server:
        service = DicomWebService(name="archive", url=server.url, results=("sr",), commit=True)
        assert check_destination(service, NODE).accepted == {"query": "QIDO-RS"}
        check = check_destination(FhirServer(name="charts", url=server.url), NODE)
        assert check.accepted == {"version": "FHIR 4.0.1", "transaction": "transaction"}
        assert check_destination(FhirServer(name="charts", url=server.url, version="R5"), NODE).missing == ("version",)
    with web_server(lambda _: Reply(404)) as server:
        service = DicomWebService(name="archive", url=server.url, results=("sr",))
        assert check_destination(service, NODE).is_ready, "without queries an object alone could show more"
        assert not check_destination(FhirServer(name="charts", url=server.url), NODE).is_ready


def test_check_destination_hl7() -> None:
    """A connection is opened and closed, and no message is sent."""
    with mllp_server() as server:
        assert check_destination(Hl7Receiver(name="ris", host="127.0.0.1", port=server.port), NODE).is_ready
    assert server.messages == []
    away = Hl7Receiver(name="ris", host="127.0.0.1", port=closed_port())
    assert check_destination(away, NODE).outcome.code is OutcomeCode.UNREACHABLE
