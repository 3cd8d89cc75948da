"""TLS connections need certificates on both ends, and a stranger holds nobody up."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from boneage.errors import ConfigurationError
from boneage.node.association import implementation_version, tls_context
from boneage.node.configuration import TLSFiles
from boneage.node.echo import echo
from boneage.node.outcome import Result
from boneage.node.sender import send
from tests.node.certificates import Certificates
from tests.node.parts import MODALITY, MemoryIntake, instance_file, listening, node_peer, sender_settings


def test_tls_both_ways(certificates: Certificates) -> None:
    """A peer with a certificate stores; one without TLS, with a foreign certificate or for another name does not."""
    intake = MemoryIntake()
    tls = replace(certificates.node, required=True)
    with listening(intake, MODALITY, tls=tls, timeout_seconds=1.0) as listener:
        peer = node_peer(listener, tls=True)
        good = sender_settings(tls=certificates.peer, timeout_seconds=2.0)
        with socket.create_connection(("127.0.0.1", listener.port)):  # silent in the middle of the negotiation
            (outcome,) = send(peer, good, [instance_file()])
        assert outcome.result is Result.DONE
        assert echo(replace(peer, tls_name="node.example.org"), good).result is Result.DONE
        assert echo(replace(peer, tls_name="elsewhere.example.org"), good).result is Result.RETRY
        assert echo(replace(peer, tls=False), good).result is Result.RETRY
        stranger = sender_settings(tls=certificates.stranger, timeout_seconds=2.0)
        assert echo(peer, stranger).result is Result.RETRY
        assert echo(peer, good).result is Result.DONE
    assert len(intake.taken) == 1


def test_tls_sender_checks_server(certificates: Certificates) -> None:
    """The node does not send to a server whose certificate another authority signed."""
    tls = replace(certificates.stranger, required=True)
    with listening(MemoryIntake(), MODALITY, tls=tls, timeout_seconds=1.0) as listener:
        node = sender_settings(tls=certificates.peer, timeout_seconds=2.0)
        assert echo(node_peer(listener, tls=True), node).result is Result.RETRY


def test_tls_context_of_bad_files(certificates: Certificates) -> None:
    """Files that are no certificates, or do not belong together, are named at the start."""
    good, foreign = certificates.node, certificates.stranger
    for files in (replace(good, key=foreign.key), replace(good, ca=good.key), TLSFiles("a", "b", "c")):
        with pytest.raises(ConfigurationError) as error:
            tls_context(files, server=True)
        assert error.value.code == "pacs_invalid"


def test_implementation_version() -> None:
    assert implementation_version().startswith("BONEAGE_")
    assert len(implementation_version()) <= 16
