# SPDX-License-Identifier: Apache-2.0
"""How families reach the database: look-ups in two threads, long scans in two others, writes in one."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from towline.errors import InvalidInput, Unavailable
from towline.store.rows import Stored
from towline.store.sqlite.batch import Batch
from towline.store.sqlite.opening import open_reader
from towline.store.sqlite.writer import Writer

T = TypeVar("T")

READERS: Final = 2
SCANNERS: Final = 2
"""Threads for queries that can take seconds: nobody who signs in waits behind somebody's chart."""
MAX_LIMIT: Final = 1000


def check_limit(limit: int) -> None:
    """InvalidInput ``page.bad_limit`` outside 1–1000."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidInput("page.bad_limit", f"at least 1 and at most {MAX_LIMIT}, not {limit}", where="limit")


class Access:
    """Reads and writes, as coroutines."""

    def __init__(self, path: Path, writer: Writer) -> None:
        self._path = path
        self._writer = writer
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="towline-read")
        self._scanners = ThreadPoolExecutor(SCANNERS, thread_name_prefix="towline-scan")
        self._closed = False
        self.reads = 0

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """``query`` on a consistent view of what is committed."""
        return await self._run(self._pool, query)

    async def scan(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """The same for what reads many blocks."""
        return await self._run(self._scanners, query)

    async def _run(self, pool: ThreadPoolExecutor, query: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise Unavailable("store.closed", "the store is closed")
        self.reads += 1
        return await asyncio.get_running_loop().run_in_executor(pool, self._query, query)

    def _query(self, query: Callable[[sqlite3.Connection], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = open_reader(self._path)
            self._connections.append(connection)
        try:
            connection.execute("BEGIN")
            try:
                return query(connection)
            finally:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise Unavailable("store.read_failed", f"the database cannot be read: {error}") from error

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """``work`` in a transaction; returns once it is on disk."""
        return await self._writer.run(work)

    def store(self, batch: Batch) -> asyncio.Future[Stored]:
        """A device's batch; the urgent lane does not wait for company."""
        return self._writer.store(batch, hurry=batch.lane == "urgent")

    async def close(self) -> None:
        """Let running queries end, then close."""
        self._closed = True
        for connection in self._connections:
            connection.interrupt()
        for pool in (self._pool, self._scanners):
            await asyncio.to_thread(pool.shutdown)
        for connection in self._connections:
            connection.close()
        await self._writer.close()
