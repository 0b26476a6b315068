# SPDX-License-Identifier: Apache-2.0
"""The file of durable topics: locked, versioned, full, damaged; numbers of deliveries that outlive a crash."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.helpers import until
from tests.unit.store.topics.conftest import spec
from towline.clock import ManualClock, SystemClock
from towline.errors import StartError, Unavailable
from towline.store.base.topics import Delivery
from towline.store.sqlite import open_store
from towline.store.sqlite.opening import Migration, migrations
from towline.store.sqlite.topics import SqliteTopics, open_topics

TOPICS = [spec("a"), spec("a.dead")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "topics.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteTopics]:
    store = await open_topics(path, SystemClock(), TOPICS)
    yield store
    await store.close()


async def refused(path: Path, steps: list[Migration] | None = None) -> str:
    with pytest.raises(StartError) as error:
        await open_topics(path, SystemClock(), TOPICS, steps)
    return error.value.code


async def test_it_is_private_and_of_one_process(store: SqliteTopics, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert await refused(path) == "store.locked"


async def test_a_newer_file_is_refused_and_an_older_one_backed_up(store: SqliteTopics, path: Path) -> None:
    await store.push("a", 1, "15", b"x")
    await store.close()
    steps = migrations("topic_migrations")
    newer = [*steps, Migration(len(steps) + 1, "more", "ALTER TABLE message ADD COLUMN more INTEGER")]
    again = await open_topics(path, SystemClock(), TOPICS, newer)
    assert [one.data for one in await again.fetch("a", 1, 100)] == [b"x"]
    await again.close()
    assert path.with_name(f"topics.db.backup-{len(steps)}").exists()
    assert await refused(path) == "store.newer"


async def test_other_files_are_refused(path: Path) -> None:
    path.write_bytes(b"no database at all, but long enough to be one" * 100)
    assert await refused(path) == "store.corrupt"
    hub = path.with_name("towline.db")
    await (await open_store(hub, ManualClock())).close()
    assert await refused(hub) == "store.foreign"


async def test_a_full_disk_is_an_error_until_there_is_room(store: SqliteTopics) -> None:
    connection: sqlite3.Connection = store._writer._connection
    await store.push("a", 1, "15", b"x")
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    results = await asyncio.gather(*[store.push("a", 1, "15", b"x" * 5000) for _ in range(20)], return_exceptions=True)
    failed = [result for result in results if isinstance(result, BaseException)]
    assert failed
    assert {error.code for error in failed if isinstance(error, Unavailable)} == {"store.full"}
    stored = 21 - len(failed)
    assert store.depth("a").messages == stored
    connection.execute("PRAGMA max_page_count = 1000000")
    assert await store.push("a", 1, "15", b"y") == stored + 1
    found: list[Delivery] = []
    while len(found) <= stored:
        found += await store.fetch("a", 100, 1 << 20)
    await store.ack(found)
    assert store.depth("a") == (0, 0)


async def test_deliveries_are_counted_through_a_crash(store: SqliteTopics, path: Path) -> None:
    await store.push("a", 1, "15", b"x")
    await store.fetch("a", 1, 100)
    await until(lambda: not store._owned, what="the count is written")
    store._owned.clear()  # what a kill would forget
    await store.close()
    again = await open_topics(path, SystemClock(), TOPICS)
    assert [one.deliveries for one in await again.fetch("a", 1, 100)] == [2]
    await again.close()


async def test_a_topic_that_is_not_declared_any_more_is_named(
    store: SqliteTopics, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await store.push("a", 1, "15", b"x")
    await store.close()
    other = await open_topics(path, SystemClock(), [spec("b")])
    await other.close()
    assert [(record.__dict__["topic"], record.__dict__["count"]) for record in caplog.records] == [("a", 1)]
