# SPDX-License-Identifier: Apache-2.0
"""Two nodes and more, on both buses: routes, counts, order, and nodes that do not answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import pytest
from websockets.asyncio.client import connect

from tests.helpers import until
from tests.unit.bus.conftest import World
from towline.bus.base import Member
from towline.clock import SystemClock
from towline.gateway.mesh import MAX_CALL_BYTES, Done, Outcome
from towline.gateway.node import Node
from towline.gateway.settings import GatewaySettings

ENTRY = """
def on_handshake(conn, handshake):
    conn.subscribe("all", *filter(None, handshake.query.split(",")))
    conn.send(conn.id)

async def on_message(conn, message):
    word, _, rest = message.data.partition(" ")
    if word == "publish":
        conn.send(repr(tuple(await conn.mesh.publish("all", rest))))
    else:
        conn.send(repr(await conn.mesh.send(word, rest)))
"""


class Deaf:
    """A node that hears and says nothing."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def on_message(self, sender: str, payload: bytes) -> None:
        self.heard.append(payload)

    def on_call(self, sender: str, payload: bytes) -> bytes:
        return b""

    def on_event(self, sender: str, payload: bytes) -> None: ...

    def on_joined(self, member: Member) -> None: ...

    def on_left(self, member: Member, cause: Literal["closed", "silent"]) -> None: ...


@pytest.fixture
async def nodes(world: World, tmp_path: Path) -> AsyncIterator[list[Node]]:
    """Two nodes, each with its own way to the bus."""
    entry = tmp_path / "entry.py"
    entry.write_text(ENTRY)
    made = []
    for _ in range(2):
        node = Node(
            await world.bus(),
            SystemClock(),
            GatewaySettings(api_listen="127.0.0.1:0", clients_listen="127.0.0.1:0", entry=str(entry), answer_s=0.4),
        )
        await node.start()
        made.append(node)
    await until(lambda: all(len(numbers(node)) == 2 for node in made))
    yield made
    for node in made:
        await node.close()


def numbers(node: Node) -> set[str]:
    """Node numbers that a node knows of."""
    return {found["id"] for found in node.nodes() if found["id"] != "-1"}


def client(node: Node, channels: str = "") -> connect:
    return connect(f"ws://127.0.0.1:{node.clients_address[1]}/?{channels}")


async def publish(node: Node, channel: str, data: bytes) -> Outcome:
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    node.mesh.publish_then(channel, data, False, future.set_result)
    return await future


async def send(node: Node, client_id: str, data: bytes) -> Outcome:
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    node.mesh.send_then(client_id, data, True, future.set_result)
    return await future


async def test_thirty_two_nodes_are_one_mesh(world: World, tmp_path: Path) -> None:
    """Each has a number of its own, and counts and calls reach all; one that leaves is gone from both."""
    entry = tmp_path / "entry.py"
    entry.write_text(ENTRY)
    settings = GatewaySettings(api_listen="127.0.0.1:0", clients_listen="127.0.0.1:0", entry=str(entry), answer_s=5.0)
    nodes = [Node(await world.bus(), SystemClock(), settings) for _ in range(32)]
    async with AsyncExitStack() as stack:
        for node in nodes:
            stack.push_async_callback(node.close)
        await asyncio.gather(*(node.start() for node in nodes))
        await until(lambda: all(len(numbers(node)) == 32 for node in nodes), 30)
        clients = [await stack.enter_async_context(client(node)) for node in nodes]
        ids = [str(await one.recv()) for one in clients]
        assert await publish(nodes[31], "all", b"x") == Outcome(32, 0, 0)
        for number, client_id in enumerate(ids):
            assert await send(nodes[(number + 1) % 32], client_id, b"y") == Outcome(1, 0, 0)
        for one in clients:
            assert [await one.recv(), await one.recv()] == ["x", b"y"]
        await nodes[5].close()
        await until(lambda: all(len(numbers(node)) == 31 for node in nodes if node is not nodes[5]), 20)
        assert await publish(nodes[6], "all", b"x") == Outcome(31, 0, 0)
        assert await send(nodes[6], ids[5], b"y") == Outcome(0, 0, 0)


async def test_publish_and_send_reach_clients_of_both_nodes(nodes: list[Node]) -> None:
    async with client(nodes[0]) as here, client(nodes[1]) as there, client(nodes[1], "rare") as rare:
        ids = [str(await one.recv()) for one in (here, there, rare)]
        assert await publish(nodes[0], "all", b"x") == Outcome(3, 0, 0)
        assert await publish(nodes[0], "rare", b"y") == Outcome(1, 0, 0)
        assert await publish(nodes[0], "nobody", b"z") == Outcome(0, 0, 0)
        for client_id in ids:
            assert await send(nodes[0], client_id, b"direct") == Outcome(1, 0, 0)
            assert await send(nodes[1], client_id, b"direct") == Outcome(1, 0, 0)
        assert [await here.recv() for _ in range(3)] == ["x", b"direct", b"direct"]
        assert [await rare.recv() for _ in range(4)] == ["x", "y", b"direct", b"direct"]
        await here.send(f"{ids[1]} from here")
        assert await here.recv() == "True"
        await here.send("publish to all")
        assert {await here.recv(), await here.recv()} == {"to all", "(3, 0, 0)"}
        assert [await there.recv() for _ in range(5)] == ["x", b"direct", b"direct", "from here", "to all"]
        await here.send("15 nobody")
        assert await here.recv() == "False"


async def test_a_client_that_is_gone_is_not_connected(nodes: list[Node]) -> None:
    async with client(nodes[1]) as there:
        client_id = str(await there.recv())
    await until(lambda: not nodes[1].realm.connections)
    assert await send(nodes[0], client_id, b"x") == Outcome(0, 0, 0)


async def test_calls_reach_clients_anywhere(nodes: list[Node]) -> None:
    async with client(nodes[1]) as there:
        client_id = str(await there.recv())
        answers: list[Done] = []
        nodes[0].mesh.call_then(client_id, "subscribe", ["rare"], answers.append)
        nodes[0].mesh.call_then(client_id, "set_context_value", ["k", {"deep": [1]}], answers.append)
        nodes[0].mesh.call_then(client_id, "subscribe", ["a b"], answers.append)
        nodes[0].mesh.call_then("15", "subscribe", ["a"], answers.append)
        await until(lambda: len(answers) == 4)
        assert sorted(done.problem for done in answers)[:2] == ["", ""]
        connection = nodes[1].realm.connections[client_id]
        assert connection.context() == {"k": {"deep": [1]}}
        assert await publish(nodes[0], "rare", b"x") == Outcome(1, 0, 0)


async def test_values_that_are_refused_are_so_on_every_node(nodes: list[Node]) -> None:
    deep: list[object] = []
    for _ in range(500):
        deep = [deep]
    async with client(nodes[1]) as there:
        client_id = str(await there.recv())
        found: list[list[Done]] = [[], []]
        for node, answers in zip(nodes, found, strict=True):
            for value in (10**400, deep, 2**70):
                node.mesh.call_then(client_id, "set_context_value", ["k", value], answers.append)
        await until(lambda: all(len(answers) == 3 for answers in found))
        assert found[0] == found[1]
        assert [done.problem == "" for done in found[0]] == [False, False, True]
        assert nodes[1].realm.connections[client_id].context() == {"k": 2**70}


async def test_what_one_back_end_says_arrives_in_order_across_nodes(nodes: list[Node]) -> None:
    async with client(nodes[1]) as there, connect(f"ws://127.0.0.1:{nodes[0].api_address[1]}/ws/v1") as api:
        client_id = str(await there.recv())
        for number in range(100):
            if number % 2:
                request = {"m": "mesh.send", "p": {"c": client_id, "d": str(number)}, "i": number}
            else:
                request = {"m": "mesh.publish", "p": {"c": "all", "d": str(number)}, "i": number}
            await api.send(json.dumps(request))
        assert [await there.recv() for _ in range(100)] == [str(number) for number in range(100)]
        answers = [json.loads(await api.recv()) for _ in range(100)]
        assert [answer["i"] for answer in answers] == list(range(100))
        assert all(answer["E"] is None for answer in answers)


async def test_a_silent_node_adds_to_neither_count(nodes: list[Node], world: World) -> None:
    deaf = Deaf()
    endpoint = await (await world.bus()).open("node", deaf, lease_number=True)
    await until(lambda: len(nodes[0].mesh._others) == 2)
    async with client(nodes[0]) as here, client(nodes[1]) as there:
        await here.recv()
        await there.recv()
        loop = asyncio.get_running_loop()
        start = loop.time()
        assert await publish(nodes[0], "all", b"x") == Outcome(2, 0, 1)
        assert 0.35 < loop.time() - start < 3
        assert nodes[0].mesh.answers.silent == 1
        # One that leaves is not waited for, and local traffic never waits.
        waiting = asyncio.ensure_future(publish(nodes[0], "all", b"y"))
        await here.recv()
        assert await asyncio.wait_for(here.recv(), 0.3) == "y"
        await endpoint.close()
        assert (await waiting)[:2] == (2, 0)
        assert await publish(nodes[0], "all", b"z") == Outcome(2, 0, 0)


async def test_a_node_that_stood_still_reads_the_answers_first(nodes: list[Node]) -> None:
    async with client(nodes[0]) as here, client(nodes[1]) as there:
        await here.recv()
        await there.recv()
        for _ in range(5):
            waiting = asyncio.ensure_future(publish(nodes[0], "all", b"x"))
            await there.recv()  # it has been delivered, and the answer is on its way
            time.sleep(0.6)
            assert await asyncio.wait_for(waiting, 5) == Outcome(2, 0, 0)
        assert nodes[0].mesh.answers.silent == 0


async def test_late_and_strange_answers_are_counted(nodes: list[Node], world: World) -> None:
    endpoint = await (await world.bus()).open("node", Deaf(), lease_number=True)
    node = nodes[0]
    assert node._endpoint is not None
    address = node._endpoint.address
    await until(lambda: any(member.address == address for member in endpoint.members("node")))
    for payload in (b"\x01\x01\x90", b"\x01\x7e", b"\x02\x01\x93", b"\x01\x03\x93\x05\x01\x01", b"\x01\x91\xa1x"):
        assert endpoint.send(address, payload)
    await until(lambda: node.mesh.answers.late == 1 and node.mesh.counters.format_errors == 3)
    await until(lambda: node.links.counters.unknown == 1)


async def test_a_call_has_one_limit_wherever_its_client_is(nodes: list[Node]) -> None:
    async def call(node: Node, function: str, arguments: list[object]) -> str:
        future: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        node.mesh.call_then(client_id, function, arguments, future.set_result)
        return (await future).problem

    async with client(nodes[0]) as ann:
        client_id = str(await ann.recv())
        value = "x" * (MAX_CALL_BYTES - len('["key",""]') - len("set_context_value") - len(client_id))
        for node in nodes:
            assert await call(node, "set_context_value", ["key", value]) == ""
            problem = f"the call has {MAX_CALL_BYTES + 1} bytes; at most {MAX_CALL_BYTES} go"
            assert (await call(node, "set_context_value", ["key", value + "x"])).startswith(problem)
            assert "at most" in await call(node, "f" * MAX_CALL_BYTES, [])
