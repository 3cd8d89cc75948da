"""Who may call: peers by AE title and address."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from contextlib import suppress

from boneage.node.configuration import Peer

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def plain_address(address: str) -> str:
    """Return an IP address without a zone; an IPv4 address inside an IPv6 one is returned as IPv4."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


class CallerList:
    """The peers of a configuration, by the addresses from which they call; `refresh` fills these in.

    Args:
        peers: all peers.
    """

    def __init__(self, peers: Sequence[Peer]) -> None:
        self._peers = tuple(peers)
        self._networks = {one.name: _networks(one.addresses) for one in self._peers}
        self._hosts: dict[str, list[Network]] = {one.host: [] for one in self._peers}

    def refresh(self) -> None:
        """Ask the name service for the addresses of all hosts. While it is away its last answer counts.

        It may take long, so that no caller waits for it.
        """
        for host in self._hosts:
            with suppress(OSError):
                addresses = {plain_address(str(entry[4][0])) for entry in socket.getaddrinfo(host, None)}
                self._hosts[host] = _networks(sorted(addresses))

    @property
    def names(self) -> list[str]:
        """Names of all peers."""
        return [one.name for one in self._peers]

    def named(self, name: str) -> Peer | None:
        """Return the peer with a name, or None."""
        return next((one for one in self._peers if one.name == name), None)

    def find(self, ae_title: str, address: str) -> Peer | None:
        """Return the peer with an AE title that calls from an address, or None.

        Args:
            ae_title: calling AE title without padding.
            address: an IP address, as `plain_address` returns it.
        """
        return next((one for one in self._peers if one.ae_title == ae_title and self._calls_from(one, address)), None)

    def is_known_address(self, address: str) -> bool:
        """Return whether some peer calls from an address."""
        return any(self._calls_from(one, address) for one in self._peers)

    def _calls_from(self, peer: Peer, address: str) -> bool:
        parsed = ipaddress.ip_address(address)
        return any(parsed in network for network in (*self._networks[peer.name], *self._hosts[peer.host]))


def _networks(addresses: Sequence[str]) -> list[Network]:
    return [ipaddress.ip_network(address) for address in addresses]
