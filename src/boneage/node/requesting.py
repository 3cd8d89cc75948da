"""Associations that the node requests, and what their failures mean."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext, build_context

from boneage.node.association import Entity, close, tls_context
from boneage.node.configuration import NodeSettings, Peer
from boneage.node.outcome import OutcomeCode, RequestError, Result
from boneage.reading.dicom.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE

TRANSFER_SYNTAXES = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
"""Transfer syntaxes that the node proposes."""

_TRANSIENT = 0x02
_USER, _UNKNOWN_NAMES = 0x01, {0x02, 0x03, 0x07}
"""Source and diagnostics of a rejection for an unknown application context or AE title (PS3.8, 9.3.4)."""


@contextmanager
def associated(
    peer: Peer, node: NodeSettings, sop_classes: Sequence[str], handlers: Sequence[evt.EventHandlerType] = ()
) -> Iterator[Association]:
    """Open an association with a peer, and release it at the end of the block, or abort it at an error.

    Args:
        peer: the peer.
        node: the node, with its AE title and certificates.
        sop_classes: UIDs for which presentation contexts are proposed, at most 128.
        handlers: handlers of events during the association.

    Raises:
        RequestError: there is no association.
    """
    entity = Entity(node)
    connected: list[bool] = []
    begun = time.monotonic()
    try:
        association = entity.associate(
            peer.host,
            peer.port,
            contexts=[_context(uid) for uid in dict.fromkeys(sop_classes)],
            ae_title=peer.ae_title,
            max_pdu=entity.maximum_pdu_size,
            tls_args=(tls_context(node.tls, server=False), peer.tls_name or peer.host) if peer.tls else None,
            evt_handlers=[(evt.EVT_CONN_OPEN, lambda _event: connected.append(True)), *handlers],
        )
    except OSError:  # the name service does not know the host
        raise RequestError(Result.RETRY, OutcomeCode.UNREACHABLE) from None
    if not association.is_established:
        close(association)
        raise _failure(association, is_connected=bool(connected), seconds=time.monotonic() - begun)
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    finally:
        if association.is_established:
            association.release()
        close(association)


def accepted_classes(association: Association) -> frozenset[str]:
    """Return the UIDs of the SOP classes for which the peer accepts a presentation context."""
    return frozenset(str(context.abstract_syntax) for context in association.accepted_contexts)


def no_response(association: Association, seconds: float) -> RequestError:
    """Return the failure of a request that had no valid response.

    Args:
        association: its association, which is over.
        seconds: time since the request.
    """
    is_late = association.dimse_timeout is not None and seconds >= association.dimse_timeout
    return RequestError(Result.RETRY, OutcomeCode.TIMEOUT if is_late else OutcomeCode.ABORTED)


def _context(sop_class: str) -> PresentationContext:
    return build_context(sop_class, list(TRANSFER_SYNTAXES))


def _failure(association: Association, *, is_connected: bool, seconds: float) -> RequestError:
    answer = association.acceptor.primitive
    if association.is_rejected and isinstance(answer, A_ASSOCIATE):
        if answer.result == _TRANSIENT:
            return RequestError(Result.RETRY, OutcomeCode.REJECTED_TRANSIENT)
        is_final = answer.result_source == _USER and answer.diagnostic in _UNKNOWN_NAMES
        return RequestError(Result.DEAD if is_final else Result.RETRY, OutcomeCode.REJECTED)
    if not is_connected:
        return RequestError(Result.RETRY, OutcomeCode.UNREACHABLE)
    if association.is_aborted and association.rejected_contexts and not association.accepted_contexts:
        return RequestError(Result.DEAD, OutcomeCode.NOT_ACCEPTED)
    is_late = association.acse_timeout is not None and seconds >= association.acse_timeout
    return RequestError(Result.RETRY, OutcomeCode.TIMEOUT if is_late else OutcomeCode.ABORTED)
