# SPDX-License-Identifier: Apache-2.0
"""Topics over real sockets: exact replies and events, consumers that come, go, stall and die."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.helpers import until
from tests.integration.gateway.running import api, clients, running_node
from towline.gateway.node import Node
from towline.gateway.queuesettings import QueueSettings
from towline.gateway.settings import ListenerSettings, UserSettings

ENTRY = """
import json
from towline.errors import TowlineError

def on_handshake(conn, handshake):
    conn.send(conn.id)

def on_message(conn, message):
    topic, _, rest = message.data.partition(" ")
    try:
        conn.send(str(conn.queue.push(topic, json.loads(rest))))
    except TowlineError as error:
        conn.send(error.code)
"""

POPPED = '{"E":null,"r":{"s":true},"i":1}'


@pytest.fixture
def entry(tmp_path: Path) -> str:
    path = tmp_path / "entry.py"
    path.write_text(ENTRY)
    return str(path)


@pytest.fixture
async def node(entry: str) -> AsyncIterator[Node]:
    async with running_node(entry=entry, queue=QueueSettings(topic_size=5, max_topics=3)) as node:
        yield node


def back_end(node: Node) -> connect:
    return connect(api(node, "ws") + "/ws/v1", max_size=1 << 22)


async def hear(one: ClientConnection) -> str:
    return str(await asyncio.wait_for(one.recv(), 10))


async def ask(one: ClientConnection, method: str, params: Any, number: int = 1) -> str:
    await one.send(json.dumps({"m": method, "p": params, "i": number}))
    return await hear(one)


async def push(client: ClientConnection, topic: str, data: Any) -> str:
    await client.send(f"{topic} {json.dumps(data)}")
    return await hear(client)


def code(answer: str) -> tuple[int, str]:
    error = json.loads(answer)["E"]
    return error["c"], error["m"]


async def test_a_dialogue_to_the_letter(node: Node) -> None:
    async with connect(clients(node)) as client, back_end(node) as consumer:
        client_id = await hear(client)
        assert await push(client, "a", {"early": True}) == "1"
        assert await ask(consumer, "queue.pop", {"t": ["a", "b"]}) == POPPED
        number = node.nodes()[0]["id"]
        assert await hear(consumer) == (
            f'{{"e":"queue.pop","p":{{"n":{number},"c":"{client_id}","t":"a","d":{{"early":true}}}},"id":null}}'
        )
        assert code(await ask(consumer, "queue.pop", {"t": ["c"]})) == (
            202,
            "repeated consumption: this socket consumes already; queue.unpop ends that",
        )
        for data, text in [
            ('{"x": [1]}', '{"x": [1]}'),
            ("[1,2]", "[1,2]"),
            ("plain", '"plain"'),
            ("5", '"5"'),
            (5, "5"),
            (True, "true"),
            ("\ud800", '"\ufffd"'),
            ({"deep": ["\ud800"]}, '{"deep":["\ufffd"]}'),
        ]:
            assert await push(client, "b", data) == "0"
            assert await hear(consumer) == (
                f'{{"e":"queue.pop","p":{{"n":{number},"c":"{client_id}","t":"b","d":{text}}},"id":null}}'
            )
        assert await push(client, "b", None) == "queue.data"
        assert await ask(consumer, "queue.unpop", {}, 2) == '{"E":null,"r":{"s":true},"i":2}'
        assert await push(client, "b", 1) == "1"
        assert code(await ask(consumer, "queue.unpop", {})) == (
            203,
            "failed to cancel consumption: this socket consumes no topics",
        )
        # Generation 1.5: a list of topics.
        assert await ask(consumer, "queue.pop", ["b"]) == POPPED
        assert json.loads(await hear(consumer))["p"]["d"] == 1


async def test_arguments_that_are_wrong(node: Node) -> None:
    async with back_end(node) as consumer:
        wrong: list[Any] = [{}, {"t": []}, {"t": "a"}, {"t": [1]}, {"t": [""]}, [], 5, None]
        for params in wrong:
            assert code(await ask(consumer, "queue.pop", params))[0] == 101
        full = code(await ask(consumer, "queue.pop", {"t": ["a", "b", "c", "d"]}))
        assert full[0] == 201
        assert full[1].startswith("consumption failed: 4 new topics")
        assert await ask(consumer, "queue.pop", {"t": ["a", "b", "c"]}) == POPPED
        async with back_end(node) as second:
            assert code(await ask(second, "queue.pop", {"t": ["d"]}))[0] == 201
            assert await ask(second, "queue.pop", {"t": ["c"]}) == POPPED
    await until(lambda: not node.queues.topics)


async def test_a_user_who_may_only_read_consumes_nothing(entry: str) -> None:
    reader = UserSettings(username="r", password="p", roles=("read",))
    async with (
        running_node(entry=entry, users=(reader,)) as node,
        connect(api(node, "ws") + "/ws/v1?username=r&password=p") as consumer,
    ):
        assert code(await ask(consumer, "queue.pop", {"t": ["a"]}))[0] == 403


async def test_a_full_topic_is_an_error_and_what_waits_comes_in_order(node: Node) -> None:
    async with connect(clients(node)) as client:
        await hear(client)
        assert [await push(client, "a", number) for number in range(7)] == [
            *"12345",
            "queue.full",
            "queue.full",
        ]
        assert [await push(client, topic, 0) for topic in "bcd"] == ["1", "1", "queue.topics"]
        async with back_end(node) as consumer:
            await ask(consumer, "queue.pop", {"t": ["a"]})
            assert [json.loads(await hear(consumer))["p"]["d"] for _ in range(5)] == list(range(5))
            assert await push(client, "a", "again") == "0"
    await until(lambda: sorted(node.queues.topics) == ["b", "c"])
    assert node.queues.counters.refused == {"full": 2, "topics": 1}


async def test_consumers_share_and_one_that_dies_leaves_the_rest_to_others(entry: str) -> None:
    async with running_node(entry=entry) as node, connect(clients(node)) as client, back_end(node) as living:
        await hear(client)
        dying = await back_end(node)
        for one in (dying, living):
            assert await ask(one, "queue.pop", {"t": ["a"]}) == POPPED
        for number in range(6):
            assert await push(client, "a", number) == "0"
        assert [json.loads(await hear(dying))["p"]["d"] for _ in range(3)] == [0, 2, 4]
        assert [json.loads(await hear(living))["p"]["d"] for _ in range(3)] == [1, 3, 5]
        dying.transport.abort()
        await until(lambda: node.queues.consumers == 1)
        for number in range(6, 12):
            assert await push(client, "a", number) == "0"
        assert [json.loads(await hear(living))["p"]["d"] for _ in range(6)] == list(range(6, 12))


async def test_a_consumer_that_does_not_read_is_bounded(entry: str) -> None:
    """What its socket does not take waits in the topic; a second consumer gets it."""
    async with running_node(entry=entry, queue=QueueSettings(topic_size=400), outbox_bytes=65536) as node:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.api_address[1], limit=1024)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writer.write(
            b"GET /ws/v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        request = b'{"m":"queue.pop","p":{"t":["a"]},"i":1}'
        writer.write(bytes((0x81, 0x80 | len(request), 0, 0, 0, 0)) + request)
        await until(lambda: node.queues.consumers == 1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        stalled = next(iter(node.sockets.sockets))
        for number in range(10_000):
            if len(node.queues.topics["a"].items) > 100:
                break
            node.queues.push("a", {"number": number, "pad": "x" * 20_000})
            await asyncio.sleep(0)
        assert len(node.queues.topics["a"].items) > 100
        assert stalled._transport.get_write_buffer_size() < 300_000
        async with back_end(node) as second:
            waiting = [json.loads(item.data)["number"] for item in node.queues.topics["a"].items]
            await ask(second, "queue.pop", {"t": ["a"]})
            assert [json.loads(await hear(second))["p"]["d"]["number"] for _ in waiting] == waiting
        assert node.sockets.closed.get("slow", 0) == 0
        writer.transport.abort()
        await until(lambda: node.queues.consumers == 0)


async def test_forward_queues_every_message_as_documented() -> None:
    other = ListenerSettings(listen="127.0.0.1:0", entry="builtin:forward:other topic")
    size = QueueSettings(topic_size=3)
    async with (
        running_node(entry="builtin:forward:in", listeners=(other,), queue=size) as node,
        connect(clients(node)) as client,
        back_end(node) as consumer,
    ):
        await until(lambda: node.realm.connections)
        client_id = next(iter(node.realm.connections))
        await client.send("é{}")
        await client.send(b"\x00\xff")
        await client.send(iter(["in ", "parts"]))
        await client.send("too much")
        await until(lambda: node.queues.counters.refused["full"] == 1)
        await ask(consumer, "queue.pop", {"t": ["in"]})
        events = [json.loads(await hear(consumer)) for _ in range(3)]
        assert [event["p"]["c"] for event in events] == [client_id] * 3
        assert [event["p"]["d"] for event in events] == [
            {"frame": {"type": "text", "data": "é{}", "finish": True}},
            {"frame": {"type": "binary", "data": base64.b64encode(b"\x00\xff").decode(), "finish": True}},
            {"frame": {"type": "text", "data": "in parts", "finish": True}},
        ]
        await client.send("on")
        assert await hear(consumer) == (
            f'{{"e":"queue.pop","p":{{"n":{node.nodes()[0]["id"]},"c":"{client_id}","t":"in",'
            '"d":{"frame":{"type":"text","data":"on","finish":true}}},"id":null}'
        )


async def test_a_node_that_stops_lets_consumers_finish(entry: str) -> None:
    async with running_node(entry=entry) as node:
        consumer = await back_end(node)
        await ask(consumer, "queue.pop", {"t": ["a"]})
        for number in range(1500):
            node.queues.push("a", number)
        node.queues.push("b", "nobody wants it")
        closing = asyncio.ensure_future(node.close())
        assert [json.loads(await hear(consumer))["p"]["d"] for _ in range(1500)] == list(range(1500))
        await consumer.wait_closed()
        assert consumer.close_code == 3000
        await closing
        assert node.queues.counters.discarded == 1


async def test_metrics(node: Node) -> None:
    async with connect(clients(node)) as client, back_end(node) as consumer:
        await hear(client)
        await ask(consumer, "queue.pop", {"t": ["a"]})
        await push(client, "a", 1)
        await push(client, "b", 1)
        await push(client, "b", None)
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(api(node) + "/metrics").read().decode())
    found = dict(re.findall(r"^towline_gateway_queue_(\S+) (\S+)$", text, re.MULTILINE))
    assert (found["pushed_total"], found["delivered_total"], found["waiting"]) == ("2.0", "1.0", "1.0")
    assert (found["topics"], found["consumers"], found['refused_total{reason="data"}']) == ("2.0", "1.0", "1.0")
