# SPDX-License-Identifier: Apache-2.0
"""The library's consumer, the command and the example, against nodes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from websockets.asyncio.client import connect

from tests.helpers import free_port, until
from tests.integration.gateway.running import api, clients, running_node
from towline.bus.memory import MemoryBus
from towline.client import Consumer, Event, PushError
from towline.client.nodes import others
from towline.client.push import socket_url
from towline.clock import SystemClock
from towline.errors import Unavailable
from towline.gateway.node import Node
from towline.gateway.queuesettings import QueueSettings
from towline.gateway.settings import GatewaySettings, UserSettings

EXAMPLE = Path(__file__).parents[3] / "examples" / "queue_worker"


async def take(consumer: Consumer, count: int) -> list[Event]:
    async with asyncio.timeout(15):
        return [await anext(consumer) for _ in range(count)]


async def test_every_node_is_consumed_and_a_lost_one_again() -> None:
    clock = SystemClock()
    bus = MemoryBus(clock)
    settings = GatewaySettings(api_listen="127.0.0.1:0", clients_listen="127.0.0.1:0", drain_s=0)
    nodes = [Node(bus, clock, settings) for _ in range(2)]
    for node in nodes:
        await node.start()
    async with Consumer("a", "b", url=api(nodes[0]), nodes_s=0.1, jitter=lambda: 0.0) as consumer:
        await until(lambda: len(consumer.consuming) == 2)
        assert [node.queues.consumers for node in nodes] == [1, 1]
        for number, node in enumerate(nodes):
            node.queues.push("ab"[number], {"number": number}, "15")
        assert sorted(await take(consumer, 2)) == [
            Event(1, "15", "a", {"number": 0}),
            Event(2, "15", "b", {"number": 1}),
        ]
        # The node closes the socket: the consumer comes back, and pops again.
        for socket in list(nodes[0].sockets.sockets):
            socket.close(3002, "silent", "silent")
        await until(lambda: consumer.reconnects == 1 and len(consumer.consuming) == 2)
        nodes[0].queues.push("a", "again")
        assert [event.data for event in await take(consumer, 1)] == ["again"]
        await nodes[1].close()
        await until(lambda: len(consumer._sockets) == 1)
    with pytest.raises(StopAsyncIteration):
        await anext(consumer)
    await until(lambda: nodes[0].queues.consumers == 0)
    await nodes[0].close()
    await bus.close()


async def test_a_consumer_that_nobody_reads_from_is_bounded() -> None:
    queue = QueueSettings(topic_size=100_000)
    async with running_node(queue=queue) as node, Consumer("a", url=api(node), buffer=10, every_node=False) as consumer:
        await until(lambda: node.queues.consumers == 1)
        pushed = 0
        while node.queues.waiting < 50:
            assert pushed < 20_000
            node.queues.push("a", {"number": pushed, "pad": "x" * 10_000})
            pushed += 1
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(consumer._events) < pushed / 2
        assert [event.data["number"] for event in await take(consumer, pushed)] == list(range(pushed))


async def test_it_waits_for_its_node_and_says_what_is_refused() -> None:
    port = free_port()
    async with (
        Consumer("a", url=f"http://127.0.0.1:{port}", every_node=False) as consumer,
        running_node(api_listen=f"127.0.0.1:{port}") as node,
    ):
        await until(lambda: consumer.consuming)
        node.queues.push("a", 1)
        assert await take(consumer, 1) == [Event(1, "", "a", 1)]
    reader = UserSettings(username="r", password="p", roles=("read",))
    async with running_node(users=(reader,)) as node:
        for name, topics, code in (("r", ("a",), "push.403"), ("r", (), "push.101"), ("x", ("a",), "push.http_401")):
            async with Consumer(*topics, url=api(node), username=name, password="p") as refused:
                with pytest.raises(PushError) as caught:
                    await take(refused, 1)
                assert caught.value.code == code
    with pytest.raises(Unavailable):
        await anext(Consumer("a"))


@pytest.mark.parametrize(
    ("seed", "server", "found"),
    [
        ("http://10.0.0.1:6789", "10.0.0.2:6789", {"ws://10.0.0.2:6789/ws/v1"}),
        ("https://10.0.0.1:6789", "10.0.0.2:6789", {"wss://10.0.0.2:6789/ws/v1"}),
        ("http://10.0.0.1:6789", "10.0.0.1:6789", set()),
        ("http://localhost:6789", "127.0.0.1:6789", set()),
        ("http://10.0.0.1:6789", "127.0.0.1:6789", set()),
        ("http://10.0.0.1:6789", "0.0.0.0:6789", set()),
        ("http://10.0.0.1:6789", "[::]:6789", set()),
        ("http://[::1]:6789", "[::1]:6790", {"ws://[::1]:6790/ws/v1"}),
        ("http://10.0.0.1:6789", "", set()),
    ],
)
def test_which_nodes_are_connected_to(seed: str, server: str, found: set[str]) -> None:
    url, _ = socket_url(seed, "", "")
    assert set(others(url, [server, server])) == found


async def run(*command: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=dict(os.environ)
    )


async def lines(process: asyncio.subprocess.Process, count: int) -> list[str]:
    assert process.stdout is not None
    return [(await asyncio.wait_for(process.stdout.readline(), 15)).decode().strip() for _ in range(count)]


async def test_the_worker_of_the_example() -> None:
    settings: dict[str, Any] = yaml.safe_load((EXAMPLE / "queue_worker.yaml").read_text())["gateway"]
    async with running_node(**settings) as node, connect(clients(node, settings["path"])) as client:
        await client.send("early")
        worker = await run(str(EXAMPLE / "worker.py"), api(node))
        try:
            assert await asyncio.wait_for(client.recv(), 15) == "done: early"
            await client.send("two é")
            assert await asyncio.wait_for(client.recv(), 15) == "done: two é"
            client_id = next(iter(node.realm.connections))
            assert await lines(worker, 2) == [f"order of {client_id}: early", f"order of {client_id}: two é"]
        finally:
            worker.terminate()
            await worker.communicate()


async def test_the_command() -> None:
    async with running_node() as node:
        node.queues.push("a", "text", "15")
        node.queues.push("a", {"é": 1}, "15")
        command = ("-m", "towline.cli.main", "push", "consume", "a", "--api", api(node), "--count")
        plain = await run(*command, "2")
        out, _ = await asyncio.wait_for(plain.communicate(), 20)
        assert out.decode().splitlines() == ["text", '{"é": 1}']
        assert plain.returncode == 0
        node.queues.push("b", [1], "15")
        as_json = await run(*command, "1", "b", "--json")
        out, _ = await asyncio.wait_for(as_json.communicate(), 20)
        assert json.loads(out) == {"node": 1, "client_id": "15", "topic": "b", "data": [1]}
    gone = await run("-m", "towline.cli.main", "push", "consume", "a", "--api", f"http://127.0.0.1:{free_port()}")
    _, err = await asyncio.wait_for(gone.communicate(), 20)
    assert gone.returncode == 1
    assert b"cannot reach" in err
