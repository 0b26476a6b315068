# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.helpers import until
from tests.unit.hub.fakes import Door, FakeAgent, FakeNode
from towline.clock import ManualClock
from towline.errors import InvalidInput, Unavailable
from towline.hub import events
from towline.hub.actor import Actor
from towline.hub.hub import Hub
from towline.protocols.link import messages as m
from towline.protocols.link.frames import Type, encode_frame
from towline.protocols.link.items import Alert, Dec, Declared, PluginPresence, Record, State
from towline.store.base import Store

GUID = "a8e873a1-e5df-43a2-928a-745ff9c94dfb"
DECLARATION = msgspec.json.encode(
    {
        "appGUID": GUID,
        "appName": "plugin-hello",
        "epoch": "1",
        "displayName": "Hello",
        "type": "ib",
        "sdk": "1.0.0",
        "version": "1.0.0",
        "modules": [
            {
                "moduleName": "mod",
                "commands": [
                    {
                        "name": "say",
                        "type": "asynchronous",
                        "params": [{"name": "who", "displayType": "string", "required": True}],
                    },
                    {"name": "stop", "type": "asynchronous"},
                ],
            }
        ],
    }
)
DECLARED = Declared(GUID, "plugin-hello", "1.0.0", "Hello", DECLARATION, 1)


def metric(value: str, at: int = 1_700_000_000_000_000) -> Record:
    return Record("metric", "towline-host", "system", at, {"cpu": Dec(value), "memory": Dec("50.00")})


async def test_ack_comes_after_the_commit_and_ids_match(
    hub: Hub, owner: Actor, online: FakeAgent, door: Door, clock: ManualClock
) -> None:
    at = clock.now_us()
    event = Record("event", "plugin-hello", "mod", at + 1, {"started": "yes"})
    await online.store("live", metric("12.50", at), event)
    stored = await door.wait(events.RecordsStored)
    assert [record.message_id for record in stored.records] == [stored.first_message_id, stored.first_message_id + 1]
    assert stored.records[0].values() == {"cpu": Decimal("12.50"), "memory": Decimal("50.00")}
    [found] = (await hub.records.events(owner, online.device_id)).items
    assert (found.message_id, found.name, found.value, found.time_us) == (
        stored.records[1].message_id,
        "started",
        "yes",
        at + 1,
    )
    assert found.stored_us == stored.store_time_us


async def test_a_batch_sent_twice_is_stored_once(hub: Hub, owner: Actor, online: FakeAgent, door: Door) -> None:
    event = Record("event", "t", "s", 5, {"a": 1})
    seq = await online.store("live", event)
    online.resend("live", seq, event)
    await online.wait(m.Ack, 2)
    assert [ack.seq for ack in online.got(m.Ack)] == [1, 1]
    assert len((await hub.records.events(owner, online.device_id)).items) == 1
    assert len(door.of(events.RecordsStored)) == 1
    assert hub.counters()["ingest.duplicates"] == 1
    await online.login()
    assert online.welcome is not None
    assert online.welcome.acked == {"urgent": 0, "live": 1, "backlog": 0}


async def test_states_declarations_presence_and_alerts(hub: Hub, owner: Actor, online: FakeAgent, door: Door) -> None:
    await online.store(
        "urgent",
        DECLARED,
        PluginPresence(GUID, "plugin-hello", True, "registered", 5),
        Alert(GUID, "plugin-hello", "mod", "hot", "trigger", "too hot", 6),
    )
    await online.store("live", State(GUID, "plugin-hello", "mod", "greeting", b'"Hi"', 7))
    [plugin] = await hub.plugins.of_device(owner, online.device_id)
    assert (plugin.app_name, plugin.display_name, plugin.type, plugin.online, plugin.cause) == (
        "plugin-hello",
        "Hello",
        "ib",
        True,
        "registered",
    )
    assert msgspec.json.decode(plugin.declaration)["modules"][0]["moduleName"] == "mod"
    [state] = await hub.records.states(owner, online.device_id)
    assert (state.name, state.value, state.time_us) == ("greeting", '"Hi"', 7)
    assert (await door.wait(events.Declared)).version == "1.0.0"
    assert (await door.wait(events.PluginPresence)).online
    assert (await door.wait(events.AlertRaised)).message == "too hot"
    assert (await door.wait(events.StatesChanged)).states[0].value == '"Hi"'
    online.cut("silent")
    await until(lambda: [one for one in door.of(events.DevicePresence) if not one.online])
    [plugin] = await hub.plugins.of_device(owner, online.device_id)
    assert (plugin.online, plugin.cause) == (False, "device_offline")


async def test_a_value_that_cannot_be_stored_does_not_block_the_lane(
    hub: Hub, owner: Actor, online: FakeAgent, store: Store
) -> None:
    bad = Record("metric", "t", "s", 5, {"a": Dec("not a number")})
    await online.store("live", bad, Record("event", "t", "s", 5, {"a": 1}))
    await until(lambda: hub.counters().get("ingest.records"))
    [entry] = [one for one in (await hub.audit.list(owner)).items if one.action == "device.batch_rejected"]
    assert entry.entity_id == online.device_id
    assert msgspec.json.decode(entry.detail)["reason"] == "'not a number' is no decimal"
    drops = await store.records.drops("main", online.device_id)
    assert [(drop.kind, drop.count) for drop in drops] == [("rejected", 1)]
    await online.store("live", bad)
    assert len((await hub.records.events(owner, online.device_id)).items) == 1
    [drop] = await store.records.drops("main", online.device_id)
    assert drop.count == 2


async def test_a_batch_that_the_store_refuses_is_acknowledged_as_rejected(
    hub: Hub, owner: Actor, online: FakeAgent, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.records.store_batch

    async def picky(*args: Any) -> Any:
        if args[5]:
            raise InvalidInput("record.bad_value", "cannot be stored")
        return await real(*args)

    monkeypatch.setattr(store.records, "store_batch", picky)
    await online.store("live", metric("1.00"), metric("2.00"))
    [entry] = [one for one in (await hub.audit.list(owner)).items if one.action == "device.batch_rejected"]
    assert msgspec.json.decode(entry.detail)["code"] == "record.bad_value"
    assert (await store.records.drops("main", online.device_id))[0].count == 2


async def test_a_malformed_batch_is_acknowledged_as_rejected(hub: Hub, owner: Actor, online: FakeAgent) -> None:
    online.seq["live"] = 1
    online.send(
        encode_frame(Type.BATCH, msgspec.msgpack.encode({"spool_id": online.spool_id, "x": 1}), stream=2, seq=1)
    )
    await online.acked("live", 1)
    online.seq["live"] = 2
    online.send(encode_frame(Type.BATCH, b"\xc0", stream=2, seq=2))  # HELLO's spool is taken then
    await online.acked("live", 2)
    await online.store("live", Record("event", "t", "s", 6, {"b": 1}))
    assert hub.counters()["ingest.malformed"] == 2
    assert online.closed is None


async def test_a_batch_out_of_all_rules_closes_the_link(hub: Hub, online: FakeAgent) -> None:
    online.send(encode_frame(Type.BATCH, msgspec.msgpack.encode({}), stream=9, seq=1))
    await until(lambda: online.closed is not None)
    assert online.closed is not None
    assert online.closed.code == 3511
    assert online.got(m.Refused)[0].code == "link.batch"


async def test_unknown_items_are_counted_and_the_rest_stands(
    hub: Hub, owner: Actor, online: FakeAgent, store: Store
) -> None:
    items = [
        msgspec.Raw(msgspec.msgpack.encode(["zz", 1])),
        msgspec.msgpack.encode(["r", "event", "t", "s", 1, {"a": 1}]),
    ]
    body = {"spool_id": online.spool_id, "lane": "live", "seq": 1, "items": [msgspec.Raw(item) for item in items]}
    online.seq["live"] = 1
    online.send(encode_frame(Type.BATCH, msgspec.msgpack.encode(body), stream=2, seq=1))
    await online.acked("live", 1)
    assert len((await hub.records.events(owner, online.device_id)).items) == 1
    assert [(drop.kind, drop.count) for drop in await store.records.drops("main", online.device_id)] == [
        ("unknown_kind", 1)
    ]


async def test_gaps_and_drops_are_kept(hub: Hub, online: FakeAgent, store: Store) -> None:
    await online.store("live", metric("1.00"))
    online.seq["live"] = 4
    await online.store("live", metric("2.00"), dropped={"metric": 7})
    [gap] = await store.records.gaps("main", online.device_id)
    assert (gap.lane, gap.first, gap.last, gap.cause) == ("live", 2, 4, "dropped")
    [drop] = await store.records.drops("main", online.device_id)
    assert (drop.kind, drop.count) == ("metric", 7)
    assert hub.counters()["ingest.gaps"] == 3


async def test_no_ack_while_the_store_cannot_write(
    hub: Hub, online: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hub._core.store.records.store_batch

    async def full(*args: object) -> object:
        raise Unavailable("store.full", "the disk is full")

    monkeypatch.setattr(hub._core.store.records, "store_batch", full)
    seq = online.batch("live", metric("1.00"))
    await until(lambda: hub.counters().get("ingest.store_unavailable"))
    assert not online.got(m.Ack)
    monkeypatch.setattr(hub._core.store.records, "store_batch", real)
    online.resend("live", seq, metric("1.00"))
    await online.acked("live", seq)


async def test_large_batches_are_announced_in_portions(hub: Hub, online: FakeAgent, door: Door) -> None:
    many = [Record("event", "t", "s", at, {"text": "x" * 500}) for at in range(300)]
    await online.store("backlog", *many)
    await until(lambda: sum(len(one.records) for one in door.of(events.RecordsStored)) == 300)
    happenings = door.of(events.RecordsStored)
    assert len(happenings) > 1
    ids = [record.message_id for one in happenings for record in one.records]
    assert ids == list(range(ids[0], ids[0] + 300))
    assert [one.first_message_id for one in happenings] == [one.records[0].message_id for one in happenings]


async def test_a_flood_on_one_lane_is_bounded(hub: Hub, online: FakeAgent) -> None:
    for _ in range(50):
        online.seq["live"] += 1
        online.resend("live", online.seq["live"], metric("1.00"))
    await until(lambda: hub.counters().get("ingest.busy", 0) > 0)
    await online.wait(m.Ack, 2)


async def test_devices_do_not_wait_for_each_other(hub: Hub, owner: Actor, node: FakeNode) -> None:
    agents = [FakeAgent(node) for _ in range(5)]
    for agent in agents:
        await agent.enrol((await hub.enrolments.create(owner)).line)
        await agent.login()
    await asyncio.gather(
        *(agent.store("live", Record("event", "t", "s", 1, {"who": agent.device_id})) for agent in agents)
    )
    for agent in agents:
        [event] = (await hub.records.events(owner, agent.device_id)).items
        assert event.value == agent.device_id


async def test_series_and_summary(hub: Hub, owner: Actor, online: FakeAgent, clock: ManualClock) -> None:
    now = clock.now_us()
    await online.store("live", *[metric(f"{at}.50", now + at * 1_000_000) for at in range(10)])
    page = await hub.records.series(owner, online.device_id, from_us=now, to_us=now + 9_000_000, fields=["cpu"])
    [series] = page.series
    assert (series.table, series.source, series.field) == ("towline-host", "system", "cpu")
    assert [text for _, text in series.points] == [f"{at}.50" for at in range(9)]
    device = await hub.devices.get(owner, online.device_id)
    assert device.summary is not None
    assert (device.summary.cpu, device.summary.memory) == (9.5, 50.0)
    clock.advance(1000)
    assert (await hub.devices.get(owner, online.device_id)).summary is None


async def test_a_flood_of_malformed_batches_does_not_pile_up(hub: Hub, online: FakeAgent) -> None:
    body = {"spool_id": online.spool_id, "lane": "live", "seq": 1, "items": "x" * 1000}
    for seq in range(1, 201):
        online.send(encode_frame(Type.BATCH, body, stream=2, seq=seq))
    await until(lambda: hub.counters().get("ingest.busy", 0) > 150)
    assert hub.links.devices[online.device_id].bad_batches <= 4
    await until(lambda: not hub.links.devices[online.device_id].bad_batches)
    # The lane goes on.
    online.seq["live"] = 300
    await online.store("live", Record("event", "t", "s", 5, {"a": 1}))
