# SPDX-License-Identifier: Apache-2.0
"""Durable topics over nodes joined by a real nats-server: any node consumes, and nothing accepted is lost when it is killed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import free_port, until
from tests.integration.gateway.backend import BackEnd, consume, put
from tests.natsserver import NatsServer
from towline.app.settings import Settings
from towline.app.topics import check_servers, join_jetstream, make_topics
from towline.bus.nats import NatsBus
from towline.bus.settings import BusSettings, Timing
from towline.clock import SystemClock
from towline.errors import StartError, TowlineError
from towline.gateway.durable import declared
from towline.gateway.node import Node
from towline.gateway.queuesettings import QueueSettings, TopicSettings
from towline.gateway.settings import GatewaySettings
from towline.store.base.topics import Delivery

pytestmark = pytest.mark.needs_nats

TIMING = Timing(beat=0.5, dead=3.0, settle=0.05, rest=0.4, backoff=0.02, backoff_max=0.1)
SYNCED = "jetstream { sync_interval: always }"
_realms = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    server = NatsServer(config=SYNCED).start()
    yield server
    server.stop()


class Mesh:
    """Nodes that share durable topics."""

    def __init__(self, server: NatsServer, *topics: TopicSettings) -> None:
        self._bus = BusSettings(url=server.url, realm=f"durable{next(_realms)}")
        self._queue = QueueSettings(topics=topics or (TopicSettings(name="orders", ack_s=1, max_deliveries=2),))
        self._stacks: dict[Node, contextlib.AsyncExitStack] = {}

    async def node(self) -> Node:
        clock = SystemClock()
        stack = contextlib.AsyncExitStack()
        bus = NatsBus(self._bus, clock, timing=TIMING)
        await bus.start()
        stack.push_async_callback(bus.close)
        topics = await join_jetstream(stack, self._bus, declared(self._queue)[0], 1, clock, TIMING)
        settings = GatewaySettings(api_listen="127.0.0.1:0", clients_listen="127.0.0.1:0", queue=self._queue)
        node = Node(bus, clock, settings, topics)
        await node.start()
        stack.push_async_callback(node.close)
        self._stacks[node] = stack
        return node

    async def close(self, node: Node) -> None:
        await self._stacks.pop(node).aclose()


@pytest.fixture
async def mesh(server: NatsServer) -> AsyncIterator[Mesh]:
    mesh = Mesh(server)
    yield mesh
    for node in list(mesh._stacks):
        await mesh.close(node)


async def test_any_node_consumes_and_acks(mesh: Mesh) -> None:
    nodes = [await mesh.node() for _ in range(2)]
    await put(nodes[0], "orders", *range(20))
    consumers = [await consume(node, "orders", n=10) for node in nodes]
    found = [await one.events(10) for one in consumers]
    assert sorted(event["d"] for events in found for event in events) == list(range(20))
    number = nodes[0].number
    assert {(event["n"], event["c"], event["r"]) for events in found for event in events} == {(number, "15", 1)}
    for one, events in zip(consumers, found, strict=True):
        assert await one.ack(*events) == {"s": 10, "f": 0}
    durable = nodes[1].queues.durable
    assert durable is not None
    await until(lambda: durable.figures()[0][:2] == ("orders", 0))
    # What one node's consumer had goes to the other's when that node stops.
    await consumers[1].close()
    await until(lambda: nodes[1].queues.consumers == 0)
    await put(nodes[1], "orders", "x", "y")
    await consumers[0].events(2)
    second = await consume(nodes[1], "orders")
    closing = asyncio.ensure_future(mesh.close(nodes[0]))
    again = await second.events(2)
    assert sorted((event["d"], event["r"]) for event in again) == [("x", 2), ("y", 2)]
    await second.ack(*again)
    await closing
    await second.close()


async def test_dead_letters_and_nacks(mesh: Mesh) -> None:
    nodes = [await mesh.node() for _ in range(2)]
    consumer, undertaker = await consume(nodes[0], "orders"), await consume(nodes[1], "orders.dead")
    await put(nodes[1], "orders", {"bad": 1})
    await consumer.events(2)
    (dead,) = await undertaker.events(1)
    assert dead["d"] == {"topic": "orders", "reason": "timeout", "deliveries": 2, "data": {"bad": 1}}
    assert (await undertaker.ack(dead)) == {"s": 1, "f": 0}
    await put(nodes[1], "orders", "no")
    (event,) = await consumer.events(1)
    await consumer.ask("queue.nack", {"a": [event["a"]], "w": 0.2})
    (event,) = await consumer.events(1)
    assert (event["d"], event["r"]) == ("no", 2)
    assert await consumer.ack(event) == {"s": 1, "f": 0}
    await consumer.close()
    await undertaker.close()


async def take_all(back_end: BackEnd, heard: set[object]) -> None:
    while True:
        (event,) = await back_end.events(1)
        await back_end.ack(event)
        heard.add(event["d"])


async def test_nats_is_killed_in_the_middle() -> None:
    server = NatsServer(config=SYNCED).start()
    mesh = Mesh(server, TopicSettings(name="orders", ack_s=2, max_deliveries=0))
    accepted: list[int] = []
    heard: set[object] = set()
    try:
        nodes = [await mesh.node() for _ in range(2)]
        consumers = [await consume(node, "orders") for node in nodes]
        takers = [asyncio.ensure_future(take_all(one, heard)) for one in consumers]
        stop = False

        async def produce(worker: int) -> None:
            for number in itertools.count():
                if stop:
                    return
                data = worker * 1_000_000 + number
                with contextlib.suppress(TowlineError):
                    await put(nodes[worker % 2], "orders", data)
                    accepted.append(data)

        producers = [asyncio.ensure_future(produce(worker)) for worker in range(6)]

        async def more() -> None:
            before = len(accepted)
            await until(lambda: len(accepted) > before + 200, 30)

        for _ in range(2):
            await more()
            server.kill()
            await asyncio.to_thread(server.restart)
        await more()
        stop = True
        await asyncio.gather(*producers)
        await until(lambda: heard.issuperset(accepted), 30, what="everything accepted is heard")
        for taker in takers:
            taker.cancel()
        for one in consumers:
            await one.close()
    finally:
        for node in list(mesh._stacks):
            await mesh.close(node)
        server.stop()


@pytest.mark.slow
async def test_the_leader_of_three_is_killed() -> None:
    """A push waits for the election: none fails, nothing is lost or there twice."""
    routes = [free_port() for _ in range(3)]
    listed = ", ".join(f"nats://127.0.0.1:{port}" for port in routes)
    servers = [
        NatsServer(
            config=f"server_name: n{number}\n{SYNCED}\n"
            f'cluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{listed}] }}'
        )
        for number, port in enumerate(routes)
    ]
    for server in servers:
        server.start()
    specs = declared(QueueSettings(topics=(TopicSettings(name="orders"),)))[0]
    bus = BusSettings(url=",".join(server.url for server in servers), realm="three")
    try:
        async with contextlib.AsyncExitStack() as stack:
            store = await join_jetstream(stack, bus, specs, 3, SystemClock(), TIMING)
            client = store._client
            assert client is not None
            info: Any = await client.jetstream().stream_info("towline-three-topic-orders")
            leader = servers[int(info.cluster.leader[1:])]

            async def push(worker: int) -> None:
                for number in range(60):
                    await store.push("orders", 1, "15", b"%d" % (worker * 1000 + number))
                    if (worker, number) == (0, 20):
                        leader.kill()

            await asyncio.gather(*[push(worker) for worker in range(4)])
            heard: list[int] = []
            while len(heard) < 240:
                found = await store.fetch("orders", 100, 1 << 20)
                heard += [int(one.data) for one in found]
                await store.ack(found)
            assert sorted(heard) == [worker * 1000 + number for worker in range(4) for number in range(60)]
    finally:
        for server in servers:
            server.stop()


async def test_what_is_wrong_with_the_server_is_said_at_start(server: NatsServer) -> None:
    bare = NatsServer(jetstream=False).start()
    specs = declared(QueueSettings(topics=(TopicSettings(name="orders"),)))[0]
    try:
        for url, replicas, code in ((bare.url, 1, "topics.no_jetstream"), (server.url, 3, "topics.replicas")):
            async with contextlib.AsyncExitStack() as stack:
                with pytest.raises(StartError) as refused:
                    await join_jetstream(
                        stack, BusSettings(url=url, realm="wrong"), specs, replicas, SystemClock(), TIMING
                    )
                assert refused.value.code == code
    finally:
        bare.stop()


async def test_the_monitoring_page_tells_whether_it_syncs(caplog: pytest.LogCaptureFixture) -> None:
    ports = [free_port(), free_port()]
    synced = NatsServer("-m", str(ports[0]), config=SYNCED).start()
    lazy = NatsServer("-m", str(ports[1])).start()
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    try:
        await check_servers(QueueSettings(nats_monitor=(urls[0],)))
        for wrong, code in ((urls[1], "topics.not_synced"), (f"http://127.0.0.1:{free_port()}", "topics.monitor")):
            with pytest.raises(StartError) as refused:
                await check_servers(QueueSettings(nats_monitor=(urls[0], wrong)))
            assert refused.value.code == code
        assert not caplog.records
        queue = QueueSettings(topics=(TopicSettings(name="orders"),))
        settings = Settings(
            bus=BusSettings(url=lazy.url, realm="said"), gateway=GatewaySettings(queue=queue), data="unused"
        )
        async with contextlib.AsyncExitStack() as stack:
            assert await make_topics(stack, settings, SystemClock()) is not None
        assert "cannot be known here" in caplog.text
        assert not Path("unused").exists()
    finally:
        synced.stop()
        lazy.stop()


async def test_the_permissions_of_the_page_are_enough() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "bus.md").read_text("utf-8")
    (block,) = re.findall(r"^authorization \{.*?^\}", page, re.DOTALL | re.MULTILINE)
    server = NatsServer(config=f"{SYNCED}\n{block.replace('$TOWLINE_NATS_PASSWORD', 'secret')}").start()
    bus = BusSettings(url=server.url, user="towline", password="secret")
    specs = declared(QueueSettings(topics=(TopicSettings(name="orders"),)))[0]
    try:
        async with contextlib.AsyncExitStack() as stack:
            store = await join_jetstream(stack, bus, specs, 1, SystemClock(), TIMING)
            for data in (b"a", b"b"):
                await store.push("orders", 1, "15", data)
            found: list[Delivery] = []
            while len(found) < 2:  # they may come one by one
                found += await store.fetch("orders", 2 - len(found), 1000)
            assert [one.data for one in found] == [b"a", b"b"]
            store.release(found[:1])
            await store.ack(found[1:])
            (again,) = await store.fetch("orders", 2, 1000)
            assert (again.data, again.deliveries) == (b"a", 2)
            await store.bury(again, "orders.dead", b"dead")
            assert [one.data for one in await store.fetch("orders.dead", 2, 1000)] == [b"dead"]
    finally:
        server.stop()
