"""Sending of result objects by C-STORE."""

from __future__ import annotations

from collections.abc import Sequence

from boneage.node.configuration import NodeSettings, Peer
from boneage.node.outcome import SendOutcome


def send(peer: Peer, node: NodeSettings, files: Sequence[bytes]) -> list[SendOutcome]:
    """Send DICOM files to a peer over one association, in this order.

    A structured report whose class the peer does not accept goes out in a simpler one (`boneage.node.fall_back`); the
    outcome has the UIDs as sent. After a failure of the association the rest is not attempted and has its outcome.

    Args:
        peer: receiver.
        node: the node, with its AE title and certificates.
        files: DICOM files (PS3.10).

    Returns:
        One outcome for each file, in the same order. Nothing is raised for a fault of peer or network.
    """
    raise NotImplementedError
