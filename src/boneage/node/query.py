"""Questions which instances a peer has (C-FIND)."""

from __future__ import annotations

from collections.abc import Sequence

from boneage.node.configuration import NodeSettings, Peer
from boneage.node.outcome import QueryOutcome, Reference


def find_stored(peer: Peer, node: NodeSettings, references: Sequence[Reference]) -> QueryOutcome:
    """Ask a peer which of some instances it has, at the level IMAGE of the study root (PS3.4, annex C).

    Args:
        peer: receiver of the instances.
        node: the node, with its AE title and certificates.
        references: the instances, with the UIDs of study and series.

    Returns:
        The instances that it has; with another result than `Result.DONE` they are incomplete. Nothing is raised for a
        fault of peer or network.
    """
    raise NotImplementedError
