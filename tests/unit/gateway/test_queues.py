# SPDX-License-Identifier: Apache-2.0
"""Topics: order, exactly one consumer, bounds; alone and between nodes whose messages are late or lost."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.gateway.fakes import World
from towline.errors import Conflict, InvalidInput
from towline.gateway.entries import Message, load_entry
from towline.gateway.queuemesh import ANSWER_S, WINDOW, QueueMesh
from towline.gateway.queues import QueueFull, Queues
from towline.gateway.queuesettings import QueueSettings
from towline.protocols.connmix.mesh import Offer, Taken, Wants, decode


class Taker:
    """A consumer that takes ``room`` messages."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.events: list[dict[str, Any]] = []

    @property
    def ready(self) -> bool:
        return self.room > 0

    def deliver(self, event: bytes) -> None:
        assert self.room > 0
        self.room -= 1
        self.events.append(json.loads(event)["p"])

    @property
    def data(self) -> list[Any]:
        return [event["d"] for event in self.events]


def queues(number: int = 1, **limits: Any) -> Queues:
    return Queues(QueueSettings(**limits), 1000, lambda: number)


def consume(found: Queues, *topics: str, room: int = 1 << 30) -> Taker:
    taker = Taker(room)
    found.pop(taker, topics)
    found.ready(taker)
    return taker


def more(found: Queues, taker: Taker, room: int) -> None:
    taker.room += room
    found.ready(taker)


def test_what_waits_comes_in_order_and_a_topic_goes_when_it_is_empty() -> None:
    found = queues(number=7)
    assert [found.push("t", number, "15") for number in range(3)] == [1, 2, 3]
    taker = consume(found, "t")
    assert taker.events[0] == {"n": 7, "c": "15", "t": "t", "d": 0}
    assert found.push("t", 3) == 0
    assert taker.data == [0, 1, 2, 3]
    assert found.bytes == 0
    assert found.unpop(taker)
    assert not found.unpop(taker)
    assert not found.topics


def test_consumers_take_turns_and_who_is_not_ready_is_left_out() -> None:
    found = queues()
    one, two = consume(found, "t"), consume(found, "t", room=2)
    for number in range(8):
        found.push("t", number)
    assert (one.data, two.data) == ([0, 2, 4, 5, 6, 7], [1, 3])


def test_a_consumer_of_many_topics_takes_from_each_in_turn() -> None:
    found = queues()
    for number in range(4):
        found.push("a", f"a{number}")
        found.push("b", f"b{number}")
    taker = consume(found, "a", "b", room=3)
    assert taker.data == ["a0", "b0", "a1"]
    more(found, taker, 2)
    assert taker.data[3:] == ["b1", "a2"]


def test_bounds() -> None:
    found = queues(topic_size=2, max_topics=2)
    found.push("a", 1)
    found.push("a", 1)
    with pytest.raises(QueueFull, match="queue is full: the topic 'a' holds 2 messages") as caught:
        found.push("a", 1)
    assert caught.value.code == "queue.full"
    found.push("b", 1)
    with pytest.raises(QueueFull) as caught:
        found.push("c", 1)
    assert caught.value.code == "queue.topics"
    with pytest.raises(QueueFull):
        consume(found, "a", "c")
    taker = consume(found, "a", "b")
    with pytest.raises(Conflict):
        found.pop(taker, ("a",))
    assert found.counters.refused == {"full": 1, "topics": 1, "consumer": 1}
    small = Queues(QueueSettings(max_bytes=65536), 60_000, lambda: 1)
    small.push("a", "x" * 50_000)
    with pytest.raises(QueueFull) as caught:
        small.push("b", "x" * 50_000)
    assert caught.value.code == "queue.bytes"
    assert list(small.topics) == ["a"]


@pytest.mark.parametrize(
    ("topic", "data", "code"),
    [
        ("", 1, "queue.topic"),
        ("é" * 513, 1, "queue.topic"),
        ("\ud800", 1, "queue.topic"),
        (5, 1, "queue.topic"),
        ("t", None, "queue.data"),
        ("t", object(), "queue.data"),
        ("t", "x" * 999, "queue.too_long"),
    ],
)
def test_what_cannot_be_pushed(topic: Any, data: object, code: str) -> None:
    found = queues()
    with pytest.raises(InvalidInput) as caught:
        found.push(topic, data)
    assert caught.value.code == code
    assert found.counters.refused.total() == 1
    assert not found.topics


def test_a_forwarding_entry_drops_what_finds_no_room() -> None:
    world = World()
    world.realm.queues = queues(topic_size=1)
    conn, _ = world.connect()
    entry = load_entry("builtin:forward:t")
    entry.on_message(conn, Message("binary", b"\xff"))
    entry.on_message(conn, Message("text", "x"))
    entry.on_message(conn, Message("text", "x" * 2000))
    assert world.realm.queues.counters.refused == {"full": 1, "too_long": 1}
    taker = consume(world.realm.queues, "t")
    assert taker.data == [{"frame": {"type": "binary", "data": "/w==", "finish": True}}]
    assert taker.events[0]["c"] == conn.id
    assert conn.queue.push("t", "{}") == 0


def test_settings() -> None:
    assert msgspec.convert({}, QueueSettings) == QueueSettings()
    assert (QueueSettings().topic_size, QueueSettings().max_topics) == (2000, 100)


# -- between nodes


class Net:
    """Nodes whose messages wait, in order for each pair, until they are carried or lost."""

    def __init__(self, size: int, **limits: int) -> None:
        self.now = 0.0
        self.addresses = [f"node-{number}" for number in range(size)]
        self.queues = {address: queues(number, **limits) for number, address in enumerate(self.addresses)}
        self.ways: dict[tuple[str, str], deque[bytes]] = {}
        self.meshes = {address: self._mesh(address) for address in self.addresses}
        for address, mesh in self.meshes.items():
            mesh.attach(self._sender(address))

    def _mesh(self, address: str) -> QueueMesh:
        others = lambda: [other for other in self.addresses if other != address]  # noqa: E731
        return QueueMesh(self.queues[address], lambda: self.now, others)

    def _sender(self, address: str) -> Any:
        class Sender:
            def send(_, to: str, payload: bytes) -> bool:  # noqa: N805
                if to not in self.addresses:
                    return False
                self.ways.setdefault((address, to), deque()).append(payload)
                return True

        return Sender()

    def carry(self, way: tuple[str, str]) -> None:
        message: Any = decode(self.ways[way].popleft())
        self.meshes[way[1]].on_message(way[0], message)

    def busy(self) -> list[tuple[str, str]]:
        return sorted(way for way, waiting in self.ways.items() if waiting)

    def settle(self) -> None:
        while busy := self.busy():
            self.carry(busy[0])

    def later(self, seconds: float) -> None:
        self.now += seconds
        for mesh in self.meshes.values():
            mesh.tick()
        self.settle()


def test_a_message_waits_for_a_consumer_anywhere() -> None:
    net = Net(3)
    one, two, three = net.queues.values()
    for number in range(300):
        one.push("t", number, "15")
    taker = consume(two, "t")
    net.settle()
    assert taker.data == list(range(300))
    assert taker.events[0] == {"n": 0, "c": "15", "t": "t", "d": 0}
    assert not one.topics
    assert (one.counters.handed, two.counters.taken, one.bytes) == (300, 300, 0)
    three.push("t", "x")
    net.settle()
    assert taker.data[300:] == ["x"]
    two.unpop(taker)
    net.settle()
    assert one.push("t", 1) == 1
    net.settle()
    assert one.waiting == 1


def test_a_consumer_here_comes_first() -> None:
    net = Net(2)
    one, two = net.queues.values()
    there, here = consume(two, "t"), consume(one, "t")
    net.settle()
    for number in range(10):
        one.push("t", number)
    net.settle()
    assert (here.data, there.data) == (list(range(10)), [])


def test_what_is_refused_waits_again_in_its_place() -> None:
    net = Net(2, topic_size=100)
    one, two = net.queues.values()
    taker = consume(two, "t", room=5)
    net.settle()
    for number in range(100):
        one.push("t", number)
    with pytest.raises(QueueFull):
        one.push("t", 100)
    net.settle()
    assert taker.data == [0, 1, 2, 3, 4]
    assert one.waiting == 95
    assert one.counters.returned == WINDOW
    more(two, taker, 1)
    more(two, taker, 1000)
    net.settle()
    assert taker.data == list(range(100))
    assert one.bytes == 0


def test_what_a_dead_node_had_is_lost_and_the_rest_goes_elsewhere() -> None:
    net = Net(3)
    one, two, three = net.queues.values()
    consume(two, "t")
    net.settle()
    for number in range(100):
        one.push("t", number)
    net.addresses.remove("node-1")
    net.meshes["node-0"].left("node-1")
    net.ways.clear()
    assert one.counters.lost == WINDOW
    taker = consume(three, "t")
    net.settle()
    assert taker.data == list(range(WINDOW, 100))


def test_what_a_cut_swallows_is_given_up_and_wishes_are_said_again() -> None:
    net = Net(2)
    one, two = net.queues.values()
    taker = consume(two, "t")
    net.ways.clear()
    one.push("t", "a")
    net.later(6)
    assert taker.data == ["a"]
    one.push("t", "b")
    net.ways.clear()
    one.push("t", "c")
    net.settle()
    net.later(ANSWER_S + 1)
    assert taker.data == ["a", "c"]
    assert one.counters.lost == 1
    assert one.waiting == 0
    two.unpop(taker)
    net.ways.clear()
    net.later(6)
    one.push("t", "d")
    net.settle()
    assert one.waiting == 1


def test_strange_messages_do_no_harm() -> None:
    net = Net(2)
    mesh = net.meshes["node-0"]
    mesh.on_message("node-9", Taken(5, True))
    mesh.on_message("node-9", Offer(1, 1, "t", 0, "", b"1"))
    mesh.on_message("node-9", Wants(False, {"t": 0, "u": 5}))
    assert (mesh.late, mesh.unreachable) == (1, 1)
    net.queues["node-0"].push("u", 1)
    assert net.queues["node-0"].waiting == 1
    mesh.tick()
    assert not mesh._peers
    mesh.attach(None)
    net.queues["node-0"].push("u", 1)
    assert net.queues["node-0"].discard() == 2


NODE = st.integers(0, 2)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), NODE, st.sampled_from("ab")),
        st.tuples(st.just("pop"), NODE, st.sampled_from(["a", "b", "ab"])),
        st.tuples(st.just("more"), st.integers(0, 5), st.integers(1, 4)),
        st.tuples(st.just("unpop"), st.integers(0, 5), st.none()),
        st.tuples(st.just("carry"), st.integers(0, 5), st.integers(1, 5)),
    ),
    max_size=80,
)


@given(steps=STEPS)
@settings(max_examples=200, deadline=None)
def test_each_message_goes_to_exactly_one_consumer(steps: list[tuple[str, Any, Any]]) -> None:
    net = Net(3, topic_size=6)
    found = list(net.queues.values())
    takers: list[tuple[int, Taker]] = []
    gone: list[Taker] = []
    pushed: list[str] = []
    for what, which, how in steps:
        if what == "push":
            name = f"{how}{which}-{len(pushed):03}"
            try:
                found[which].push(how, name)
            except QueueFull:
                continue
            pushed.append(name)
        elif what == "pop":
            taker = Taker(2)
            found[which].pop(taker, tuple(how))
            found[which].ready(taker)
            takers.append((which, taker))
        elif what == "more" and takers:
            node, taker = takers[which % len(takers)]
            more(found[node], taker, how)
        elif what == "unpop" and takers:
            node, taker = takers.pop(which % len(takers))
            found[node].unpop(taker)
            gone.append(taker)
        elif what == "carry":
            for _ in range(how):
                if busy := net.busy():
                    net.carry(busy[which % len(busy)])
    everyone = [*gone, *(taker for _, taker in takers)]
    got = [data for taker in everyone for data in taker.data]
    assert len(got) == len(set(got))
    # Whatever still waits reaches a last consumer of each topic, and nothing is lost or left.
    for node, taker in takers:
        found[node].unpop(taker)
    last = consume(found[0], "a", "b")
    net.settle()
    net.later(6)
    got += last.data
    assert sorted(got) == sorted(pushed)
    assert all(one.bytes == 0 and one.counters.lost == 0 for one in found)


@given(steps=st.lists(st.tuples(st.sampled_from(["push", "more", "carry"]), st.integers(1, 6)), max_size=60))
@settings(max_examples=150, deadline=None)
def test_the_order_of_a_topic_holds_for_a_consumer_on_another_node(steps: list[tuple[str, int]]) -> None:
    net = Net(2)
    one, two = net.queues.values()
    taker = consume(two, "t", room=1)
    pushed = 0
    for what, how in steps:
        for _ in range(how):
            if what == "push":
                one.push("t", pushed)
                pushed += 1
            elif what == "carry" and (busy := net.busy()):
                net.carry(busy[how % len(busy)])
        if what == "more":
            more(two, taker, how)
    more(two, taker, 1000)
    net.settle()
    assert taker.data == list(range(pushed))
