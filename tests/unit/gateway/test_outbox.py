# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.gateway.fakes import Socket, World
from towline.gateway.connections import Connection
from towline.gateway.outbox import FLUSH_BYTES


def test_one_turn_is_one_write() -> None:
    world = World()
    one, socket = world.connect("a", "b")
    world.outbox.send(one, b"1")
    world.publish("a", b"2")
    world.publish("b", b"3")
    world.outbox.send(one, b"4")
    world.publish("a", b"5")
    assert socket.writes == []
    world.turn()
    assert socket.writes == [b"12345"]
    assert world.outbox.counters.frames == 5


def test_publishes_to_one_channel_are_joined_once_for_all() -> None:
    world = World()
    sockets = [world.connect("a")[1] for _ in range(3)]
    for frame in (b"1", b"2", b"3"):
        assert world.publish("a", frame) == (3, 0)
    world.turn()
    assert [socket.writes for socket in sockets] == [[b"123"]] * 3
    assert sockets[0].writes[0] is sockets[1].writes[0]


def test_a_single_frame_is_not_copied() -> None:
    world = World()
    _, first = world.connect("a")
    _, second = world.connect("a")
    frame = bytes(1000)
    world.publish("a", frame)
    world.turn()
    assert first.writes[0] is second.writes[0] is frame


def test_who_joins_later_gets_nothing_older_and_who_leaves_gets_what_was_published() -> None:
    world = World()
    early, early_socket = world.connect("a")
    world.publish("a", b"1")
    _, late_socket = world.connect("a")
    world.publish("a", b"2")
    early.unsubscribe("a")
    world.publish("a", b"3")
    world.turn()
    assert early_socket.data == b"12"
    assert late_socket.data == b"23"


def test_a_long_turn_is_flushed_early() -> None:
    world = World()
    one, socket = world.connect("a")
    frame = bytes(10_000)
    for _ in range(8):
        world.publish("a", frame)
        world.outbox.send(one, frame)
    assert len(socket.data) > FLUSH_BYTES
    world.turn()
    assert len(socket.data) == 160_000


def test_a_connection_that_is_too_far_behind_is_given_up_and_others_go_on() -> None:
    world = World(limit=100_000)
    slow, slow_socket = world.connect("a", room=0)
    _, fast_socket = world.connect("a")
    frame = bytes(10_000)
    accepted = refused = 0
    for _ in range(20):
        sent, failed = world.publish("a", frame)
        accepted += sent
        refused += failed
        world.turn()
    assert world.slow == [slow]
    assert slow_socket.closed == (3001, "too slow")
    assert slow_socket.data == frame  # the rest never reached the transport, and was given up with the client
    assert len(fast_socket.data) == 200_000
    assert refused == 1
    counters = world.outbox.counters
    assert accepted == 20 + 10
    assert (counters.slow, counters.refused, counters.abandoned) == (1, 1, 9)
    assert slow not in world.outbox.behind


def test_who_catches_up_has_missed_nothing() -> None:
    world = World(limit=100_000)
    slow, socket = world.connect("a", "b", room=15_000)
    _, other = world.connect("a")
    for number in range(8):
        assert world.publish("ab"[number % 2], bytes([number]) * 10_000)[1] == 0
        if number % 3 == 0:
            world.turn()
        slow.send(bytes([number]))
    world.turn()
    assert len(socket.data) < 50_000
    assert list(world.outbox.behind) == [slow]
    socket.take(30_000)
    assert list(world.outbox.behind) == [slow]
    world.publish("a", b"last")
    socket.take(1 << 40)
    assert not world.outbox.behind
    world.publish("a", b"more")
    world.turn()
    expected = b"".join(bytes([number]) * 10_000 + b"\x82\x01" + bytes([number]) for number in range(8))
    assert socket.data == expected + b"lastmore"
    assert other.data.endswith(b"lastmore")


def test_who_catches_up_within_a_turn_gets_its_frame_once() -> None:
    world = World()
    slow, socket = world.connect("a", room=0)
    world.connect("a")
    world.publish("a", b"1")
    world.turn()
    world.publish("a", b"2")
    socket.take(1 << 40)
    world.publish("a", b"3")
    world.turn()
    assert socket.data == b"123"
    assert slow not in world.outbox.behind


def test_who_falls_behind_within_a_turn_gets_its_frame_once() -> None:
    """A transport may say so later than in its write: TLS does."""
    world = World()
    slow, socket = world.connect("a")
    world.publish("a", b"1")
    slow.send("2")
    socket.on_held()
    world.publish("a", b"3")
    world.turn()
    socket.on_free()
    world.publish("a", b"4")
    world.turn()
    assert socket.data == b"1\x81\x0123" + b"4"


def test_a_subscription_made_while_behind_counts() -> None:
    world = World(limit=100_000)
    slow, socket = world.connect(room=0)
    slow.send("x")
    world.turn()
    slow.subscribe("a")
    assert world.publish("a", b"1") == (1, 0)
    world.turn()
    assert socket.data == b"\x81\x01x"
    slow.unsubscribe("a")
    assert world.publish("a", b"2") == (0, 0)
    socket.take(1 << 40)
    assert socket.data == b"\x81\x01x1"


def test_drop_newest() -> None:
    world = World(limit=100_000, policy="drop_newest")
    slow, socket = world.connect("a", room=0)
    _, fast = world.connect("a")
    results = []
    for number in range(20):
        results.append(world.publish("a", bytes([number]) * 10_000))
        world.turn()
    assert results == [(2, 0)] * 10 + [(1, 1)] * 10
    assert not slow.closing
    socket.take(1 << 40)
    world.publish("a", b"after")
    world.turn()
    assert socket.data == b"".join(bytes([number]) * 10_000 for number in range(10)) + b"after"
    assert len(fast.data) == 200_005
    counters = world.outbox.counters
    assert (counters.refused, counters.dropped_newest, counters.dropped_oldest, counters.slow) == (10, 10, 0, 0)


def test_drop_oldest() -> None:
    world = World(limit=100_000, policy="drop_oldest")
    slow, socket = world.connect("a", room=0)
    for number in range(20):
        assert world.publish("a", bytes([number]) * 10_000) == (1, 0)
        world.turn()
    assert world.publish("a", bytes(100_000)) == (0, 1)  # no room can be made beside what the transport holds
    assert not slow.closing
    socket.take(1 << 40)
    # The transport had the first before the others could be dropped.
    assert socket.data == b"".join(bytes([number]) * 10_000 for number in (0, *range(11, 20)))
    counters = world.outbox.counters
    assert (counters.refused, counters.dropped_newest, counters.dropped_oldest, counters.slow) == (1, 1, 10, 0)


def test_a_socket_that_takes_nothing_is_given_up() -> None:
    world = World()
    stalled, _ = world.connect(room=0)
    moving, socket = world.connect(room=0)
    for one in (stalled, moving):
        one.send("x" * 10_000)
    world.turn()
    for now in range(10):
        world.outbox.watch(now)
        socket.take(1)
        assert not world.stalled
    world.outbox.watch(10)
    assert world.stalled == [stalled]
    assert world.outbox.counters.stalled == 1
    assert list(world.outbox.behind) == [moving]


def test_an_ordinary_close_gives_who_is_behind_all_that_was_accepted() -> None:
    world = World()
    slow, socket = world.connect(room=0)
    for number in range(5):
        slow.send(str(number))
        world.turn()
    slow.close()
    assert socket.data == b"".join(b"\x81\x01%d" % number for number in range(5))
    assert socket.closed == (1000, "")
    assert world.outbox.counters.abandoned == 0


def test_what_waits_for_who_vanishes_is_counted() -> None:
    world = World()
    slow, _ = world.connect(room=0)
    for number in range(5):
        slow.send(str(number))
        world.turn()
    slow.detach()
    assert world.outbox.counters.abandoned == 4


def test_a_direct_send_over_the_limit_is_refused() -> None:
    world = World(limit=100_000)
    slow, socket = world.connect(room=0)
    results = []
    for _ in range(12):
        results.append(slow.send(bytes(10_000)))
        world.turn()
    assert results == [True] * 9 + [False] * 3
    assert socket.held <= 100_000


def test_a_closing_connection_takes_nothing_more_but_gets_what_was_queued() -> None:
    world = World()
    one, socket = world.connect("a")
    one.send("x")
    world.publish("a", b"y")
    one.close()
    assert socket.data == b"\x81\x01xy"
    assert socket.closed == (1000, "")
    assert not one.send("z")
    assert world.publish("a", b"z") == (0, 0)
    world.turn()
    assert socket.data == b"\x81\x01xy"


def test_a_broken_transport_stops_nobody() -> None:
    world = World()
    _, first = world.connect("a")
    _, broken = world.connect("a")
    _, last = world.connect("a")
    broken.broken = True
    world.publish("a", b"1")
    world.turn()
    assert first.data == last.data == b"1"
    assert world.outbox.counters.writes_failed == 1


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["send", "publish", "join", "leave", "turn", "close", "stall", "take", "late"]),
        st.integers(0, 3),
        st.integers(0, 2),
    ),
    max_size=60,
)


@given(actions=ACTIONS)
@settings(max_examples=150, deadline=None)
def test_every_connection_gets_its_frames_in_order(actions: list[tuple[str, int, int]]) -> None:
    """Whatever is mixed: what a connection receives is what was sent to it while it was there, in order."""
    world = World()
    everyone: list[tuple[Connection, Socket]] = [world.connect() for _ in range(4)]
    expected = [b""] * 4
    for number, (action, who, channel) in enumerate(actions):
        connection = everyone[who][0]
        name = f"c{channel}"
        frame = b"%d;" % number
        if action == "send":
            if world.outbox.send(connection, frame):
                expected[who] += frame
        elif action == "publish":
            members = [index for index, (one, _) in enumerate(everyone) if name in one.channels]
            assert world.publish(name, frame) == (len(members), 0)
            for index in members:
                expected[index] += frame
        elif action == "turn":
            world.turn()
        elif action == "close":
            connection.close()
        elif action == "stall":
            everyone[who][1].room = 3
        elif action == "take":
            everyone[who][1].take(4)
        elif action == "late":
            everyone[who][1].on_held()
        elif not connection.closing:
            (connection.subscribe if action == "join" else connection.unsubscribe)(name)
    world.turn()
    for _, socket in everyone:
        socket.take(1 << 40)
        socket.on_free()
    assert [socket.data for _, socket in everyone] == expected
    assert not world.outbox.behind
