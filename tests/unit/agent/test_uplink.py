# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import until
from tests.unit.agent.fakes import opened
from towline.agent.spool import Spool
from towline.agent.uplink import Uplink
from towline.clock import SystemClock
from towline.protocols.link.frames import Priority, decode_frame
from towline.protocols.link.items import Batch, CommandStep, Dec, Record
from towline.protocols.link.lanes import LaneReceiver, SpoolRolledBack, judge
from towline.protocols.link.messages import Ack


class Hub:
    """The other end: stores batches by the rule, acknowledges, loses what it is told to lose."""

    def __init__(self) -> None:
        self.lanes = LaneReceiver()
        self.last: dict[str, int] = {}
        self.stored: list[Batch] = []
        self.frames = 0
        self.lose_frames = False
        self.lose_acks = False
        self.full = False
        self.uplink: Uplink | None = None

    def send(self, frame: bytes, priority: Priority) -> bool:
        if self.full:
            return False
        self.frames += 1
        if not self.lose_frames:
            batch = self.lanes.receive(decode_frame(frame))
            if batch is not None:
                self.take(batch)
        return True

    def take(self, batch: Batch) -> None:
        verdict = judge(self.last.get(batch.lane, 0), batch.seq)
        assert verdict.gap == 0
        if verdict.fresh:
            self.last[batch.lane] = batch.seq
            self.stored.append(batch)
        if not self.lose_acks and self.uplink is not None:
            ack = Ack(spool_id=batch.spool_id, lane=batch.lane, seq=self.last[batch.lane])
            asyncio.get_running_loop().call_soon(self.uplink.on_ack, ack)

    def times(self) -> list[int]:
        return [item.event_time_us for batch in self.stored for item in batch.items if isinstance(item, Record)]


@contextlib.asynccontextmanager
async def world(
    tmp_path: Path, *, resend_s: float = 15.0, flush_s: float = 0.01
) -> AsyncIterator[tuple[Spool, Uplink, Hub]]:
    async with opened(tmp_path / "agent.db") as database:
        spool = Spool(database, limit=1 << 30)
        await spool.open("device")
        uplink = Uplink(spool, SystemClock(), flush_s=flush_s, resend_s=resend_s)
        hub = Hub()
        hub.uplink = uplink
        uplink.start()
        try:
            yield spool, uplink, hub
        finally:
            await uplink.stop()


def metric(number: int) -> Record:
    return Record("metric", "t", "s", number, {"n": Dec(str(number))})


async def test_data_flows_while_the_link_is_up(tmp_path: Path) -> None:
    async with world(tmp_path) as (spool, uplink, hub):
        await uplink.online({}, hub.send)
        for number in range(50):
            spool.append("live", [metric(number)])
            await asyncio.sleep(0)
        await until(lambda: len(hub.times()) == 50, what="50 records")
        assert hub.times() == list(range(50))
        spool.append("urgent", [CommandStep("c", "acked", 1)])
        await until(lambda: any(batch.lane == "urgent" for batch in hub.stored), what="urgent")
        await until(lambda: not spool.flights and spool.size == 0, what="trimmed")
        assert uplink.counters["batches"] == uplink.counters["acked"]


async def test_what_hurries_takes_along_what_came_before_it(tmp_path: Path) -> None:
    async with world(tmp_path, flush_s=3600) as (spool, uplink, hub):
        await uplink.online({}, hub.send)
        spool.append("live", [metric(0)])
        await until(lambda: hub.times() == [0], what="the first, which waits for nothing")
        for number in (1, 3):  # with the lane asleep, and with its batch still in flight
            spool.append("live", [metric(number)])
            spool.append("live", [metric(number + 1)], at_once=True)
            await until(lambda: len(hub.times()) > number + 1, what="at once")  # noqa: B023
            assert hub.times() == list(range(number + 2))
        spool.append("live", [metric(5)])
        await spool.commit()
        assert len(hub.times()) == 5


async def test_an_unacknowledged_batch_goes_again_with_its_sequence(tmp_path: Path) -> None:
    async with world(tmp_path, resend_s=0.05) as (spool, uplink, hub):
        hub.lose_acks = True
        await uplink.online({}, hub.send)
        spool.append("live", [metric(1)])
        await until(lambda: hub.frames >= 3, what="repeats")
        assert len(hub.stored) == 1
        hub.lose_acks = False
        await until(lambda: not spool.flights, what="trimmed")
        assert uplink.counters["resent"] >= 2


async def test_welcome_trims_what_had_arrived(tmp_path: Path) -> None:
    async with world(tmp_path) as (spool, uplink, hub):
        hub.lose_acks = True
        await uplink.online({}, hub.send)
        spool.append("live", [metric(1)])
        await until(lambda: hub.stored, what="stored")
        uplink.offline()
        spool.append("live", [metric(2)])
        hub.lose_acks = False
        await uplink.online({"live": 1}, hub.send)
        await until(lambda: len(hub.times()) == 2, what="both")
        assert hub.times() == [1, 2]


async def test_after_a_resync_the_flight_goes_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as (spool, uplink, hub):
        hub.lose_frames = True
        await uplink.online({}, hub.send)
        spool.append("live", [metric(1)])
        await until(lambda: hub.frames == 1, what="sent")
        hub.lose_frames = False
        uplink.resync()
        await until(lambda: hub.times() == [1], what="stored")


async def test_a_full_outbox_is_tried_again(tmp_path: Path) -> None:
    async with world(tmp_path) as (spool, uplink, hub):
        hub.full = True
        await uplink.online({}, hub.send)
        spool.append("live", [metric(1)])
        await until(lambda: spool.flights, what="numbered")
        hub.full = False
        await until(lambda: hub.times() == [1], what="stored")


async def test_a_hub_that_knows_more_gives_the_spool_a_new_id(tmp_path: Path) -> None:
    async with world(tmp_path) as (spool, uplink, hub):
        before = spool.spool_id
        with pytest.raises(SpoolRolledBack):
            await uplink.online({"live": 5}, hub.send)
        assert spool.spool_id != before
        await uplink.online({}, hub.send)
        spool.append("live", [metric(1)])
        await until(lambda: hub.times() == [1], what="stored")


async def test_an_ack_of_another_spool_counts_for_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as (spool, uplink, hub):
        hub.lose_acks = True
        await uplink.online({}, hub.send)
        spool.append("live", [metric(1)])
        await until(lambda: hub.stored, what="stored")
        uplink.on_ack(Ack(spool_id="other", lane="live", seq=1))
        assert uplink.counters["late_acks"] == 1
        assert spool.flights


async def test_a_step_and_its_batch_are_one_commit(tmp_path: Path) -> None:
    async with world(tmp_path) as (spool, uplink, hub):
        database = spool._database
        await uplink.online({}, hub.send)
        await until(lambda: uplink._wakes["urgent"].is_set() is False, what="idle")
        await database.run(lambda connection: connection.execute("SELECT 1"))
        before = database.commits
        await database.run(lambda connection: spool.add(connection, "urgent", [CommandStep("c", "acked", 1)]))
        assert database.commits == before + 1
        assert spool.flights["urgent"].seq == 1
        await until(lambda: hub.stored, what="sent")
        for number in range(5):
            await database.run(
                lambda connection, n=number: spool.add(connection, "urgent", [CommandStep(str(n), "acked", n)])  # type: ignore[misc]
            )
        await until(lambda: sum(len(batch.items) for batch in hub.stored) == 6, what="all steps")
        assert [batch.seq for batch in hub.stored] == list(range(1, len(hub.stored) + 1))


async def test_a_disk_that_refuses_to_forget_a_batch_does_not_hold_its_lane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as (spool, uplink, hub):
        monkeypatch.setattr("towline.agent.uplink._DISK_RETRY_S", 0.05)
        await uplink.online({}, hub.send)
        hub.lose_acks = True
        spool.append("live", [metric(1)])
        await until(lambda: hub.stored, what="stored")
        run, fails = spool._database.run, [True, True]

        def full(operation: Callable[[sqlite3.Connection], Any]) -> asyncio.Future[Any]:
            def refuse(_connection: sqlite3.Connection) -> None:
                raise sqlite3.OperationalError("database or disk is full")

            return run(refuse if operation.__name__ == "trim" and fails and fails.pop() else operation)

        monkeypatch.setattr(spool._database, "run", full)
        uplink.on_ack(Ack(spool_id=spool.spool_id, lane="live", seq=1))
        await until(lambda: not fails, what="refusals")
        hub.lose_acks = False
        spool.append("live", [metric(2)])
        await until(lambda: hub.times() == [1, 2], what="second batch")
        await until(lambda: not spool.flights and spool.size == 0, what="trimmed")


async def test_a_link_lost_while_a_step_is_committed_leaves_its_batch_to_the_next(tmp_path: Path) -> None:
    async with world(tmp_path) as (spool, uplink, hub):
        await uplink.online({}, hub.send)
        await until(lambda: not any(wake.is_set() for wake in uplink._wakes.values()), what="at rest")
        adding = spool._database.run(
            lambda connection: spool.add(connection, "urgent", [CommandStep("c", "received", 1)])
        )
        commits = spool._database.commits
        while spool._database.commits == commits:  # committed, and the loop does not know yet
            time.sleep(0.001)
        uplink.offline()
        await adding
        assert not hub.stored
        await uplink.online({}, hub.send)
        await until(lambda: [batch.lane for batch in hub.stored] == ["urgent"], what="urgent batch")
        await until(lambda: not spool.flights, what="trimmed")
