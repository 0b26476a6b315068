# SPDX-License-Identifier: Apache-2.0
"""Topics over two nodes, on both buses: a consumer anywhere, each message once, nodes that die or stop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.helpers import until
from tests.integration.gateway.running import api, clients
from tests.unit.bus.conftest import World
from towline.clock import SystemClock
from towline.gateway.node import Node
from towline.gateway.settings import GatewaySettings


@pytest.fixture
async def nodes(world: World) -> AsyncIterator[list[Node]]:
    made = []
    for _ in range(2):
        node = Node(
            await world.bus(),
            SystemClock(),
            GatewaySettings(
                api_listen="127.0.0.1:0", clients_listen="127.0.0.1:0", entry="builtin:forward:in", outbox_bytes=65536
            ),
        )
        await node.start()
        made.append(node)
    await until(lambda: all(len([one for one in node.nodes() if one["id"] != "-1"]) == 2 for node in made))
    yield made
    for node in made:
        await node.close()


async def consume(node: Node, *topics: str) -> ClientConnection:
    socket = await connect(api(node, "ws") + "/ws/v1")
    await socket.send(json.dumps({"m": "queue.pop", "p": {"t": topics}, "i": 1}))
    assert json.loads(await socket.recv())["E"] is None
    return socket


async def events(socket: ClientConnection, count: int) -> list[Any]:
    async with asyncio.timeout(15):
        return [json.loads(await socket.recv())["p"] for _ in range(count)]


async def test_a_consumer_hears_clients_of_both_nodes(nodes: list[Node]) -> None:
    consumer = await consume(nodes[1], "in")
    async with connect(clients(nodes[0])) as here, connect(clients(nodes[1])) as there:
        await until(lambda: all(node.realm.connections for node in nodes))
        for number in range(50):
            await here.send(f"here {number}")
            await there.send(f"there {number}")
        heard = await events(consumer, 100)
        for node, word in zip(nodes, ("here", "there"), strict=True):
            mine = [event for event in heard if event["d"]["frame"]["data"].startswith(word)]
            assert [event["d"]["frame"]["data"] for event in mine] == [f"{word} {number}" for number in range(50)]
            assert {event["c"] for event in mine} == set(node.realm.connections)
            assert {event["n"] for event in mine} == {node.number}
        await until(lambda: nodes[0].queues.counters.handed == 50)
    await consumer.close()
    await until(lambda: not nodes[1].queues.topics)
    nodes[0].queues.push("in", "later")
    again = await consume(nodes[1], "in", "other")
    assert [event["d"] for event in await events(again, 1)] == ["later"]
    await again.close()


async def test_each_message_goes_to_one_of_many_consumers(nodes: list[Node]) -> None:
    sockets = [await consume(node, "t") for node in nodes for _ in range(2)]
    heard: list[Any] = []

    async def listen(socket: ClientConnection) -> None:
        async for text in socket:
            heard.append(json.loads(text)["p"]["d"])

    tasks = [asyncio.ensure_future(listen(socket)) for socket in sockets]
    for number in range(2000):
        nodes[number % 2].queues.push("t", number)
        if number % 100 == 0:
            await asyncio.sleep(0)
    await until(lambda: len(heard) == 2000)
    assert sorted(heard) == list(range(2000))
    # All consumers of one node go: the rest goes to the other, and nothing comes twice.
    for socket in sockets[:2]:
        await socket.close()
    await until(lambda: nodes[0].queues.consumers == 0)
    for number in range(2000, 3000):
        nodes[number % 2].queues.push("t", number)
    await until(lambda: len(heard) == 3000)
    assert sorted(heard) == list(range(3000))
    for socket, task in zip(sockets, tasks, strict=True):
        await socket.close()
        await task


async def test_a_slow_consumer_elsewhere_leaves_messages_where_they_are(nodes: list[Node]) -> None:
    slow = await connect(api(nodes[1], "ws") + "/ws/v1", max_queue=1)
    await slow.send(json.dumps({"m": "queue.pop", "p": {"t": ["t"]}, "i": 1}))
    assert json.loads(await slow.recv())["E"] is None
    await until(lambda: nodes[0].queue_mesh._peers)
    pushed = 0
    while nodes[0].queues.waiting < 100:
        assert pushed < 5000
        nodes[0].queues.push("t", {"number": pushed, "pad": "x" * 20_000})
        pushed += 1
        await asyncio.sleep(0.001)
    assert nodes[1].queues.waiting == 0
    assert nodes[0].queues.counters.returned > 0
    heard = await events(slow, pushed)
    assert [event["d"]["number"] for event in heard] == list(range(pushed))
    await until(lambda: nodes[0].queues.waiting == 0)
    assert nodes[0].queues.counters.lost == 0
    await slow.close()


async def test_a_node_that_stops_hands_over_what_waits(nodes: list[Node]) -> None:
    for number in range(1000):
        nodes[0].queues.push("t", number)
    consumer = await consume(nodes[1], "t")
    await events(consumer, 1)
    closing = asyncio.ensure_future(nodes[0].close())
    assert [event["d"] for event in await events(consumer, 999)] == list(range(1, 1000))
    await closing
    assert nodes[0].queues.counters.discarded == 0
    await consumer.close()


async def test_the_node_of_a_consumer_stops(nodes: list[Node]) -> None:
    consumer = await consume(nodes[1], "t")
    await until(lambda: nodes[0].queue_mesh._peers)
    await nodes[1].close()
    await consumer.wait_closed()
    await until(lambda: not nodes[0].queue_mesh._peers)
    nodes[0].queues.push("t", 1)
    assert nodes[0].queues.waiting == 1
