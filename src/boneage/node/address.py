"""Addresses of this machine, and the programs that listen there."""

from __future__ import annotations

import errno
import socket


def is_in_use(host: str, port: int) -> bool:
    """Return whether a program listens at an address of this machine.

    The address is bound for a moment. Nobody is called, so that a listener neither serves nor counts the question.

    Args:
        host: IP address or host name.
        port: port; 0 is never in use.

    Raises:
        OSError: it is no address of this machine, or this program may not listen there.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
    return False
