# SPDX-License-Identifier: Apache-2.0
"""The writer's thread: group commit, failures, checkpoints."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import until
from tests.unit.store.support import GROUP, NOW, device_key, metric, send
from towline.clock import ManualClock, SystemClock
from towline.errors import Unavailable
from towline.store.rows import Facts
from towline.store.sqlite import SqliteStore, open_store, writer


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_store(tmp_path / "towline.db", SystemClock())
    await store.workgroups.create(GROUP, "The plant", NOW)
    for n in range(8):
        await store.devices.create(GROUP, f"d{n}", f"d{n}", device_key(n), Facts(), NOW)
    yield store
    await store.close()


async def hold(store: SqliteStore) -> threading.Event:
    """Keep the writer busy until the event is set, so that what follows shares the next commit."""
    release, started = threading.Event(), threading.Event()

    def work(_: sqlite3.Connection) -> None:
        started.set()
        release.wait(10)

    store._writer.run(work)
    await until(started.is_set)
    return release


async def test_what_waits_together_is_committed_together(store: SqliteStore) -> None:
    before = store.counters()
    release = await hold(store)
    jobs = [asyncio.ensure_future(send(store, 1, [metric(n, a=n)], device=f"d{n}")) for n in range(8)]
    await until(lambda: store.counters()["queue"] == 8)
    release.set()
    await asyncio.gather(*jobs)
    after = store.counters()
    assert after["commits"] - before["commits"] == 2
    assert after["jobs"] - before["jobs"] == 9


async def test_a_database_error_of_one_job_does_not_spoil_the_others(store: SqliteStore) -> None:
    def bad(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM device")
        connection.execute("SELECT * FROM nowhere")

    def rude(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM device")
        raise KeyError("rude")

    release = await hold(store)
    jobs: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(send(store, 1, [metric(1, a=1)], device="d1")),
        store._writer.run(bad),
        store._writer.run(rude),
        asyncio.ensure_future(send(store, 1, [metric(2, a=2)], device="d2")),
    ]
    await until(lambda: store.counters()["queue"] == 4)
    release.set()
    answers = await asyncio.gather(*jobs, return_exceptions=True)
    assert isinstance(answers[1], Unavailable)
    assert answers[1].code == "store.write_failed"
    assert isinstance(answers[2], KeyError)
    for n, answer in ((1, answers[0]), (2, answers[3])):
        assert not isinstance(answer, BaseException)
        assert not answer.duplicate
        found = await store.records.series(GROUP, f"d{n}", from_us=0, to_us=10)
        assert [series.points for series in found.series] == [[(n, n)]]
    assert (await store.devices.counts(GROUP)).total == 8
    assert store.counters()["failed_commits"] == 2
    assert store.counters()["readings"] == 2


async def test_a_rolled_back_batch_can_come_again(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    flush = store._ingest.flush

    def full() -> None:
        flush()
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store._ingest, "flush", full)
    with pytest.raises(Unavailable) as error:
        await send(store, 1, [metric(1, new=1)])
    assert error.value.code == "store.full"
    monkeypatch.setattr(store._ingest, "flush", flush)
    again = await send(store, 1, [metric(1, new=1)])
    assert not again.duplicate
    found = await store.records.series(GROUP, "d1", from_us=0, to_us=10)
    assert [series.points for series in found.series] == [[(1, 1)]]


async def test_a_lane_that_the_database_knows_better_is_not_overwritten(store: SqliteStore) -> None:
    await send(store, 1)
    await store._access.write(lambda c: c.execute("UPDATE lane SET seq = 5"))
    answer = await send(store, 2, [metric(1, a=1)])
    assert (answer.duplicate, answer.acked) == (True, 5)


async def test_a_cancelled_waiter_harms_nobody(store: SqliteStore) -> None:
    release = await hold(store)
    gone = asyncio.ensure_future(send(store, 1, [metric(1, a=1)]))
    other = asyncio.ensure_future(send(store, 1, [metric(1, a=1)], device="d2"))
    await until(lambda: store.counters()["queue"] == 2)
    gone.cancel()
    release.set()
    assert not (await other).duplicate
    assert (await send(store, 1)).duplicate


async def test_closing_commits_what_waits(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "towline.db", ManualClock())
    await store.workgroups.create(GROUP, "The plant", NOW)
    release = await hold(store)
    job = asyncio.ensure_future(store.settings.put(GROUP, "k", b"v", NOW))
    await until(lambda: store.counters()["queue"] == 1)
    closing = asyncio.ensure_future(store.close())
    release.set()
    await asyncio.gather(job, closing)
    assert not (tmp_path / "towline.db-wal").exists()
    again = await open_store(tmp_path / "towline.db", ManualClock())
    found = await again.settings.get(GROUP, "k")
    await again.close()
    assert found is not None
    assert found.value == b"v"


async def test_an_idle_writer_copies_its_log(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_IDLE_S", 0.01)
    await send(store, 1, [metric(1, a=1)])
    await until(lambda: store.counters()["checkpoints"] >= 1)
    checkpoints = store.counters()["checkpoints"]
    await send(store, 2, [metric(1, a=1)])
    await until(lambda: store.counters()["checkpoints"] > checkpoints)
