# SPDX-License-Identifier: Apache-2.0
"""The library for back ends, against a node."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.helpers import free_port, until
from tests.integration.gateway.running import api, clients, running_node
from towline.bus.memory import MemoryBus
from towline.client import Consumer, PushClient, PushError
from towline.client import push as push_module
from towline.clock import SystemClock
from towline.errors import InvalidInput, Unavailable
from towline.gateway.node import Node
from towline.gateway.settings import GatewaySettings, UserSettings

ENTRY = """
def on_handshake(conn, handshake):
    conn.subscribe("news")
    conn.send(conn.id)

def on_message(conn, message): ...
"""


@pytest.fixture
def entry(tmp_path: Path) -> str:
    path = tmp_path / "entry.py"
    path.write_text(ENTRY)
    return str(path)


async def test_publish_send_and_call(entry: str) -> None:
    async with running_node(entry=entry) as node, connect(clients(node)) as client, PushClient(api(node)) as push:
        client_id = str(await client.recv())
        assert await push.publish("news", "é") == (1, 0)
        assert await push.publish("news", b"\x00\xff") == (1, 0)
        await push.send(client_id, "direct")
        await push.call(client_id, "subscribe", "more")
        assert await push.publish("more", "x") == (1, 0)
        assert [await client.recv() for _ in range(4)] == ["é", b"\x00\xff", "direct", "x"]
        with pytest.raises(PushError) as caught:
            await push.send("15", "nobody")
        assert caught.value.code == "push.401"
        with pytest.raises(PushError) as caught:
            await push.call(client_id, "close")
        assert caught.value.code == "push.301"
        results = await asyncio.gather(*(push.publish("news", str(number)) for number in range(50)))
        assert results == [(1, 0)] * 50
        assert [await client.recv() for _ in range(50)] == [str(number) for number in range(50)]


async def test_it_comes_back_when_the_node_does(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_module, "FIRST_DELAY_S", 0.02)
    port = free_port()
    listen = f"127.0.0.1:{port}"
    async with PushClient(f"ws://{listen}", timeout=5, every_node=False) as push:
        waiting = asyncio.ensure_future(push.publish("news", "early"))
        async with running_node(entry=entry, api_listen=listen):
            assert await waiting == (0, 0)
        async with running_node(entry=entry, api_listen=listen) as node, connect(clients(node)) as client:
            await client.recv()
            await until(lambda: push.reconnects == 1)
            assert await push.publish("news", "again") == (1, 0)


async def test_credentials(entry: str) -> None:
    users = (
        UserSettings(username="back", password="end"),
        UserSettings(username="look", password="x", roles=("read",)),
    )
    async with running_node(entry=entry, users=users) as node:
        url = api(node)
        async with PushClient(url.replace("//", "//back:end@")) as push:
            assert await push.publish("news", "x") == (0, 0)
        async with PushClient(url, username="look", password="x") as push:
            with pytest.raises(PushError) as caught:
                await push.publish("news", "x")
            assert caught.value.code == "push.403"
        async with PushClient(url) as push:
            with pytest.raises(PushError) as caught:
                await push.publish("news", "x")
            assert caught.value.code == "push.http_401"


async def test_nothing_waits_for_ever() -> None:
    async with PushClient(f"http://127.0.0.1:{free_port()}", timeout=0.2) as push:
        with pytest.raises(Unavailable) as caught:
            await push.publish("news", "x")
        assert caught.value.code == "push.timeout"
    with pytest.raises(Unavailable) as caught:
        await push.publish("news", "x")
    assert caught.value.code == "push.closed"
    with pytest.raises(InvalidInput):
        PushClient("ftp://x")


def reconnected(push: PushClient, times: int) -> bool:
    return push.reconnects == times


async def test_another_node_takes_over() -> None:
    clock = SystemClock()
    bus = MemoryBus(clock)
    settings = GatewaySettings(api_listen="127.0.0.1:0", clients_listen="127.0.0.1:0", entry="builtin:echo")
    nodes = [Node(bus, clock, settings) for _ in range(3)]
    for node in nodes:
        await node.start()
    async with PushClient(api(nodes[0]), timeout=5, nodes_s=0.05, jitter=lambda: 0.0) as push:
        assert await push.publish("news", "x") == (0, 0)
        await until(lambda: len(push._others) == 2)
        for number, node in enumerate(nodes[:2]):
            assert push.connected_to.removesuffix("/ws/v1") == api(node, "ws")
            await node.close()
            await until(partial(reconnected, push, number + 1))
            assert await push.publish("news", "x") == (0, 0)
        await until(lambda: push._others == [api(nodes[2], "ws") + "/ws/v1"])
        again = Node(bus, clock, msgspec.structs.replace(settings, api_listen=f"127.0.0.1:{nodes[0].api_address[1]}"))
        await again.start()
        await nodes[2].close()
        await until(lambda: push.reconnects == 3)
        assert await push.publish("news", "x") == (0, 0)
        assert push.connected_to.removesuffix("/ws/v1") == api(again, "ws")
    async with PushClient(api(again), timeout=0.3, every_node=False) as push:
        assert await push.publish("news", "x") == (0, 0)
        await again.close()
        with pytest.raises(Unavailable):
            await push.publish("news", "x")
    await bus.close()


class Counting(PushClient):
    pongs = 0

    def answered(self, text: bytes) -> None:
        self.pongs += text == b"pong"
        super().answered(text)


async def test_a_node_that_answers_nothing_is_given_up(entry: str) -> None:
    """As when a machine vanishes: the connection stands, and nothing comes."""
    seen = 0

    async def mute(socket: ServerConnection) -> None:
        nonlocal seen
        seen += 1
        with suppress(ConnectionClosed):
            async for _ in socket:
                pass

    async with serve(mute, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        async with (
            PushClient(url, ping_s=0.03, every_node=False, jitter=lambda: 0.0) as push,
            Consumer("a", url=url, ping_s=0.03, every_node=False, jitter=lambda: 0.0) as consumer,
        ):
            await until(lambda: push.reconnects >= 2 and consumer.reconnects >= 2 and seen >= 6)
    async with (
        running_node(entry=entry) as node,
        Counting(api(node), ping_s=0.02) as push,
        Consumer("a", url=api(node), ping_s=0.02) as consumer,
    ):
        await until(lambda: push.pongs > 20)
        assert (push.reconnects, consumer.reconnects) == (0, 0)
