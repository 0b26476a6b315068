# SPDX-License-Identifier: Apache-2.0
"""A hub looks at two nodes and acts on their clients, on both buses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.helpers import until
from tests.integration.gateway.backend import durable_node, put
from tests.unit.bus.conftest import World
from towline.bus.base import Member
from towline.clock import SystemClock
from towline.errors import InvalidInput, NotFound, Refused, TowlineError
from towline.gateway import inspect
from towline.gateway.node import Node
from towline.gateway.queuesettings import TopicSettings
from towline.gateway.settings import GatewaySettings, ListenerSettings
from towline.hub.actor import Actor
from towline.hub.hub import Hub
from towline.hub.settings import HubSettings
from towline.protocols.connmix import inspect as wire
from towline.store.sqlite import open_store

ENTRY = """
def on_handshake(conn, handshake):
    conn.subscribe(*filter(None, handshake.query.split(",")))
    conn.set_context({"user": {"name": "ann", "key": b"\\x00"}, "long": "x" * 70000, "odd": object(), "many": 10**400,
        "rooms": {1001: "a", b"\\xff": "b"}})
    conn.send(conn.id)

def on_message(conn, message):
    conn.queue.push("orders" if message.data == "order" else message.data, {"text": message.data})
"""

OWNER = Actor(user_id="", name="ada", kind="user", workgroup="main", privileges=frozenset({"owner"}))
READER = Actor(user_id="", name="bob", kind="user", workgroup="main", privileges=frozenset({"read"}))


@pytest.fixture
async def nodes(world: World, tmp_path: Path) -> AsyncIterator[list[Node]]:
    entry = tmp_path / "entry.py"
    entry.write_text(ENTRY)
    made = []
    raw = ListenerSettings(listen="127.0.0.1:0", protocol="socket", entry="builtin:echo")
    for _ in range(2):
        settings = GatewaySettings(
            api_listen="127.0.0.1:0", clients_listen="127.0.0.1:0", entry=str(entry), listeners=(raw,)
        )
        node = Node(await world.bus(), SystemClock(), settings)
        await node.start()
        made.append(node)
    await until(lambda: all(len(node.mesh.others) == 1 for node in made))
    yield made
    for node in made:
        await node.close()


@pytest.fixture
async def hub(world: World, nodes: list[Node], tmp_path: Path) -> AsyncIterator[Hub]:
    clock = SystemClock()
    store = await open_store(tmp_path / "towline.db", clock)
    await store.workgroups.create("main", "Main", clock.now_us())
    hub = Hub(store, await world.bus(), clock, HubSettings(verifying_seconds=0.1), secret=bytes(32))
    await hub.start()
    await until(lambda: len(hub._core.endpoint.members("node")) == 2)
    yield hub
    await hub.close()
    await store.close()


async def client(node: Node, channels: str = "") -> tuple[ClientConnection, str]:
    socket = await connect(f"ws://127.0.0.1:{node.clients_address[1]}/?{channels}", user_agent_header="tester/1")
    return socket, str(await socket.recv())


async def actions(hub: Hub) -> list[tuple[str, str, dict[str, Any]]]:
    page = await hub.audit.list(OWNER)
    return [(each.action, each.entity_id, json.loads(each.detail)) for each in reversed(page.items)]


async def test_nodes_tell_their_figures(hub: Hub, nodes: list[Node]) -> None:
    socket, _ = await client(nodes[0], "a,b")
    await socket.send("order")
    await until(lambda: nodes[0].queues.waiting == 1)
    told = {each.member.number: each.status for each in await hub.gateway.nodes(READER)}
    first, second = told[nodes[0].number], told[nodes[1].number]
    assert first is not None
    assert second is not None
    assert (first.clients, first.channels, first.topics, first.queued) == (1, 2, 1, 1)
    assert (second.clients, second.channels) == (0, 0)
    assert first.counters["messages_in"] == first.counters["queue_pushed"] == 1
    assert first.memory_bytes > 1_000_000
    listener, raw = first.listeners
    assert (raw.number, raw.protocol, raw.entry, raw.clients) == (1, "socket", "builtin:echo", 0)
    assert listener.listen == f"127.0.0.1:{nodes[0].clients_address[1]}"
    assert (listener.protocol, listener.path, listener.clients, listener.accepted) == ("websocket", "/", 1, 1)
    assert listener.entry.endswith("entry.py")
    await socket.close()
    await until(lambda: not nodes[0].realm.connections)
    told = {each.member.number: each.status for each in await hub.gateway.nodes(READER)}
    last = told[nodes[0].number]
    assert last is not None
    assert last.listeners[0].closed == {"normal": 1}


async def test_channels_are_summed_over_nodes(hub: Hub, nodes: list[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "PIECE", 7)
    few = ",".join(f"few:{n:02}" for n in range(30))
    sockets = [(await client(nodes[0], f"all,here,{few}"))[0], (await client(nodes[0], "all,here"))[0]]
    sockets += [(await client(nodes[1], f"all,there,{few}"))[0] for _ in range(2)]
    found = await hub.gateway.channels(READER, limit=500)
    assert not found.more
    assert found.silent == []
    counts = {each.name: (each.subscribers, each.nodes) for each in found.channels}
    assert counts["all"] == (4, 2)
    assert counts["here"] == (2, 1)
    assert counts["few:00"] == (3, 2)
    assert len(counts) == 33
    top = await hub.gateway.channels(READER, limit=3)
    # "few:01" is not among the three fullest of the first node; its one subscriber there is counted all the same.
    assert [(each.name, each.subscribers) for each in top.channels] == [("all", 4), ("few:00", 3), ("few:01", 3)]
    assert top.more
    some = await hub.gateway.channels(READER, search="ew:1", limit=500)
    assert [each.name for each in some.channels] == [f"few:{n}" for n in range(10, 20)]
    for socket in sockets:
        await socket.close()


async def test_long_names_fit_the_bus(hub: Hub, nodes: list[Node]) -> None:
    socket, client_id = await client(nodes[0])
    connection = nodes[0].realm.connections[client_id]
    connection.subscribe(*(f"{n:04}" + "ü" * 510 for n in range(600)), "a\ud800b")
    found = await hub.gateway.channels(OWNER, limit=500)
    assert 100 < len(found.channels) < 500
    assert found.more
    details = (await hub.gateway.client(OWNER, client_id)).details
    assert details.channel_count == 601
    assert 50 < len(details.channels) < 601
    assert (await hub.gateway.channels(OWNER, search="a?b")).channels == []
    assert [each.name for each in (await hub.gateway.channels(OWNER, search="a")).channels] == ["a?b"]
    await socket.close()


async def test_topics_are_summed_over_nodes(hub: Hub, nodes: list[Node]) -> None:
    sockets = [(await client(node))[0] for node in nodes]
    for socket in sockets:
        await socket.send("order")
    await sockets[0].send("other")
    await until(lambda: sum(node.queues.waiting for node in nodes) == 3)
    found = await hub.gateway.topics(READER)
    assert [(each.name, each.depth, each.consumers, each.nodes) for each in found.topics] == [
        ("orders", 2, 0, 2),
        ("other", 1, 0, 1),
    ]
    assert [each.name for each in (await hub.gateway.topics(READER, search="the")).topics] == ["other"]
    for socket in sockets:
        await socket.close()


async def test_clients_are_paged_newest_first(hub: Hub, nodes: list[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "PIECE", 3)
    made = [await client(nodes[n % 2], "odd" if n % 2 else "even") for n in range(11)]
    ids = [client_id for _, client_id in made]
    seen: list[str] = []
    after = ""
    while True:
        page = await hub.gateway.clients(READER, limit=4, after=after)
        assert len(page.clients) <= 4
        seen += [each.client.id for each in page.clients]
        if page.next is None:
            break
        after = page.next
    assert seen == sorted(ids, key=int, reverse=True)
    assert set(seen) == set(ids)
    odd = await hub.gateway.clients(READER, channel="odd")
    assert {each.client.id for each in odd.clients} == set(ids[1::2])
    one = await hub.gateway.clients(READER, search=ids[4])
    (only,) = one.clients
    assert (only.client.id, only.node, only.client.channels) == (ids[4], nodes[0].number, 1)
    assert only.client.remote_addr.startswith("127.0.0.1:")
    by_address = await hub.gateway.clients(READER, search=only.client.remote_addr)
    assert [each.client.id for each in by_address.clients] == [ids[4]]
    here = await hub.gateway.clients(READER, node=nodes[1].number)
    assert {each.client.id for each in here.clients} == set(ids[1::2])
    with pytest.raises(InvalidInput, match="no client id"):
        await hub.gateway.clients(READER, after="x")
    for socket, _ in made:
        await socket.close()


async def test_one_client(hub: Hub, nodes: list[Node]) -> None:
    socket, client_id = await client(nodes[1], "a,b")
    found = await hub.gateway.client(OWNER, client_id)
    assert found.node == nodes[1].number
    details = found.details
    assert json.loads(details.context) == {
        "user": {"name": "ann", "key": "AA=="},
        "rooms": {"1001": "a", "\ufffd": "b"},
    }
    assert details.omitted == ["long", "odd", "many"]
    assert details.channels == ["a", "b"]
    assert (details.user_agent, details.path, details.protocol) == ("tester/1", "/", "websocket")
    assert abs(details.client.since_us - SystemClock().now_us()) < 60_000_000
    with pytest.raises(Refused, match="manage_gateway"):
        await hub.gateway.client(READER, client_id)
    await socket.close()
    await until(lambda: not nodes[1].realm.connections)
    for wrong in (client_id, "x", "", "1", "9" * 30):
        with pytest.raises(NotFound) as caught:
            await hub.gateway.client(OWNER, wrong)
        assert caught.value.code == "client.unknown"


async def test_send_publish_disconnect_and_the_audit_log(hub: Hub, nodes: list[Node]) -> None:
    here, here_id = await client(nodes[0], "room")
    there, there_id = await client(nodes[1], "room")
    sent = await hub.gateway.publish(OWNER, "room", b"hello")
    assert (sent.sent, sent.failed, sent.silent) == (2, 0, 0)
    assert (await hub.gateway.send(OWNER, there_id, b"\x00\x01", binary=True)).sent == 1
    assert [await there.recv(), await there.recv()] == ["hello", b"\x00\x01"]
    assert await here.recv() == "hello"
    await hub.gateway.disconnect(OWNER, there_id, 4321, "go away")
    with pytest.raises(ConnectionClosed):
        await there.recv()
    assert (there.close_code, there.close_reason) == (4321, "go away")
    await hub.gateway.disconnect(OWNER, here_id)
    with pytest.raises(ConnectionClosed):
        await here.recv()
    assert (here.close_code, here.close_reason) == (3020, "disconnected by an operator")
    await until(lambda: nodes[0].ports[0].counters.closed["operator"] == 1)
    with pytest.raises(NotFound):
        await hub.gateway.send(OWNER, here_id, b"x")
    for wrong in (hub.gateway.publish(OWNER, "two words", b"x"), hub.gateway.publish(OWNER, "room", b"x" * 250_000)):
        with pytest.raises(InvalidInput):
            await wrong
    for code in (1001, 2999, 5000):
        with pytest.raises(InvalidInput, match=str(code)):
            await hub.gateway.disconnect(OWNER, here_id, code)
    for use_case in (
        hub.gateway.publish(READER, "room", b"x"),
        hub.gateway.send(READER, here_id, b"x"),
        hub.gateway.disconnect(READER, here_id),
    ):
        with pytest.raises(Refused):
            await use_case
    assert await actions(hub) == [
        ("gateway.publish", "room", {"bytes": 5, "binary": False, "sent": 2, "failed": 0}),
        ("gateway.send", there_id, {"bytes": 2, "binary": True, "sent": 1, "failed": 0}),
        ("gateway.disconnect", there_id, {"code": 4321, "reason": "go away"}),
        ("gateway.disconnect", here_id, {"code": 3020, "reason": "disconnected by an operator"}),
    ]


async def test_a_raw_client(hub: Hub, nodes: list[Node]) -> None:
    reader, writer = await asyncio.open_connection(*nodes[0].ports[1].address)
    await until(lambda: nodes[0].realm.connections)
    (client_id,) = nodes[0].realm.connections
    (found,) = (await hub.gateway.clients(READER)).clients
    assert (found.client.id, found.client.listener) == (client_id, 1)
    details = (await hub.gateway.client(OWNER, client_id)).details
    assert (details.protocol, details.entry, details.user_agent, details.channels) == ("socket", "builtin:echo", "", [])
    assert (await hub.gateway.send(OWNER, client_id, b"hello")).sent == 1
    assert await reader.readuntil(b"hello") == b"hello"
    await hub.gateway.disconnect(OWNER, client_id)
    assert await reader.read() == b""
    writer.close()
    await until(lambda: nodes[0].ports[1].counters.closed["operator"] == 1)


async def test_durable_topics_are_among_the_topics(tmp_path: Path) -> None:
    async with durable_node(tmp_path, TopicSettings(name="orders")) as node:
        await put(node, "orders", 1, 2, 3)
        node.queues.push("plain", "x")
        answer = node._inspector.answer(wire.encode(wire.AskTopics()))
        assert isinstance(answer, bytes)
        topics = {each.name: each for each in wire.decode_answer(answer, wire.Topics).topics}
        orders, plain = topics["orders"], topics["plain"]
        assert (orders.depth, orders.durable, orders.consumers, plain.depth, plain.durable) == (3, True, 0, 1, False)


class Mute:
    """A node that answers no call."""

    def on_message(self, sender: str, payload: bytes) -> None: ...

    async def on_call(self, sender: str, payload: bytes) -> bytes:
        await asyncio.sleep(60)
        return b""

    def on_event(self, sender: str, payload: bytes) -> None: ...

    def on_joined(self, member: Member) -> None: ...

    def on_left(self, member: Member, cause: Literal["closed", "silent"]) -> None: ...


async def test_a_node_that_does_not_answer_is_named(hub: Hub, nodes: list[Node], world: World) -> None:
    mute = await (await world.bus()).open("node", Mute(), lease_number=True)
    await until(lambda: mute.number in {each.number for each in hub._core.endpoint.members("node")})
    socket, _ = await client(nodes[0], "room")
    told = await hub.gateway.nodes(READER)
    assert [each.member.number for each in told if each.status is None] == [mute.number]
    channels = await hub.gateway.channels(READER)
    assert channels.silent == [mute.number]
    assert [(each.name, each.subscribers) for each in channels.channels] == [("room", 1)]
    assert (await hub.gateway.clients(READER)).silent == [mute.number]
    await socket.close()
    await mute.close()


async def test_a_node_refuses_what_is_no_question(hub: Hub, nodes: list[Node]) -> None:
    endpoint = hub._core.endpoint
    for payload in (b"", b"\x01", b"\x01status", b"\x02\x80"):
        with pytest.raises(TowlineError) as caught:
            await endpoint.call(endpoint.members("node")[0].address, payload, 2)
        assert caught.value.code == "gateway.call_unknown"
