# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.helpers import until
from tests.unit.hub.conftest import MakeHub, only
from tests.unit.hub.fakes import Door, FakeAgent, FakeNode
from towline.errors import InvalidInput, NotFound, Refused
from towline.hub import events
from towline.hub.actor import Actor
from towline.hub.hub import Hub
from towline.protocols.link import messages as m
from towline.store.base import Store


async def test_list_search_and_pages(hub: Hub, owner: Actor, node: FakeNode) -> None:
    agents = []
    for name in ("pump north", "pump south", "Windmill"):
        agent = FakeAgent(node)
        await agent.enrol((await hub.enrolments.create(owner, name)).line)
        agents.append(agent)
    await agents[1].login()
    page = await hub.devices.list(owner, limit=2)
    assert [device.name for device in page.items] == ["pump north", "pump south"]
    assert (page.counts.total, page.counts.online) == (3, 1)
    rest = await hub.devices.list(owner, limit=2, after=page.next)
    assert [device.name for device in rest.items] == ["Windmill"]
    assert rest.next is None
    assert [device.name for device in (await hub.devices.list(owner, "WIND")).items] == ["Windmill"]
    assert [device.name for device in (await hub.devices.list(owner, state="online")).items] == ["pump south"]
    assert len((await hub.devices.list(owner, state="offline")).items) == 2
    with pytest.raises(InvalidInput, match="none of"):
        await hub.devices.list(owner, state="asleep")
    with pytest.raises(InvalidInput, match="1 to 1000"):
        await hub.devices.list(owner, limit=0)


async def test_rename(hub: Hub, owner: Actor, agent: FakeAgent, door: Door) -> None:
    assert (await hub.devices.rename(owner, agent.device_id, " North pump ")).name == "North pump"
    assert (await door.wait(events.DeviceChanged)).device_id == agent.device_id
    for name in ("", "x" * 65, "a\nb"):
        with pytest.raises(InvalidInput, match="visible"):
            await hub.devices.rename(owner, agent.device_id, name)
    with pytest.raises(NotFound):
        await hub.devices.rename(owner, "nobody", "x")


async def test_delete_closes_the_link_and_shuts_the_device_out(
    hub: Hub, owner: Actor, online: FakeAgent, door: Door
) -> None:
    await hub.devices.delete(owner, online.device_id)
    await until(lambda: online.closed is not None)
    assert online.got(m.Refused)[0].code == "device.revoked"
    assert (await door.wait(events.DeviceDeleted)).device_id == online.device_id
    with pytest.raises(NotFound):
        await hub.devices.get(owner, online.device_id)
    await online.login()
    assert online.refused is not None
    assert online.refused.code == "device.unknown"


async def test_delete_through_another_hub(hub: Hub, owner: Actor, online: FakeAgent, make_hub: MakeHub) -> None:
    other = await make_hub()
    await other.devices.delete(owner, online.device_id)
    await until(lambda: online.closed is not None)


async def test_workgroups_do_not_see_each_other(hub: Hub, owner: Actor, agent: FakeAgent, store: Store) -> None:
    stranger = Actor(user_id="", name="eve", kind="user", workgroup="other", privileges=frozenset({"owner"}))
    await store.workgroups.create("other", "Other", 1)
    assert (await hub.devices.list(stranger)).items == []
    for attempt in (
        hub.devices.get(stranger, agent.device_id),
        hub.devices.delete(stranger, agent.device_id),
        hub.plugins.of_device(stranger, agent.device_id),
        hub.records.states(stranger, agent.device_id),
        hub.records.events(stranger, agent.device_id),
        hub.records.series(stranger, agent.device_id, from_us=0, to_us=1),
        hub.execs.run(stranger, agent.device_id, "id"),
        hub.commands.submit(stranger, agent.device_id, "x", "m", "c"),
    ):
        with pytest.raises(NotFound) as unknown:
            await attempt
        assert unknown.value.code == "device.unknown"


async def test_privileges(hub: Hub, owner: Actor, agent: FakeAgent) -> None:
    nobody, reader = only(owner), only(owner, "read")
    assert (await hub.devices.list(reader)).items
    for attempt in (
        hub.devices.list(nobody),
        hub.devices.get(nobody, agent.device_id),
        hub.devices.rename(reader, agent.device_id, "x"),
        hub.devices.delete(reader, agent.device_id),
        hub.records.states(nobody, agent.device_id),
        hub.audit.list(reader),
    ):
        with pytest.raises(Refused):
            await attempt


async def test_rules_of_queries(hub: Hub, owner: Actor, agent: FakeAgent) -> None:
    where = agent.device_id
    with pytest.raises(InvalidInput, match="10 to 10000"):
        await hub.records.series(owner, where, from_us=0, to_us=1, max_points=1)
    with pytest.raises(InvalidInput, match="ends before"):
        await hub.records.series(owner, where, from_us=1, to_us=1)
    assert (await hub.records.series(owner, where, from_us=0, to_us=1)).series == []
    with pytest.raises(InvalidInput):
        await hub.records.events(owner, where, limit=5000)
    with pytest.raises(InvalidInput):
        await hub.audit.list(owner, limit=0)
