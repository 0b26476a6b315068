# SPDX-License-Identifier: Apache-2.0
"""A node on the memory bus, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.helpers import until
from towline.bus.memory import MemoryBus
from towline.clock import SystemClock
from towline.gateway.node import Node
from towline.gateway.settings import GatewaySettings

ENTRY = """
def on_handshake(conn, handshake):
    conn.subscribe(*handshake.query.split(",")) if handshake.query else None
    conn.send(conn.id)

async def on_message(conn, message):
    conn.send(message.data)
"""


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    entry = tmp_path / "entry.py"
    entry.write_text(ENTRY)
    clock = SystemClock()
    bus = MemoryBus(clock)
    await bus.start()
    made = Node(
        bus,
        clock,
        GatewaySettings(api_listen="127.0.0.1:0", clients_listen="127.0.0.1:0", path="/chat", entry=str(entry)),
    )
    await made.start()
    yield made
    await made.close()
    await bus.close()


def clients_url(node: Node, query: str = "") -> str:
    return f"ws://127.0.0.1:{node.clients_address[1]}/chat" + (f"?{query}" if query else "")


def api_url(node: Node, path: str) -> str:
    return f"http://127.0.0.1:{node.api_address[1]}{path}"


async def post(node: Node, path: str, body: Any) -> Any:
    async with httpx.AsyncClient() as client:
        answer = await client.post(api_url(node, path), json=body)
        assert answer.status_code == 200
        return answer.json()


async def call(api: ClientConnection, request: Any) -> Any:
    await api.send(request if isinstance(request, str) else json.dumps(request))
    return json.loads(await api.recv())


async def test_a_publish_reaches_subscribers(node: Node) -> None:
    async with connect(clients_url(node, "news,sport")) as first, connect(clients_url(node, "news")) as second:
        await first.recv()
        await second.recv()
        assert await post(node, "/v1/mesh/publish", {"c": "news", "d": "hello"}) == {"E": None, "r": {"s": 2, "f": 0}}
        assert await post(node, "/v1/mesh/publish", {"c": "sport", "d": "AAE=", "t": "binary"}) == {
            "E": None,
            "r": {"s": 1, "f": 0},
        }
        assert await first.recv() == "hello"
        assert await first.recv() == b"\x00\x01"
        assert await second.recv() == "hello"
    await until(lambda: len(node.channels) == 0)
    assert (await post(node, "/v1/mesh/publish", {"c": "news", "d": "x"}))["r"] == {"s": 0, "f": 0}


async def test_a_send_reaches_its_client(node: Node) -> None:
    async with connect(clients_url(node)) as client:
        client_id = str(await client.recv())
        assert await post(node, "/v1/mesh/send", {"c": client_id, "d": "direct"}) == {"E": None, "r": {"s": True}}
        assert await post(node, "/v1/mesh/send", {"c": int(client_id), "d": ""}) == {"E": None, "r": {"s": True}}
        assert await client.recv() == "direct"
        assert await client.recv() == ""
        await client.send("echo")
        assert await client.recv() == "echo"
    answer = await post(node, "/v1/mesh/send", {"c": "15", "d": "x"})
    assert answer["E"]["c"] == 401
    assert answer["E"]["m"].startswith("failed to send: ")
    assert "r" not in answer


async def test_the_websocket_api(node: Node) -> None:
    async with connect(clients_url(node)) as client, connect(f"ws://127.0.0.1:{node.api_address[1]}/ws/v1") as api:
        client_id = str(await client.recv())
        await api.send("ping")
        assert await api.recv() == "pong"
        assert await call(api, {"m": "mesh.send", "p": {"c": client_id, "d": "one"}, "id": 7}) == {
            "E": None,
            "r": {"s": True},
            "i": 7,
        }
        done = {"E": None, "r": {"s": True}, "i": "a"}
        assert (
            await call(api, {"m": "conn.call", "p": {"c": client_id, "f": "subscribe", "a": ["x"]}, "i": "a"}) == done
        )
        context = {"c": client_id, "f": "set_context", "a": [{"uid": 1}]}
        assert await call(api, {"m": "conn.call", "p": context, "i": "a"}) == done
        assert node.realm.connections[client_id].context() == {"uid": 1}
        assert await call(api, {"m": "mesh.publish", "p": {"c": "x", "d": "two"}, "i": None}) == {
            "E": None,
            "r": {"s": 1, "f": 0},
            "i": None,
        }
        assert await client.recv() == "one"
        assert await client.recv() == "two"
        for request, code in (
            ("{", 101),
            ({"m": "nothing", "p": {}, "i": 1}, 101),
            ({"m": "conn.call", "p": {"c": "1", "f": "subscribe", "a": ["x"]}, "i": 1}, 301),
            ({"m": "conn.call", "p": {"c": client_id, "f": "send", "a": ["x"]}, "i": 1}, 301),
            ({"m": "conn.call", "p": {"c": client_id, "f": "subscribe", "a": []}, "i": 1}, 101),
            ({"m": "conn.call", "p": {"c": client_id, "f": "subscribe", "a": ["a b"]}, "i": 1}, 301),
            ({"m": "mesh.send", "p": {"c": "1", "d": "x"}, "i": 1}, 401),
            ({"m": "queue.unpop", "p": {}, "i": 1}, 203),
        ):
            assert (await call(api, request))["E"]["c"] == code
