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
from boneage.node.check import check_address, check_peer, check_peers
from boneage.node.configuration import NodeConfiguration, Peer
from boneage.node.outcome import OutcomeCode
from tests.node.orthanc import free_port
from tests.node.parts import MODALITY, MemoryIntake, listening, peer_serving, sender_settings

NODE = sender_settings("BONEAGE", timeout_seconds=1.0)


def test_check_peer() -> None:
    """A peer that accepts everything is ready, with the class in which it takes reports."""
    with peer_serving() as peer:
        check = check_peer(peer, NODE)
    assert check.is_ready
    assert list(check.accepted) == ["sc", "sr", "commitment", "query"]


def test_check_peer_without_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)
    contexts = [build_context(one) for one in (Verification, SecondaryCaptureImageStorage, EnhancedSRStorage)]
    with peer_serving(contexts=contexts) as peer:
        check = check_peer(peer, NODE)
    assert not check.is_ready
    assert check.missing == ("commitment", "query")
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
