# SPDX-License-Identifier: Apache-2.0
"""What both buses promise (bus/base.py)."""

from __future__ import annotations

import asyncio

import pytest

from tests.helpers import until
from tests.unit.bus.conftest import World
from tests.unit.bus.recorder import Recorder
from towline.bus.base import MAX_PAYLOAD, BusCallError, BusTimeout, BusUnreachable, Endpoint
from towline.errors import InvalidInput


async def pair(world: World) -> tuple[Endpoint, Recorder, Endpoint, Recorder]:
    """A node and a hub that know each other."""
    a, b = Recorder(), Recorder()
    node = await (await world.bus()).open("node", a)
    hub = await (await world.bus()).open("hub", b)
    await until(lambda: a.joined and b.joined, what="both joined")
    a.log.clear()
    b.log.clear()
    return node, a, hub, b


async def test_messages_arrive_later_and_in_order(world: World) -> None:
    node, _, hub, b = await pair(world)
    wanted = [b"%d" % n for n in range(5000)]
    assert all(node.send(hub.address, payload) for payload in wanted)
    assert b.log == []
    await until(lambda: len(b.log) == len(wanted))
    assert b.payloads("message") == wanted
    assert {sender for _, sender, _ in b.log} == {node.address}
    assert node.counters()["sent"] == 5000
    assert hub.counters()["received"] == 5000


async def test_sends_calls_and_replies_between_two_keep_their_order(world: World) -> None:
    node, a, hub, b = await pair(world)
    calls = []
    for n in range(50):
        node.send(hub.address, b"before %d" % n)
        calls.append(asyncio.create_task(node.call(hub.address, b"call %d" % n, 5)))
        await asyncio.sleep(0)
        node.send(hub.address, b"after %d" % n)
    assert await asyncio.gather(*calls) == [b"CALL %d" % n for n in range(50)]
    await until(lambda: len(b.log) == 150)
    assert b.log == [
        (what, node.address, b"%s %d" % (word, n))
        for n in range(50)
        for what, word in (("message", b"before"), ("call", b"call"), ("message", b"after"))
    ]
    assert a.log == []


async def test_a_reply_comes_after_what_was_sent_before_it(world: World) -> None:
    node, a, hub, _ = await pair(world)
    assert hub.send(node.address, b"first")
    assert await node.call(hub.address, b"x", 5) == b"X"
    assert a.payloads("message") == [b"first"]


async def test_calls_that_take_their_time_do_not_hold_up_others(world: World) -> None:
    node, _, hub, _ = await pair(world)
    slow = asyncio.create_task(node.call(hub.address, b"later never", 5))
    assert await node.call(hub.address, b"later", 5) == b"LATER"
    assert await node.call(hub.address, b"now", 5) == b"NOW"
    slow.cancel()


@pytest.mark.parametrize("payload", [b"conflict", b"later conflict"])
async def test_an_error_of_the_callee_travels(world: World, payload: bytes) -> None:
    node, _, hub, _ = await pair(world)
    with pytest.raises(BusCallError, match="taken") as caught:
        await node.call(hub.address, payload, 5)
    assert caught.value.code == "test.conflict"


async def test_a_bug_of_the_callee_is_internal_and_keeps_its_secrets(world: World) -> None:
    node, _, hub, _ = await pair(world)
    with pytest.raises(BusCallError) as caught:
        await node.call(hub.address, b"bug", 5)
    assert caught.value.code == "internal"
    assert "ZeroDivision" not in str(caught.value)
    assert hub.counters()["receiver_errors"] == 1


async def test_a_receiver_that_raises_does_not_stop_delivery(world: World) -> None:
    node, _, hub, b = await pair(world)
    node.send(hub.address, b"raise")
    node.send(hub.address, b"next")
    await until(lambda: b.payloads("message") == [b"raise", b"next"])
    assert hub.counters()["receiver_errors"] == 1


async def test_no_reply_in_time(world: World) -> None:
    node, _, hub, b = await pair(world)
    with pytest.raises(BusTimeout) as caught:
        await node.call(hub.address, b"later never", 0.05)
    assert caught.value.code == "bus.timeout"
    assert node.counters()["timeouts"] == 1
    assert await node.call(hub.address, b"again", 5) == b"AGAIN"
    assert len(b.log) == 2


async def test_a_late_reply_is_counted(world: World) -> None:
    node, _, hub, _ = await pair(world)
    with pytest.raises(BusTimeout):
        await node.call(hub.address, b"later", 0.000001)
    await until(lambda: node.counters()["late_replies"] == 1)


async def test_nobody_there(world: World) -> None:
    node, _, _, _ = await pair(world)
    assert node.send("node-0-unknown", b"x") is False
    with pytest.raises(BusUnreachable) as caught:
        await node.call("node-0-unknown", b"x", 5)
    assert caught.value.code == "bus.unreachable"
    assert node.counters()["dropped_unreachable"] == 2


async def test_payloads_have_a_limit(world: World) -> None:
    node, _, hub, b = await pair(world)
    assert node.send(hub.address, bytes(MAX_PAYLOAD))
    await until(lambda: b.payloads("message") == [bytes(MAX_PAYLOAD)])
    for attempt in (node.send, lambda to, payload: node.announce(payload)):
        with pytest.raises(InvalidInput, match="262145 bytes") as caught:
            attempt(hub.address, bytes(MAX_PAYLOAD + 1))
        assert caught.value.code == "bus.payload_too_large"
    with pytest.raises(InvalidInput):
        await node.call(hub.address, bytes(MAX_PAYLOAD + 1), 5)
    with pytest.raises(BusCallError) as refused:
        await node.call(hub.address, b"huge", 5)
    assert refused.value.code == "bus.payload_too_large"


async def test_payloads_are_bytes(world: World) -> None:
    node, _, hub, _ = await pair(world)
    with pytest.raises(TypeError, match="not str"):
        node.send(hub.address, "text")  # type: ignore[arg-type]


async def test_one_can_talk_to_oneself(world: World) -> None:
    node, a, _, _ = await pair(world)
    assert node.send(node.address, b"note")
    assert await node.call(node.address, b"hello", 5) == b"HELLO"
    assert a.payloads("message") == [b"note"]


async def test_events_reach_all_who_asked_for_them_in_order(world: World) -> None:
    bus = await world.bus()
    door, hub, node = Recorder(), Recorder(), Recorder()
    await (await world.bus()).open("door", door, events=True)
    announcer = await bus.open("hub", hub, events=True)
    await bus.open("node", node)
    wanted = [b"%d" % n for n in range(200)]
    for payload in wanted:
        announcer.announce(payload)
    await until(lambda: len(door.payloads("event")) == len(hub.payloads("event")) == 200)
    assert door.payloads("event") == hub.payloads("event") == wanted
    assert node.payloads("event") == []
    assert {sender for what, sender, _ in door.log if what == "event"} == {announcer.address}


async def test_members_are_known_at_once_and_by_age(world: World) -> None:
    a, b = Recorder(), Recorder()
    first = await (await world.bus()).open("node", a, info={"version": "1"})
    second = await (await world.bus()).open("node", b)
    assert [member.address for member in second.members("node")] == [first.address, second.address]
    assert second.members("node")[0].info == {"version": "1"}
    assert second.members("hub") == []
    await until(lambda: a.joined and b.joined)
    assert [member.address for member in first.members("node")] == [first.address, second.address]
    assert [member.address for member in a.joined] == [second.address]
    assert [member.address for member in b.joined] == [first.address]
    assert first.address != second.address


async def test_who_comes_is_told_before_the_first_message(world: World) -> None:
    a = Recorder()
    first = await (await world.bus()).open("node", a)
    second = await (await world.bus()).open("node", Recorder())
    second.send(first.address, b"hello")
    await until(lambda: a.payloads("message"))
    assert [what for what, _, _ in a.log] == ["joined", "message"]


async def test_who_leaves_is_told_after_the_last_message(world: World) -> None:
    node, a, hub, _ = await pair(world)
    for n in range(100):
        hub.send(node.address, b"%d" % n)
    await hub.close()
    await until(lambda: a.left)
    assert a.left == [(hub.address, "closed")]
    assert a.log[-1][0] == "left"
    assert len(a.payloads("message")) == 100
    assert node.members("hub") == []
    assert node.send(hub.address, b"x") is False
    await hub.close()


async def test_a_call_ends_when_its_callee_leaves(world: World) -> None:
    node, _, hub, b = await pair(world)
    call = asyncio.create_task(node.call(hub.address, b"later never", 30))
    await until(lambda: b.log)
    await hub.close()
    with pytest.raises(BusTimeout) as caught:
        await call
    assert caught.value.code == "bus.left"


async def test_a_call_ends_when_its_caller_closes(world: World) -> None:
    node, _, hub, b = await pair(world)
    call = asyncio.create_task(node.call(hub.address, b"later never", 30))
    await until(lambda: b.log)
    await node.close()
    with pytest.raises(BusTimeout) as caught:
        await call
    assert caught.value.code == "bus.closed"
    with pytest.raises(BusUnreachable):
        await node.call(hub.address, b"x", 1)
    assert node.send(hub.address, b"x") is False


async def test_what_waits_is_bounded(world: World) -> None:
    a, b = Recorder(), Recorder()
    hub = await (await world.bus()).open("hub", b)
    node = await (await world.bus(max_queued=100)).open("node", a)
    await until(lambda: b.joined and a.joined)
    accepted = sum(node.send(hub.address, b"%d" % n) for n in range(1000))
    assert 90 <= accepted <= 100
    counters = node.counters()
    assert counters["dropped_full"] == 1000 - accepted
    assert counters["sent"] == accepted
    await until(lambda: len(b.payloads("message")) == accepted)
    assert node.send(hub.address, b"room again")


async def test_what_waits_is_bounded_in_bytes(world: World) -> None:
    a, b = Recorder(), Recorder()
    hub = await (await world.bus()).open("hub", b)
    node = await (await world.bus(max_queued_bytes=1_000_000)).open("node", a)
    await until(lambda: b.joined and a.joined)
    accepted = sum(node.send(hub.address, bytes(100_000)) for _ in range(30))
    assert 9 <= accepted <= 10
    with pytest.raises(BusUnreachable) as caught:
        await node.call(hub.address, bytes(100_000), 1)
    assert caught.value.code == "bus.full"
    await until(lambda: len(b.payloads("message")) == accepted)


async def test_numbers_are_unique_and_rest(world: World) -> None:
    buses = [await world.bus() for _ in range(4)]
    nodes = await asyncio.gather(*(bus.open("node", Recorder(), lease_number=True) for bus in buses for _ in range(3)))
    assert sorted(node.number for node in nodes) == list(range(1, 13))
    without = await buses[0].open("node", Recorder())
    assert without.number == -1
    assert without.last_id_ms == 0
    first = next(node for node in nodes if node.number == 1)
    first.note_last_id(4_000_000_000_000)
    first.note_last_id(5)
    await first.close()
    assert first.number == -1
    early = await buses[1].open("node", Recorder(), lease_number=True, last_id_ms=77)
    assert early.number == 13
    assert early.last_id_ms == 77
    found: list[Endpoint] = []

    async def rested() -> None:
        while not found or found[-1].number != 1:
            found.append(await buses[2].open("node", Recorder(), lease_number=True))

    await asyncio.wait_for(rested(), 10)
    assert found[-1].last_id_ms == 4_000_000_000_000


async def test_a_number_is_told_to_others(world: World) -> None:
    observer = await (await world.bus()).open("hub", Recorder())
    node = await (await world.bus()).open("node", Recorder(), lease_number=True)
    await until(lambda: [member.number for member in observer.members("node")] == [node.number])
