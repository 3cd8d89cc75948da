"""Requests for storage commitment (N-ACTION)."""

from __future__ import annotations

from collections.abc import Sequence

from boneage.node.configuration import NodeSettings, Peer
from boneage.node.outcome import Outcome, Reference


def request_commitment(
    peer: Peer, node: NodeSettings, transaction_uid: str, references: Sequence[Reference]
) -> Outcome:
    """Ask a peer to vouch for instances that it stored (PS3.4, annex J).

    The report comes later, on an association that the peer opens to the node's listener.

    Args:
        peer: receiver of the instances.
        node: the node, with its AE title and certificates.
        transaction_uid: new UID, which the report repeats.
        references: the instances, at least one.

    Returns:
        `Result.DONE` if the peer took the request. Nothing is raised for a fault of peer or network.
    """
    raise NotImplementedError
