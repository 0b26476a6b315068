# SPDX-License-Identifier: Apache-2.0
"""Python entries that raise what is no ordinary error: the node, the client and the order of its messages outlive it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.helpers import until
from tests.integration.gateway.rawscripts import Dial
from tests.integration.gateway.running import clients, running_node
from towline.errors import StartError
from towline.gateway.entries.python import PythonEntry

ENTRY = """
import asyncio, sys

closed = []

async def cancelled():
    task = asyncio.create_task(asyncio.sleep(10))
    task.cancel()
    await task

def on_close(conn, error):
    conn.queue.push("closed", {"error": error})

def on_handshake(conn, handshake):
    if handshake.query == "exit":
        sys.exit(3)

def on_message(conn, message):
    word = message.data
    if word == "exit":
        sys.exit(3)
    elif word == "interrupt":
        raise KeyboardInterrupt
    elif word == "cancelled now":
        raise asyncio.CancelledError
    elif word == "close code":
        conn.close(99999, "x")
    elif word.startswith("later"):
        return later(conn, word)
    else:
        conn.send(word)

async def later(conn, word):
    await asyncio.sleep(0)
    if word == "later exit":
        sys.exit(3)
    if word == "later interrupt":
        raise KeyboardInterrupt
    await cancelled()
"""

BAD = ("exit", "interrupt", "cancelled now", "close code", "later exit", "later interrupt", "later cancelled")

RAW = """
import asyncio, sys

def protocol_input(conn, buffer):
    return buffer.find(b"\\n") + 1

async def on_message(conn, line):
    if line == b"exit\\n":
        sys.exit(3)
    if line == b"cancelled\\n":
        task = asyncio.create_task(asyncio.sleep(10))
        task.cancel()
        await task
    conn.send(line)
"""


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    path = tmp_path / "entry.py"
    path.write_text(ENTRY)
    return path


async def test_the_client_stays_and_its_messages_come_in_order(entry: Path) -> None:
    async with running_node(entry=str(entry)) as node:
        async with connect(clients(node, "/?exit")) as first, connect(clients(node)) as other:
            for word in BAD:
                for client in (first, other):
                    await client.send(word)
                    for number in range(100):
                        await client.send(str(number))
                    assert [await client.recv() for _ in range(100)] == [str(number) for number in range(100)], word
            assert node.ports[0].counters.entry_errors == 1 + 2 * len(BAD)
            await other.send("later cancelled")
        await until(lambda: node.queues.waiting == 2, what="on_close of both")


async def test_a_raw_client_stays(tmp_path: Path) -> None:
    (tmp_path / "raw.py").write_text(RAW)
    dial = Dial()
    async with running_node(entry=str(tmp_path / "raw.py"), protocol="socket") as node:
        client = await dial.plain(node.clients_address)
        client.writer.write(b"exit\ncancelled\none\nexit\ntwo\n")
        assert await asyncio.wait_for(client.reader.readexactly(8), 10) == b"one\ntwo\n"
        assert node.ports[0].counters.entry_errors == 3
        await dial.close()


@pytest.mark.parametrize("line", ["import sys; sys.exit(3)", "raise KeyboardInterrupt", "raise SystemExit('no')"])
async def test_a_script_that_exits_does_not_load(entry: Path, line: str) -> None:
    async with running_node(entry=str(entry)) as node, connect(clients(node)) as client:
        entry.write_text(line + "\n")
        handler = node.ports[0].handler
        assert isinstance(handler, PythonEntry)
        assert handler.reload() is False
        await client.send("still here")
        assert await client.recv() == "still here"
    with pytest.raises(StartError, match=r"Exit|Interrupt") as caught:
        async with running_node(entry=str(entry)):
            pass
    assert caught.value.where == "gateway.entry"
    assert caught.value.message.startswith(f"{entry}:1: ")


async def test_codes_that_may_be_sent(entry: Path) -> None:
    entry.write_text("def on_message(conn, message):\n    conn.close(int(message.data), 'x')\n")
    async with running_node(entry=str(entry)) as node:
        for code in (1000, 3000, 4999):
            async with connect(clients(node)) as client:
                for bad in (0, 999, 1005, 1006, 1015, 2999, 5000, 99999, -1):
                    await client.send(str(bad))
                await client.send(str(code))
                with pytest.raises(ConnectionClosed) as caught:
                    await client.recv()
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == code
