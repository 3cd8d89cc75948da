"""Check of a configuration: the node's own address and certificates, and what each peer answers and accepts."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind  # type: ignore[attr-defined]

from boneage.errors import ConfigurationError
from boneage.node.association import tls_context
from boneage.node.configuration import NodeConfiguration, NodeSettings, Peer
from boneage.node.echo import echo
from boneage.node.outcome import EchoOutcome, OutcomeCode, Result
from boneage.node.result_classes import RESULT_CLASSES


@dataclass(frozen=True)
class PeerCheck:
    """Answer of a peer.

    Attributes:
        peer: the peer.
        outcome: outcome of the C-ECHO.
        accepted: accepted services of those that the configuration needs, such as ``sr`` and ``commitment``, with the
            UID of the class.
        missing: services that it does not accept.
    """

    peer: Peer
    outcome: EchoOutcome
    accepted: dict[str, str]
    missing: tuple[str, ...]

    @property
    def is_ready(self) -> bool:
        """Return whether the peer answers and accepts all that is needed."""
        return self.outcome.result is Result.DONE and not self.missing


def check_address(node: NodeSettings) -> bool:
    """Check the certificates and the address of the node.

    Returns:
        True if the node can listen there, False if a DICOM node listens there already: probably this one.

    Raises:
        ConfigurationError: ``pacs_invalid``, ``address_invalid`` or ``port_in_use``.
    """
    if node.tls.is_set:
        tls_context(node.tls, server=True)
    place = f"{node.host}:{node.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(node.host, node.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            reason = error.strerror or str(error)
            raise ConfigurationError("address_invalid", f"The node cannot listen at {place}: {reason}.") from error
        itself = Peer("node", node.ae_title, node.host, node.port, tls=node.tls.required)
        if echo(itself, node).code in {OutcomeCode.REJECTED, OutcomeCode.SUCCESS}:  # it does not know itself as a peer
            return False
        raise ConfigurationError("port_in_use", f"Another program listens at {place}.") from error
    return True


def check_peer(peer: Peer, node: NodeSettings) -> PeerCheck:
    """Ask a peer for its answer, and for what it accepts. Nothing is stored.

    Args:
        peer: a peer with a port.
        node: the node.
    """
    needed: dict[str, tuple[str, ...]] = {kind: RESULT_CLASSES[kind] for kind in peer.results}
    if peer.commit:
        needed |= {"commitment": (StorageCommitmentPushModel,), "query": (StudyRootFind,)}
    outcome = echo(peer, node, [uid for classes in needed.values() for uid in classes])
    accepted = {
        name: uid
        for name, classes in needed.items()
        if (uid := next((one for one in classes if one in outcome.accepted), ""))
    }
    missing = tuple(name for name in needed if name not in accepted) if outcome.result is Result.DONE else ()
    return PeerCheck(peer, outcome, accepted, missing)


def check_peers(configuration: NodeConfiguration) -> list[PeerCheck]:
    """Check all peers that have a port, in the order of the file."""
    return [check_peer(peer, configuration.node) for peer in configuration.peer if peer.port]
