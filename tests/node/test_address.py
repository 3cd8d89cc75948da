"""An address is in use if a program listens there."""

from __future__ import annotations

import socket

import pytest

from boneage.node.address import is_in_use


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_is_in_use(host: str) -> None:
    """A bound address without a listener is free, since nobody is served there."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, 0))
        port = bound.getsockname()[1]
        assert not is_in_use(host, port)
        bound.listen()
        assert is_in_use(host, port)
    assert not is_in_use(host, port)


def test_address_of_another_machine() -> None:
    """An address that this machine does not have cannot be listened at."""
    with pytest.raises(OSError, match="assign"):
        is_in_use("203.0.113.7", 11112)
