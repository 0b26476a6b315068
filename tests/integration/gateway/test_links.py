# SPDX-License-Identifier: Apache-2.0
"""Agents' links through a node: a fake hub on a real memory bus, agents on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal, TypeVar

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.helpers import until
from towline.bus.base import Endpoint, Member
from towline.bus.memory import MemoryBus
from towline.clock import SystemClock
from towline.gateway import linksocket
from towline.gateway.node import Node
from towline.gateway.settings import GatewaySettings
from towline.protocols.link import relay
from towline.protocols.link.frames import Priority, Type, decode_frame, encode_frame
from towline.protocols.link.messages import Bye, Ping, Refused, Resync, expect

Got = TypeVar("Got", bound=relay.RelayMessage)


class FakeHub:
    """A receiver that keeps what nodes say."""

    def __init__(self) -> None:
        self.endpoint: Endpoint
        self.messages: list[relay.RelayMessage] = []
        self.nodes: list[str] = []

    async def open(self, bus: MemoryBus) -> FakeHub:
        self.endpoint = await bus.open("hub", self)
        return self

    def got(self, kind: type[Got]) -> list[Got]:
        return [message for message in self.messages if isinstance(message, kind)]

    def tell(self, message: relay.HubMessage) -> None:
        assert self.endpoint.send(self.endpoint.members("node")[0].address, relay.encode_relay(message))

    def on_message(self, sender: str, payload: bytes) -> None:
        self.messages.append(relay.decode_relay(payload))

    def on_call(self, sender: str, payload: bytes) -> bytes:
        return b""

    def on_event(self, sender: str, payload: bytes) -> None: ...

    def on_joined(self, member: Member) -> None: ...

    def on_left(self, member: Member, cause: Literal["closed", "silent"]) -> None: ...


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    made = MemoryBus(SystemClock())
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def hub(bus: MemoryBus) -> FakeHub:
    return await FakeHub().open(bus)


@pytest.fixture
async def node(bus: MemoryBus) -> AsyncIterator[Node]:
    made = Node(bus, SystemClock(), GatewaySettings(api_listen="127.0.0.1:0", clients_listen="127.0.0.1:0"))
    await made.start()
    yield made
    await made.close()


def agent(node: Node) -> connect:
    return connect(f"ws://127.0.0.1:{node.link_address[1]}/link/v1", ping_interval=None)


async def opened(hub: FakeHub, count: int = 1) -> str:
    await until(lambda: len(hub.got(relay.Opened)) == count)
    return hub.got(relay.Opened)[-1].conn


async def sign_in(hub: FakeHub, node: Node, count: int = 1) -> str:
    conn = await opened(hub, count)
    hub.tell(relay.Accept(conn, f"device-{count}", "home", 4))
    await until(lambda: node.links.links[conn].signed_in)
    return conn


async def received(socket: ClientConnection) -> bytes:
    data = await socket.recv()
    assert isinstance(data, bytes)
    return data


async def closed(socket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(socket.recv(), 10)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


async def test_frames_go_both_ways_in_order(hub: FakeHub, node: Node) -> None:
    async with agent(node) as socket:
        conn = await opened(hub)
        frames = [encode_frame(Type.HELLO, Ping(time_us=number)) for number in range(20)]
        for frame in frames:
            await socket.send(frame)
        await until(lambda: len(hub.got(relay.Frame)) == 20)
        assert [message.data for message in hub.got(relay.Frame)] == frames
        assert {message.conn for message in hub.got(relay.Frame)} == {conn}
        for frame in frames:
            hub.tell(relay.Out(conn, frame))
        assert [await received(socket) for _ in frames] == frames
        await socket.send(encode_frame(Type.BYE, Bye(code="stopping")))
    await until(lambda: hub.got(relay.Closed))
    assert hub.got(relay.Closed) == [relay.Closed(conn, "closed_by_agent", "")]
    assert len(node.links) == 0


async def test_heartbeats_end_at_the_node(hub: FakeHub, node: Node) -> None:
    async with agent(node) as socket:
        await opened(hub)
        await socket.send(encode_frame(Type.PING, Ping(time_us=5)))
        pong = decode_frame(await received(socket))
        assert pong.type == Type.PONG
        assert pong.body == decode_frame(encode_frame(Type.PING, Ping(time_us=5))).body
        waiter = await socket.ping()
        await waiter
    assert not hub.got(relay.Frame)


async def test_urgent_goes_before_bulk(hub: FakeHub, node: Node) -> None:
    async with agent(node) as socket:
        conn = await opened(hub)
        frames = {priority: encode_frame(Type.DATA, Ping(time_us=priority)) for priority in Priority}
        for priority in reversed(Priority):
            hub.tell(relay.Out(conn, frames[priority], priority))
        assert [await received(socket) for _ in Priority] == [frames[priority] for priority in Priority]


async def test_a_close_comes_after_what_is_queued_and_its_cause_comes_back(hub: FakeHub, node: Node) -> None:
    async with agent(node) as socket:
        conn = await sign_in(hub, node)
        hub.tell(relay.Out(conn, encode_frame(Type.BYE, Bye()), Priority.BULK))
        hub.tell(relay.Close(conn, 3510, "revoked", "refused"))
        assert decode_frame(await received(socket)).type == Type.BYE
        assert await closed(socket) == (3510, "revoked")
    await until(lambda: hub.got(relay.Closed))
    assert hub.got(relay.Closed) == [relay.Closed(conn, "refused", "revoked")]


async def test_without_a_hub_a_new_link_is_refused(node: Node) -> None:
    async with agent(node) as socket:
        refused = expect(decode_frame(await received(socket)), Refused)
        assert (refused.code, refused.retry_after_s) == ("hub_unavailable", linksocket.RETRY_S)
        assert (await closed(socket))[0] == 3005
    await until(lambda: node.links.counters.closed["hub_unavailable"] == 1)


async def test_a_signed_in_link_moves_to_the_next_hub(bus: MemoryBus, hub: FakeHub, node: Node) -> None:
    async with agent(node) as keeper:
        conn = await sign_in(hub, node)
        async with agent(node) as half:
            await opened(hub, 2)
            await hub.endpoint.close()
            # Half a handshake cannot go on elsewhere; the other link stays, its frames are dropped and counted.
            assert (await closed(half))[0] == 3005
        await keeper.send(encode_frame(Type.BATCH, Ping()))
        await until(lambda: node.links.counters.dropped_no_hub == 1)
        second = await FakeHub().open(bus)
        await until(lambda: second.got(relay.Roster))
        roster = second.got(relay.Roster)[0]
        assert roster.handed
        assert [(entry.conn, entry.device_id, entry.counter) for entry in roster.entries] == [(conn, "device-1", 4)]
        assert expect(decode_frame(await received(keeper)), Resync).reason == "hub_changed"
        await keeper.send(encode_frame(Type.BATCH, Ping()))
        await until(lambda: second.got(relay.Frame))


async def test_a_roster_names_signed_in_links_of_the_asking_hub(hub: FakeHub, node: Node) -> None:
    hub.tell(relay.RosterAsk())
    await until(lambda: hub.got(relay.Roster))
    assert hub.got(relay.Roster)[0] == relay.Roster([])
    async with agent(node):
        conn = await sign_in(hub, node)
        async with agent(node):
            await opened(hub, 2)
            hub.tell(relay.RosterAsk())
            await until(lambda: len(hub.got(relay.Roster)) == 2)
            (entry,) = hub.got(relay.Roster)[1].entries
            assert (entry.conn, entry.device_id, entry.workgroup, entry.counter) == (conn, "device-1", "home", 4)
            assert entry.since_us > 0


@pytest.mark.parametrize(
    ("bad", "code", "cause"),
    [
        (b"\xff not a frame", 3500, "protocol_error"),
        ("text", 3500, "protocol_error"),
        (encode_frame(Type.HELLO, b"\xc4\xff" + bytes(255))[:4] + bytes(70_000), 1009, "frame_size"),
    ],
)
async def test_what_is_no_frame_ends_the_link(
    hub: FakeHub, node: Node, bad: bytes | str, code: int, cause: str
) -> None:
    async with agent(node) as socket:
        await opened(hub)
        await socket.send(bad)
        assert (await closed(socket))[0] == code
    await until(lambda: hub.got(relay.Closed))
    assert hub.got(relay.Closed)[0].cause == cause


async def test_silence_and_slow_sign_in_end_a_link(hub: FakeHub, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linksocket, "HANDSHAKE_S", 0.2)
    monkeypatch.setattr(linksocket, "SILENT_S", 0.6)
    async with agent(node) as slow:
        await opened(hub)
        assert (await closed(slow))[0] == 3004
        await until(lambda: hub.got(relay.Closed))
    async with agent(node) as silent:
        await sign_in(hub, node, 2)
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(silent.recv(), 10)
        await until(lambda: len(hub.got(relay.Closed)) == 2)
    assert [message.cause for message in hub.got(relay.Closed)] == ["handshake_timeout", "silent"]


async def test_closing_the_node_says_so(hub: FakeHub, node: Node) -> None:
    async with agent(node) as socket:
        await sign_in(hub, node)
        closing = asyncio.create_task(node.close())
        assert (await closed(socket))[0] == 3000
        await closing
    await until(lambda: hub.got(relay.Closed))
    assert hub.got(relay.Closed)[0].cause == "node_draining"


async def test_an_agent_that_reads_nothing_is_closed_as_slow(hub: FakeHub, node: Node) -> None:
    async with agent(node) as socket:
        conn = await sign_in(hub, node)
        socket.transport.pause_reading()
        frame = encode_frame(Type.DATA, Bye(reason="x" * 60_000))
        for _ in range(400):
            hub.tell(relay.Out(conn, frame, Priority.BULK))
            await asyncio.sleep(0)
            if node.links.counters.closed["slow"] or node.links.links.get(conn) is None:
                break
        await until(lambda: node.links.links.get(conn) is None or node.links.links[conn]._closing)
        socket.transport.abort()
    await until(lambda: hub.got(relay.Closed))
    assert hub.got(relay.Closed)[0].cause == "slow"


async def test_links_are_out_of_reach_of_the_push_api(hub: FakeHub, node: Node) -> None:
    async with agent(node):
        conn = await sign_in(hub, node)
        assert conn not in node.realm.connections
        outcomes: list[object] = []
        node.mesh.send_then(conn, b"x", False, outcomes.append)
        assert outcomes == [(0, 0, 0)]
