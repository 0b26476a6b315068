# SPDX-License-Identifier: Apache-2.0
"""Two and three nodes over a real nats-server, with nodes and NATS killed, stopped and cut off under load.

In calm every count is exact: ``s`` is who was subscribed and who heard it. In the storm ``s`` never exceeds the living
clients that were given it, nothing is heard twice or out of its sender's order, and nothing waits for ever. What is heard
is compared with what was said for every operation (:mod:`tests.integration.mesh.ledger`).

``TOWLINE_TEST_SEED`` repeats a run. ``TOWLINE_TEST_SOAK`` makes it longer, with cuts of up to a minute.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.helpers import soak_seconds, until
from tests.integration.mesh.ledger import Ledger
from tests.integration.mesh.traffic import Client, Traffic
from tests.integration.mesh.world import GONE_S, World

pytestmark = [pytest.mark.needs_nats, pytest.mark.slow, pytest.mark.soak]

SECONDS = soak_seconds(0.1, 0)

SEED = int(os.environ.get("TOWLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
UNDER_WAY = 150
LATE_S = 4.0
"""What an answer may take beyond the answer time: the machine does other things besides."""


class Storm:
    """A run: rounds of calm, and between them something that breaks."""

    def __init__(self, world: World, random_: random.Random, consumers: tuple[int, ...]) -> None:
        self.world = world
        self.random = random_
        self.traffic = Traffic(world.nodes, random_, consumers)
        self.ledger = Ledger(self.traffic, LATE_S)
        self.longest = 8.0 if SECONDS < 60 else 60.0
        self.gone_after: list[float] = []

    async def calm(self, count: int) -> None:
        """``count`` operations and some pushes while nothing is broken; then everything is judged."""
        traffic = self.traffic
        await traffic.rest()
        await self.world.whole()
        await traffic.everybody()
        await self._known()
        began = time.monotonic()
        answers = traffic.answers
        traffic.wanted, traffic.pushing = UNDER_WAY, True
        await until(lambda: traffic.answered(answers + count), 120, what="answers in calm")
        await traffic.rest()
        await self._drained(began)
        self.ledger.calm.append((began, time.monotonic()))
        self.ledger.check()
        await self._accounts()

    async def _known(self) -> None:
        """Until a publish at each node reaches every client. A cut shorter than a member's silence shows in no list."""
        everybody = {"s": len(self.traffic.living), "f": 0}
        for node in self.world.nodes:
            end = time.monotonic() + 20
            while (found := await node.publish("all", "probe"))["r"] != everybody:
                assert time.monotonic() < end, f"a publish at node {node.index} reaches {found}, not {everybody}"

    async def _drained(self, since: float) -> None:
        """Until what outboxes took has arrived, and topics are empty. An answer of a client comes behind its frames."""
        traffic = self.traffic
        living = self._living()
        for client in living:
            client.context = None
            assert client.socket is not None
            client.socket.send(b"context")
        await until(lambda: all(client.context is not None for client in living), 15, what="every client's context")
        await until(
            lambda: all(push.consumed for push in traffic.pushes if push.sent_at > since and push.client.id in traffic.living),
            15, what="every push consumed",
        )  # fmt: skip

    async def _accounts(self) -> None:
        """On each node: what was pushed went somewhere."""
        for node in self.world.nodes:
            found = await node.figures()
            count = {
                name: int(found[f"towline_gateway_queue_{name}_total"])
                for name in ("pushed", "delivered", "taken", "handed", "lost", "discarded")
            }
            waiting = int(found["towline_gateway_queue_waiting"])
            went = count["delivered"] - count["taken"] + count["handed"] + count["lost"] + count["discarded"] + waiting
            assert count["pushed"] == went, (node.index, count, waiting)

    # -- what breaks

    async def node_dies(self) -> None:
        node = self.random.choice(self.world.nodes)
        await node.kill()
        took = await self.world.reach(
            lambda seen: all(seen) and not any(port == node.api for one in seen for port, _ in one),
            GONE_S,
            "a dead node is gone",
        )
        self.gone_after.append(took)
        # Counts and routes too: nobody waits for it any more.
        others = [one for one in self.world.nodes if one is not node]
        await until(lambda: not any(client.node is node for client in self._living()))
        before = [(await one.figures())["towline_gateway_mesh_silent_total"] for one in others]
        answers = self.traffic.answers
        await until(lambda: self.traffic.answers > answers + 500, 20, what="answers without the dead node")
        after = [(await one.figures())["towline_gateway_mesh_silent_total"] for one in others]
        assert before == after, "a dead node is waited for"
        await node.start()

    async def node_restarts(self) -> None:
        node = self.random.choice(self.world.nodes)
        await node.kill()
        await node.start()

    async def nats_restarts(self) -> None:
        await asyncio.to_thread(self.world.nats.kill)
        await self._while_cut(self.random.uniform(0.1, self.longest))
        await asyncio.to_thread(self.world.nats.restart)

    async def nats_stands_still(self) -> None:
        self.world.signal_nats(signal.SIGSTOP)
        try:
            await self._while_cut(self.random.uniform(1, self.longest))
        finally:
            self.world.signal_nats(signal.SIGCONT)

    async def node_stands_still(self) -> None:
        node = self.random.choice(self.world.nodes)
        began = time.monotonic()
        node.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(3)
        finally:
            node.signal(signal.SIGCONT)
        self.ledger.frozen.append((began, time.monotonic()))

    async def node_is_cut_off(self) -> None:
        node = self.random.choice(self.world.nodes)
        node.proxy.hold()
        await self._while_cut(self.random.uniform(1, self.longest))
        node.proxy.heal()

    async def node_loses_its_connection(self) -> None:
        node = self.random.choice(self.world.nodes)
        node.proxy.cut()
        await self._while_cut(self.random.uniform(0.1, self.longest))
        node.proxy.heal()

    async def both_die(self) -> None:
        node = self.random.choice(self.world.nodes)
        await asyncio.to_thread(self.world.nats.kill)
        await node.kill()
        await self._while_cut(self.random.uniform(0.1, 2))
        await node.start()
        await self._while_cut(self.random.uniform(0.1, 2))
        await asyncio.to_thread(self.world.nats.restart)

    async def _while_cut(self, seconds: float) -> None:
        """Local traffic goes on at every node that lives."""
        end = time.monotonic() + seconds
        running = [sender for sender in self.traffic.senders if sender.gone > end]
        answered = {sender: sender.answers for sender in running}
        await asyncio.sleep(seconds)
        if seconds > 3:
            for sender, before in answered.items():
                assert sender.gone < time.monotonic() or sender.answers > before, (
                    "a node answers nothing while it is cut off"
                )

    def _living(self) -> list[Client]:
        return [client for client in self.traffic.clients if client.id in self.traffic.living]

    async def breaks(self, what: Callable[[], Awaitable[None]]) -> None:
        """Something breaks under load."""
        traffic = self.traffic
        traffic.wanted, traffic.pushing = UNDER_WAY, True
        print(f"{time.monotonic() - self.began:.1f} {what.__name__}", flush=True)
        answers = traffic.answers
        await until(lambda: traffic.answered(answers + 200), 20, what="answers")
        await what()
        traffic.check_alive()

    async def run(self, count: int, rounds: int) -> None:
        """Everything breaks once, in an order of its own, or ``rounds`` things; then again until the time is over."""
        self.began = time.monotonic()
        everything = [
            self.node_dies, self.node_restarts, self.nats_restarts, self.nats_stands_still, self.node_stands_still,
            self.node_is_cut_off, self.node_loses_its_connection, self.both_die,
        ]  # fmt: skip
        self.traffic.start()
        await self.calm(1000)
        while True:
            for what in self.random.sample(everything, len(everything))[:rounds]:
                await self.breaks(what)
                await self.calm(1000)
            if time.monotonic() - self.began >= SECONDS:
                break
        await self.calm(max(1000, count - self.traffic.answers))
        print(
            f"{time.monotonic() - self.began:.0f} s, slowest answer {self.ledger.slowest:.2f} s, dead nodes gone after"
            f" {[round(one, 1) for one in self.gone_after]} s, {dict(self.ledger.counts)}"
        )


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, request.param)
    try:
        await made.start()
        yield made
    finally:
        await made.close()


@pytest.mark.timeout(SECONDS * 2 + 240)
@pytest.mark.parametrize(
    ("world", "count", "rounds", "consumers"),
    [(3, 70_000, 8, (0, 2)), (2, 30_000, 3, (1,))],
    indirect=["world"],
    ids=["three nodes", "two nodes"],
)
async def test_counts_are_honest_and_nothing_comes_twice(
    world: World, count: int, rounds: int, consumers: tuple[int, ...]
) -> None:
    print(f"seed {SEED}")
    storm = Storm(world, random.Random(SEED), consumers)
    try:
        await storm.run(count, rounds)
    finally:
        await storm.traffic.close()
    assert storm.traffic.answers >= count
    for node in world.nodes:
        assert await node.stop() == 0, node.output()
        assert "Traceback" not in node.output(), node.output()
