# SPDX-License-Identifier: Apache-2.0
"""examples/chat and examples/chat_lua over real sockets, on two nodes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.helpers import until
from tests.integration.gateway.running import clients, running_node
from towline.bus.memory import MemoryBus
from towline.clock import SystemClock
from towline.gateway.node import Node
from towline.gateway.settings import GatewaySettings

CHAT = Path(__file__).parents[3] / "examples" / "chat"
ENTRY = str(CHAT / "chat.py")
LUA_ENTRY = str(CHAT.parent / "chat_lua" / "chat.lua")


async def ask(client: ClientConnection, **message: Any) -> None:
    await client.send(json.dumps(message))


async def hear(client: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(client.recv(), 5))


@pytest.mark.parametrize("entry", [ENTRY, LUA_ENTRY], ids=["python", "lua"])
async def test_rooms_span_nodes(entry: str) -> None:
    clock = SystemClock()
    bus = MemoryBus(clock)
    nodes = [
        Node(
            bus,
            clock,
            GatewaySettings(api_listen="127.0.0.1:0", clients_listen="127.0.0.1:0", path="/chat", entry=entry),
        )
        for _ in range(2)
    ]
    for node in nodes:
        await node.start()
    await until(lambda: nodes[0].mesh._others)
    url = [clients(node, "/chat") for node in nodes]
    async with connect(url[0]) as ann, connect(url[1]) as bob, connect(url[1]) as eve:
        for one in (ann, bob, eve):
            assert (await hear(one))["is"] == "welcome"
        await ask(ann, do="join", room="lobby", name="ann")
        assert await hear(ann) == {"is": "joined", "room": "lobby", "name": "ann"}
        await ask(bob, do="join", room="lobby", name="bob")
        assert (await hear(ann))["name"] == (await hear(bob))["name"] == "bob"
        await ask(eve, do="join", room="other", name="eve")
        await hear(eve)
        await ask(bob, do="say", text="hi ann")
        said = {"is": "said", "room": "lobby", "name": "bob", "text": "hi ann"}
        assert await hear(ann) == await hear(bob) == said
        await ask(eve, do="join", room="lobby", name="eve")
        assert (await hear(eve))["is"] == "left"
        assert (await hear(eve))["is"] == (await hear(ann))["is"] == (await hear(bob))["is"] == "joined"
        await eve.close()
        assert await hear(ann) == {"is": "left", "room": "lobby", "name": "eve"}
        assert (await hear(bob))["is"] == "left"
        for wrong in ("x", "{}", '{"do": "dance"}', '{"do": "join"}', '{"do": "say", "text": ""}'):
            await ann.send(wrong)
            assert (await hear(ann))["is"] == "error"
    for node in nodes:
        await node.close()
    await bus.close()


async def test_the_terminal_client() -> None:
    async with running_node(path="/chat", entry=ENTRY) as node:
        url = clients(node, "/chat")
        async with connect(url) as ann:
            await hear(ann)
            await ask(ann, do="join", room="lobby", name="ann")
            await hear(ann)
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(CHAT / "client.py"), "lobby", "bob", url,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=dict(os.environ),
            )  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            assert (await hear(ann))["name"] == "bob"
            process.stdin.write(b"hello from the terminal\n")
            assert (await hear(ann))["text"] == "hello from the terminal"
            await ask(ann, do="say", text="hello bob")
            assert [await asyncio.wait_for(process.stdout.readline(), 5) for _ in range(3)] == [
                b"* bob joined lobby\n",
                b"bob: hello from the terminal\n",
                b"ann: hello bob\n",
            ]
            process.stdin.close()
            assert await asyncio.wait_for(process.wait(), 5) == 0
