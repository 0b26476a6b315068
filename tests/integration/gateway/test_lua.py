# SPDX-License-Identifier: Apache-2.0
"""Lua entries over real sockets: limits and reloads close no connection."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.integration.gateway.running import api, clients, running_node
from towline.gateway.settings import ListenerSettings, OptionSettings

SCRIPT = """
function on_handshake(id, headers, server) mix.websocket():send("hi " .. headers["X-Name"] .. " " .. server.RequestUri) end
function on_message(msg)
  if msg.data == "loop" then while true do pcall(function() while true do end end) end end
  if msg.data == "hog" then local t = {} while true do t[#t + 1] = ("x"):rep(1e6) .. #t end end
  if msg.data == "fail" then local nothing = nil; nothing.x = 1 end
  mix.websocket():send(VERSION .. msg.type .. msg.data, msg.type)
end
function on_close(id, err) end
"""


async def hear(client: ClientConnection) -> str | bytes:
    return await asyncio.wait_for(client.recv(), 5)


async def test_limits_errors_and_reloads_leave_connections_alone(tmp_path: Path) -> None:
    path = tmp_path / "entry.lua"
    path.write_text(SCRIPT.replace("VERSION", '"1 "'))
    async with running_node(entry=str(path), path="/lua", reload_s=0.2, lua_memory_bytes=8 * 1024 * 1024) as node:
        url, headers = clients(node, "/lua?a=1"), {"X-Name": "ann"}
        async with connect(url, additional_headers=headers) as ann, connect(url, additional_headers=headers) as bob:
            assert await hear(ann) == await hear(bob) == "hi ann /lua?a=1"
            for bad in ("loop", "hog", "fail"):
                await ann.send(bad)
                await bob.send("x")
                assert await hear(bob) == "1 textx"
                await ann.send("y")
                assert await hear(ann) == "1 texty"
            await ann.send(b"\xff")
            assert await hear(ann) == b"1 binary\xff"
            path.write_text(SCRIPT.replace("VERSION", '"2  "'))
            async with asyncio.timeout(5):
                while True:
                    await ann.send("x")
                    if await hear(ann) == "2  textx":
                        break
            async with httpx.AsyncClient() as http:
                text = (await http.get(api(node) + "/metrics")).text
            assert 'towline_gateway_entry_errors_total{listener="0"} 3.0' in text
            assert 'towline_gateway_script_events_total{event="reloaded",listener="0"} 1.0' in text


async def test_options_and_trust_of_a_listener(tmp_path: Path) -> None:
    path = tmp_path / "entry.lua"
    path.write_text(
        'function on_handshake() mix.websocket():send(mix.server.option("path") .. mix.server.option("a")) end '
        "function on_message(msg) end function on_close() end"
    )
    listener = ListenerSettings(
        listen="127.0.0.1:0", path="/x", entry=str(path), trusted=True, options=(OptionSettings(name="a", value="b"),)
    )
    async with running_node(listeners=(listener,)) as node:
        port = node.ports[-1].address[1]
        async with connect(f"ws://127.0.0.1:{port}/x") as client:
            assert await hear(client) == "/xb"


async def test_a_back_end_pops_what_a_script_pushes(tmp_path: Path) -> None:
    path = tmp_path / "entry.lua"
    path.write_text(
        "function on_handshake() end function on_close() end function on_message(msg) "
        'local n, err = mix.queue.push("chat", {frame = msg, uid = 1001}) mix.websocket():send(err or "ok") end'
    )
    async with running_node(entry=str(path)) as node, connect(api(node, "ws") + "/ws/v1") as back_end:
        await back_end.send('{"m":"queue.pop","p":{"t":["chat"]},"i":1}')
        assert json.loads(await hear(back_end))["r"] == {"s": True}
        async with connect(clients(node)) as client:
            await client.send("hi")
            assert await hear(client) == "ok"
            event = json.loads(await hear(back_end))
        assert event["p"]["t"] == "chat"
        assert event["p"]["d"] == {"frame": {"type": "text", "data": "hi", "finish": True}, "uid": 1001}


async def test_a_push_of_a_script_that_loads_has_the_nodes_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first load is before the node has one: no event with another number comes out of it."""
    path = tmp_path / "entry.lua"
    rest = " function on_handshake() end function on_close() end function on_message(msg) end"
    path.write_text('print(mix.queue.push("loads", "first"))' + rest)
    async with running_node(entry=str(path), reload_s=0.2) as node, connect(api(node, "ws") + "/ws/v1") as back_end:
        assert capsys.readouterr().out.startswith("nil\tthe node is not started yet")
        await back_end.send('{"m":"queue.pop","p":{"t":["loads"]},"i":1}')
        assert json.loads(await hear(back_end))["r"] == {"s": True}
        path.write_text('print(mix.queue.push("loads", "second"))' + rest)
        event = json.loads(await hear(back_end))["p"]
        assert event == {"n": int(node.nodes()[0]["id"]), "c": "", "t": "loads", "d": "second"}
