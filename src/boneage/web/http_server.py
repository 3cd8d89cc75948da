"""The process that answers requests: granian with our WSGI application.

    python -m boneage.web.http_server HOST PORT

It is started by `boneage.web.server`, and stops when that is gone.
"""

from __future__ import annotations

import os
import signal
import sys

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from boneage.web.lifeline import when_parent_is_gone

THREADS = 72
"""Requests that are worked on at once: 60 clients may wait for an answer, and pages are still served. Each thread keeps
a connection to the database, of which PostgreSQL has 100 unless told otherwise."""

STOP_SECONDS = 3
"""So long may requests take to end when the service stops."""


def main(host: str, port: int) -> None:
    """Serve until SIGTERM."""
    when_parent_is_gone(lambda: os.kill(os.getpid(), signal.SIGTERM))
    Granian(
        "boneage.web.wsgi:application",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=THREADS,
        websockets=False,
        log_level=LogLevels.error,  # no addresses of clients, and nothing about them
        log_access=False,
        workers_kill_timeout=STOP_SECONDS,
    ).serve()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
