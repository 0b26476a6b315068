# SPDX-License-Identifier: Apache-2.0
"""Modules that scripts may require though their own folder has none: WebSocket, lines and JSON-RPC over raw TCP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage

from tests.helpers import until
from tests.integration.gateway.rawscripts import Dial
from tests.integration.gateway.running import running_node
from towline.gateway.node import Node

NOTHING = "function on_connect(client_id) end\nfunction on_close(client_id, err) end\n"

SECOND = (
    NOTHING
    + """
require("utils.prettyprint")
local websocket = require("protocols.websocket")
function on_handshake(client_id, headers, server)
  local conn = mix.socket.tcp()
  conn:set_context_value("hello", client_id .. " " .. server.RequestUri .. " " .. headers["X-Test"])
end
function protocol_input(buf) return websocket.input(buf, on_handshake) end
function protocol_decode(str) return websocket.decode(str) end
function protocol_encode(str) return websocket.encode(str) end
function on_message(msg)
  print(msg)
  local conn = mix.socket.tcp()
  if msg.data == "hello" then
    websocket.send_text(conn:context_value("hello"))
  elseif msg.data == "news" then
    conn:subscribe("news")
    websocket.send_text("subscribed")
  elseif msg.type == "binary" then
    websocket.send_binary(msg.data)
  else
    websocket.send_text(msg.data)
  end
end
"""
)

FIRST = """
require("prettyprint")
local websocket = require("protocols/websocket")
function init() mix.queue.new("topic", 100) end
function on_connect(conn) end
function on_close(err, conn) end
function on_handshake(headers, conn) conn:set_context_value("test", headers["X-Test"]) end
function protocol_input(buf, conn) return websocket.input(buf, conn, "/chat", on_handshake) end
function protocol_decode(str, conn) return websocket.decode(conn) end
function protocol_encode(str, conn) return websocket.encode(str) end
function on_message(data, conn)
  websocket.send_text(conn, conn:context_value("test") .. " " .. data.data)
end
"""

LINES = (
    NOTHING
    + """
local text = require("protocols.text")
protocol_input, protocol_decode, protocol_encode = text.input, text.decode, text.encode
function on_message(line) mix.mesh.send(mix.socket.tcp():client_id(), "> " .. line) end
"""
)

JSONRPC = (
    NOTHING
    + """
local jsonrpc = require("protocols.jsonrpc")
protocol_input, protocol_decode, protocol_encode = jsonrpc.input, jsonrpc.decode, jsonrpc.encode
function on_message(request)
  mix.socket.tcp():send(jsonrpc.encode_table({id = request.id, result = request.params[1] * 2}))
end
"""
)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "entry.lua"


def url(node: Node, path: str) -> str:
    return f"ws://127.0.0.1:{node.clients_address[1]}{path}"


async def test_a_websocket_over_raw_tcp(script: Path) -> None:
    script.write_text(SECOND)
    async with running_node(protocol="socket", entry=str(script), path="/chat") as node:
        async with connect(url(node, "/chat?a=1"), additional_headers={"X-Test": "yes"}) as client:
            await client.send("hello")
            (client_id,) = node.realm.connections
            assert await client.recv() == f"{client_id} /chat?a=1 yes"
            for text in ("x", "y" * 200, "z" * 60_000, "ä€😀"):
                await client.send(text)
                assert await client.recv() == text
            await client.send(b"\x00\xff" * 1000)
            assert await client.recv() == b"\x00\xff" * 1000
            await asyncio.wait_for(await client.ping(b"are you there"), 5)
            await client.send("news")
            assert await client.recv() == "subscribed"
            outcome = await node.mesh.publish("news", "extra")
            assert (outcome.sent, await client.recv()) == (1, "extra")
        with pytest.raises(InvalidMessage):
            async with connect(url(node, "/elsewhere")):
                pass
        async with connect(url(node, "/chat"), additional_headers={"X-Test": ""}, max_size=None) as client:
            with pytest.raises(ConnectionClosed):
                await client.send("x" * 70_000)
                await client.recv()
        assert node.ports[0].counters.entry_errors == 0


async def test_calls_of_the_first_generation(script: Path) -> None:
    script.write_text(FIRST)
    async with running_node(protocol="socket", entry=str(script)) as node:
        async with connect(url(node, "/chat"), additional_headers={"X-Test": "yes"}) as client:
            for text in ("one", "two" * 20_000):
                await client.send(text)
                assert await client.recv() == f"yes {text}"
        assert node.ports[0].counters.entry_errors == 0


async def test_lines_and_requests(script: Path, tmp_path: Path) -> None:
    script.write_text(LINES)
    other = tmp_path / "rpc.lua"
    other.write_text(JSONRPC)
    dial = Dial()
    try:
        async with running_node(protocol="socket", entry=str(script)) as node:
            ann = await dial.plain(node.clients_address)
            assert await ann.ask("one") == "> one"
            ann.writer.write(b"x" * 66_000)
            assert await ann.rest() == b""
            ann.writer.close()
            await until(lambda: node.ports[0].counters.closed["protocol_error"] == 1)
        async with running_node(protocol="socket", entry=str(other)) as node:
            ann = await dial.plain(node.clients_address)
            assert await ann.ask('{"method":"double","params":[21],"id":7}') == '{"id":7,"result":42}'
            assert await ann.ask('{"method":"double"}') == ""
    finally:
        await dial.close()


async def test_a_module_of_the_scripts_own_comes_first(script: Path, tmp_path: Path) -> None:
    (tmp_path / "protocols").mkdir()
    (tmp_path / "protocols" / "text.lua").write_text(
        "return {input = function(buf) return buf:length() end, decode = function(s) return s end,"
        " encode = function(s) return 'own ' .. s .. '\\n' end}"
    )
    script.write_text(LINES)
    dial = Dial()
    try:
        async with running_node(protocol="socket", entry=str(script)) as node:
            ann = await dial.plain(node.clients_address)
            assert await ann.ask("one") == "own > one"
    finally:
        await dial.close()


async def test_nothing_else_can_be_required(script: Path) -> None:
    script.write_text(
        "function on_handshake() end function on_close() end\n"
        "function on_message(msg) local ok, err = pcall(require, msg.data) mix.websocket():send(tostring(err)) end"
    )
    async with running_node(entry=str(script)) as node, connect(url(node, "/")) as client:
        for name in ("..", "protocols", "../mix", "library.protocols.text", "protocols.missing", ""):
            await client.send(name)
            assert "not found" in str(await client.recv()), name
