"""The listener: C-STORE and C-ECHO as SCP, and reports of storage commitment."""

from __future__ import annotations

import errno
import logging
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE, N_EVENT_REPORT
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]
from pynetdicom.transport import AddressInformation

from boneage.errors import ConfigurationError
from boneage.node.answers import Answers
from boneage.node.association import Entity, close, ended_badly, tls_context
from boneage.node.callers import CallerList, plain_address
from boneage.node.configuration import NodeConfiguration
from boneage.node.intake import Caller, DenialReason, Intake
from boneage.node.server import Server
from boneage.node.transfer_syntaxes import by_preference

logger = logging.getLogger(__name__)

_STOP_SECONDS = 5.0
"""Longest wait for a thread to end when the listener stops."""
_POLL_SECONDS = 0.05
"""Longest time until the thread that accepts connections sees that the listener stops."""
_ANSWER_SECONDS = 0.1
"""Time in which the last answers reach the network when the listener stops."""
_NAMES_SECONDS = 60.0
"""Time between two requests to the name service for the addresses of the peers."""
_MOST_CONTEXTS = 128
"""Presentation contexts of one association: their identifiers are odd and below 256 (PS3.8, 9.3.2.2)."""
_MOST_PENDING = 16
"""Connections of one address of a peer that may be open without an association."""
_MOST_PENDING_UNKNOWN = 8
"""Connections of all other addresses together, which get a rejection and nothing else."""


class Listener:
    """Service class provider of the node. It stores through an intake and decodes no pixels.

    Args:
        configuration: address, limits, certificates and the peers that may call.
        intake: durable store.
    """

    def __init__(self, configuration: NodeConfiguration, intake: Intake) -> None:
        self._node, self._intake = configuration.node, intake
        self._callers = CallerList(configuration.peer)
        self._answers = Answers(self._callers, intake, self._node.object_mebibytes * 2**20)
        self._lock = threading.Lock()
        self._served: dict[Association, Caller] = {}
        self._answering = 0
        self._stopping = threading.Event()
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Port at which it listens; 0 before `start`."""
        return 0 if self._server is None else int(self._server.server_address[1])

    @property
    def associations(self) -> int:
        """Number of associations at the moment."""
        with self._lock:
            return len(self._served)

    def start(self) -> None:
        """Bind the address and serve in threads of its own.

        Raises:
            ConfigurationError: ``address_invalid``, ``port_in_use``, or ``pacs_invalid`` for certificates that cannot
                be used.
        """
        self._callers.refresh()
        entity = Entity(self._node)
        entity.add_supported_context(Verification)
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)  # the peer is its SCP
        context = tls_context(self._node.tls, server=True) if self._node.tls.required else None
        try:
            address = AddressInformation.from_addr_port(self._node.host, self._node.port)
            self._server = Server(entity, address, self, context)
        except OSError as error:
            reason = f"The DICOM node cannot listen at {self._node.host}:{self._node.port}: {error.strerror or error}."
            if error.errno == errno.EADDRINUSE:
                raise ConfigurationError("port_in_use", reason) from error
            raise ConfigurationError("address_invalid", reason) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="dicom-listener", daemon=True
        )
        self._thread.start()
        self._stopping.clear()
        threading.Thread(target=self._keep_names, name="dicom-names", daemon=True).start()

    def _keep_names(self) -> None:
        """Keep the addresses of the peers' host names up to date."""
        while not self._stopping.wait(_NAMES_SECONDS):
            self._callers.refresh()

    def stop(self) -> None:
        """Stop accepting, answer the messages at hand, and end all associations with their threads."""
        if self._server is None or self._thread is None:
            return
        socketserver.BaseServer.shutdown(self._server)
        self._server.server_close()
        self._thread.join(_STOP_SECONDS)
        self._stopping.set()
        deadline = time.monotonic() + _STOP_SECONDS
        while self._answering and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(_ANSWER_SECONDS)
        associations = self._server.open_associations()
        for association in associations:
            close(association)
        for association in associations:
            association.join(_STOP_SECONDS)
        self._server = self._thread = None

    # --- connections and associations ---

    def may_connect(self, address: str, pending: Counter[str]) -> bool:
        """Return whether a new connection is served.

        Args:
            address: its address.
            pending: open connections without an association, by address.
        """
        if self._callers.is_known_address(address):
            return pending[address] < _MOST_PENDING
        return sum(pending.values()) < _MOST_PENDING_UNKNOWN

    def is_served(self, association: Association) -> bool:
        """Return whether an association was accepted."""
        with self._lock:
            return association in self._served

    def requested(self, event: evt.Event) -> None:
        """Accept or reject an association (EVT_REQUESTED)."""
        association = event.assoc
        try:
            reason = self._admit(association)
        except Exception as error:
            # pynetdicom logs an exception of this handler and accepts the association.
            logger.exception("an association cannot be judged (%s): it is rejected", type(error).__name__)
            reason = DenialReason.MALFORMED
        if reason is not None:
            association.acse.send_reject(*_REJECTIONS[reason])
            association.kill()

    def _admit(self, association: Association) -> DenialReason | None:
        """Note an association as served, or return the reason why it is not."""
        request = association.requestor.primitive
        if not isinstance(request, A_ASSOCIATE):
            return DenialReason.MALFORMED
        title, called = (request.calling_ae_title or "").strip(), (request.called_ae_title or "").strip()
        caller = Caller(title, plain_address(association.requestor.address or "::"), called_ae_title=called)
        peer = self._callers.find(title, caller.address)
        if not self._node.is_called(called):
            return self._deny(DenialReason.CALLED_AE_TITLE, caller)
        if peer is None and self._is_own_check(association, title):
            return DenialReason.CALLER_UNKNOWN  # `boneage pacs check` asks whether the node runs: nobody is denied
        if peer is None:
            return self._deny(DenialReason.CALLER_UNKNOWN, caller)
        caller = replace(caller, peer=peer.name)
        contexts = request.presentation_context_definition_list
        if len(contexts) > _MOST_CONTEXTS:
            return self._deny(DenialReason.MALFORMED, caller)
        for context in contexts:
            context.transfer_syntax = list(by_preference(context.transfer_syntax))  # pynetdicom accepts the first one
        with self._lock:
            has_place = self._has_place(peer.name)
            if has_place:
                self._served[association] = caller
        return None if has_place else self._deny(DenialReason.TOO_MANY_ASSOCIATIONS, caller)

    def _is_own_check(self, association: Association, title: str) -> bool:
        """Return whether this machine calls by the node's own AE title (`boneage.node.check.check_address`)."""
        own = plain_address(association.acceptor.address or "::")
        return title == self._node.ae_title and plain_address(association.requestor.address or "::") == own

    def _has_place(self, peer: str) -> bool:
        """Return whether a peer may have another association. The last one is kept for a peer that has none."""
        places = self._node.associations - len(self._served)
        names = {caller.peer for caller in self._served.values()}
        last_is_kept = len(self._callers.names) > 1 and names == {peer} and self._node.associations > 1
        return places > (1 if last_is_kept else 0)

    def _deny(self, reason: DenialReason, caller: Caller) -> DenialReason:
        logger.warning("%s: %s calls from %s (%s)", reason.value, caller.ae_title, caller.address, caller.peer or "-")
        self._intake.denied(reason, caller)
        return reason

    def ended(self, association: Association) -> None:
        """Note that the thread of an association has ended."""
        with self._lock:
            caller = self._served.pop(association, None)
        if caller is not None and ended_badly(association):
            self._deny(DenialReason.MALFORMED, caller)

    # --- messages ---

    def store(self, event: evt.Event) -> int:
        """Answer a C-STORE request with its status (EVT_C_STORE)."""
        request = cast(C_STORE, event.request)
        with self._answered():
            return self._answers.store(request, event.context.transfer_syntax, self._caller(event))

    def report(self, event: evt.Event) -> tuple[int, None]:
        """Answer a report of storage commitment with its status (EVT_N_EVENT_REPORT)."""
        request = cast(N_EVENT_REPORT, event.request)
        with self._answered():
            return self._answers.report(request, event.context.transfer_syntax, self._caller(event)), None

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Count a message while its answer is made."""
        with self._lock:
            self._answering += 1
        try:
            yield
        finally:
            with self._lock:
                self._answering -= 1

    def _caller(self, event: evt.Event) -> Caller:
        with self._lock:
            return self._served[event.assoc]


_REJECTIONS: dict[DenialReason, tuple[int, int, int]] = {
    DenialReason.CALLED_AE_TITLE: (1, 1, 7),
    DenialReason.CALLER_UNKNOWN: (1, 1, 3),
    DenialReason.TOO_MANY_ASSOCIATIONS: (2, 3, 2),
    DenialReason.MALFORMED: (1, 1, 1),
}
"""Result, source and reason of A-ASSOCIATE-RJ (PS3.8, 9.3.4)."""
