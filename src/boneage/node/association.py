"""Associations over pynetdicom, with bounds that it lacks.

pynetdicom reads a protocol data unit (PDU) of any announced length, waits for its bytes without any limit of time, and
collects messages without any limit of size. The classes here put limits on all three, in both directions.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
import warnings
from importlib.metadata import version
from typing import Any, cast

from pydicom.uid import UID
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL, N_EVENT_REPORT
from pynetdicom.fsm import StateMachine
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AddressInformation, AssociationSocket

from boneage.errors import ConfigurationError
from boneage.node.configuration import NodeSettings, TLSFiles

logger = logging.getLogger(__name__)

IMPLEMENTATION_CLASS_UID = UID("2.25.145879031826790513840726918113374015562")
"""Implementation Class UID of the program (PS3.7, D.3.3.2)."""
LARGEST_PDU_BYTES = 131_072
"""Maximum Length that the node announces for P-DATA (PS3.8, D.1)."""
_LARGEST_READ_BYTES = 262_144
"""Bytes of any PDU that are read. Requests of 128 presentation contexts take some 30 kB; pynetdicom needs 0.4 s for
the worst one of this size, and quadratically more for longer ones."""
_LARGEST_COMMAND_BYTES = 65_536
"""Bytes of a command set. The longest usual one has some hundred."""
_MOST_WAITING_MESSAGES = 2
"""Messages of an association that may wait for an answer before no more is read from its connection."""
_MOST_REPORTS = 100
"""Reports on an association of the node's own. Each of them is served by a thread."""
_MALFORMED = "Evt19"
"""Event of a unit that is unrecognised or invalid (PS3.8, 9.2)."""
_IDLE = "Sta1"
"""State without a connection (PS3.8, 9.2.1)."""
_POLL_SECONDS = 0.005
"""Pause of a connection's thread when nothing has arrived. pynetdicom's 1 ms keeps an idle association busy."""

_config.LOG_HANDLER_LEVEL = "none"  # its handlers would log identifiers, which hold names
_config.UNRESTRICTED_STORAGE_SERVICE = True  # a receiver that rejects a class stops the forwarding of whole studies
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # errors quote what arrived
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")  # so do warnings, on each malformed UID


def implementation_version() -> str:
    """Return the Implementation Version Name, at most 16 characters (PS3.7, D.3.3.2)."""
    return f"BONEAGE_{version('boneage')}"[:16]


class BoundedSocket(AssociationSocket):
    """Connection whose reads and writes end in time, and whose PDUs have a largest length."""

    @property
    def ready(self) -> bool:
        """Return whether there is something to read, which is left unread while messages wait for an answer."""
        return self.assoc.dimse.msg_queue.qsize() < _MOST_WAITING_MESSAGES and super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        """Read a number of bytes, or fewer if the connection ends.

        Raises:
            OSError: there are too many of them, or they do not arrive in time.
        """
        if nr_bytes > _LARGEST_READ_BYTES:
            raise OSError("the PDU is too long")
        seconds = self.assoc.acse_timeout or 0.0
        deadline = time.monotonic() + seconds
        received = bytearray()
        while len(received) < nr_bytes:
            connection = self.socket
            left = deadline - time.monotonic()
            if connection is None or left <= 0:
                raise TimeoutError("the PDU did not arrive in time")
            connection.settimeout(left)
            part = connection.recv(min(65_536, nr_bytes - len(received)))
            if not part:
                break
            received += part
        if self.socket is not None:
            self.socket.settimeout(seconds)  # for writing
        return received

    def _shutdown_socket(self) -> None:
        """Close the connection, also one that was never made."""
        connection = self.socket
        if connection is None:
            return
        with contextlib.suppress(OSError):  # it is not connected; otherwise this ends a read in another thread
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()


class BoundedStates(StateMachine):
    """State machine of a connection that ends the connection at an event which has no place in its state."""

    def do_action(self, event: str) -> None:
        """Run the action of an event. pynetdicom would let the thread die, and leave the connection open."""
        try:
            if event == _MALFORMED and isinstance(self.dul.assoc.dimse, BoundedMessages):
                self.dul.assoc.dimse.is_malformed = True
            super().do_action(event)
        except Exception as error:  # an invalid event, or a unit that turns out to be malformed
            logger.warning("a connection ends with an error (%s)", type(error).__name__)
            close(self.dul.assoc)
        if self.current_state == _IDLE and self.dul.assoc.is_acceptor:
            # The connection is over. The thread that waits for a request would otherwise wait until its timeout.
            self.dul.to_user_queue.put(cast(Any, None))


class BoundedMessages(DIMSEServiceProvider):
    """Messages that are collected up to a largest size. A longer data set is cut.

    Attributes:
        largest_bytes: largest data set, bytes. One byte more is kept, so that a receiver sees that it is too long.
        is_malformed: the peer broke the protocol.
    """

    def __init__(self, assoc: Association, largest_bytes: int) -> None:
        super().__init__(assoc)
        self.largest_bytes = largest_bytes
        self.is_malformed = False
        self._command_bytes = self._data_bytes = self._reports = 0

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a part of a message. A peer that breaks the protocol is aborted."""
        try:
            fragments = primitive.presentation_data_value_list
            fragments[:] = [(context, self._bounded(fragment)) for context, fragment in fragments]
            self._receive(primitive)
        except Exception as error:  # nearly any; the thread of the connection would end with it
            logger.warning("a message is malformed (%s): its association is aborted", type(error).__name__)
            self.dul.event_queue.put(_MALFORMED)

    def _receive(self, primitive: P_DATA) -> None:
        self.message = self.message or DIMSEMessage()
        if not self.message.decode_msg(primitive, self.assoc):
            return
        context, received = self.message.context_id, self.message.message_to_primitive()
        self.message, self._command_bytes, self._data_bytes = None, 0, 0
        if isinstance(received, N_EVENT_REPORT) and received.is_valid_request and self.assoc.is_requestor:
            # The thread of the association may be waiting for the response to its own request.
            self._reports += 1
            if self._reports > _MOST_REPORTS:
                raise ValueError("there are too many reports")
            threading.Thread(target=self.assoc._serve_request, args=(received, context), daemon=True).start()
        elif not isinstance(received, C_CANCEL):  # nothing that is served can be cancelled
            self.msg_queue.put((context or 0, received))

    def _bounded(self, fragment: bytes) -> bytes:
        """Return a fragment, shortened to what may still be kept. Its first byte is the control header."""
        length = len(fragment) - 1
        if fragment[0] & 1:
            self._command_bytes += length
            if self._command_bytes > _LARGEST_COMMAND_BYTES:
                raise ValueError("the command set is too long")
            return fragment
        kept = max(0, min(length, self.largest_bytes + 1 - self._data_bytes))
        self._data_bytes += kept
        return fragment[: 1 + kept]


class Entity(AE):
    """Application entity of the node, with its limits.

    Args:
        node: the node.
    """

    def __init__(self, node: NodeSettings) -> None:
        super().__init__(node.ae_title)
        self.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self.implementation_version_name = implementation_version()
        self.maximum_pdu_size = LARGEST_PDU_BYTES
        self.maximum_associations = 100_000  # the listener counts for itself
        self.acse_timeout = self.dimse_timeout = self.connection_timeout = node.timeout_seconds
        self.network_timeout = node.idle_seconds
        self.largest_bytes = node.object_mebibytes * 2**20

    def _create_socket(
        self, assoc: Association, address: AddressInformation, tls_args: tuple[ssl.SSLContext, str] | None
    ) -> AssociationSocket:
        bound_messages(assoc, self.largest_bytes)
        made = BoundedSocket(assoc, address=address)
        made.tls_args = tls_args
        return made


def bound_messages(association: Association, largest_bytes: int) -> None:
    """Put the limits on messages on an association that has not begun."""
    association.dimse = BoundedMessages(association, largest_bytes)
    association.dul.state_machine = BoundedStates(association.dul)
    association.dul._run_loop_delay = _POLL_SECONDS  # there is no other way
    association.dul.daemon = True


def ended_badly(association: Association) -> bool:
    """Return whether a peer broke the protocol, left a message incomplete or fell silent."""
    messages = association.dimse
    is_malformed = isinstance(messages, BoundedMessages) and messages.is_malformed
    return is_malformed or messages.message is not None or association.dul.idle_timer_expired()


def close(association: Association) -> None:
    """End an association's connection and threads, whatever state they are in."""
    association.dul.kill_dul()
    if association.dul.socket is not None:
        association.dul.socket._shutdown_socket()


def tls_context(files: TLSFiles, *, server: bool) -> ssl.SSLContext:
    """Return the context of TLS connections: version 1.2 or later, with certificates on both ends.

    Args:
        files: certificates of the node.
        server: the node accepts the connections.

    Raises:
        ConfigurationError: ``pacs_invalid``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(files.cert, files.key, password="")  # a protected key is an error, not a question
        context.load_verify_locations(files.ca)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise ConfigurationError("pacs_invalid", f"The certificates of node.tls cannot be used: {error}.") from error
    return context
