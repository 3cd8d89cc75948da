"""The process that answers requests: granian with our ASGI application.

    python -m boneage.web.processes.http_server HOST PORT

`boneage.web.processes.server` starts it, and it stops when that process has ended.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from contextlib import suppress

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from boneage.web.configuration import Configuration
from boneage.web.privacy import logging_settings
from boneage.web.processes.gate import PATIENCE_SECONDS
from boneage.web.processes.lifeline import when_parent_is_gone

CONNECTIONS = 4096
"""Maximum number of open connections; further ones wait."""

BUFFER_BYTES = 64 * 1024
"""Buffer of a connection, in each direction; the headers of a request must fit into it."""

UNREAD_MILLISECONDS = 30_000
"""Time after which the system ends a connection whose client reads nothing (Linux)."""

STOP_SECONDS = 3
"""Maximum time for requests to end when the service stops."""


class _Server(Granian):  # type: ignore[misc,valid-type]  # a class chosen at import
    """Granian with connections that end when their clients do not read the last bytes either."""

    def _init_shared_socket(self) -> None:
        super()._init_shared_socket()
        listener: socket.socket | None = getattr(self, "_sso", None)
        if listener is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MILLISECONDS)


def raise_file_limit(files: int = 2 * CONNECTIONS) -> None:
    """Let this process open this number of files, or as many as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def main(host: str, port: int) -> None:
    """Serve until SIGTERM."""
    when_parent_is_gone(lambda: os.kill(os.getpid(), signal.SIGTERM))
    raise_file_limit()
    configuration = Configuration.from_environment()
    _Server(
        "boneage.web.asgi:application",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=round(1000 * PATIENCE_SECONDS),  # also ends connections that wait for a next request
            max_buffer_size=BUFFER_BYTES,
        ),
        workers=1,
        backlog=CONNECTIONS,
        backpressure=CONNECTIONS,
        websockets=False,
        log_dictconfig=logging_settings(
            is_json=configuration.log_format == "json", with_access=configuration.access_log
        ),
        log_level=LogLevels.error,  # no addresses of clients, and nothing about them
        log_access=False,
        workers_kill_timeout=STOP_SECONDS,
    ).serve()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
