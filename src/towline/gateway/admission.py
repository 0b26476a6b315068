# SPDX-License-Identifier: Apache-2.0
"""Who may have one more connection on a port: how many there are, and how many from one address."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from towline.errors import StartError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

IPV6_PREFIX = 64
"""Hosts of one IPv6 network of this length count as one address: a single host has as many as it likes."""

TOO_MANY = "too_many"
TOO_MANY_FROM_ADDRESS = "too_many_from_address"


def networks(texts: Iterable[str], where: str) -> tuple[Network, ...]:
    """Addresses and networks of a setting. StartError ``gateway.network`` names one that is neither."""
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError as error:
            raise StartError("gateway.network", str(error), where=where) from None
    return tuple(found)


class Admission:
    """Counts the connections of one port. A limit of 0 is none.

    :param trusted: proxies whose ``X-Forwarded-For`` and ``X-Real-IP`` are believed
    """

    def __init__(self, max_connections: int, max_per_address: int, trusted: tuple[Network, ...] = ()) -> None:
        self._max = max_connections
        self._max_per_address = max_per_address
        self._trusted = trusted
        self._addresses: dict[str, int] = {}
        self.count = 0

    def address(self, peer: str, forwarded: str = "", real_ip: str = "") -> str:
        """What counts as the client's address, for :meth:`enter`. Empty when addresses are not counted.

        :param peer: IP address of the socket's peer
        :param forwarded: ``X-Forwarded-For``, looked at only when the peer is a trusted proxy: the last address in it that is
            no trusted proxy is the client's
        """
        if not self._max_per_address:
            return ""
        found = _parse(peer)
        if found is None:
            return peer
        if self._trusted and self._trusts(found):
            for text in [real_ip, *forwarded.split(",")][::-1]:
                named = _parse(text.strip())
                if named is None:
                    # Empty, or not an address: what stands before it was written by no proxy of ours.
                    if text.strip():
                        break
                    continue
                found = named
                if not self._trusts(named):
                    break
        if found.version == 6:
            return str(ipaddress.ip_network((found.packed, IPV6_PREFIX), strict=False))
        return str(found)

    def enter(self, address: str) -> str:
        """Count one more connection: empty when there is room, else the reason why there is not."""
        if self._max and self.count >= self._max:
            return TOO_MANY
        if address:
            there = self._addresses.get(address, 0)
            if there >= self._max_per_address:
                return TOO_MANY_FROM_ADDRESS
            self._addresses[address] = there + 1
        self.count += 1
        return ""

    def leave(self, address: str) -> None:
        """A connection that entered is gone."""
        self.count -= 1
        if address:
            there = self._addresses[address] - 1
            if there:
                self._addresses[address] = there
            else:
                del self._addresses[address]

    def _trusts(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    text = text.strip("[]").partition("%")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if found.version == 6 else None
    return mapped or found
