# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.helpers import until
from tests.unit.agent.fakes import opened
from towline.agent.database import Database
from towline.agent.spool import Spool, kind_of
from towline.errors import Unavailable
from towline.protocols.link.items import Batch, CommandStep, Dec, Declared, Record, State, decode_batch
from towline.protocols.link.limits import MAX_BATCH_FRAME

LIMIT = 1 << 30


def metric(number: int, size: int = 0) -> Record:
    fields = {"n": Dec(str(number))} | ({"pad": "x" * size} if size else {})
    return Record("metric", "t", "s", number, fields)  # type: ignore[arg-type]


def step(number: int) -> CommandStep:
    return CommandStep(str(number), "acked", number)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(tmp_path / "agent.db") as made:
        yield made


async def spool_of(database: Database, limit: int = LIMIT, device: str = "device") -> Spool:
    spool = Spool(database, limit=limit)
    await spool.open(device)
    return spool


async def filled(spool: Spool, lane: str) -> Batch | None:
    flight = await spool.fill(lane)  # type: ignore[arg-type]
    return None if flight is None else decode_batch(flight.body)


async def drained(spool: Spool, lane: str) -> list[Batch]:
    batches = []
    flight = await spool.fill(lane)  # type: ignore[arg-type]
    while flight is not None:
        batches.append(decode_batch(flight.body))
        flight = await spool.trim(lane, refill=True)  # type: ignore[arg-type]
    return batches


async def test_items_leave_in_batches_in_their_order(database: Database) -> None:
    spool = await spool_of(database)
    for number in range(3000):
        assert spool.append("live", [metric(number, 40)])
    await spool.commit()
    batches = await drained(spool, "live")
    assert [batch.seq for batch in batches] == list(range(1, len(batches) + 1))
    assert len(batches) > 1
    times = [item.event_time_us for batch in batches for item in batch.items if isinstance(item, Record)]
    assert times == list(range(3000))
    assert {batch.spool_id for batch in batches} == {spool.spool_id}
    assert spool.size == 0


async def test_live_items_are_committed_within_a_moment(database: Database) -> None:
    spool = await spool_of(database)
    woken: list[int] = []
    spool.on_data = lambda: woken.append(1)
    spool.append("live", [metric(1)])
    await until(lambda: woken, 2.0, what="commit")
    assert (await filled(spool, "live")) is not None


async def test_a_numbered_batch_is_the_same_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path / "agent.db") as database:
        spool = await spool_of(database)
        spool.append("urgent", [step(1)])
        spool.append("live", [metric(1)])
        await spool.commit()
        flight = await spool.fill("urgent")
        spool_id = spool.spool_id
    async with opened(tmp_path / "agent.db") as database:
        again = await spool_of(database)
        assert again.spool_id == spool_id
        assert again.flights["urgent"] == flight
        assert again.last == {"urgent": 1, "live": 0, "backlog": 0}
        assert again.size > 0
        assert await again.trim("urgent", refill=True) is None
        batch = await filled(again, "live")
        assert batch is not None
        assert batch.items == [metric(1)]


async def test_what_piled_up_becomes_the_backlog(database: Database) -> None:
    spool = await spool_of(database)
    spool.append("live", [metric(number, 1000) for number in range(200)])
    await spool.commit()
    await spool.went_online()
    spool.append("live", [metric(1000)])
    await spool.commit()
    fresh = await filled(spool, "live")
    assert fresh is not None
    assert fresh.items == [metric(1000)]
    old = await drained(spool, "backlog")
    assert [item.event_time_us for batch in old for item in batch.items if isinstance(item, Record)] == list(range(200))


async def test_a_little_that_waits_stays_live(database: Database) -> None:
    spool = await spool_of(database)
    spool.append("live", [metric(1)])
    await spool.commit()
    await spool.went_online()
    assert await filled(spool, "backlog") is None
    assert await filled(spool, "live") is not None


async def test_a_full_spool_drops_the_oldest_metrics_first_and_says_so(database: Database) -> None:
    spool = await spool_of(database, limit=100_000)
    spool.append("live", [Record("event", "t", "s", 0, {"opened": "door"})])
    spool.append("urgent", [step(1)])
    for number in range(300):
        spool.append("live", [metric(number, 1000)])
        await spool.commit()
    assert spool.dropped["metric"] > 150
    assert set(spool.dropped) == {"metric"}
    assert spool.size <= 100_000
    batches = await drained(spool, "urgent")
    assert batches[0].dropped == {"metric": spool.dropped["metric"]}
    live = await drained(spool, "live")
    items = [item for batch in live for item in batch.items]
    assert any(isinstance(item, Record) and item.kind == "event" for item in items)
    times = [item.event_time_us for item in items if isinstance(item, Record) and item.kind == "metric"]
    assert times == list(range(spool.dropped["metric"], 300))
    assert all(not batch.dropped for batch in live)


async def test_states_and_events_go_when_metrics_are_gone(database: Database) -> None:
    spool = await spool_of(database, limit=20_000)
    for number in range(40):
        spool.append("live", [State("g", "t", "s", "n", b"x" * 1000, number)])
        await spool.commit()
    assert set(spool.dropped) == {"state"}
    assert spool.size <= 20_000


async def test_a_large_declaration_fits_and_an_impossible_item_is_counted(database: Database) -> None:
    spool = await spool_of(database)
    spool.append("urgent", [Declared("g", "n", "1.0.0", "", b"x" * 131_072, 1)])
    spool.append("urgent", [Declared("g", "n", "1.0.0", "", b"x" * 300_000, 1)])
    await spool.commit()
    flight = await spool.fill("urgent")
    assert flight is not None
    assert len(flight.body) > MAX_BATCH_FRAME
    assert spool.dropped == {"declared": 1}


async def test_a_disk_that_refuses_keeps_what_was_taken(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("towline.agent.spool.RETRY_S", 0.05)
    spool = await spool_of(database)
    (pages,) = await database.run(lambda connection: connection.execute("PRAGMA page_count").fetchone())
    await database.run(lambda connection: connection.execute(f"PRAGMA max_page_count={pages + 2}").fetchall())
    spool.append("live", [metric(1, 50_000)])
    with pytest.raises(Unavailable):
        await spool.commit()
    assert spool.broken
    assert not spool.append("live", [metric(2)])
    assert spool.refused == {"metric": 1}
    await database.run(lambda connection: connection.execute("PRAGMA max_page_count=100000").fetchall())
    await until(lambda: not spool.broken, 3.0, what="recovery")
    assert spool.append("live", [metric(3)])
    await spool.commit()
    batches = await drained(spool, "live")
    assert [item.event_time_us for batch in batches for item in batch.items if isinstance(item, Record)] == [1, 3]
    assert spool.size == 0


async def test_another_device_starts_with_an_empty_spool(tmp_path: Path) -> None:
    async with opened(tmp_path / "agent.db") as database:
        spool = await spool_of(database, device="")
        before = spool.spool_id
        spool.append("live", [metric(1)])
        await spool.adopt("first")
        assert spool.spool_id == before
        assert await filled(spool, "live") is not None
        await spool.adopt("second")
        assert spool.spool_id != before
        assert spool.flights == {}
        assert spool.size == 0


async def test_a_restored_copy_goes_on_under_a_new_id(database: Database) -> None:
    spool = await spool_of(database)
    before = spool.spool_id
    spool.append("live", [metric(1)])
    await spool.commit()
    await spool.fill("live")
    await spool.renew()
    assert spool.spool_id != before
    batch = decode_batch(spool.flights["live"].body)
    assert (batch.spool_id, batch.seq, batch.items) == (spool.spool_id, 1, [metric(1)])
    assert spool.last["live"] == 1


async def test_items_of_a_transaction_stand_or_fall_with_it(database: Database) -> None:
    spool = await spool_of(database)

    def fail(connection):  # type: ignore[no-untyped-def]
        spool.add(connection, "urgent", [step(1)])
        raise ValueError

    with pytest.raises(ValueError):
        await database.run(fail)
    await database.run(lambda connection: spool.add(connection, "urgent", [step(2)]))
    batch = await filled(spool, "urgent")
    assert batch is not None
    assert batch.items == [step(2)]


async def test_nothing_waits_means_no_batch(database: Database) -> None:
    spool = await spool_of(database)
    assert await spool.fill("live") is None
    assert spool.append("live", [])
    await spool.commit()
    await asyncio.sleep(0)
    assert kind_of(metric(1)) == "metric"
    assert kind_of(step(1)) == "command"
