"""Verification of a peer (C-ECHO), and the classes that it accepts."""

from __future__ import annotations

from collections.abc import Sequence

from boneage.node.configuration import NodeSettings, Peer
from boneage.node.outcome import EchoOutcome


def echo(peer: Peer, node: NodeSettings, sop_classes: Sequence[str] = ()) -> EchoOutcome:
    """Open an association with a peer, ask for its answer, and release it. Nothing is stored.

    Args:
        peer: the peer.
        node: the node, with its AE title and certificates.
        sop_classes: UIDs of classes that are proposed beside Verification, to learn which it accepts.

    Returns:
        The outcome. Nothing is raised for a fault of peer or network.
    """
    raise NotImplementedError
