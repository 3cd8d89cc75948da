"""Condition of the service, checked once a second, so that ``/health`` can always be answered at once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import Error, close_old_connections, connection

from boneage.web.health import storage
from boneage.web.models import configuration
from boneage.web.queue.jobs import waiting

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0

STALE_SECONDS = 6.0
"""Time after which a check counts as failed: the database does not answer."""

FAILED_SECONDS = 30.0
"""Time for which a write that failed for lack of space counts, where the free space cannot be measured."""


DEGRADED = "degraded"
"""Status of a service that works, while somebody must look at its DICOM node."""


@dataclass(frozen=True)
class Condition:
    """Condition of the service.

    Attributes:
        status: ``ok``, `DEGRADED`, a code of `boneage.web.health.storage`, or `boneage.web.node.condition.NO_LISTENER`.
        waiting: radiographs that wait or are being assessed; None if the database does not answer.
    """

    status: str
    waiting: int | None

    def report(self) -> tuple[int, dict[str, Any]]:
        """Return the HTTP status and the body of ``/health``."""
        return 200 if self.status in {"ok", DEGRADED} else 503, {"status": self.status, "waiting": self.waiting}


_failures: dict[str, float] = {}
"""Time of the last failed write by code, measured by `time.monotonic`."""


def note_failure(code: storage.StorageCode) -> None:
    """Record that a request failed for this reason."""
    _failures[code] = time.monotonic()


def check() -> Condition:
    """Check the database. This may take as long as the database needs."""
    count: int | None = None
    try:
        count = waiting()
        status = storage.probe(configuration().radiograph_bytes)
    except (Error, OSError) as error:
        status = storage.code_of(error) or "no_database"
    full_lately = time.monotonic() - _failures.get("storage_full", -FAILED_SECONDS) < FAILED_SECONDS
    if status is None and full_lately and connection.vendor != "sqlite":
        status = "storage_full"
    return Condition(status or "ok", count)


class Watch:
    """Repeated check in a thread of its own.

    Args:
        check: the check.
        every: seconds between two checks.
    """

    def __init__(self, check: Callable[[], Condition] = check, every: float = CHECK_SECONDS) -> None:
        self._check = check
        self._every = every
        self._latest: Condition | None = None
        self._checked_at = float("-inf")
        self._first = threading.Event()

    def start(self) -> None:
        """Begin to check, and wait until the first check has finished."""
        threading.Thread(target=self._run, name="condition", daemon=True).start()
        self._first.wait()

    def report(self) -> tuple[int, Mapping[str, Any]]:
        """Return the result of the last check; ``no_database`` if it was too long ago."""
        is_stale = time.monotonic() - self._checked_at > STALE_SECONDS + self._every
        return (Condition("no_database", None) if is_stale or self._latest is None else self._latest).report()

    def check_once(self) -> None:
        """Check once, and log a change. An exception is logged, and the previous result becomes stale."""
        try:
            close_old_connections()
            before, self._latest = self._latest, self._check()
        except Exception:
            log.exception("the condition of the service could not be checked")
            return
        self._checked_at = time.monotonic()
        if before is None or before.status != self._latest.status:
            level = logging.INFO if self._latest.status == "ok" else logging.ERROR
            log.log(level, "the condition of the service: %s", self._latest.status)

    def _run(self) -> None:
        while True:
            self.check_once()
            self._first.set()
            time.sleep(self._every)
