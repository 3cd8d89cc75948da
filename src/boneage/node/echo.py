"""Verification of a peer (C-ECHO), and the classes that it accepts."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from boneage.node.configuration import NodeSettings, Peer
from boneage.node.outcome import EchoOutcome, OutcomeCode, RequestError, Result, judge_status
from boneage.node.requesting import accepted_classes, associated, no_response


def echo(peer: Peer, node: NodeSettings, sop_classes: Sequence[str] = ()) -> EchoOutcome:
    """Open an association with a peer, ask for its answer, and release it. Nothing is stored.

    Args:
        peer: the peer.
        node: the node, with its AE title and certificates.
        sop_classes: UIDs of classes that are proposed beside Verification, to learn which it accepts.

    Returns:
        The outcome. Nothing is raised for a fault of peer or network.
    """
    begun = time.monotonic()
    accepted: frozenset[str] = frozenset()
    try:
        with associated(peer, node, [Verification, *sop_classes]) as association:
            accepted = accepted_classes(association) - {Verification}
            try:
                response = association.send_c_echo()
            except ValueError:
                raise RequestError(Result.DEAD, OutcomeCode.NOT_ACCEPTED) from None
            except RuntimeError:  # the association ended
                raise no_response(association, 0.0) from None
            seconds = time.monotonic() - begun
            if "Status" not in response:
                raise no_response(association, seconds)
            status = int(response.Status)
    except RequestError as error:
        return EchoOutcome(error.outcome.result, error.outcome.code, None, accepted, time.monotonic() - begun)
    return EchoOutcome(*judge_status(status), status, accepted, seconds)
