# SPDX-License-Identifier: Apache-2.0
"""Durable topics over real sockets: pushes from every kind of entry, acks, redelivery, dead letters, restarts."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.helpers import until
from tests.integration.gateway.backend import BackEnd, consume, durable_node, put, topics
from tests.integration.gateway.running import api, clients
from towline.errors import InvalidInput, Unavailable
from towline.gateway.queuesettings import TopicSettings
from towline.gateway.settings import ListenerSettings

PYTHON = """
from towline.errors import TowlineError

async def on_message(conn, message):
    topic, _, data = message.data.partition(" ")
    try:
        conn.send(str(await conn.queue.put(topic, data)))
    except TowlineError as error:
        conn.send(error.code)
"""

LUA = """
function on_handshake(client_id, headers, server) end
function on_close(client_id, err) end

function on_message(msg)
  local n, err = mix.queue.push("orders", {text = msg.data})
  mix.websocket():send(tostring(n) .. " " .. tostring(err))
end
"""


async def test_a_dialogue_to_the_letter(tmp_path: Path) -> None:
    async with durable_node(tmp_path) as node:
        await put(node, "orders", {"number": 1})
        back_end = BackEnd(await connect(api(node, "ws") + "/ws/v1"))
        consumer = back_end.socket
        await consumer.send('{"m":"queue.pop","p":{"t":["orders","memory"]},"i":1}')
        assert await consumer.recv() == '{"E":null,"r":{"s":true},"i":1}'
        number = node.nodes()[0]["id"]
        event = str(await consumer.recv())
        token = json.loads(event)["p"]["a"]
        assert event == (
            f'{{"e":"queue.pop","p":{{"n":{number},"c":"15","t":"orders","d":{{"number":1}},"a":"{token}","r":1}},"id":null}}'
        )
        node.queues.push("memory", "plain", "16")
        assert await consumer.recv() == (
            f'{{"e":"queue.pop","p":{{"n":{number},"c":"16","t":"memory","d":"plain"}},"id":null}}'
        )
        await consumer.send(f'{{"m":"queue.ack","p":{{"a":["{token}","77"]}},"i":2}}')
        assert await consumer.recv() == '{"E":null,"r":{"s":1,"f":1},"i":2}'
        await consumer.send(f'{{"m":"queue.ack","p":{{"a":["{token}"]}},"i":3}}')
        assert await consumer.recv() == '{"E":null,"r":{"s":0,"f":1},"i":3}'
        await consumer.send('{"m":"queue.nack","p":{"a":["9"],"w":1.5},"i":4}')
        assert await consumer.recv() == '{"E":null,"r":{"s":0,"f":1},"i":4}'
        assert topics(node).depth("orders") == (0, 0)
        bad: list[Any] = [{}, {"a": []}, {"a": [1]}, {"a": "1"}, 5]
        for params in bad:
            answer = await back_end.ask("queue.ack", params)
            assert answer["E"]["c"] == 101
        assert (await back_end.ask("queue.nack", {"a": ["1"], "w": -1}))["E"]["c"] == 101
        assert (await back_end.ask("queue.pop", {"t": ["orders"], "n": -1}))["E"]["c"] == 101
        await consumer.close()


async def test_entries_push_and_it_survives_the_node(tmp_path: Path) -> None:
    (tmp_path / "entry.py").write_text(PYTHON)
    (tmp_path / "entry.lua").write_text(LUA)
    ports = {
        "entry": str(tmp_path / "entry.py"),
        "listeners": (
            ListenerSettings(listen="127.0.0.1:0", entry=str(tmp_path / "entry.lua")),
            ListenerSettings(listen="127.0.0.1:0", entry="builtin:forward:orders"),
        ),
    }
    async with durable_node(tmp_path, **ports) as node:
        addresses = [f"ws://127.0.0.1:{port.address[1]}/" for port in node.ports]
        async with connect(addresses[0]) as python, connect(addresses[1]) as lua, connect(addresses[2]) as forward:
            await python.send("orders of python")
            assert await python.recv() == "1"
            await python.send("memory x")
            assert await python.recv() == "1"
            await lua.send("of lua")
            assert await lua.recv() == "2 nil"
            for number in range(40):
                await forward.send(f"forward {number}")
            await until(lambda: topics(node).depth("orders").messages == 42)
        with pytest.raises(InvalidInput, match="is a durable topic"):
            node.queues.push("orders", "x")
    async with durable_node(tmp_path, TopicSettings(name="orders"), **ports) as node:
        consumer = await consume(node, "orders")
        found = [event["d"] for event in await consumer.events(42)]
        assert found[:2] == ["of python", {"text": "of lua"}]
        assert [one["frame"]["data"] for one in found[2:]] == [f"forward {number}" for number in range(40)]
        await consumer.close()


async def test_a_token_of_a_former_life_is_no_token(tmp_path: Path) -> None:
    async with durable_node(tmp_path) as node:
        await put(node, "orders", "A", "B", "C")
        first, second, _ = await (await consume(node, "orders")).events(3)
    async with durable_node(tmp_path) as node:
        back_end = await consume(node, "orders")
        assert [event["d"] for event in await back_end.events(3)] == ["A", "B", "C"]
        assert await back_end.ack(first, second) == {"s": 0, "f": 2}
        assert topics(node).depth("orders")[0] == 3
        await back_end.close()


async def test_a_full_topic_and_a_closed_store_are_errors(tmp_path: Path) -> None:
    (tmp_path / "entry.py").write_text(PYTHON)
    (tmp_path / "entry.lua").write_text(LUA)
    lua_port = ListenerSettings(listen="127.0.0.1:0", entry=str(tmp_path / "entry.lua"))
    forward_port = ListenerSettings(listen="127.0.0.1:0", entry="builtin:forward:orders")
    async with durable_node(tmp_path, entry=str(tmp_path / "entry.py"), listeners=(lua_port, forward_port)) as node:
        addresses = [f"ws://127.0.0.1:{port.address[1]}/" for port in node.ports]
        await put(node, "orders", *range(50))
        async with connect(addresses[0]) as python, connect(addresses[1]) as lua, connect(addresses[2]) as forward:
            await python.send("orders x")
            assert await python.recv() == "queue.full"
            await lua.send("x")
            assert await lua.recv() == "nil queue is full: the topic 'orders' holds 50 messages"
            await forward.send("x")
            durable = node.queues.durable
            assert durable is not None
            await until(lambda: durable.counters.refused["full"] == 3)
            await topics(node).close()
            await python.send("orders x")
            assert await python.recv() == "store.closed"
            await lua.send("x")
            assert await lua.recv() == "nil the durable topics are closed"
            await forward.send("x")
            await until(lambda: durable.counters.refused["closed"] == 3)


async def test_unacked_messages_are_bounded_and_come_again(tmp_path: Path) -> None:
    async with durable_node(tmp_path) as node:
        await put(node, "orders", *range(15))
        first = await consume(node, "orders")
        mine = await first.events(10)
        await first.quiet()
        assert await first.ack(*mine[:5]) == {"s": 5, "f": 0}
        assert [event["d"] for event in await first.events(5)] == list(range(10, 15))
        second = await consume(node, "orders", n=3)
        await second.quiet(0.1)
        await first.close()  # its messages come at once
        assert [(event["d"], event["r"]) for event in await second.events(3)] == [(5, 2), (6, 2), (7, 2)]
        await second.quiet(0.1)
        await second.close()


async def test_a_message_that_nobody_acks_becomes_a_dead_letter(tmp_path: Path) -> None:
    async with durable_node(tmp_path) as node:
        await put(node, "orders", {"bad": 1})
        consumer, undertaker = await consume(node, "orders"), await consume(node, "orders.dead")
        assert [(event["d"], event["r"]) for event in await consumer.events(2)] == [({"bad": 1}, 1), ({"bad": 1}, 2)]
        (dead,) = await undertaker.events(1)
        assert dead["d"] == {"topic": "orders", "reason": "timeout", "deliveries": 2, "data": {"bad": 1}}
        assert (dead["c"], dead["t"], dead["r"]) == ("15", "orders.dead", 1)
        assert topics(node).depth("orders") == (0, 0)
        # Refused by its consumer, and lost with it.
        await put(node, "orders", "no")
        for _ in range(2):
            (event,) = await consumer.events(1)
            assert (await consumer.ask("queue.nack", {"a": [event["a"]]}))["r"] == {"s": 1, "f": 0}
        (dead,) = await undertaker.events(1)
        assert (dead["d"]["reason"], dead["d"]["data"]) == ("nack", "no")
        await put(node, "orders", "lost")
        await consumer.events(1)
        await consumer.close()
        consumer = await consume(node, "orders")
        await consumer.events(1)
        assert (await consumer.ask("queue.unpop", {}))["r"] == {"s": True}
        (dead,) = await undertaker.events(1)
        assert (dead["d"]["reason"], dead["d"]["data"]) == ("lost", "lost")
        await consumer.close()
        await undertaker.close()


async def test_a_nack_may_ask_for_a_pause(tmp_path: Path) -> None:
    async with durable_node(tmp_path) as node:
        await put(node, "orders", "a", "b")
        consumer = await consume(node, "orders", n=1)
        (event,) = await consumer.events(1)
        await consumer.ask("queue.nack", {"a": [event["a"]], "w": 0.5})
        (second,) = await consumer.events(1)
        assert second["d"] == "b"
        await consumer.ack(second)
        assert [one["d"] for one in await consumer.events(1)] == ["a"]
        await consumer.close()


async def test_acks_of_the_node_itself(tmp_path: Path) -> None:
    async with durable_node(tmp_path, TopicSettings(name="plain", ack="auto")) as node:
        consumer = await consume(node, "plain")
        await put(node, "plain", *range(100))
        found = await consumer.events(100)
        assert [event["d"] for event in found] == list(range(100))
        assert "a" not in found[0]
        await until(lambda: topics(node).depth("plain") == (0, 0))
        await consumer.close()


async def test_a_slow_reader_leaves_messages_for_others(tmp_path: Path) -> None:
    async with durable_node(tmp_path, TopicSettings(name="big", max_unacked=1000)) as node:
        slow = await consume(node, "big", max_queue=1)
        await put(node, "big", *[{"number": number, "pad": "x" * 50_000} for number in range(200)])
        fast = await consume(node, "big")
        found = await fast.events(20)
        assert len({event["d"]["number"] for event in found}) == 20
        await slow.close()
        more = await fast.events(180)
        assert {event["d"]["number"] for event in found + more} == set(range(200))
        await fast.close()


async def test_stopping_waits_for_acks_and_keeps_the_rest(tmp_path: Path) -> None:
    async with durable_node(tmp_path) as node:
        await put(node, "orders", *range(12))
        consumer = await consume(node, "orders")
        mine = await consumer.events(10)
        closing = asyncio.ensure_future(node.close())
        await asyncio.sleep(0.1)
        assert not closing.done()
        assert await consumer.ack(*mine[:9]) == {"s": 9, "f": 0}
        await closing
    async with durable_node(tmp_path) as node:
        assert topics(node).depth("orders").messages == 3
        consumer = await consume(node, "orders")
        assert [(event["d"], event["r"]) for event in await consumer.events(3)] == [(9, 2), (10, 1), (11, 1)]
        await consumer.close()


async def test_a_failing_ack_is_answered_and_the_message_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with durable_node(tmp_path) as node:
        await put(node, "orders", "x")
        consumer = await consume(node, "orders")
        (event,) = await consumer.events(1)
        store = topics(node)

        def refuse(deliveries: Any) -> Any:
            raise Unavailable("store.full", "nothing was stored: the disk is full")

        monkeypatch.setattr(store, "ack", refuse)
        answer = await consumer.ask("queue.ack", {"a": [event["a"]]})
        assert answer["E"] == {"c": 204, "m": "failed to acknowledge: nothing was stored: the disk is full"}
        monkeypatch.undo()
        (event,) = await consumer.events(1)
        assert (event["d"], event["r"]) == ("x", 2)
        await consumer.close()


async def test_metrics(tmp_path: Path) -> None:
    async with durable_node(tmp_path) as node:
        await put(node, "orders", *range(12))
        consumer = await consume(node, "orders")
        mine = await consumer.events(10)
        await consumer.ack(mine[0])
        await consumer.events(1)
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(api(node) + "/metrics").read().decode())
        for line in (
            'towline_gateway_topic_messages{topic="orders"} 11.0',
            'towline_gateway_topic_unacked{topic="orders"} 10.0',
            'towline_gateway_topic_messages{topic="orders.dead"} 0.0',
            "towline_gateway_topic_pushed_total 12.0",
            "towline_gateway_topic_delivered_total 11.0",
            "towline_gateway_topic_acked_total 1.0",
        ):
            assert line in text
        await consumer.close()


async def test_the_entry_of_the_guide(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "gateway.md").read_text("utf-8")
    section = guide.split("## Messages that must not be lost")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / "orders.py").write_text(code)
    declare = TopicSettings(name="orders", max_messages=1)
    async with (
        durable_node(tmp_path, declare, entry=str(tmp_path / "orders.py")) as node,
        connect(clients(node)) as one,
    ):
        await one.send("first")
        assert await one.recv() == "kept"
        await one.send("second")
        assert await one.recv() == "try again: queue is full: the topic 'orders' holds 1 messages"


async def test_the_next_message_of_a_client_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = {"entry": "builtin:forward:orders"}
    async with (
        durable_node(tmp_path, **forward) as node,
        connect(clients(node)) as one,
        connect(clients(node)) as other,
    ):
        store = topics(node)
        begun: list[asyncio.Future[int]] = []

        def push(*arguments: Any) -> asyncio.Future[int]:
            begun.append(asyncio.get_running_loop().create_future())
            return begun[-1]

        monkeypatch.setattr(store, "push", push)
        for _ in range(3):
            await one.send("mine")
        await until(lambda: len(begun) == 1)
        await other.send("theirs")
        await until(lambda: len(begun) == 2)
        begun[0].set_result(1)
        await until(lambda: len(begun) == 3)
        assert len(begun) == 3
        monkeypatch.undo()
        for future in begun[1:]:
            future.set_result(1)
        await until(lambda: store.depth("orders").messages == 1)
