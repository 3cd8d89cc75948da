"""How the service is: looked at once a second, so that ``/health`` is answered at once whatever else happens."""

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

LOOK_SECONDS = 1.0

STALE_SECONDS = 6.0
"""A look that takes longer than that means that the database does not answer."""

FAILED_SECONDS = 30.0
"""For so long a write that failed for want of room counts, where nobody can look how much there is."""


@dataclass(frozen=True)
class Condition:
    """How the service is.

    Attributes:
        status: ``ok``, or a code of `boneage.web.health.storage`.
        waiting: radiographs that wait or are being assessed; None if the database does not say.
    """

    status: str
    waiting: int | None

    def report(self) -> tuple[int, dict[str, Any]]:
        """As ``/health`` answers it: the HTTP status and the body."""
        return 200 if self.status == "ok" else 503, {"status": self.status, "waiting": self.waiting}


_failures: dict[str, float] = {}
"""When writing failed last, by `time.monotonic`, by code."""


def note_failure(code: storage.StorageCode) -> None:
    """Remember that a request could not be answered for this reason."""
    _failures[code] = time.monotonic()


def look() -> Condition:
    """Ask the database. It may take as long as that takes."""
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
    """Looks again and again in a thread of its own.

    Args:
        look: at what.
        every: seconds between two looks.
    """

    def __init__(self, look: Callable[[], Condition] = look, every: float = LOOK_SECONDS) -> None:
        self._look = look
        self._every = every
        self._latest: Condition | None = None
        self._looked = float("-inf")
        self._first = threading.Event()

    def start(self) -> None:
        """Begin to look, and wait until the first look is over."""
        threading.Thread(target=self._run, name="condition", daemon=True).start()
        self._first.wait()

    def report(self) -> tuple[int, Mapping[str, Any]]:
        """What the last look found; that the database does not answer, if that was too long ago."""
        is_stale = time.monotonic() - self._looked > STALE_SECONDS + self._every
        return (Condition("no_database", None) if is_stale or self._latest is None else self._latest).report()

    def look_once(self) -> None:
        """Look, and log a change. Whatever a look raises is logged, and what was found before becomes stale."""
        try:
            close_old_connections()
            before, self._latest = self._latest, self._look()
        except Exception:
            log.exception("the service could not be looked at")
            return
        self._looked = time.monotonic()
        if before is None or before.status != self._latest.status:
            level = logging.INFO if self._latest.status == "ok" else logging.ERROR
            log.log(level, "the condition of the service: %s", self._latest.status)

    def _run(self) -> None:
        while True:
            self.look_once()
            self._first.set()
            time.sleep(self._every)
