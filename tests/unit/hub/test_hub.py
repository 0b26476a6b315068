# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.helpers import until
from tests.unit.hub.conftest import MakeHub
from tests.unit.hub.fakes import FakeAgent, FakeNode
from towline.bus.memory import MemoryBus
from towline.clock import ManualClock
from towline.errors import InvalidInput, TowlineError, Unavailable
from towline.hub import events, peers
from towline.hub.actor import Actor
from towline.hub.hub import Hub
from towline.hub.sweeps import LEASE
from towline.protocols.link import relay
from towline.store.base import Store


async def test_bootstrap_makes_workgroup_and_admin_once(make_hub: MakeHub, bus: MemoryBus, store: Store) -> None:
    hub = await make_hub()
    first = await hub.bootstrap()
    assert (first.workgroup, first.admin) == ("main", "admin")
    assert first.password is not None
    session = await hub.users.login("admin", first.password, "127.0.0.1")
    assert session.privileges == ["owner"]
    again = await hub.bootstrap()
    assert again.password is None
    node = await FakeNode.open(bus)
    agent = FakeAgent(node)
    await agent.enrol(await again.enrolment_line("this machine"))
    system = Actor.system("main")
    assert (await hub.devices.get(system, agent.device_id)).name == "this machine"
    with pytest.raises(InvalidInput, match="a-z"):
        await hub.bootstrap("Not An Id")


async def test_one_hub_sweeps(hub: Hub, make_hub: MakeHub, store: Store, clock: ManualClock) -> None:
    other = await make_hub()
    clock.advance(100)
    await hub._sweeps.turn()
    await other._sweeps.turn()
    lease = await store.leases.get(LEASE)
    assert lease is not None
    assert lease.owner == hub._core.endpoint.address
    await hub.close()
    clock.advance(10)
    await other._sweeps.turn()
    lease = await store.leases.get(LEASE)
    assert lease is not None
    assert lease.owner == other._core.endpoint.address


async def test_a_failing_sweep_does_not_stop_the_others(
    hub: Hub, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: object) -> object:
        raise Unavailable("store.full", "full")

    monkeypatch.setattr(hub._core.store.ledger, "expire_due", fail)
    clock.advance(4000)
    await hub._sweeps.turn()
    assert hub.counters()["sweeps.failed"] == 1


async def test_retention(hub: Hub, store: Store, clock: ManualClock) -> None:
    clock.advance(4000)
    await hub._sweeps.retain()
    await hub._sweeps.compact()


async def test_malformed_bus_messages_are_counted(hub: Hub, node: FakeNode) -> None:
    for payload in (b"\x01\xc1", b"\xff", b"\x81", b"\x81\xc1", relay.encode_relay(relay.RosterAsk())):
        node.endpoint.send(node.hub(), payload)
    await until(lambda: sum(count for name, count in hub.counters().items() if "malformed" in name) == 5)


async def test_calls_that_mean_nothing_are_refused(hub: Hub, node: FakeNode) -> None:
    for payload in (b"", b"\x01\x02", peers.encode(peers.Dispatch("x"))):
        with pytest.raises(TowlineError):
            await node.endpoint.call(node.hub(), payload, 1)


async def test_counters_tell_what_is_there(hub: Hub, online: FakeAgent) -> None:
    counters = hub.counters()
    assert (counters["links.sessions"], counters["links.signed_in"]) == (1, 1)
    assert counters["presence.connected"] == 1


async def test_a_happening_that_no_bus_takes_is_counted(hub: Hub) -> None:
    hub._core.announce(events.DeviceNew(workgroup="main", device_id="d", name="x" * 300_000))
    assert hub.counters()["events.too_large"] == 1
