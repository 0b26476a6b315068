# SPDX-License-Identifier: Apache-2.0
"""Under which address back ends find a node's push API: what ``/v1/nodes`` lists (spec connmix §1)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from towline.bus.base import Endpoint
from towline.gateway.addresses import join_address

NodesOf = Callable[[str], list[dict[str, Any]]]
"""Lists the nodes for who reached this process at that address of its (empty: not known)."""

API, GUESSED = "api_server", "api_guessed"
"""What a member tells of itself: its address, and that it listens on every one of its machine."""


def announcement(configured: str, bound: tuple[str, int], bus_host: str) -> dict[str, str]:
    """What a node tells of its push API.

    :param configured: ``gateway.api_address``, empty when the node is to find out
    :param bus_host: this machine's address as the bus uses it, empty when there is none
    """
    host, port = bound
    if configured or not _is(host, "is_unspecified"):
        return {API: configured or join_address(host, port)}
    found = bus_host if bus_host and not _is(bus_host, "is_loopback") else outward() or bus_host or host
    return {API: join_address(found, port), GUESSED: "1"}


def listed_nodes(endpoint: Endpoint | None, reached_at: str) -> list[dict[str, Any]]:
    """``/v1/nodes``: with the names that older client libraries read too; their ``host`` is an address with its port.

    A node that listens on every address of its machine lists itself with the one that it was asked at.
    """
    found = []
    for member in endpoint.members("node") if endpoint is not None else []:
        api = member.info.get(API, "")
        host, _, port = api.rpartition(":")
        host = host.strip("[]")
        if endpoint is not None and member.address == endpoint.address and reached_at and GUESSED in member.info:
            host = reached_at
            api = join_address(host, int(port))
        found.append(
            {
                "id": str(member.number),
                "api_server": api,
                "host": api,
                "ip": host,
                "port": int(port) if port.isdigit() else 0,
            }
        )
    return found


def outward() -> str:
    """This machine's address on its way to other networks, empty without one. Nothing is sent: the kernel only looks up
    the route."""
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((far, 9))
            except OSError:
                continue
            return str(probe.getsockname()[0])
    return ""


def _is(host: str, what: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host.partition("%")[0]), what))
    except ValueError:
        return False
