# SPDX-License-Identifier: Apache-2.0
"""A hundred thousand bad messages to a gateway node: each answered as specified, all counted, memory back to where it was.

Most are pipelined on connections that stay; what ends a connection gets one of its own. ``TOWLINE_TEST_SEED`` repeats a run.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers import wait_until
from tests.integration.gatewayprocess import GatewayProcess
from tests.integration.wrong.clients import Clients
from tests.integration.wrong.pushapi import Counted, Http, Sockets
from tests.integration.wrong.wire import TEXT, Wire, encode

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("TOWLINE_TEST_SEED", "20261129"))
BATCH = 500
POOL = 2000
"""Different messages; they come again and again."""

PIPELINED = 45_000
"""By HTTP, and as many by WebSocket."""

SINGLE = 2_000
"""Of each kind that ends its connection."""

SETTINGS = """
gateway:
  api_listen: 127.0.0.1:{api}
  clients_listen: 127.0.0.1:{clients}
  entry: entry.py
"""

ENTRY = """
def on_handshake(conn, handshake):
    conn.subscribe("news")

def on_message(conn, message):
    conn.send(message.data)
"""


class World:
    """The node, and what has been sent to it."""

    def __init__(self, folder: Path) -> None:
        (folder / "entry.py").write_text(ENTRY)
        self.node = GatewayProcess(folder, SETTINGS)
        self.random = random.Random(SEED)
        self.counted: Counted = Counter()
        self.inputs = 0

    @property
    def api(self) -> int:
        return self.node.ports["api"]

    def works(self) -> None:
        """A publish reaches a client."""
        with Wire(self.node.ports["clients"]) as client, Wire(self.api) as back_end:
            assert client.upgrade("/", self.node.ports["clients"]).status == 101
            assert back_end.upgrade("/ws/v1", self.api).status == 101
            client.send(encode(TEXT, b"there"))
            assert client.text() == "there"
            back_end.send(encode(TEXT, b'{"m":"mesh.publish","p":{"c":"news","d":"x"},"i":1}'))
            assert back_end.text() == '{"E":null,"r":{"s":1,"f":0},"i":1}'
            assert client.text() == "x"

    # -- pipelined

    def bodies(self, count: int) -> None:
        """``POST`` with bodies that are no request: 101 each, in order, on one connection."""
        http = Http(self.api, self.random, Counter())
        pool = []
        for number in range(POOL):
            body = http._body(number)
            path = (b"/v1/mesh/send", b"/v1/mesh/publish")[number % 2]
            pool.append(
                b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)
            )
        with Wire(self.api) as wire:
            for _ in range(count // BATCH):
                batch = self.random.choices(pool, k=BATCH)
                wire.send(b"".join(batch))
                for request in batch:
                    reply = wire.reply()
                    assert (reply.status, reply.body[:11]) == (200, b'{"E":{"c":1'), (request[:300], reply)
                    assert reply.body.startswith(b'{"E":{"c":101,"m":"invalid argument: '), (request[:300], reply)
        self.counted["api_errors", "101"] += count
        self.inputs += count

    def paths(self, count: int) -> None:
        """Requests that have no route."""
        pool = [
            (b"GET /v1/mesh/publish", 405), (b"GET /nothing", 404), (b"DELETE /v1/mesh/send", 405), (b"GET /ws/v1", 426),
            (b"HEAD /v1/queue", 404), (b"POST /metrics", 405), (b"GET /../../etc/passwd", 404), (b"GET /%00", 404),
        ]  # fmt: skip
        with Wire(self.api) as wire:
            for _ in range(count // BATCH):
                batch = self.random.choices(pool, k=BATCH)
                wire.send(b"".join(b"%b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % line for line, _ in batch))
                for line, status in batch:
                    assert wire.reply(head_only=line.startswith(b"HEAD")).status == status, line
                    self.counted["api_answers", str(status)] += 1
        self.inputs += count

    def requests(self, count: int) -> None:
        """Texts on ``/ws/v1`` that are no request, with the number that comes back."""
        sockets = Sockets(self.api, self.random, Counter())
        pool = [sockets._request(number) for number in range(POOL)]
        with sockets.open() as wire:
            for _ in range(count // BATCH):
                batch = self.random.choices(pool, k=BATCH)
                wire.send(b"".join(encode(TEXT, text) for text, _, _ in batch))
                for text, code, echoed in batch:
                    answer = json.loads(wire.text())
                    assert answer["E"]["c"] == code, (text[:300], answer)
                    assert echoed is ... or answer["i"] == echoed, (text[:300], answer)
                    self.counted["api_errors", str(code)] += 1
            wire.send(encode(TEXT, b"ping"))
            assert wire.text() == "pong"
        self.inputs += count

    # -- one connection each

    def singles(self, count: int) -> None:
        """What breaks HTTP and WebSocket, on both ports."""
        http = Http(self.api, self.random, self.counted)
        http.malformed(count)
        sockets = Sockets(self.api, self.random, self.counted)
        sockets.frames(count // 2)
        clients = Clients(self.node.ports["clients"], self.random, self.counted)
        clients.frames(count)
        clients.texts(count // 2)
        clients.upgrades(count // 2)
        clients.heads(count // 2)
        http.drop()
        self.inputs += http.inputs + sockets.inputs + clients.inputs


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    try:
        yield made
        made.node.stop()
    finally:
        made.node.close()


@pytest.mark.timeout(300)
def test_a_hundred_thousand_bad_messages(world: World) -> None:
    world.works()
    for step in everything(world, 1000, 40):
        step()
    world.works()
    memory, before = world.node.memory_mb, world.node.counts()
    world.counted.clear()
    world.inputs = 0
    for step in everything(world, PIPELINED, SINGLE):
        step()
        world.works()
    assert world.inputs >= 100_000

    def grown() -> dict[tuple[str, str], tuple[int, int]]:
        now = world.node.counts()
        return {
            key: (count, now[key] - before[key])
            for key, count in world.counted.items()
            # What ends a connection may be an answer of 400 and more besides.
            if (now[key] - before[key] < count if key[0] == "api_answers" else now[key] - before[key] != count)
        }

    try:
        wait_until(lambda: not grown(), 10)
    except AssertionError:
        raise AssertionError(f"(sent, counted) differ: {grown()}") from None
    try:
        wait_until(lambda: world.node.memory_mb <= memory + 16, 10)
    except AssertionError:
        raise AssertionError(f"{memory:.0f} MB before, {world.node.memory_mb:.0f} MB after") from None
    text = world.node.metrics()
    for gauge, value in (("api_sockets", 0), ("api_connections", 1), ("queue_topics", 0)):
        assert f"\ntowline_gateway_{gauge} {value}.0\n" in text, gauge
    assert " ERROR " not in world.node.output()


def everything(world: World, pipelined: int, single: int) -> list[Callable[[], None]]:
    return [
        lambda: world.bodies(pipelined),
        lambda: world.paths(pipelined // 9),
        lambda: world.requests(pipelined),
        lambda: world.singles(single),
    ]
