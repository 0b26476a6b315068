# SPDX-License-Identifier: Apache-2.0
"""The library's consumer and the command, with durable topics."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.helpers import until
from tests.integration.gateway.backend import durable_node, put, topics
from tests.integration.gateway.running import api
from towline.client import Consumer, Event, PushError, sync
from towline.errors import Unavailable
from towline.gateway.node import Node
from towline.gateway.queuesettings import TopicSettings

ORDERS = TopicSettings(name="orders", ack_s=2)


def counters(node: Node) -> tuple[int, int, int]:
    durable = node.queues.durable
    assert durable is not None
    return durable.counters.acked, durable.counters.lost, durable.counters.nacked


async def test_the_loop_acks_what_its_body_is_done_with(tmp_path: Path) -> None:
    async with durable_node(tmp_path, ORDERS) as node:
        await put(node, "orders", *range(5))
        node.queues.push("memory", "plain", "15")
        heard = []
        async with Consumer("orders", "memory", url=api(node), every_node=False) as consumer:
            async for event in consumer:
                heard.append(event)
                if len(heard) == 6:
                    break
        orders = [event for event in heard if event.topic == "orders"]
        assert [event.data for event in orders] == list(range(5))
        assert (orders[0].client_id, orders[0].deliveries) == ("15", 1)
        assert Event(node.number, "15", "memory", "plain") in heard
        # The last one too: the body left without an exception.
        assert counters(node) == (5, 0, 0)
        assert topics(node).depth("orders") == (0, 0)
        assert consumer.late == 0


async def test_what_a_body_raises_on_comes_again(tmp_path: Path) -> None:
    async with durable_node(tmp_path, ORDERS) as node:
        await put(node, "orders", *range(3))
        with pytest.raises(ZeroDivisionError):
            async with Consumer("orders", url=api(node), every_node=False) as consumer:
                async for event in consumer:
                    1 // (1 - event.data)
        async with Consumer("orders", url=api(node), every_node=False) as consumer:
            again = [await anext(consumer) for _ in range(2)]
            assert [(event.data, event.deliveries) for event in again] == [(1, 2), (2, 2)]
        assert counters(node)[0] == 3


async def test_acks_by_hand(tmp_path: Path) -> None:
    async with durable_node(tmp_path, ORDERS) as node:
        await put(node, "orders", *range(4))
        node.queues.push("memory", 1)
        async with Consumer("orders", "memory", url=api(node), every_node=False, auto_ack=False) as consumer:
            found = [await anext(consumer) for _ in range(5)]
            orders = {event.data: event for event in found if event.topic == "orders"}
            memory = next(event for event in found if event.topic == "memory")
            assert await memory.ack()
            assert all(await asyncio.gather(orders[0].ack(), orders[2].ack()))
            assert not await orders[0].ack()
            assert await orders[1].nack()
            again = await anext(consumer)
            assert (again.data, again.deliveries) == (1, 2)
            assert await again.ack()
            # Nobody acks the last: its time ends, and the old receipt is late.
            late = await anext(consumer)
            assert (late.data, late.deliveries) == (3, 2)
            assert not await orders[3].ack()
            assert consumer.late == 1
            assert await late.ack()
            assert topics(node).depth("orders") == (0, 0)
            await put(node, "orders", "x")
            last = await anext(consumer)
            await topics(node).close()
            with pytest.raises(PushError) as refused:
                await last.ack()
            assert refused.value.code == "push.204"


async def test_a_lost_socket_takes_its_messages_along(tmp_path: Path) -> None:
    async with durable_node(tmp_path, ORDERS) as node:
        await put(node, "orders", *range(10))
        url = api(node)
        async with Consumer("orders", url=url, every_node=False, prefetch=10, jitter=lambda: 0.0) as consumer:
            first = await anext(consumer)
            await until(lambda: len(consumer._events) == 9)
            for socket in list(node.sockets.sockets):
                socket.close(3002, "silent", "silent")
            await until(lambda: consumer.reconnects == 1 and len(consumer._events) == 10)
            with pytest.raises(Unavailable) as refused:
                await first.ack()
            assert refused.value.code == "push.disconnected"
            again = [await anext(consumer) for _ in range(10)]
            assert [(event.data, event.deliveries) for event in again] == [(number, 2) for number in range(10)]
        assert counters(node)[:2] == (10, 10)


async def test_prefetch_bounds_what_a_worker_holds(tmp_path: Path) -> None:
    async with durable_node(tmp_path, ORDERS) as node:
        await put(node, "orders", *range(20))
        async with Consumer("orders", url=api(node), every_node=False, prefetch=3) as slow:
            await until(lambda: len(slow._events) == 3)
            async with Consumer("orders", url=api(node), every_node=False) as fast:
                found = [(await anext(fast)).data for _ in range(17)]
            assert found == list(range(3, 20))
            assert [(await anext(slow)).data for _ in range(3)] == [0, 1, 2]


async def test_the_command_acks_what_it_printed(tmp_path: Path) -> None:
    async with durable_node(tmp_path, ORDERS) as node:
        await put(node, "orders", "a", {"b": 1}, "c")
        for count, expected in ((2, ["a", '{"b": 1}']), (1, ["c"])):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "towline.cli.main", "push", "consume", "orders", "--api", api(node)),
                *("--count", str(count)),
                stdout=asyncio.subprocess.PIPE,
                env=dict(os.environ),
            )
            out, _ = await asyncio.wait_for(process.communicate(), 30)
            assert out.decode().splitlines() == expected
        assert counters(node)[0] == 3
        await put(node, "orders", [1])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "towline.cli.main", "push", "consume", "orders", "--api", api(node)),
            *("--count", "1", "--json"),
            stdout=asyncio.subprocess.PIPE,
            env=dict(os.environ),
        )
        out, _ = await asyncio.wait_for(process.communicate(), 30)
        assert json.loads(out) == {"node": node.number, "client_id": "15", "topic": "orders", "data": [1]}


async def test_the_client_without_async_acks_too(tmp_path: Path) -> None:
    async with durable_node(tmp_path, ORDERS) as node:
        await put(node, "orders", *range(4))
        url = api(node)

        def automatic() -> list[int]:
            with sync.Consumer("orders", url=url, every_node=False, prefetch=2) as consumer:
                return [next(consumer).data for _ in range(2)]

        def failing() -> None:
            with sync.Consumer("orders", url=url, every_node=False) as consumer:
                for event in consumer:
                    1 // (3 - event.data)

        def by_hand() -> list[bool]:
            with sync.Consumer("orders", url=url, every_node=False, auto_ack=False) as consumer:
                event = next(consumer)
                assert event.data == 3
                assert consumer.nack(event)
                event = next(consumer)
                return [consumer.ack(event), consumer.ack(event)]

        assert await asyncio.to_thread(automatic) == [0, 1]
        await until(lambda: counters(node)[0] == 2)
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(failing)
        assert await asyncio.to_thread(by_hand) == [True, False]
        assert (counters(node)[0], counters(node)[2]) == (4, 1)
        assert topics(node).depth("orders") == (0, 0)
