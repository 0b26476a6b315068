# SPDX-License-Identifier: Apache-2.0
"""Nodes on ports of their own, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from towline.bus.memory import MemoryBus
from towline.clock import SystemClock
from towline.gateway.node import Node
from towline.gateway.settings import GatewaySettings


@asynccontextmanager
async def running_node(**settings: Any) -> AsyncIterator[Node]:
    """A node on a memory bus of its own; ports are the system's choice unless said."""
    clock = SystemClock()
    bus = MemoryBus(clock)
    await bus.start()
    node = Node(
        bus, clock, GatewaySettings(**{"api_listen": "127.0.0.1:0", "clients_listen": "127.0.0.1:0", **settings})
    )
    try:
        await node.start()
        yield node
    finally:
        await node.close()
        await bus.close()


def api(node: Node, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{node.api_address[1]}"


def clients(node: Node, path: str = "/") -> str:
    return f"ws://127.0.0.1:{node.clients_address[1]}{path}"
