# SPDX-License-Identifier: Apache-2.0
"""Nodes with durable topics, and a back end that consumes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.integration.gateway.running import api
from towline.bus.memory import MemoryBus
from towline.clock import SystemClock
from towline.gateway.durable import declared
from towline.gateway.node import Node
from towline.gateway.queuesettings import QueueSettings, TopicSettings
from towline.gateway.settings import GatewaySettings
from towline.store.sqlite.topics import SqliteTopics, open_topics

ORDERS = TopicSettings(name="orders", ack_s=1, max_unacked=10, max_deliveries=2, max_messages=50)


def topics(node: Node) -> SqliteTopics:
    """The node's store."""
    store = node._topics
    assert isinstance(store, SqliteTopics)
    return store


@asynccontextmanager
async def durable_node(folder: Path, *declare: TopicSettings, **settings: Any) -> AsyncIterator[Node]:
    """A node on a memory bus of its own, its topics in ``folder``."""
    clock = SystemClock()
    bus = MemoryBus(clock)
    await bus.start()
    gateway = GatewaySettings(
        **{
            "api_listen": "127.0.0.1:0",
            "clients_listen": "127.0.0.1:0",
            "queue": QueueSettings(topics=declare or (ORDERS,)),
            **settings,
        }
    )
    store = await open_topics(folder / "topics.db", clock, declared(gateway.queue)[0])
    node = Node(bus, clock, gateway, store)
    try:
        await node.start()
        yield node
    finally:
        await node.close()
        await store.close()
        await bus.close()


class BackEnd:
    """A socket of ``/ws/v1`` whose answers and events are told apart."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._events: list[Any] = []

    async def _hear(self) -> Any:
        return json.loads(await asyncio.wait_for(self.socket.recv(), 30))

    async def ask(self, method: str, params: Any) -> Any:
        await self.socket.send(json.dumps({"m": method, "p": params, "i": 1}))
        while "e" in (heard := await self._hear()):
            self._events.append(heard["p"])
        return heard

    async def events(self, count: int) -> list[Any]:
        while len(self._events) < count:
            self._events.append((await self._hear())["p"])
        found, self._events = self._events[:count], self._events[count:]
        return found

    async def ack(self, *events: Any) -> Any:
        return (await self.ask("queue.ack", {"a": [event["a"] for event in events]}))["r"]

    async def quiet(self, seconds: float = 0.2) -> None:
        """Nothing comes."""
        assert not self._events
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self.socket.recv(), seconds)

    async def close(self) -> None:
        await self.socket.close()


async def consume(node: Node, *topics: str, **more: Any) -> BackEnd:
    """Consumes already. ``more``: ``n``; ``max_queue`` of the socket."""
    socket = await connect(api(node, "ws") + "/ws/v1", max_size=1 << 22, max_queue=more.pop("max_queue", 16))
    back_end = BackEnd(socket)
    assert (await back_end.ask("queue.pop", {"t": topics, **more}))["E"] is None
    return back_end


async def put(node: Node, topic: str, *data: object) -> None:
    """Push and wait until all is stored."""
    for one in data:
        done = node.queues.put(topic, one, "15")
        assert not isinstance(done, int)
        await done
