# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.helpers import until
from tests.unit.hub.conftest import SECRET, SETTINGS, MakeHub, only
from tests.unit.hub.fakes import Door, FakeAgent, FakeNode, settle
from tests.unit.hub.test_ingest import DECLARED, GUID
from towline.bus.base import Kind, Receiver
from towline.bus.memory import MemoryBus, MemoryEndpoint
from towline.clock import ManualClock
from towline.errors import Conflict, InvalidInput, NotFound, Refused
from towline.hub import events
from towline.hub.actor import Actor
from towline.hub.hub import Hub
from towline.hub.views import CommandView
from towline.protocols.link import messages as m
from towline.protocols.link.items import CommandStep, Step
from towline.store.base import Store
from towline.store.rows import NewCommand


@pytest.fixture
async def device(online: FakeAgent) -> FakeAgent:
    """A device whose plugin has registered."""
    await online.store("urgent", DECLARED)
    return online


async def submit(hub: Hub, owner: Actor, device: FakeAgent, expires_s: int | None = None) -> CommandView:
    return await hub.commands.submit(owner, device.device_id, GUID, "mod", "say", {"who": "Buzz"}, expires_s)


def step(command_id: str, name: Step, at: int = 1, result: bytes | None = None, note: str = "") -> CommandStep:
    return CommandStep(command_id, name, at, result, note)


async def test_a_command_runs_to_its_end(
    hub: Hub, owner: Actor, device: FakeAgent, door: Door, clock: ManualClock
) -> None:
    made = await submit(hub, owner, device, expires_s=30)
    assert (made.state, made.final, made.user, made.params) == ("sent", False, "ada", {"who": "Buzz"})
    sent = await device.wait(m.Command)
    assert (sent.command_id, sent.app_guid, sent.module, sent.name) == (made.id, GUID, "mod", "say")
    assert sent.params == b'[{"name":"who","value":"Buzz"}]'
    assert sent.expires_in_s == pytest.approx(30)
    for name in ("received", "delivered", "accepted"):
        await device.store("urgent", step(made.id, name))
    await device.store("urgent", step(made.id, "acked", 9, b'{"response":"Hello Buzz"}'))
    done = await hub.commands.get(owner, made.id)
    assert (done.state, done.final, done.result) == ("acked", True, '{"response":"Hello Buzz"}')
    states = [one.command.state for one in door.of(events.CommandChanged)]
    assert states == ["queued", "sent", "received", "delivered", "accepted", "acked"]
    assert [one.state for one in done.steps][-4:] == ["received", "delivered", "accepted", "acked"]
    [listed] = (await hub.commands.list(owner, device.device_id)).items
    assert listed == done
    assert (await hub.audit.list(owner)).items[0].action == "command.submit"


async def test_a_list_of_nothing_is_told_from_an_empty_one(hub: Hub, owner: Actor, device: FakeAgent) -> None:
    assert (await hub.commands.list(owner, device.device_id)).items == []
    with pytest.raises(NotFound) as unknown:
        await hub.commands.list(owner, "nobody")
    assert unknown.value.code == "device.unknown"
    for cursor in ("zzz", "", "A" * 40):
        with pytest.raises(InvalidInput) as bad:
            await hub.commands.list(owner, device.device_id, before=cursor)
        assert (bad.value.code, bad.value.where) == ("page.bad_cursor", "before")
    assert (await hub.commands.list(owner, device.device_id, before="ab" * 20)).items == []


async def test_a_command_waits_for_its_device(hub: Hub, owner: Actor, device: FakeAgent) -> None:
    device.cut()
    await until(lambda: not hub.links.devices)
    made = await submit(hub, owner, device)
    assert made.state == "queued"
    await device.login()
    assert (await device.wait(m.Command)).command_id == made.id
    assert (await hub.commands.get(owner, made.id)).state == "sent"


async def test_sent_and_unconfirmed_is_sent_again(
    hub: Hub, owner: Actor, device: FakeAgent, clock: ManualClock
) -> None:
    made = await submit(hub, owner, device, expires_s=60)
    await device.wait(m.Command)
    clock.advance(20)
    await device.login()
    again = await device.wait(m.Command)
    assert again.command_id == made.id
    assert again.expires_in_s == pytest.approx(40)
    await device.store("urgent", step(made.id, "received"))
    await device.login()
    await settle(100)
    assert not device.got(m.Command)


async def test_queued_expires_by_the_hub_alone(
    hub: Hub, owner: Actor, device: FakeAgent, clock: ManualClock, door: Door
) -> None:
    device.cut()
    await until(lambda: not hub.links.devices)
    made = await submit(hub, owner, device, expires_s=5)
    clock.advance(6)
    await hub._sweeps.turn()
    assert (await hub.commands.get(owner, made.id)).state == "expired"
    assert door.of(events.CommandChanged)[-1].command.state == "expired"
    await device.login()
    await settle(100)
    assert not device.got(m.Command)


async def test_sent_and_lost_is_unknown_until_the_agent_tells(
    hub: Hub, owner: Actor, device: FakeAgent, clock: ManualClock
) -> None:
    made = await submit(hub, owner, device, expires_s=5)
    device.cut()
    await until(lambda: not hub.links.devices)
    clock.advance(100)
    await hub._sweeps.turn()
    assert (await hub.commands.get(owner, made.id)).state == "unknown"
    await device.login()
    query = await device.wait(m.CommandQuery)
    assert query.command_ids == [made.id]
    assert not query.cancel
    assert not device.got(m.Command)
    await device.store("urgent", step(made.id, "not_executed"))
    assert (await hub.commands.get(owner, made.id)).state == "expired"


async def test_unknown_of_a_device_that_is_there_is_asked_at_once(
    hub: Hub, owner: Actor, device: FakeAgent, clock: ManualClock
) -> None:
    made = await submit(hub, owner, device, expires_s=5)
    clock.advance(100)
    await hub._sweeps.turn()
    assert (await device.wait(m.CommandQuery)).command_ids == [made.id]


async def test_what_got_lost_on_the_way_is_sent_again(
    hub: Hub, owner: Actor, device: FakeAgent, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = await submit(hub, owner, device)
    await device.wait(m.Command)
    real = hub.commands._send_now

    async def lost(row: object) -> None:
        return None

    monkeypatch.setattr(hub.commands, "_send_now", lost)
    queued = await submit(hub, owner, device)
    monkeypatch.setattr(hub.commands, "_send_now", real)
    await hub._sweeps.turn()
    await settle(50)
    assert len(device.got(m.Command)) == 1
    clock.advance(11)
    await hub._sweeps.turn()
    await device.wait(m.Command, 3)
    assert [one.command_id for one in device.got(m.Command)] == [sent.id, sent.id, queued.id]
    await device.store("urgent", step(sent.id, "received"), step(queued.id, "received"))
    clock.advance(11)
    await hub._sweeps.turn()
    await settle(50)
    assert len(device.got(m.Command)) == 3


async def test_a_late_answer_is_kept_apart(hub: Hub, owner: Actor, device: FakeAgent, door: Door) -> None:
    made = await submit(hub, owner, device)
    await device.store("urgent", step(made.id, "delivered"), step(made.id, "timed_out"))
    await device.store("urgent", step(made.id, "acked", 9, b'"late"'))
    late = await hub.commands.get(owner, made.id)
    assert (late.state, late.result, late.late_result) == ("timed_out", None, '"late"')
    assert door.of(events.CommandChanged)[-1].command.late_result == '"late"'


async def test_cancel(hub: Hub, owner: Actor, device: FakeAgent) -> None:
    sent = await submit(hub, owner, device)
    assert (await hub.commands.cancel(owner, sent.id)).state == "sent"
    query = await device.wait(m.CommandQuery)
    assert (query.command_ids, query.cancel) == ([sent.id], True)
    await device.store("urgent", step(sent.id, "not_executed"))
    assert (await hub.commands.get(owner, sent.id)).state == "cancelled"
    with pytest.raises(Conflict) as final:
        await hub.commands.cancel(owner, sent.id)
    assert final.value.code == "command.final"

    lost = await submit(hub, owner, device)
    device.cut()
    await until(lambda: not hub.links.devices)
    await settle(50)
    for _ in range(100):
        if (await hub.devices.get(owner, device.device_id)).presence.state == "offline":
            break
    with pytest.raises(Conflict) as away:
        await hub.commands.cancel(owner, lost.id)
    assert away.value.code == "command.sent"
    queued = await submit(hub, owner, device)
    assert (await hub.commands.cancel(owner, queued.id)).state == "cancelled"


async def test_idempotency(hub: Hub, owner: Actor, device: FakeAgent) -> None:
    async def twice(who: str) -> CommandView:
        return await hub.commands.submit(
            owner, device.device_id, GUID, "mod", "say", {"who": who}, idempotency_key="once"
        )

    first = await twice("Buzz")
    assert (await twice("Buzz")).id == first.id
    await settle(50)
    assert len(device.got(m.Command)) == 1
    with pytest.raises(Conflict) as other:
        await twice("Woody")
    assert other.value.code == "command.idempotency_mismatch"


async def test_what_is_refused(hub: Hub, owner: Actor, device: FakeAgent) -> None:
    where = device.device_id
    with pytest.raises(InvalidInput) as missing:
        await hub.commands.submit(owner, where, GUID, "mod", "say")
    assert (missing.value.code, missing.value.where) == ("command.params", "$.params.who")
    with pytest.raises(InvalidInput) as large:
        await hub.commands.submit(owner, where, GUID, "mod", "say", {"who": "x" * 2000})
    assert large.value.code == "command.too_large"
    with pytest.raises(InvalidInput, match="1 to"):
        await hub.commands.submit(owner, where, GUID, "mod", "stop", expires_s=40 * 86_400)
    for app_guid, module, name, code in (
        ("00000000-0000-4000-8000-000000000000", "mod", "say", "plugin.unknown"),
        (GUID, "other", "say", "command.undeclared"),
        (GUID, "mod", "other", "command.undeclared"),
    ):
        with pytest.raises(NotFound) as unknown:
            await hub.commands.submit(owner, where, app_guid, module, name)
        assert unknown.value.code == code
    with pytest.raises(NotFound) as nobody:
        await hub.commands.submit(owner, "nobody", GUID, "mod", "stop")
    assert nobody.value.code == "device.unknown"
    with pytest.raises(NotFound, match="no command"):
        await hub.commands.get(owner, "0" * 40)
    with pytest.raises(Refused):
        await hub.commands.submit(only(owner, "read"), where, GUID, "mod", "stop")
    assert (await hub.commands.list(only(owner, "read"), where)).items == []


async def test_a_guid_in_capitals_is_the_same_plugin(hub: Hub, owner: Actor, device: FakeAgent) -> None:
    made = await hub.commands.submit(owner, device.device_id, GUID.upper(), "mod", "stop")
    assert made.app_guid == GUID


async def test_another_hub_writes_this_one_sends(
    hub: Hub, owner: Actor, device: FakeAgent, make_hub: MakeHub, bus: MemoryBus
) -> None:
    other = await make_hub()
    made = await other.commands.submit(owner, device.device_id, GUID, "mod", "stop")
    assert made.state == "queued"
    assert (await device.wait(m.Command)).command_id == made.id
    assert (await other.commands.get(owner, made.id)).state == "sent"
    assert (await other.commands.cancel(owner, made.id)).state == "sent"
    assert (await device.wait(m.CommandQuery)).cancel


class _SlowBus(MemoryBus):
    """Joining takes a while, as over NATS: a hub hears others before it has its endpoint."""

    async def open(self, kind: Kind, receiver: Receiver, **more: Any) -> MemoryEndpoint:
        endpoint = await super().open(kind, receiver, **more)
        await asyncio.sleep(0.03)
        return endpoint


async def test_a_link_handed_over_while_the_hub_joins_gets_its_commands(
    store: Store, clock: ManualClock, owner: Actor
) -> None:
    bus = _SlowBus(clock)
    await store.workgroups.create("main", "Main", clock.now_us())

    async def start() -> Hub:
        hub = Hub(store, bus, clock, SETTINGS, secret=SECRET)
        await hub.start()
        return hub

    first = await start()
    node = await FakeNode.open(bus)
    agent = FakeAgent(node)
    await agent.enrol((await first.enrolments.create(owner)).line)
    await agent.login()
    await first.close()
    now_us = clock.now_us()
    command = NewCommand(
        id="a" * 40, device_id=agent.device_id, app_guid="g", module="m", name="n", params="[]", user_id="u",
        user_name="ada", created_us=now_us, expires_us=now_us + 60_000_000, idempotency_key=None,
    )  # fmt: skip
    await store.ledger.create("main", command)
    second = await start()
    assert (await agent.wait(m.Command)).command_id == command.id
    assert "failed.internal" not in second.counters()
    await second.close()
    await bus.close()


async def test_the_fate_of_every_command_is_asked_for(
    hub: Hub, agent: FakeAgent, store: Store, clock: ManualClock
) -> None:
    now_us = clock.now_us()
    ids = [f"{n:040x}" for n in range(130)]
    for one in ids:
        command = NewCommand(
            id=one, device_id=agent.device_id, app_guid="g", module="m", name="n", params="[]", user_id="u",
            user_name="ada", created_us=now_us, expires_us=now_us + 1_000_000, idempotency_key=None,
        )  # fmt: skip
        await store.ledger.create("main", command)
        await store.ledger.mark_sent("main", one, now_us)
    clock.advance(100)
    await agent.login()
    await agent.wait(m.CommandQuery, 2)
    assert [one for query in agent.got(m.CommandQuery) for one in query.command_ids] == ids
