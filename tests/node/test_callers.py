"""Peers are found by AE title and address together."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from boneage.node.callers import CallerList, plain_address
from boneage.node.configuration import Peer

PACS = Peer("pacs", "PACS", "10.0.0.5", addresses=("10.1.0.0/16", "fd00::/8"))
ROOM = Peer("room", "ROOM", "10.0.0.6")
SECOND = Peer("second", "PACS", "10.0.0.7")


def callers(*peers: Peer) -> CallerList:
    """Return a list with the addresses of its hosts."""
    made = CallerList(peers)
    made.refresh()
    return made


@pytest.mark.parametrize(
    ("title", "address", "name"),
    [
        ("PACS", "10.0.0.5", "pacs"),
        ("PACS", "10.1.200.3", "pacs"),
        ("PACS", "fd00::17", "pacs"),
        ("PACS", "10.0.0.7", "second"),
        ("PACS", "10.0.0.6", None),
        ("ROOM", "10.0.0.5", None),
        ("pacs", "10.0.0.5", None),
        ("", "10.0.0.5", None),
    ],
)
def test_find(title: str, address: str, name: str | None) -> None:
    peer = callers(PACS, ROOM, SECOND).find(title, address)
    assert (None if peer is None else peer.name) == name


def test_is_known_address() -> None:
    peers = callers(PACS, ROOM)
    assert peers.is_known_address("10.0.0.6")
    assert not peers.is_known_address("10.0.0.8")


def test_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses of a host name change with the name service, and stay while it is away."""
    answers = ["10.0.0.9", None, "10.0.0.10"]

    def answer(_host: str, _port: object) -> list[tuple[Any, ...]]:
        address = answers.pop(0)
        if address is None:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    peers = callers(Peer("pacs", "PACS", "pacs.example.org"))
    assert peers.find("PACS", "10.0.0.9")
    peers.refresh()
    assert peers.find("PACS", "10.0.0.9")
    peers.refresh()
    assert peers.find("PACS", "10.0.0.10")
    assert not peers.find("PACS", "10.0.0.9")


@pytest.mark.parametrize(
    ("address", "plain"),
    [("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("fe80::1%eth0", "fe80::1"), ("::1", "::1")],
)
def test_plain_address(address: str, plain: str) -> None:
    assert plain_address(address) == plain
