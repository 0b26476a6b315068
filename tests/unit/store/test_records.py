# SPDX-License-Identifier: Apache-2.0
"""Queries, compaction and retention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.store.conftest import Factory
from tests.unit.store.support import DAY, GROUP, HOUR, NOW, SECOND, event, metric, send
from towline.errors import InvalidInput
from towline.protocols.link.items import Dec
from towline.store.base import Store
from towline.store.rows import Latest
from towline.store.sqlite import compaction


async def fill(store: Store, batches: int = 40, *, step_us: int = 60 * SECOND) -> None:
    """A batch a minute: two metrics and an event each."""
    for n in range(batches):
        at = NOW + n * step_us
        items = [metric(at, cpu=f"{n}.50", n=n), metric(at, source="net", rx=n * 10), event(at, f"e{n % 3}", n)]
        await send(store, n + 1, items, now_us=at)


async def compact(store: Store, before_us: int = 2**62) -> int:
    total = 0
    while joined := await store.records.compact(before_us, 10):
        total += joined
    return total


@pytest.mark.parametrize("compacted", [False, True])
async def test_series_are_filtered_and_ordered(store: Store, compacted: bool) -> None:
    await fill(store)
    if compacted:
        assert await compact(store) == 80
    found = await store.records.series(GROUP, "d1", from_us=NOW, to_us=NOW + DAY)
    assert [(one.source, one.field, len(one.points)) for one in found.series] == [
        ("net", "rx", 40),
        ("system", "cpu", 40),
        ("system", "n", 40),
    ]
    assert found.series[1].points[2] == (NOW + 120 * SECOND, Dec("2.50"))
    assert not found.truncated
    some = await store.records.series(
        GROUP, "d1", sources=["system"], fields=["n"], from_us=NOW + 60 * SECOND, to_us=NOW + 180 * SECOND
    )
    assert [one.points for one in some.series] == [[(NOW + 60 * SECOND, 1), (NOW + 120 * SECOND, 2)]]
    nothings: list[dict[str, Any]] = [{"tables": ["x"]}, {"fields": []}, {"sources": ["net"], "fields": ["cpu"]}]
    for nothing in nothings:
        assert (await store.records.series(GROUP, "d1", from_us=0, to_us=2 * NOW, **nothing)).series == []
    assert (await store.records.series(GROUP, "nobody", from_us=0, to_us=2 * NOW)).series == []
    assert (await store.records.series("other", "d1", from_us=0, to_us=2 * NOW)).series == []


@pytest.mark.parametrize("compacted", [False, True])
async def test_long_series_are_thinned_to_their_extremes(store: Store, compacted: bool) -> None:
    items = [metric(NOW + n * SECOND, a=1000 if n == 1234 else n % 10) for n in range(3000)]
    await send(store, 1, items)
    if compacted:
        await compact(store)
    found = await store.records.series(GROUP, "d1", from_us=NOW, to_us=NOW + 3000 * SECOND, max_points=60)
    (series,) = found.series
    assert series.thinned
    assert len(series.points) <= 60
    assert (NOW + 1234 * SECOND, 1000) in series.points
    assert min(value for _, value in series.points) == 0  # type: ignore[type-var]


@pytest.mark.parametrize("compacted", [False, True])
async def test_latest_values(store: Store, compacted: bool) -> None:
    await fill(store, 5)
    await send(store, 1, [metric(NOW - HOUR, cpu="99.00")], lane="backlog")
    await send(store, 1, [metric(NOW, cpu="7.00", table="else")], device="d2")
    if compacted:
        await compact(store)
    found = await store.records.latest(GROUP, ["d1", "d2", "nobody"], tables=["host"], fields=["cpu", "n"])
    at = NOW + 240 * SECOND
    assert found == {
        "d1": [
            Latest(table="host", source="system", field="cpu", time_us=at, value=Dec("4.50")),
            Latest(table="host", source="system", field="n", time_us=at, value=4),
        ]
    }
    assert set(await store.records.latest(GROUP, ["d1", "d2"])) == {"d1", "d2"}
    assert await store.records.latest(GROUP, ["d1", "d2"], since_us=at + 1) == {}


@pytest.mark.parametrize("compacted", [False, True])
async def test_events_come_by_pages_newest_first(store: Store, compacted: bool) -> None:
    await fill(store, 25)
    if compacted:
        await compact(store, NOW + 20 * 60 * SECOND)
    seen = []
    before = None
    while page := await store.records.events(GROUP, "d1", limit=7, before=before):
        seen += page
        before = page[-1].message_id
    assert [list(record.fields.values()) for record in seen] == [[n] for n in reversed(range(25))]
    assert [record.message_id for record in seen] == sorted((r.message_id for r in seen), reverse=True)
    assert await store.records.events(GROUP, "d1", table="else") == []
    assert len(await store.records.events(GROUP, "d1", kind="metric", limit=1000)) == 50
    with pytest.raises(InvalidInput, match="at most 1000"):
        await store.records.events(GROUP, "d1", limit=1001)


async def test_compaction_goes_round_all_devices_and_ends(store: Store) -> None:
    for n in range(12):
        for device in ("d1", "d2"):
            await send(store, n + 1, [metric(NOW + n, a=n)], device=device, now_us=NOW + n)
    assert await compact(store) == 24
    assert await store.records.compact(2**62) == 0
    await send(store, 13, [metric(NOW + 13, a=13)], device="d1", now_us=NOW + 13)
    assert await compact(store) == 1
    found = await store.records.series(GROUP, "d1", from_us=NOW, to_us=NOW + 20)
    assert [value for _, value in found.series[0].points] == [*range(12), 13]


async def test_young_blocks_are_left_alone(store: Store) -> None:
    await fill(store, 3, step_us=HOUR)
    assert await compact(store, NOW + HOUR) == 2
    assert await compact(store, NOW + 2 * HOUR + 1) == 4


async def test_sweeping_removes_what_was_stored_before(store: Store) -> None:
    await fill(store, 10, step_us=DAY)
    assert await store.records.sweep(GROUP, NOW) == 0
    assert await store.records.sweep(GROUP, NOW + 3 * DAY, kind="event") == 3
    assert await store.records.sweep(GROUP, NOW + 3 * DAY, limit=2) == 2
    assert await store.records.sweep(GROUP, NOW + 3 * DAY, limit=2) == 1
    assert await store.records.sweep(GROUP, NOW + 3 * DAY) == 0
    assert await store.records.sweep("other", NOW + 100 * DAY) == 0
    found = await store.records.series(GROUP, "d1", fields=["n"], from_us=0, to_us=2 * NOW)
    assert [value for _, value in found.series[0].points] == list(range(3, 10))
    assert len(await store.records.events(GROUP, "d1")) == 7
    await compact(store)
    assert await store.records.sweep(GROUP, NOW + 100 * DAY) > 0
    assert (await store.records.series(GROUP, "d1", from_us=0, to_us=2 * NOW)).series == []


async def test_ids_are_never_given_again(store: Store) -> None:
    first = await send(store, 1, [metric(1, a=1)])
    await store.records.sweep(GROUP, NOW * 2)
    second = await send(store, 2, [metric(1, a=1)])
    assert second.first_message_id > first.first_message_id


async def test_a_reopened_store_goes_on(factory: Factory, store: Store, tmp_path: Path) -> None:
    stored = await send(store, 1, [metric(NOW, a=1)], now_us=NOW + 77)
    await store.close()
    again = await factory(tmp_path)
    try:
        assert (await send(again, 1, [metric(NOW, a=1)])).duplicate
        later = await send(again, 2, [metric(NOW + 1, a=2)], now_us=NOW)
        assert later.first_message_id == stored.first_message_id + 1
        assert later.stored_us == NOW + 77
        found = await again.records.series(GROUP, "d1", from_us=NOW, to_us=NOW + 2)
        assert found.series[0].points == [(NOW, 1), (NOW + 1, 2)]
    finally:
        await again.close()


async def test_what_an_outage_left_is_joined_in_portions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "_MAX_JOINED_READINGS", 50)
    await fill(store)
    before = await store.records.series(GROUP, "d1", from_us=NOW, to_us=NOW + DAY)
    portions = []
    while joined := await store.records.compact(2**62, 1):
        portions.append(joined)
    assert sum(portions) == 80
    assert max(portions) <= 16 + 40  # metrics of 50 readings, three in a block, and all events
    assert await store.records.series(GROUP, "d1", from_us=NOW, to_us=NOW + DAY) == before
