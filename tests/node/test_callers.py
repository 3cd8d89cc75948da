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
    peer = CallerList([PACS, ROOM, SECOND]).find(title, address)
    assert (None if peer is None else peer.name) == name


def test_is_known_address() -> None:
    callers = CallerList([PACS, ROOM])
    assert callers.is_known_address("10.0.0.6")
    assert not callers.is_known_address("10.0.0.8")


def test_find_by_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one request to the name service in a minute, and its last answer counts while it is away."""
    questions: list[str] = []

    def answer(host: str, _port: object) -> list[tuple[Any, ...]]:
        questions.append(host)
        if len(questions) > 1:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.9", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    callers = CallerList([Peer("pacs", "PACS", "pacs.example.org")])
    for _ in range(3):
        assert callers.find("PACS", "10.0.0.9")
    assert questions == ["pacs.example.org"]
    monkeypatch.setattr("boneage.node.callers._RESOLVED_SECONDS", -1.0)
    callers._resolved.clear()
    assert not callers.find("PACS", "10.0.0.9")


@pytest.mark.parametrize(
    ("address", "plain"),
    [("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("fe80::1%eth0", "fe80::1"), ("::1", "::1")],
)
def test_plain_address(address: str, plain: str) -> None:
    assert plain_address(address) == plain
