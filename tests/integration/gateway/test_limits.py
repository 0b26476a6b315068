# SPDX-License-Identifier: Apache-2.0
"""What a port bounds: connections, addresses, rates, silence, and clients that do not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.helpers import until
from tests.integration.gateway.rawclient import RawClient, RawClients
from tests.integration.gateway.running import clients, running_node
from tests.integration.wrong.wire import BINARY, CONT, PING, PONG, TEXT, encode
from towline.gateway.node import Node

ROOM = (
    "def on_handshake(conn, handshake): conn.subscribe('all')\ndef on_message(conn, message): conn.send(message.data)"
)


@pytest.fixture
def room(tmp_path: Path) -> str:
    path = tmp_path / "room.py"
    path.write_text(ROOM)
    return str(path)


def publish(node: Node, data: bytes) -> tuple[int, int]:
    found: list[Any] = []
    node.mesh.publish_then("all", data, False, found.append)
    return found[0].sent, found[0].failed


@pytest.fixture
async def raw() -> AsyncIterator[RawClients]:
    clients = RawClients()
    yield clients
    await clients.cut()


# -- connections


async def test_a_port_has_so_many_clients(raw: RawClients) -> None:
    async with raw.node(entry="builtin:echo", max_connections=2) as node:
        one, two = await raw.upgraded(node), await raw.upgraded(node)
        refused = await raw.open(node)
        answer = await refused.upgrade()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 5\r\n" in answer
        assert await refused.reader.read() == b"this port has as many connections as it may have\n"
        assert node.ports[0].counters.refused["too_many"] == 1
        one.cut()
        await until(lambda: node.ports[0].admission.count == 1)
        again = await raw.upgraded(node)
        # What never becomes a client counts no longer than it lasts.
        for bad in (b"GET / HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n"):
            wrong = await raw.open(node)
            wrong.send(bad)
            await wrong.reader.read()
        two.cut()
        again.cut()
        await until(lambda: node.ports[0].admission.count == 0 and node.ports[0]._unfinished == 0)


async def test_an_address_has_so_many_clients(raw: RawClients) -> None:
    async with raw.node(entry="builtin:echo", max_per_address=1, trusted_proxies=("127.0.0.1",)) as node:

        async def ask(*headers: str) -> tuple[RawClient, bytes]:
            client = await raw.open(node)
            return client, (await client.upgrade("/", *headers)).partition(b"\r\n")[0]

        first, answer = await ask("X-Forwarded-For: 6.6.6.6, 203.0.113.1")
        assert b" 101 " in answer
        _, answer = await ask("X-Forwarded-For: 7.7.7.7, 203.0.113.1")
        assert b" 429 " in answer
        for other in ("X-Forwarded-For: 203.0.113.2", "X-Real-IP: 203.0.113.3", "X-Forwarded-For: 2001:db8::1"):
            assert b" 101 " in (await ask(other))[1]
        assert b" 429 " in (await ask("X-Forwarded-For: 2001:db8::2"))[1]
        assert node.ports[0].counters.refused["too_many_from_address"] == 2
        first.cut()
        await until(lambda: node.ports[0].admission.count == 3)
        assert b" 101 " in (await ask("X-Forwarded-For: 203.0.113.1"))[1]


async def test_without_trust_the_peer_is_the_address(raw: RawClients) -> None:
    async with raw.node(entry="builtin:echo", max_per_address=1) as node:
        await raw.upgraded(node)
        other = await raw.open(node)
        assert b" 429 " in await other.upgrade("/", "X-Forwarded-For: 203.0.113.1")


# -- rates


async def test_a_client_over_its_rate_has_to_wait_and_loses_nothing() -> None:
    async with running_node(entry="builtin:echo", messages_per_s=100, burst=10) as node:
        loop = asyncio.get_running_loop()
        async with connect(clients(node)) as fast, connect(clients(node)) as other:
            began = loop.time()
            for number in range(60):
                await fast.send(str(number))
            await other.send("meanwhile")
            assert await other.recv() == "meanwhile"
            assert loop.time() - began < 0.4
            assert [await fast.recv() for _ in range(60)] == [str(number) for number in range(60)]
            assert loop.time() - began >= 0.49
        counters = node.ports[0].counters
        assert counters.held >= 40
        assert counters.messages == 61


async def test_reading_pauses_when_too_much_waits(raw: RawClients) -> None:
    async with raw.node(entry="builtin:echo", bytes_per_s=1_000_000, max_message_bytes=200_000) as node:
        client = await raw.upgraded(node)
        piece = encode(BINARY, bytes(100_000))
        for _ in range(60):
            client.send(piece)
        listener: Any = next(iter(node.ports[0].clients))
        await until(lambda: len(listener._waiting or ()) >= 16)
        # 16 wait, a few are in the buffer of the connection: the rest stays with the client.
        assert node.ports[0].counters.messages < 45
        assert len(listener._waiting or ()) < 40
        client.cut()


async def test_a_client_over_its_rate_is_closed_if_the_port_says_so(raw: RawClients) -> None:
    async with raw.node(entry="builtin:echo", messages_per_s=1, burst=5, rate_policy="close") as node:
        for frame in (encode(TEXT, b"x"), encode(PING, b""), encode(PONG, b"")):
            client = await raw.upgraded(node)
            client.send(frame * 5)
            client.send(frame)
            assert await client.closed() == 3501
        client = await raw.upgraded(node)
        client.send(encode(TEXT, b"", fin=False) + encode(CONT, b"", fin=False) * 1000)
        assert await client.closed() == 3501
        await until(lambda: node.ports[0].counters.closed["rate"] == 4)


async def test_pings_over_the_rate_are_passed_over(raw: RawClients) -> None:
    async with raw.node(entry="builtin:echo", messages_per_s=1, burst=5) as node:
        client = await raw.upgraded(node)
        client.send(encode(PING, b"p") * 2000)
        assert [await client.frame() for _ in range(5)] == [(PONG, b"p")] * 5
        pings = node.ports[0].counters.pings
        await until(lambda: pings["passed_over"] == 1995)
        assert pings["answered"] == 5
        client.cut()


# -- silence


async def test_an_idle_client_that_answers_pings_stays(raw: RawClients) -> None:
    async with raw.node(entry="builtin:echo", read_timeout_s=0.4, ping_s=0.1) as node:
        pings = node.ports[0].counters.pings
        dead = await raw.upgraded(node)
        # The library answers pings by itself; it sends none.
        async with connect(clients(node), ping_interval=None) as living:
            assert await dead.closed() == 3002
            await until(lambda: pings["sent"] >= 12)
            await living.send("still here")
            assert await living.recv() == "still here"
        assert node.ports[0].counters.closed["silent"] == 1


async def test_many_idle_clients_end_at_their_time(raw: RawClients) -> None:
    async with raw.node(entry="builtin:echo", read_timeout_s=0.4) as node:
        loop = asyncio.get_running_loop()
        began = loop.time()
        idle = [await raw.upgraded(node) for _ in range(50)]
        busy = await raw.upgraded(node)

        async def chatter() -> None:
            while True:
                busy.send(encode(TEXT, b"x"))
                await busy.message()
                await asyncio.sleep(0.05)

        task = asyncio.create_task(chatter())
        codes = await asyncio.gather(*(client.closed() for client in idle))
        assert codes == [3002] * 50
        assert loop.time() - began < 3
        assert not task.done()
        task.cancel()


# -- clients that do not read


async def test_a_socket_that_takes_nothing_is_closed(room: str, raw: RawClients) -> None:
    async with raw.node(entry=room, send_buffer_bytes=20_000, write_timeout_s=0.5) as node:
        client = await raw.upgraded(node, receive_bytes=4096)
        await until(lambda: node.realm.channels.get("all") is not None)
        for _ in range(20):
            assert publish(node, bytes(10_000)) == (1, 0)
            await asyncio.sleep(0)
        await until(lambda: node.outbox.counters.stalled == 1)
        assert await client.closed() == 3006
        await until(lambda: node.ports[0].counters.closed["stalled"] == 1)
        assert node.outbox.counters.abandoned > 0


@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest"])
async def test_a_client_that_may_miss_frames_stays(room: str, policy: str, raw: RawClients) -> None:
    async with raw.node(entry=room, outbox_bytes=100_000, outbox_policy=policy, send_buffer_bytes=20_000) as node:
        slow = await raw.upgraded(node, receive_bytes=4096)
        async with connect(clients(node)) as fast:
            await until(lambda: len(node.realm.connections) == 2)
            sent = failed = 0
            for number in range(100):
                counts = publish(node, b"%05d" % number + b"x" * 10_000)
                sent, failed = sent + counts[0], failed + counts[1]
                assert str(await fast.recv())[:5] == f"{number:05d}"
            counters = node.outbox.counters
            dropped = counters.dropped_newest if policy == "drop_newest" else counters.dropped_oldest
            assert 50 < dropped < 100
            assert (sent, failed) == ((200 - dropped, dropped) if policy == "drop_newest" else (200, 0))
            await fast.send("over")
            await fast.recv()
            slow.send(encode(TEXT, b"over"))
            await until(lambda: node.ports[0].counters.messages == 2)
            got = []
            while (text := await slow.message()) != "over":
                got.append(int(text[:5]))
                if len(got) == 100 - dropped and policy == "drop_newest":
                    break
        # Each message is whole, in order, and as many are missing as were counted.
        assert got == sorted(set(got))
        assert got[0] == 0
        if policy == "drop_newest":
            assert len(got) == 100 - dropped
        else:
            assert got[-1] == 99
            assert len(got) == 100 - counters.dropped_oldest
