# SPDX-License-Identifier: Apache-2.0
"""Raw TCP ports: the same dialogues with an entry in Python and one in Lua (spec connmix §4.4)."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.helpers import until
from tests.integration.gateway.rawscripts import SCRIPTS, Dial
from tests.integration.gateway.running import api, running_node
from towline.gateway.node import Node
from towline.gateway.settings import ListenerSettings


@pytest.fixture(params=SCRIPTS)
def entry(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name, source = SCRIPTS[request.param]
    (tmp_path / name).write_text(source)
    return str(tmp_path / name)


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    dial = Dial()
    yield dial
    await dial.close()


@asynccontextmanager
async def raw_node(entry: str, **settings: Any) -> AsyncIterator[Node]:
    async with running_node(protocol="socket", entry=entry, **settings) as node:
        yield node


def closed(node: Node) -> dict[str, int]:
    return dict(node.ports[0].counters.closed)


async def push(node: Node, what: str, to: str, data: str, **more: str) -> Any:
    async with httpx.AsyncClient() as http:
        return (await http.post(f"{api(node)}/v1/mesh/{what}", json={"c": to, "d": data, **more})).json()


async def test_a_dialogue(entry: str, dial: Dial) -> None:
    async with raw_node(entry) as node:
        ann = await dial(node.clients_address)
        assert await ann.ask("one") == "> one"
        ann.writer.write(b"two\nnothing\nthree\nfo")
        assert [await ann.line(), await ann.line()] == ["> two", "> three"]
        assert await ann.ask("ur") == "> four"
        assert await ann.ask("x" * 60_000) == "> " + "x" * 60_000
        assert await ann.ask("fail\nafter") == "> after"
        ann.writer.write(b"clear and forget")
        assert await ann.line() == "cleared"
        assert await ann.ask("five") == "> five"
        for byte in b"six\n":
            ann.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await ann.line() == "> six"
        assert await ann.ask("quit") == "bye"
        assert await ann.rest() == b""
        ann.writer.close()
        await until(lambda: closed(node) == {"normal": 1})
        assert node.ports[0].counters.entry_errors == 1


async def test_a_length_before_the_packet_is_waited_for(entry: str, dial: Dial) -> None:
    async with raw_node(entry) as node:
        ann = await dial(node.clients_address)
        ann.writer.write(b"#20000" + b"x" * 5)
        for _ in range(3):
            await asyncio.sleep(0)
            ann.writer.write(b"y" * 5000)
        assert await ann.ask("z" * 4995 + "next") == "> 20000 bytes"
        assert await ann.line() == "> next"


@pytest.mark.parametrize(
    ("sent", "cause", "errors"),
    [
        (b"!", "protocol_error", 0),
        (b"?", "failed", 1),
        (b"@", "failed", 1),
        (b"bad\n", "failed", 1),
        (b"x" * 4000, "too_big", 0),
        (b"x" * 4000 + b"\n", "too_big", 0),
        (b"#04000", "too_big", 0),
    ],
)
async def test_what_the_protocol_refuses_ends_the_connection(
    entry: str, sent: bytes, cause: str, errors: int, dial: Dial
) -> None:
    async with raw_node(entry, max_message_bytes=2000) as node:
        ann, bob = await dial(node.clients_address), await dial(node.clients_address)
        ann.writer.write(b"one\n" + sent)
        assert await ann.rest() == b"> one\n"
        ann.writer.close()
        await until(lambda: closed(node) == {cause: 1})
        assert node.ports[0].counters.entry_errors == errors
        assert await bob.ask("still here") == "> still here"
        assert node.queues.waiting == 1


async def test_pushes_pass_through_the_receivers_protocol(entry: str, dial: Dial) -> None:
    async with raw_node(entry) as node:
        ann, bob = await dial(node.clients_address), await dial(node.clients_address)
        assert await push(node, "publish", "news", "hi") == {"E": None, "r": {"s": 2, "f": 0}}
        assert (await ann.line(), await bob.line()) == (f"[{ann.id}]hi", f"[{bob.id}]hi")
        assert await push(node, "send", ann.id, base64.b64encode(b"\xff\n").decode(), t="binary") == {
            "E": None,
            "r": {"s": True},
        }
        assert await ann.reader.readline() == f"[{ann.id}]".encode() + b"\xff\n"
        assert await ann.line() == ""
        assert await push(node, "publish", "news", "no") == {"E": None, "r": {"s": 0, "f": 2}}
        assert (await push(node, "send", bob.id, "no"))["E"]["c"] == 401
        # An entry that publishes while it runs is asked, inside that call, to encode for its own clients.
        assert await ann.ask("pub yes") == f"[{ann.id}]yes"
        assert await ann.line() == "2 0"
        assert await bob.line() == f"[{bob.id}]yes"
        assert await ann.ask("pub no") == "0 2"
        assert await push(node, "publish", "news", "boom") == {"E": None, "r": {"s": 0, "f": 2}}
        assert await ann.rest() == await bob.rest() == b""
        ann.writer.close()
        bob.writer.close()
        await until(lambda: closed(node) == {"failed": 2})
        assert (await push(node, "send", bob.id, "x"))["E"]["c"] == 401


async def test_a_channel_with_clients_of_both_kinds(entry: str, dial: Dial) -> None:
    echo = ListenerSettings(listen="127.0.0.1:0", protocol="socket", entry="builtin:echo")
    web = ListenerSettings(listen="127.0.0.1:0", entry="builtin:echo")
    async with raw_node(entry, listeners=(web, echo)) as node:
        ann = await dial(node.clients_address)
        async with connect(f"ws://127.0.0.1:{node.ports[1].address[1]}/") as bob:
            plain = await dial.plain(node.ports[2].address)
            await until(lambda: len(node.realm.connections) == 3)
            for connection in node.realm.connections.values():
                connection.subscribe("news")
            for number in range(3):
                assert (await push(node, "publish", "news", f"n{number}"))["r"] == {"s": 3, "f": 0}
            assert [await bob.recv() for _ in range(3)] == ["n0", "n1", "n2"]
            assert [await ann.line() for _ in range(3)] == [f"[{ann.id}]n{number}" for number in range(3)]
            assert await plain.reader.readexactly(6) == b"n0n1n2"
            assert (await push(node, "publish", "news", "no"))["r"] == {"s": 2, "f": 1}
            async with httpx.AsyncClient() as http:
                text = (await http.get(api(node) + "/metrics")).text
            assert 'send_messages_total{protocol="socket"} 8.0' in text
            assert 'send_errors_total{protocol="socket"} 1.0' in text
            assert 'send_messages_total{protocol="websocket"} 4.0' in text
            assert "servers_clients 3.0" in text


async def test_waiting_holds_back_this_client_only(entry: str, dial: Dial) -> None:
    async with raw_node(entry, read_timeout_s=0.5) as node:
        ann, bob = await dial(node.clients_address), await dial(node.clients_address)
        ann.writer.write(b"wait\n" + b"".join(b"line %d\n" % number for number in range(20_000)))
        assert await bob.ask("meanwhile") == "> meanwhile"
        sockets: list[Any] = list(node.ports[0].clients)
        waiting = next(one for one in sockets if one._busy is not None)
        await until(lambda: waiting._paused)
        assert len(waiting._buffer) < 300_000
        await until(lambda: bob.id not in node.realm.connections)  # it is silent; the other one is kept waiting
        node.realm.connections[ann.id].set_context({"key": 0})
        assert await ann.line() == "got 0"
        assert [await ann.line() for _ in range(20_000)] == [f"> line {number}" for number in range(20_000)]


async def test_half_closed_and_reset(entry: str, dial: Dial) -> None:
    async with raw_node(entry) as node:
        half = await dial(node.clients_address)
        half.writer.write(b"one\ntwo\n")
        half.writer.write_eof()
        assert await half.rest() == b"> one\n> two\n"
        half.writer.close()
        await until(lambda: closed(node) == {"normal": 1})
        cut = await dial(node.clients_address)
        cut.writer.write(b"unfinis")
        cut.writer.write_eof()
        assert await cut.rest() == b""
        cut.writer.close()
        await until(lambda: closed(node) == {"normal": 1, "lost": 1})
        reset = await dial(node.clients_address)
        reset.writer.write(b"wait\n")
        await until(lambda: any(one._busy for one in list[Any](node.ports[0].clients)))
        raw = reset.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reset.writer.transport.abort()
        await until(lambda: closed(node) == {"normal": 1, "lost": 2})
        await until(lambda: node.queues.waiting == 3)


async def test_a_slow_client_is_given_up(entry: str, dial: Dial) -> None:
    async with raw_node(entry, outbox_bytes=64 * 1024, send_buffer_bytes=64 * 1024) as node:
        ann = await dial(node.clients_address)
        ann.reader._transport.pause_reading()  # type: ignore[attr-defined]
        answers = []
        for _ in range(200):
            answers.append(await push(node, "publish", "news", "x" * 60_000))
            if answers[-1]["r"]["s"] == 0:
                break
        assert answers[-1]["r"] in ({"s": 0, "f": 1}, {"s": 0, "f": 0})
        assert node.outbox.counters.slow == 1
        ann.writer.transport.abort()
        await until(lambda: closed(node) == {"slow": 1})


async def test_draining_closes_clients(entry: str, dial: Dial) -> None:
    async with raw_node(entry) as node:
        ann = await dial(node.clients_address)
        going = asyncio.create_task(node.close())
        assert await ann.rest() == b""
        ann.writer.close()
        await going
        assert closed(node) == {"draining": 1}


async def test_builtins(dial: Dial) -> None:
    lines = ListenerSettings(listen="127.0.0.1:0", protocol="socket", entry="builtin:lines:t")
    pieces = ListenerSettings(listen="127.0.0.1:0", protocol="socket", entry="builtin:forward:t")
    async with raw_node("builtin:echo", listeners=(lines, pieces)) as node:
        echo = await dial.plain(node.clients_address)
        echo.writer.write(b"\x00echo")
        assert await echo.reader.readexactly(5) == b"\x00echo"
        async with connect(api(node, "ws") + "/ws/v1") as back_end:
            await back_end.send('{"m":"queue.pop","p":{"t":["t"]},"i":1}')
            assert json.loads(await back_end.recv())["r"] == {"s": True}
            one = await dial.plain(node.ports[1].address)
            one.writer.write(b"text\r\n\n\xff\n")
            events = [json.loads(await back_end.recv())["p"] for _ in range(2)]
            assert [event["d"]["frame"] for event in events] == [
                {"type": "text", "data": "text", "finish": True},
                {"type": "binary", "data": "/w==", "finish": True},
            ]
            two = await dial.plain(node.ports[2].address)
            two.writer.write(b"as it is")
            frame = json.loads(await back_end.recv())["p"]["d"]["frame"]
            assert frame == {"type": "binary", "data": base64.b64encode(b"as it is").decode(), "finish": True}
