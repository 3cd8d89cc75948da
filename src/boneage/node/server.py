"""Server of the listener: connections of a bounded number, of which none can hold up another."""

from __future__ import annotations

import logging
import socket
import ssl
import sys
import threading
from collections import Counter
from copy import deepcopy
from typing import Any, Protocol

from pynetdicom import evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.transport import AddressInformation, RequestHandler, ThreadedAssociationServer

from boneage.node.association import BoundedSocket, Entity, bound_messages, close
from boneage.node.callers import plain_address

logger = logging.getLogger(__name__)


class Service(Protocol):
    """Decisions and answers of the node, for which the server calls from many threads."""

    def may_connect(self, address: str, pending: Counter[str]) -> bool:
        """Return whether a new connection is served.

        Args:
            address: its IP address.
            pending: open connections without an accepted association, by address.
        """

    def is_served(self, association: Association) -> bool:
        """Return whether an association was accepted."""

    def requested(self, event: evt.Event) -> None:
        """Accept or reject an association (EVT_REQUESTED)."""

    def store(self, event: evt.Event) -> int:
        """Answer a C-STORE request (EVT_C_STORE) with its status."""

    def report(self, event: evt.Event) -> tuple[int, None]:
        """Answer a report of storage commitment (EVT_N_EVENT_REPORT) with its status."""

    def ended(self, association: Association) -> None:
        """Note that the thread of an association has ended."""


class _ServedAssociation(Association):
    """Association of the listener, which always reports its end to its server."""

    server: Server

    def run_reactor(self) -> None:
        """Serve the association. Whatever a peer sends, its threads and its connection end."""
        try:
            super().run_reactor()
        except Exception as error:  # a malformed request, for example
            logger.warning("an association ends with an error (%s)", type(error).__name__)
        finally:
            close(self)
            self.server.forget(self)


class _Connection(RequestHandler):
    """Connection that becomes an association. It runs in a thread of its own."""

    server: Server
    request: socket.socket

    def setup(self) -> None:
        """Limit the time of the connection, and negotiate TLS within that time."""
        self.request.settimeout(self.server.ae.acse_timeout)
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)

    def handle(self) -> None:
        """Start the association."""
        self._create_association().start()

    def _create_association(self) -> Association:
        entity, service = self.server.entity, self.server.service
        association = _ServedAssociation(entity, MODE_ACCEPTOR)
        association.server = association._server = self.server
        association.name = f"AcceptorThread-{self.client_address[0]}"
        bound_messages(association, entity.largest_bytes)
        association.set_socket(BoundedSocket(association, client_socket=self.request))
        acceptor = association.acceptor
        acceptor.maximum_length, acceptor.ae_title = entity.maximum_pdu_size, self.server.ae_title
        acceptor.address_info, association.requestor.address_info = self.local, self.remote
        acceptor.implementation_version_name = entity.implementation_version_name
        acceptor.supported_contexts = deepcopy(self.server.contexts)
        association.bind(evt.EVT_REQUESTED, service.requested)
        association.bind(evt.EVT_C_STORE, service.store)
        association.bind(evt.EVT_N_EVENT_REPORT, service.report)
        self.server.note(association, self.client_address)
        return association


class Server(ThreadedAssociationServer):
    """Server whose connections are limited in number, and which never waits for a single one of them."""

    request_queue_size = 64
    daemon_threads = True

    def __init__(
        self, entity: Entity, address: AddressInformation, service: Service, tls: ssl.SSLContext | None
    ) -> None:
        self.entity, self.service, self.tls = entity, service, tls
        self._lock = threading.Lock()
        self._open: dict[Any, Association | None] = {}
        super().__init__(
            entity, address.as_tuple, entity.ae_title, entity.supported_contexts, request_handler=_Connection
        )

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether a new connection is served."""
        with self._lock:
            pending = Counter(
                plain_address(one[0])
                for one, association in self._open.items()
                if association is None or not self.service.is_served(association)
            )
            if not self.service.may_connect(plain_address(client_address[0]), pending):
                return False
            self._open[client_address] = None
            return True

    def note(self, association: Association, client_address: Any) -> None:
        """Note the association of a connection."""
        with self._lock:
            self._open[client_address] = association

    def forget(self, association: Association) -> None:
        """Note that the thread of an association has ended."""
        with self._lock:
            self._open = {address: one for address, one in self._open.items() if one is not association}
        self.service.ended(association)

    def open_associations(self) -> list[Association]:
        """Return the associations whose threads have not ended."""
        with self._lock:
            return [one for one in self._open.values() if one is not None]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note that a connection did not become an association; TLS was not negotiated, for example."""
        logger.warning("a connection from %s fails (%s)", client_address[0], type(sys.exception()).__name__)
        with self._lock:
            self._open.pop(client_address, None)
