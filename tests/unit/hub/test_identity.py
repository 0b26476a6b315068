# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.unit.hub.conftest import SECRET, SETTINGS, MakeHub, only
from tests.unit.hub.fakes import Door, FakeAgent, FakeNode
from towline.bus.memory import MemoryBus
from towline.clock import ManualClock
from towline.errors import InvalidInput, Refused, StartError
from towline.hub import events
from towline.hub.actor import Actor
from towline.hub.hub import Hub
from towline.protocols.link.enrolment import parse_line
from towline.protocols.link.handshake import key_pin
from towline.store.base import Store


async def test_identity_outlives_the_process(hub: Hub, make_hub: MakeHub) -> None:
    again = await make_hub()
    assert again.identity.hub_id == hub.identity.hub_id
    assert again.identity.public_key == hub.identity.public_key


async def test_another_secret_key_is_refused(hub: Hub, store: Store, bus: MemoryBus, clock: ManualClock) -> None:
    other = Hub(store, bus, clock, SETTINGS, secret=SECRET[::-1])
    with pytest.raises(StartError, match=r"secret\.key"):
        await other.start()
    await other.close()


async def test_line_names_address_and_pin(hub: Hub, owner: Actor) -> None:
    made = await hub.enrolments.create(owner, "North pump")
    line = parse_line(made.line)
    assert line.url == SETTINGS.link_url
    assert line.pin == key_pin(hub.identity.public_key)
    assert line.token == made.token
    other = await hub.enrolments.create(owner, link_url="wss://towline.example.org/base")
    assert parse_line(other.line).url == "wss://towline.example.org/base/link/v1"


async def test_enrolment_creates_a_device_once(hub: Hub, node: FakeNode, door: Door, owner: Actor) -> None:
    line = (await hub.enrolments.create(owner)).line
    agent = FakeAgent(node)
    await agent.enrol(line)
    first = agent.device_id
    assert agent.hub_id == hub.identity.hub_id
    device = await hub.devices.get(owner, first)
    assert (device.name, device.group, device.presence.state) == ("pump-7", "default", "never")
    assert device.agent.hostname == "pump-7"
    assert device.cn == f"CN={first},O=main"
    new = await door.wait(events.DeviceNew)
    assert (new.device_id, new.workgroup) == (first, "main")

    await agent.enrol(line)  # the same token and key: the answer was lost on the way
    assert agent.device_id == first
    assert len(door.of(events.DeviceNew)) == 1

    thief = FakeAgent(node)
    await thief.enrol(line)
    assert thief.refused is not None
    assert thief.refused.code == "enrolment.used"
    assert thief.refused.retry_after_s is None
    [listed] = await hub.enrolments.list(owner)
    assert (listed.state, listed.device_id, listed.token, listed.line) == ("used", first, "", "")


async def test_names_come_from_the_line_then_the_agent(hub: Hub, node: FakeNode, owner: Actor) -> None:
    named, asked = FakeAgent(node), FakeAgent(node)
    await named.enrol((await hub.enrolments.create(owner, "North pump")).line, name="other")
    await asked.enrol((await hub.enrolments.create(owner)).line, name="South pump")
    assert (await hub.devices.get(owner, named.device_id)).name == "North pump"
    assert (await hub.devices.get(owner, asked.device_id)).name == "South pump"


async def test_a_line_ends(hub: Hub, node: FakeNode, owner: Actor, clock: ManualClock) -> None:
    late, revoked = await hub.enrolments.create(owner), await hub.enrolments.create(owner)
    await hub.enrolments.revoke(owner, revoked.id)
    agent = FakeAgent(node)
    await agent.enrol(revoked.line)
    assert agent.refused is not None
    assert agent.refused.code == "enrolment.revoked"
    clock.advance(901)
    await agent.enrol(late.line)
    assert agent.refused.code == "enrolment.expired"
    assert {one.state for one in await hub.enrolments.list(owner)} == {"expired", "revoked"}
    await agent.enrol(late.line.replace(late.token, "A" * len(late.token)))
    assert agent.refused.code == "enrolment.unknown"


async def test_rules_of_a_line(hub: Hub, owner: Actor) -> None:
    with pytest.raises(InvalidInput, match="60 to 86400"):
        await hub.enrolments.create(owner, ttl_s=5)
    with pytest.raises(InvalidInput, match="1 to 64"):
        await hub.enrolments.create(owner, name="x" * 65)
    for use in (hub.enrolments.create, hub.enrolments.list):
        with pytest.raises(Refused):
            await use(only(owner, "read"))


async def test_login_welcomes_with_what_is_stored(online: FakeAgent) -> None:
    assert online.welcome is not None
    assert online.welcome.acked == {"urgent": 0, "live": 0, "backlog": 0}
    assert online.welcome.counter == 1
    assert online.welcome.name == "pump-7"
    assert online.node.accepted[online.conn].device_id == online.device_id


async def test_a_wrong_key_is_refused(agent: FakeAgent, node: FakeNode) -> None:
    liar = FakeAgent(node)
    liar.device_id, liar.workgroup = agent.device_id, agent.workgroup
    liar.hub_id, liar.hub_key = agent.hub_id, agent.hub_key
    await liar.login()
    assert liar.refused is not None
    assert (liar.refused.code, liar.refused.retry_after_s) == ("link.identity", None)


@pytest.mark.parametrize(("device_id", "workgroup"), [("nobody", "main"), (None, "other")])
async def test_an_unknown_device_is_refused(agent: FakeAgent, device_id: str | None, workgroup: str) -> None:
    agent.device_id = device_id or agent.device_id
    agent.workgroup = workgroup
    await agent.login()
    assert agent.refused is not None
    assert agent.refused.code == "device.unknown"


async def test_a_revoked_key_is_refused(agent: FakeAgent, store: Store, clock: ManualClock) -> None:
    await store.devices.revoke("main", agent.device_id, clock.now_us())
    await agent.login()
    assert agent.refused is not None
    assert agent.refused.code == "device.revoked"


async def test_facts_follow_the_agent(hub: Hub, agent: FakeAgent, owner: Actor, door: Door, store: Store) -> None:
    await agent.login()
    assert not door.of(events.DeviceChanged)
    device = await hub.devices.get(owner, agent.device_id)
    await store.devices.set_facts("main", agent.device_id, (await _entry(store, agent)).facts.__class__())
    await agent.login()
    await door.wait(events.DeviceChanged)
    assert (await hub.devices.get(owner, agent.device_id)).agent == device.agent


async def _entry(store: Store, agent: FakeAgent):  # type: ignore[no-untyped-def]
    entry = await store.devices.get("main", agent.device_id)
    assert entry is not None
    return entry.device
