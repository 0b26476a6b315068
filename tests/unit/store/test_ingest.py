# SPDX-License-Identifier: Apache-2.0
"""Storing batches: once, in order, together or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.store.support import GROUP, HOUR, NOW, SECOND, command, event, metric, send
from towline.errors import NotFound
from towline.protocols.link.items import (
    Alert,
    CommandStep,
    Dec,
    Declared,
    PluginPresence,
    Record,
    State,
)
from towline.store.base import Store
from towline.store.rows import LaneSequences, StateValue


async def fields_of(store: Store, device: str = "d1", workgroup: str = GROUP) -> dict[str, list[tuple[int, Any]]]:
    found = await store.records.series(workgroup, device, from_us=-(2**62), to_us=2**62, max_points=1_000_000)
    return {series.field: series.points for series in found.series}


async def test_a_batch_is_stored_and_told(store: Store) -> None:
    stored = await send(store, 1, [metric(10, cpu="1.50", n=3), event(11, "started", "now")], now_us=NOW)
    assert (stored.duplicate, stored.acked, stored.gap, stored.stored_us) == (False, 1, 0, NOW)
    first, second = stored.stored_records()
    assert (first.message_id, second.message_id) == (stored.first_message_id, stored.first_message_id + 1)
    assert first.fields == {"cpu": Dec("1.50"), "n": 3}
    assert await fields_of(store) == {"cpu": [(10, Dec("1.50"))], "n": [(10, 3)]}
    (found,) = await store.records.events(GROUP, "d1")
    assert (found.message_id, found.fields, found.stored_us) == (second.message_id, {"started": "now"}, NOW)


async def test_sent_twice_stored_once(store: Store) -> None:
    await send(store, 1, [metric(10, cpu="1.5")])
    again = await send(store, 1, [metric(10, cpu="1.5")])
    assert (again.duplicate, again.acked, list(again.records)) == (True, 1, [])
    assert await fields_of(store) == {"cpu": [(10, Dec("1.5"))]}
    assert store.counters()["duplicates"] == 1


async def test_the_same_batch_twice_at_once_is_stored_once(store: Store) -> None:
    answers = await asyncio.gather(*[send(store, 1, [metric(10, cpu="1.5")]) for _ in range(5)])
    assert sorted(answer.duplicate for answer in answers) == [False, True, True, True, True]
    assert await fields_of(store) == {"cpu": [(10, Dec("1.5"))]}


async def test_lanes_and_spools_count_apart(store: Store) -> None:
    await send(store, 1, lane="urgent")
    await send(store, 1, lane="live")
    await send(store, 2, lane="live")
    await send(store, 7, lane="live", spool="another")
    assert await store.records.lane_sequences(GROUP, "d1", "spool") == LaneSequences(urgent=1, live=2)
    assert await store.records.lane_sequences(GROUP, "d1", "another") == LaneSequences(live=7)
    assert await store.records.lane_sequences(GROUP, "d2", "spool") == LaneSequences()
    assert await store.records.lane_sequences("other", "d1", "spool") == LaneSequences()


async def test_gaps_are_recorded_with_count_and_cause(store: Store) -> None:
    await send(store, 1)
    assert (await send(store, 4, now_us=NOW + 1)).gap == 2
    assert (await send(store, 6, dropped={"metric": 30})).gap == 1
    assert (await send(store, 9, spool="late")).gap == 8
    gaps = [(gap.spool_id, gap.first, gap.last, gap.cause) for gap in await store.records.gaps(GROUP, "d1")]
    assert gaps == [("late", 1, 8, "first_seen"), ("spool", 5, 5, "dropped"), ("spool", 2, 3, "unexplained")]


async def test_drops_add_up(store: Store) -> None:
    await send(store, 1, dropped={"metric": 3, "event": 1}, now_us=NOW)
    await send(store, 2, dropped={"metric": 4}, now_us=NOW + 5)
    await send(store, 2, dropped={"metric": 99})
    drops = {drop.kind: (drop.count, drop.time_us) for drop in await store.records.drops(GROUP, "d1")}
    assert drops == {"metric": (7, NOW + 5), "event": (1, NOW)}


async def test_message_ids_rise_and_store_time_never_falls(store: Store) -> None:
    first = await send(store, 1, [metric(1, a=1), metric(2, a=2)], now_us=NOW + 50)
    second = await send(store, 1, [metric(3, a=3)], device="d2", now_us=NOW)
    third = await send(store, 2, [metric(4, a=4)], now_us=NOW + 60)
    assert second.first_message_id == first.first_message_id + 2
    assert third.first_message_id == second.first_message_id + 1
    assert [first.stored_us, second.stored_us, third.stored_us] == [NOW + 50, NOW + 50, NOW + 60]


async def test_one_bad_batch_does_not_spoil_its_company(store: Store) -> None:
    answers = await asyncio.gather(
        send(store, 1, [metric(1, a=1)]),
        send(store, 1, [metric(1, a=1)], device="nobody"),
        send(store, 1, [metric(2, a=2)], device="d2"),
        return_exceptions=True,
    )
    assert isinstance(answers[1], NotFound)
    assert answers[1].code == "device.unknown"
    assert await fields_of(store) == {"a": [(1, 1)]}
    assert await fields_of(store, "d2") == {"a": [(2, 2)]}


async def test_what_cannot_be_kept_is_left_out_and_counted(store: Store) -> None:
    bad: list[Any] = [
        metric(1, a=2**70),
        Record("metric", "host", "system", 1, {"a": 1.5}),  # type: ignore[dict-item]
        Record("metric", "host", "system", 2**63, {"a": 1}),
        State("guid", "host", "system", "name", b"\xff", 1),
        Record("metric", "h\ud800", "system", 1, {"a": 1}),
        "nothing",
    ]
    stored = await send(store, 1, [metric(5, a=5), *bad, metric(6, a=6)])
    assert [index for index, _ in stored.refused] == [1, 2, 3, 4, 5, 6]
    assert [record.event_time_us for record in stored.records] == [5, 6]
    assert await fields_of(store) == {"a": [(5, 5), (6, 6)]}
    (drop,) = await store.records.drops(GROUP, "d1")
    assert (drop.kind, drop.count) == ("refused", 6)
    late = await send(store, 2, [metric(7, a=7), metric(8, a=2**70), metric(9, a=9)])
    assert [index for index, _ in late.refused] == [1]
    assert (await fields_of(store))["a"] == [(5, 5), (6, 6), (7, 7), (9, 9)]


async def test_states_keep_the_last_and_backlog_never_wins(store: Store) -> None:
    def state(value: str, time_us: int) -> State:
        return State("guid", "host", "system", "mode", value.encode(), time_us)

    await send(store, 1, [state('"a"', 100)])
    assert (await send(store, 1, [state('"old"', 50)], lane="backlog")).states == []
    assert len((await send(store, 2, [state('"b"', 90)])).states) == 1  # its clock was set back
    assert len((await send(store, 2, [state('"c"', 95)], lane="backlog")).states) == 1
    assert await store.records.states(GROUP, "d1") == [
        StateValue(app_guid="guid", table="host", source="system", name="mode", value='"c"', time_us=95)
    ]
    assert await store.records.states("other", "d1") == []


async def test_declarations_and_presence_of_plugins(store: Store) -> None:
    def declared(version: str, text: bytes) -> Declared:
        return Declared("guid", "host", version, "The host", text, NOW)

    first = await send(store, 1, [declared("1", b"{}"), PluginPresence("guid", "host", True, "registered", 5)])
    assert [row.changed for row in first.declarations] == [True]
    assert [row.online for row in first.plugin_presences] == [True]
    again = await send(store, 2, [declared("1", b"{}")])
    assert [row.changed for row in again.declarations] == [False]
    await send(store, 3, [declared("2", b'{"x":1}'), PluginPresence("guid", "host", False, "closed", 9)])
    (plugin,) = await store.plugins.of_device(GROUP, "d1")
    assert plugin.declaration is not None
    assert plugin.presence is not None
    assert (plugin.declaration.version, plugin.declaration.declaration) == ("2", b'{"x":1}')
    assert (plugin.presence.online, plugin.presence.since_us, plugin.presence.cause) == (False, 9, "closed")


async def test_alerts_have_ids_of_their_own(store: Store) -> None:
    alert = Alert("guid", "host", "system", "hot", "trigger", "90 °C", 7)
    stored = await send(store, 1, [metric(1, a=1), alert, metric(2, a=2)], lane="urgent")
    (row,) = stored.alerts
    ids = [record.message_id for record in stored.stored_records()]
    assert row.message_id not in ids
    assert (await send(store, 2, [metric(3, a=3)])).first_message_id == row.message_id + 1
    assert await store.records.alerts(GROUP, "d1") == [row]
    assert await store.records.alerts(GROUP) == [row]
    assert await store.records.alerts(GROUP, before=row.message_id) == []


async def test_command_steps_follow_the_ledgers_rules(store: Store) -> None:
    await store.ledger.create(GROUP, command())
    await store.ledger.mark_sent(GROUP, command().id, NOW)
    steps = [
        CommandStep(command().id, "received", 1),
        CommandStep(command().id, "acked", 2, b'{"response": "Hello"}'),
        CommandStep(command().id, "accepted", 3),
        CommandStep("0" * 40, "acked", 3),
    ]
    stored = await send(store, 1, steps, lane="urgent")
    assert [(step.applied, step.reason) for step in stored.steps] == [
        (True, ""),
        (True, ""),
        (False, "out_of_order"),
        (False, "unknown_command"),
    ]
    row = await store.ledger.get(GROUP, command().id)
    assert row is not None
    assert (row.state, row.result) == ("acked", '{"response": "Hello"}')


async def test_another_devices_command_is_unknown(store: Store) -> None:
    await store.ledger.create(GROUP, command())
    stored = await send(store, 1, [CommandStep(command().id, "acked", 2)], device="d2")
    assert [step.reason for step in stored.steps] == ["unknown_command"]


async def test_records_may_span_years_and_come_in_any_order(store: Store) -> None:
    times = [NOW, 0, NOW - 500 * HOUR, NOW - 499 * HOUR, NOW + 5, -5]
    await send(store, 1, [metric(time_us, a=n) for n, time_us in enumerate(times)])
    expected = sorted((time_us, n) for n, time_us in enumerate(times))
    assert (await fields_of(store))["a"] == expected
    for time_us, n in expected:
        found = await store.records.series(GROUP, "d1", from_us=time_us, to_us=time_us + 1)
        assert [series.points for series in found.series] == [[(time_us, n)]]
    while await store.records.compact(NOW * 2):
        pass
    assert (await fields_of(store))["a"] == expected


async def test_many_devices_at_once(store: Store) -> None:
    names = [f"m{n}" for n in range(60)]
    await asyncio.gather(*[store.devices.create(GROUP, name, name, name.encode() * 8, _facts(), NOW) for name in names])

    async def one(name: str) -> None:
        for seq in range(1, 9):
            await send(store, seq, [metric(seq * SECOND, a=seq, b=str(seq))], device=name)

    await asyncio.gather(*[one(name) for name in names])
    for name in names:
        assert (await fields_of(store, name))["a"] == [(seq * SECOND, seq) for seq in range(1, 9)]
    counters = store.counters()
    assert counters["batches"] == 480
    assert counters["readings"] == 960
    assert counters["commits"] < 480


def _facts() -> Any:
    from towline.store.rows import Facts

    return Facts()


@given(
    st.lists(
        st.tuples(st.sampled_from(["urgent", "live"]), st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=12
    )
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_whatever_is_resent_each_sequence_counts_once(store: Store, sends: list[tuple[Any, int, int]]) -> None:
    spool = f"spool {sends}"
    last = {"urgent": 0, "live": 0}
    before = store.counters()["readings"]
    expected = 0
    for lane, seq, count in sends:
        stored = await send(store, seq, [metric(n, a=n) for n in range(count)], lane=lane, spool=spool)
        assert stored.duplicate == (seq <= last[lane])
        if not stored.duplicate:
            assert stored.gap == seq - last[lane] - 1
            expected += count
            last[lane] = seq
        assert stored.acked == last[lane]
    assert store.counters()["readings"] - before == expected
    assert await store.records.lane_sequences(GROUP, "d1", spool) == LaneSequences(**last)


@pytest.mark.parametrize("restart", [False, True])
async def test_nothing_of_a_lost_device_remains_in_sight(store: Store, restart: bool) -> None:
    await send(store, 1, [metric(1, a=1), event(2, "x"), State("g", "t", "s", "n", b"1", 1)])
    await store.devices.delete(GROUP, "d1")
    with pytest.raises(NotFound):
        await send(store, 2, [metric(1, a=1)])
    assert await fields_of(store) == {}
    assert await store.records.events(GROUP, "d1") == []
    assert await store.records.states(GROUP, "d1") == []
    assert await fields_of(store, "d1", "other") == {}
    if restart:
        assert await store.records.sweep(GROUP, 0) == 2
        assert await store.records.sweep(GROUP, 0) == 0
