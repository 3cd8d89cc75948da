"""Who may call: peers by AE title and address."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Sequence

from boneage.node.configuration import Peer

_RESOLVED_SECONDS = 60.0
"""Time for which the addresses of a host name are kept, seconds."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def plain_address(address: str) -> str:
    """Return an IP address without a zone; an IPv4 address inside an IPv6 one is returned as IPv4."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


class CallerList:
    """The peers of a configuration, by the addresses from which they call.

    Args:
        peers: all peers.
    """

    def __init__(self, peers: Sequence[Peer]) -> None:
        self._peers = tuple(peers)
        self._networks = {one.name: _networks(one.addresses) for one in self._peers}
        self._resolved: dict[str, tuple[float, list[Network]]] = {}
        self._lock = threading.Lock()

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
        return any(parsed in network for network in (*self._networks[peer.name], *self._host_networks(peer.host)))

    def _host_networks(self, host: str) -> list[Network]:
        """Return the addresses of a host, from the name service at most once a minute."""
        with self._lock:
            until, networks = self._resolved.get(host, (0.0, []))
        if time.monotonic() < until:
            return networks
        try:
            addresses = {plain_address(str(entry[4][0])) for entry in socket.getaddrinfo(host, None)}
        except OSError:  # the name service is away: the last answer counts
            addresses = {str(network.network_address) for network in networks}
        networks = _networks(sorted(addresses))
        with self._lock:
            self._resolved[host] = time.monotonic() + _RESOLVED_SECONDS, networks
        return networks


def _networks(addresses: Sequence[str]) -> list[Network]:
    return [ipaddress.ip_network(address) for address in addresses]
