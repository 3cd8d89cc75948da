"""Counts of events and times of contacts, for metrics and the page of the node.

They are written after the transaction of the event and outside of it, so that no event waits for another one. A process
that dies in between loses one count.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from django.db import Error, IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from boneage.web.node.models import Contact, Tally

log = logging.getLogger(__name__)

RECEIVED = "received"
"""Instances by peer."""
SKIPPED = "skipped"
"""Instances that are not read, by reason."""
DENIED = "denied"
"""Associations and messages that the listener did not accept, by reason."""
OUTCOME = "outcome"
"""Attempts at a delivery, by the code of their outcome."""
LATENCY = "latency"
"""Deliveries by the time from C-STORE to the stored result: the upper bound of a bucket, seconds, as text."""
LATENCY_SUM = "latency_sum"
"""Sum of these times, milliseconds."""


def add(kind: str, code: str = "", count: int = 1) -> None:
    """Count events. A database that cannot count is logged."""
    try:
        if _increase(kind, code, count):
            return
        with suppress(IntegrityError), transaction.atomic():
            Tally.objects.create(kind=kind, code=code[:64], count=count)
            return
        _increase(kind, code, count)
    except Error as error:
        log.warning("an event %s could not be counted: %s", kind, type(error).__name__)


def _increase(kind: str, code: str, count: int) -> int:
    return Tally.objects.filter(kind=kind, code=code[:64]).update(count=F("count") + count)


def contact(peer: str, moment: str, code: str = "") -> None:
    """Note a contact with a peer.

    Args:
        peer: name of the peer.
        moment: column of `Contact` that takes the present time: ``received_at``, ``reached_at`` or ``failed_at``.
        code: code of a failure.
    """
    values = {moment: Now(), **({"code": code} if moment == "failed_at" else {})}
    try:
        if not Contact.objects.filter(pk=peer).update(**values):
            with suppress(IntegrityError), transaction.atomic():
                Contact.objects.create(peer=peer, **values)
    except Error as error:
        log.warning("a contact with %s could not be noted: %s", peer, type(error).__name__)
