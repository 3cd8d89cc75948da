"""The work of the node besides listening: studies and results in one thread, and each receiver in a thread of its own.

A receiver that is slow or silent holds up no other one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from django.db import close_old_connections, connection

from boneage.node import query, stow
from boneage.node.commitment import request_commitment
from boneage.node.configuration import Destination, Peer
from boneage.node.delivery import deliver
from boneage.node.destinations import DicomWebService
from boneage.node.outcome import OutcomeCode, QueryOutcome, Result, SendOutcome
from boneage.web.node import outbox, results, studies, tallies
from boneage.web.node.models import Delivery
from boneage.web.node.pacs import node_configuration
from boneage.web.queue.jobs import DATABASE_AWAY, BusyError

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
"""Time between two looks at the database without work."""

_AWAY_SECONDS = 1.0
"""Time between two attempts while the database is unreachable."""

LONGEST_REST_SECONDS = 10.0
"""Longest time for which a receiver that cannot be reached is left alone; new deliveries to it wait so long."""

_NO_CONNECTION = (
    OutcomeCode.UNREACHABLE,
    OutcomeCode.TIMEOUT,
    OutcomeCode.ABORTED,
    OutcomeCode.REJECTED,
    OutcomeCode.REJECTED_TRANSIENT,
)


class Dispatcher:
    """The threads of the dispatcher.

    Args:
        worker: name of the process, never used before.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Stop after the present pieces of work."""
        self._stopping.set()

    def run_until_stopped(self) -> None:
        """Work until `stop` is called."""
        loops = {
            "results": self._advance,
            **{f"to-{peer.name}": Receiver(peer, self._worker).advance for peer in node_configuration().receivers()},
        }
        threads = [
            threading.Thread(target=self._repeat, args=(name, do), name=name, daemon=True) for name, do in loops.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _advance(self) -> float:
        try:
            worked = studies.advance() > 0
        except BusyError:  # the queue is full: the studies wait
            worked = False
        return 0.0 if results.advance(self._worker) or worked else POLL_SECONDS

    def _repeat(self, name: str, do: Callable[[], float]) -> None:
        """Call a function again and again.

        Args:
            name: name of the thread.
            do: function that returns the time until its next call, seconds.
        """
        away = False
        while not self._stopping.is_set():
            try:
                close_old_connections()
                pause = do()
                away = False
            except DATABASE_AWAY as error:
                if not away:
                    log.warning("%s waits for the database: %s", name, type(error).__name__)
                away, pause = True, _AWAY_SECONDS
                connection.close()
            except Exception:
                log.exception("%s has failed and goes on", name)
                pause = _AWAY_SECONDS
                connection.close()
            self._stopping.wait(pause)
        connection.close()


class Receiver:
    """Deliveries to one receiver.

    Args:
        peer: the receiver.
        worker: name of the process.
    """

    def __init__(self, peer: Destination, worker: str) -> None:
        self._peer = peer
        self._node = node_configuration().node
        self._worker = worker
        self._failures = 0

    def advance(self) -> float:
        """Send what is due, and ask for storage commitment. Return the time until the next call, seconds."""
        if self._send() or self._commit():
            return min(LONGEST_REST_SECONDS, float(self._failures))
        return POLL_SECONDS

    def _send(self) -> bool:
        claimed = outbox.claim(self._peer, self._worker)
        if not claimed:
            return False
        outcomes = deliver(self._peer, self._node, [bytes(one.result.file) for one in claimed])
        for delivery, outcome in zip(claimed, outcomes, strict=True):
            if outbox.finish(delivery, outcome, self._peer):
                outbox.count(delivery, outcome)
        self._note(outcomes[-1])
        return True

    def _note(self, outcome: SendOutcome) -> None:
        """Note whether the receiver could be reached. One that answers again gets at once what has waited for it."""
        if outcome.code in _NO_CONNECTION:
            self._failures += 1
            tallies.contact(self._peer.name, "failed_at", outcome.code.value)
            return
        tallies.contact(self._peer.name, "reached_at")
        if self._failures and outcome.result is not Result.RETRY:
            self._failures = 0
            outbox.wake(self._peer.name)

    def _commit(self) -> bool:
        """Ask whether the receiver has what it stored. Return whether there was something to ask."""
        if not self._peer.commit:
            return False
        transaction_uid, claimed = outbox.claim_commitment(self._peer)
        silent = outbox.without_report(self._peer)
        if claimed and isinstance(self._peer, Peer):
            outcome = request_commitment(self._peer, self._node, transaction_uid, outbox.references(claimed))
            outbox.finish_commitment_request(transaction_uid, outcome)
            if outcome.report is not None:  # it came on the association of the request, not through the listener
                outbox.take_report(outcome.report)
        elif claimed:
            outbox.finish_query(claimed, self._query(claimed))
        if silent:
            outbox.finish_query(silent, self._query(silent))
        return bool(claimed or silent)

    def _query(self, deliveries: Sequence[Delivery]) -> QueryOutcome:
        """Ask the receiver which objects it has."""
        references = outbox.references(deliveries)
        if isinstance(self._peer, Peer):
            return query.find_stored(self._peer, self._node, references)
        assert isinstance(self._peer, DicomWebService)  # noqa: S101  # no other destination commits
        return stow.find_stored(self._peer, self._node, references)
