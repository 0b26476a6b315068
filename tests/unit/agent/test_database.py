# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.agent.fakes import opened
from towline.agent.database import SCHEMA_VERSION, Database
from towline.errors import StartError, Unavailable


def count(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute("SELECT count(*) FROM meta").fetchone()
    return int(number)


def put(key: str) -> Callable[[sqlite3.Connection], sqlite3.Cursor]:
    return lambda connection: connection.execute("INSERT INTO meta VALUES (?, '')", (key,))


async def test_what_queues_up_is_committed_together_and_in_order() -> None:
    async with opened() as database:
        before = database.commits
        seen: list[int] = []
        futures = [
            database.run(lambda connection, n=n: seen.append(n) or connection.execute("SELECT 1"))  # type: ignore[func-returns-value,misc]
            for n in range(100)
        ]
        await asyncio.gather(*futures)
        assert seen == list(range(100))
        assert database.commits - before < 100


async def test_an_operation_that_fails_undoes_itself_only() -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO meta VALUES ('half', '')")
        raise ValueError("no")

    async with opened() as database:
        first = database.run(put("a"))
        second = database.run(fail)
        third = database.run(put("b"))
        await asyncio.gather(first, third)
        with pytest.raises(ValueError):
            await second
        assert await database.run(count) == 2


async def test_a_disk_that_refuses_fails_the_group_and_recovers(tmp_path: Path) -> None:
    async with opened(tmp_path / "agent.db") as database:
        await database.run(lambda connection: connection.execute("PRAGMA max_page_count=30").fetchall())
        big = "x" * 200_000
        with pytest.raises(Unavailable) as caught:
            await database.run(lambda connection: connection.execute("INSERT INTO meta VALUES ('big', ?)", (big,)))
        assert caught.value.code == "agent.disk"
        assert database.failures == 1
        await database.run(put("small"))
        assert await database.run(count) == 1


async def test_the_file_is_private_and_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with opened(path) as database:
        await database.run(put("a"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with opened(path) as database:
        assert await database.run(count) == 1


async def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(StartError, match="newer Towline") as caught:
        await Database(path).open()
    assert caught.value.code == "agent.database"


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    path.write_bytes(b"not a database at all, but long enough to look at" * 40)
    with pytest.raises(StartError):
        await Database(path).open()


async def test_a_closed_database_refuses() -> None:
    database = Database(None)
    await database.open()
    await database.close()
    with pytest.raises(Unavailable):
        await database.run(count)


async def test_what_is_to_follow_a_commit_follows_it() -> None:
    seen: list[str] = []

    async with opened() as database:

        def good(connection: sqlite3.Connection) -> None:
            database.after_commit(lambda: seen.append("good"))

        def bad(connection: sqlite3.Connection) -> None:
            database.after_commit(lambda: seen.append("bad"))
            raise ValueError("no")

        first, second = database.run(good), database.run(bad)
        await first
        assert seen == ["good"]
        with pytest.raises(ValueError):
            await second
        assert seen == ["good"]
