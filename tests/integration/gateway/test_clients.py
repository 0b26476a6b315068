# SPDX-License-Identifier: Apache-2.0
"""Clients and their entry: order, waiting, errors, limits, slow and vanishing clients."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from tests.helpers import until
from tests.integration.gateway.running import clients, running_node
from towline.gateway.node import Node

ENTRY = """
import asyncio
events = []

async def on_handshake(conn, handshake):
    if handshake.query == "refuse":
        conn.close(4001, "who are you?")
    if handshake.query == "raise":
        raise ValueError("in on_handshake")
    await asyncio.sleep(0)
    conn.send("hello " + handshake.headers["Host"].partition(":")[0])

async def on_message(conn, message):
    word = message.data if isinstance(message.data, str) else message.kind
    if word == "raise":
        raise ValueError("in on_message")
    if word == "wait":
        word = f"waited for {await conn.wait_context_value('go')}"
    elif word == "close":
        conn.send("last words")
        conn.close()
    elif word.startswith("slow"):
        await asyncio.sleep(0.001)
    conn.send(word)

def on_close(conn, error):
    events.append((conn.id, error))
"""


@pytest.fixture
def entry(tmp_path: Path) -> str:
    path = tmp_path / "entry.py"
    path.write_text(ENTRY)
    return str(path)


def ended(node: Node) -> list[str | None]:
    """What on_close was told, in order."""
    function: Any = node.ports[0].entry
    return [error for _, error in function.on_close.__globals__["events"]]


async def closed(client: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            await asyncio.wait_for(client.recv(), 10)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


async def test_messages_of_a_client_come_one_after_the_other(entry: str) -> None:
    async with running_node(entry=entry) as node, connect(clients(node)) as client:
        assert await client.recv() == "hello 127.0.0.1"
        words = [f"{'slow' if number % 3 else 'quick'} {number}" for number in range(200)]
        for word in words:
            await client.send(word)
        assert [await client.recv() for _ in words] == words
        await client.send(b"\x00")
        assert await client.recv() == "binary"
        await client.send(["frag", "men", "ted"])
        assert await client.recv() == "fragmented"


async def test_waiting_holds_back_one_client_only(entry: str) -> None:
    async with running_node(entry=entry) as node, connect(clients(node)) as one, connect(clients(node)) as other:
        await one.recv()
        await other.recv()
        await one.send("wait")
        for number in range(40):
            await one.send(f"behind {number}")
        await other.send("meanwhile")
        assert await other.recv() == "meanwhile"
        sockets: list[Any] = list(node.ports[0].clients)
        waiting = next(client for client in sockets if client._busy is not None)
        await until(lambda: len(waiting._waiting or ()) >= 16)
        waiting._conn.set_context({"go": 5})
        assert [await one.recv() for _ in range(41)] == ["waited for 5", *(f"behind {number}" for number in range(40))]


async def test_what_an_entry_raises_is_logged_now_and_then_and_counted(
    entry: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_node(entry=entry) as node, connect(clients(node, "/?raise")) as client:
        for _ in range(10):
            await client.send("raise")
        await client.send("still here")
        assert await client.recv() == "still here"
        counters = node.ports[0].counters
        assert counters.entry_errors == 11
        failures = [record for record in caplog.records if record.getMessage() == "entry failed"]
        assert 1 <= len(failures) < 5
        assert failures[0].levelno == logging.ERROR
        assert "in on_handshake" in str(failures[0].exc_info)


async def test_ways_to_end(entry: str) -> None:
    async with running_node(entry=entry) as node:
        async with connect(clients(node, "/?refuse")) as refused:
            assert await closed(refused) == (4001, "who are you?")
        async with connect(clients(node)) as leaving:
            await leaving.recv()
            await leaving.send("close")
            assert await leaving.recv() == "last words"
            assert await closed(leaving) == (1000, "")
        async with connect(clients(node)) as going:
            await going.recv()
        async with connect(clients(node)) as lost:
            await lost.recv()
            lost.transport.abort()
        async with connect(clients(node)) as wild:
            await wild.recv()
            frame = Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True)
            wild.transport.write(frame)
            assert (await closed(wild))[0] == 1007
        await until(lambda: len(ended(node)) == 5)
        assert sorted(ended(node), key=str) == sorted(["entry", None, None, "lost", "bad_text"], key=str)
        await until(lambda: not node.ports[0].clients and not node.realm.connections)


async def test_limits_of_a_message(entry: str) -> None:
    async with running_node(entry=entry, max_message_bytes=1000) as node:
        for message in ("x" * 1001, b"x" * 1001, ["x" * 600, "x" * 600], "x" * 100_000):
            async with connect(clients(node)) as client:
                await client.recv()
                await client.send(message)
                assert (await closed(client))[0] == 1009
        async with connect(clients(node)) as client:
            await client.recv()
            await client.send("x" * 1000)
            assert await client.recv() == "x" * 1000


async def test_upgrades(entry: str) -> None:
    async with running_node(entry=entry, path="/chat") as node:
        port = node.clients_address[1]

        async def ask(path: str, *headers: str) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)
            writer.transport.abort()
            return answer

        upgrade = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        assert b" 101 " in await ask("/chat", "Connection: Upgrade", *upgrade)
        assert b" 101 " in await ask("/chat?x=1", "Connection: keep-alive, Upgrade", *upgrade)
        assert b" 404 " in await ask("/", "Connection: Upgrade", *upgrade)
        assert b" 404 " in await ask("/chat/", "Connection: Upgrade", *upgrade)
        assert b" 400 " in await ask("/chat")
        old = await ask("/chat", "Connection: Upgrade", upgrade[0], "Sec-WebSocket-Version: 8", upgrade[2])
        assert b" 426 " in old
        await until(lambda: not node.realm.connections)
        node.ports[0].draining = True
        with pytest.raises(InvalidStatus) as caught:
            await connect(clients(node, "/chat"))
        assert caught.value.response.status_code == 503


async def test_without_an_entry_there_are_only_agents() -> None:
    async with running_node() as node:
        with pytest.raises(InvalidStatus) as caught:
            await connect(clients(node))
        assert caught.value.response.status_code == 404


async def test_a_client_that_does_not_read_is_given_up_and_harms_nobody(tmp_path: Path) -> None:
    script = tmp_path / "entry.py"
    script.write_text("def on_handshake(conn, handshake): conn.subscribe('all')\ndef on_message(conn, message): ...")
    async with running_node(entry=str(script), outbox_bytes=200_000, send_buffer_bytes=20_000) as node:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, node.clients_address)
        async with connect(clients(node)) as quick, connect(clients(node), sock=plain) as slow:
            slow.transport.pause_reading()
            await until(lambda: len(node.realm.connections) == 2)
            channel = node.realm.channels.get("all")
            assert channel is not None
            heard = 0
            sent = failed = 0
            for number in range(100):
                outcome: list[Any] = []
                node.mesh.publish_then("all", json.dumps([number, "x" * 10_000]).encode(), False, outcome.append)
                sent, failed = sent + outcome[0].sent, failed + outcome[0].failed
                assert json.loads(await quick.recv())[0] == number
                heard += 1
            assert heard == 100
            assert failed == 1
            assert 100 < sent < 200
            counters = node.outbox.counters
            assert (counters.slow, counters.refused) == (1, 1)
            assert len(node.realm.connections) == 1
            slow.transport.resume_reading()
            assert (await closed(slow))[0] == 3001
        await until(lambda: node.ports[0].counters.closed["slow"] == 1)
