# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.helpers import until
from tests.unit.hub.conftest import MakeHub
from tests.unit.hub.fakes import Door, FakeAgent, FakeNode, settle
from towline.bus.memory import MemoryBus
from towline.clock import ManualClock
from towline.hub import causes, events
from towline.hub.actor import Actor
from towline.hub.hub import Hub
from towline.protocols.link import messages as m
from towline.protocols.link import relay


async def state(hub: Hub, owner: Actor, agent: FakeAgent) -> tuple[str, str]:
    presence = (await hub.devices.get(owner, agent.device_id)).presence
    return presence.state, presence.cause


async def test_a_link_comes_and_goes(hub: Hub, owner: Actor, agent: FakeAgent, door: Door, clock: ManualClock) -> None:
    await agent.login()
    came = await door.wait(events.DevicePresence)
    assert (came.online, came.state, came.cause) == (True, "online", "connected")
    clock.advance(5)
    agent.cut("silent")
    went = await door.wait(events.DevicePresence, 2)
    assert (went.online, went.state, went.cause, went.cause_text) == (False, "offline", "silent", "the link was silent")
    assert went.since_us == clock.now_us()
    assert await state(hub, owner, agent) == ("offline", "silent")


@pytest.mark.parametrize("cause", ["closed_by_agent", "node_draining", "slow", "connection_lost", "protocol_error"])
async def test_causes_have_words(hub: Hub, owner: Actor, online: FakeAgent, cause: str) -> None:
    online.cut(cause)
    await until(lambda: online.device_id not in hub.links.devices)
    await settle()
    presence = (await hub.devices.get(owner, online.device_id)).presence
    while presence.state == "online":
        presence = (await hub.devices.get(owner, online.device_id)).presence
    assert (presence.cause, presence.cause_text) == (cause, causes.TEXT[cause])


async def test_the_newer_link_replaces_the_older(hub: Hub, owner: Actor, online: FakeAgent, door: Door) -> None:
    first = online.conn
    older = FakeAgent(online.node)
    online.node.links[first] = older
    await online.login()
    assert online.welcome is not None
    assert online.welcome.counter == 2
    await until(lambda: older.closed is not None)
    assert older.closed is not None
    assert older.closed.cause == "replaced"
    assert older.got(m.Bye)[0].code == "link.replaced"
    await settle()
    assert await state(hub, owner, online) == ("online", "replaced")
    # The older link's end says nothing about the device.
    assert not [one for one in door.of(events.DevicePresence) if not one.online]


async def test_a_dying_node_takes_its_devices_offline(
    hub: Hub, owner: Actor, online: FakeAgent, node: FakeNode, door: Door
) -> None:
    await node.endpoint.close()
    went = await door.wait(events.DevicePresence, 2 if len(door.of(events.DevicePresence)) else 1)
    assert (went.online, went.cause) == (False, "node_draining")
    assert not hub.links.sessions


async def test_an_orderly_end_stores_who_left(
    hub: Hub, owner: Actor, online: FakeAgent, node: FakeNode, make_hub: MakeHub
) -> None:
    """A server that stops closes its node first and its hub right after."""
    online.cut("node_draining")
    await node.close()
    await hub.close()
    again = await make_hub()
    assert await state(again, owner, online) == ("offline", "node_draining")


async def test_a_link_that_closes_while_it_signs_in_ends_offline(
    hub: Hub, owner: Actor, agent: FakeAgent, door: Door
) -> None:
    await agent.login()
    agent.cut()
    await door.wait(events.DevicePresence, 2)
    # The same again, but the node says Closed in the very turn in which the proof arrives.
    agent.answer = None
    real = agent.send

    def send_and_cut(frame: bytes) -> None:
        real(frame)
        if agent._shake is not None and agent._shake.state == "proof" and agent.conn in agent.node.links:
            agent.cut("silent")
            agent._shake.state = "done"

    agent.send = send_and_cut  # type: ignore[method-assign]
    await agent.login()
    await until(lambda: not hub.links.sessions)
    await settle(50)
    for _ in range(200):
        if (await state(hub, owner, agent))[0] == "offline":
            break
    assert (await state(hub, owner, agent))[0] == "offline"
    assert not hub.links.devices


async def test_two_machines_with_one_key_are_flagged_not_flapped(
    hub: Hub, owner: Actor, agent: FakeAgent, node: FakeNode, clock: ManualClock, door: Door
) -> None:
    copy = FakeAgent(node)
    copy.key, copy.device_id, copy.workgroup = agent.key, agent.device_id, agent.workgroup
    copy.hub_id, copy.hub_key = agent.hub_id, agent.hub_key
    for one in (agent, copy, agent, copy):
        await one.login()
        assert one.welcome is not None
        clock.advance(2)
    await agent.login()
    assert agent.refused is not None
    assert (agent.refused.code, agent.refused.retry_after_s) == ("link.duplicate_key", 30.0)
    assert copy.closed is None
    assert "duplicate_key" in (await hub.devices.get(owner, agent.device_id)).flags
    assert (await hub.audit.list(owner)).items[0].action == "device.duplicate_key"
    for _ in range(4):  # it stays refused for as long as it tries
        clock.advance(30)
        await agent.login()
        assert agent.refused is not None
    copy.cut()
    await until(lambda: copy.conn not in hub.links.sessions)
    await settle(50)
    while (await state(hub, owner, agent))[0] == "online":
        pass
    await agent.login()
    assert agent.welcome is not None
    clock.advance(700)
    await hub.presence.sweep_flags()
    assert (await hub.devices.get(owner, agent.device_id)).flags == []


async def test_a_restarted_hub_verifies(
    hub: Hub, owner: Actor, online: FakeAgent, make_hub: MakeHub, node: FakeNode, bus: MemoryBus
) -> None:
    gone = FakeAgent(node)
    await gone.enrol((await hub.enrolments.create(owner)).line)
    await gone.login()
    await hub.close()
    del node.accepted[gone.conn]  # it left while no hub was there to hear it
    node.answer_rosters = node.hands_over = False
    again = await make_hub()
    assert (await state(again, owner, online))[0] == "verifying"
    counts = (await again.devices.list(owner)).counts
    assert (counts.total, counts.online) == (2, 2)
    door = await Door.open(bus)
    node.hands_over = True
    node._rehome()
    seen = await door.wait(events.DevicePresence)
    assert (seen.device_id, seen.online) == (online.device_id, True)
    assert again.links.devices[online.device_id].conn == online.conn
    lost = await door.wait(events.DevicePresence, 2)
    assert (lost.device_id, lost.online, lost.cause) == (gone.device_id, False, causes.NOT_SEEN)
    assert not again.links.verifying


async def test_a_restarted_hub_asks_nodes(
    hub: Hub, owner: Actor, online: FakeAgent, make_hub: MakeHub, node: FakeNode
) -> None:
    await hub.close()
    again = await make_hub()
    await until(lambda: online.device_id in again.links.devices)
    assert node.asked_roster >= 1
    await until(lambda: not again.links.verifying)
    assert (await state(again, owner, online))[0] == "online"


async def test_a_second_hub_changes_nothing(
    hub: Hub, owner: Actor, online: FakeAgent, make_hub: MakeHub, node: FakeNode
) -> None:
    second = await make_hub()
    assert not second.links.verifying
    assert (await state(second, owner, online))[0] == "online"
    assert not second.counters().get("presence.seen_again")


async def test_what_was_told_to_a_dead_hub_is_found_out(
    hub: Hub, owner: Actor, online: FakeAgent, make_hub: MakeHub, node: FakeNode, bus: MemoryBus
) -> None:
    """The node's Closed went to a hub that was dead already, though nobody knew."""
    second = await make_hub()
    other = FakeAgent(node)
    await other.enrol((await second.enrolments.create(owner)).line)
    await other.login()
    third = await make_hub()
    other.hub = third._core.endpoint.address
    node.tell(other.hub, relay.Roster(node.roster(other.hub), handed=True))
    await until(lambda: other.device_id in third.links.devices)
    node.links.pop(online.conn)
    del node.accepted[online.conn]
    await hub.close()
    door = await Door.open(bus)
    await until(lambda: second.links.verifying and third.links.verifying)
    await until(lambda: [one for one in door.of(events.DevicePresence) if not one.online])
    assert await state(second, owner, online) == ("offline", causes.NOT_SEEN)
    assert (await state(second, owner, other))[0] == "online"
    await until(lambda: not second.links.verifying and not third.links.verifying)


async def test_a_stale_link_of_a_roster_is_closed(
    hub: Hub, owner: Actor, online: FakeAgent, make_hub: MakeHub, node: FakeNode
) -> None:
    old = online.conn
    old_entry = node.roster()
    shadow = FakeAgent(node)
    shadow.hub = online.hub
    online.cut()
    await until(lambda: not hub.links.sessions)
    await online.login()
    await hub.close()
    node.links[old] = shadow
    node.accepted[old] = type(node.accepted[online.conn])(old, old_entry[0].device_id, "main", old_entry[0].counter)
    again = await make_hub()
    await until(lambda: shadow.closed is not None)
    assert shadow.closed is not None
    assert shadow.closed.cause == "replaced"
    assert (await state(again, owner, online))[0] == "online"


async def test_a_lost_close_is_found_by_the_roster_check(
    hub: Hub, owner: Actor, online: FakeAgent, node: FakeNode, clock: ManualClock, door: Door
) -> None:
    clock.advance(1)
    node.links.pop(online.conn)
    del node.accepted[online.conn]  # the node's Closed never arrives
    hub.links.rosters.ask_all()
    await until(lambda: [one for one in door.of(events.DevicePresence) if not one.online])
    assert await state(hub, owner, online) == ("offline", "lost")
    assert hub.counters()["links.missed_close"] == 1


async def test_frames_of_an_unknown_link_have_it_closed(hub: Hub, node: FakeNode) -> None:
    stranger = FakeAgent(node)
    node.links["123"] = stranger
    stranger.hub, stranger.conn = node.hub(), "123"
    stranger.send(m.encode(m.Ping()))
    await until(lambda: stranger.closed is not None)
    assert stranger.closed is not None
    assert (stranger.closed.code, stranger.closed.cause) == (3101, "lost")


async def test_a_node_that_was_cut_off_brings_its_devices_back(
    hub: Hub, owner: Actor, online: FakeAgent, node: FakeNode, bus: MemoryBus, clock: ManualClock
) -> None:
    """The bus was away for longer than a node may be silent; the links were not."""
    member = node.endpoint.members("node")[0]
    hub.links.on_left(member, "silent")
    await until(lambda: hub.counters().get("presence.node_died"))
    assert await state(hub, owner, online) == ("offline", "node_died")
    hub.links.on_joined(member)
    # Its agents go on sending before the hub knows them again.
    online.batch("live")
    await until(lambda: online.device_id in hub.links.devices)
    await until(lambda: hub.counters().get("presence.seen_again"))
    assert await state(hub, owner, online) == ("online", "seen_again")
    assert online.closed is None
    online.resend("live", 1)
    await online.acked("live", 1)
