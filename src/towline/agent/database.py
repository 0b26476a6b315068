# SPDX-License-Identifier: Apache-2.0
"""The agent's one SQLite file: spool, journal, keys. One thread writes; what queues up is committed together.

WAL with ``synchronous=FULL``: what :meth:`Database.run` returned from survives a power cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from towline.errors import StartError, Unavailable

log = logging.getLogger("towline.agent.database")

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], Any]

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE lane (name TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE flight (lane TEXT PRIMARY KEY, seq INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE pending (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lane TEXT NOT NULL,
    kind TEXT NOT NULL,
    items INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX pending_lane ON pending (lane, id);
CREATE TABLE dropped (kind TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE command (
    command_id TEXT PRIMARY KEY,
    app_guid TEXT NOT NULL,
    module TEXT NOT NULL,
    name TEXT NOT NULL,
    params BLOB NOT NULL,
    state TEXT NOT NULL,
    received_us INTEGER NOT NULL,
    deadline_us INTEGER NOT NULL,
    delivered_us INTEGER,
    step TEXT NOT NULL,
    step_us INTEGER NOT NULL,
    result BLOB,
    note TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
CREATE INDEX command_received ON command (received_us);
CREATE INDEX command_state ON command (state);
CREATE TABLE plugin_key (app_guid TEXT PRIMARY KEY, access_key TEXT NOT NULL, app_name TEXT NOT NULL) STRICT;
CREATE TABLE plugin (app_guid TEXT PRIMARY KEY, app_name TEXT NOT NULL) STRICT;
CREATE TABLE setting (
    app_guid TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    alarms BLOB,
    configs BLOB
) STRICT;
"""
_STOP = object()
_MEMORY = ":memory:"


class Database:
    """The file, its thread, and group commit.

    :ivar commits: transactions so far
    :ivar failures: transactions that the disk refused
    """

    def __init__(self, path: Path | None) -> None:
        """``path`` None: in memory, for the standalone mode and tests."""
        self.commits = 0
        self.failures = 0
        self._path = path
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._after: list[Callable[[], object]] = []

    async def open(self) -> None:
        """Open or make the file. StartError ``agent.database`` if it is newer than this version, damaged or
        locked.
        """
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._work, args=(opened,), name="agent-db", daemon=True)
        self._thread.start()
        await opened

    def run(self, operation: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Run in the writer's transaction. Done once that is committed; operations keep their order.

        The future fails with what ``operation`` raised (its own changes are undone, others' stand), or with
        Unavailable ``agent.disk`` if the commit failed.
        """
        assert self._loop is not None
        future: asyncio.Future[T] = self._loop.create_future()
        if self._thread is None:
            future.set_exception(Unavailable("agent.closed", "the agent's database is closed"))
        else:
            self._queue.put((operation, future))
        return future

    def after_commit(self, callback: Callable[[], object]) -> None:
        """From within an operation: run ``callback`` in the event loop once its transaction is committed, before the
        operation's own future is done. Nothing runs if it fails."""
        self._after.append(callback)

    async def close(self) -> None:
        """Commit what is queued and close the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(_STOP)
            await asyncio.get_running_loop().run_in_executor(None, thread.join)

    # -- the thread
    # --------------------------------------------------------------------------------------------------

    def _work(self, opened: asyncio.Future[None]) -> None:
        assert self._loop is not None
        try:
            connection = self._connect()
        except StartError as error:
            self._loop.call_soon_threadsafe(_settle_one, opened, error)
            return
        self._loop.call_soon_threadsafe(_settle_one, opened, None)
        going = True
        while going:
            group: list[tuple[Operation, asyncio.Future[Any]]] = []
            entry = self._queue.get()
            while True:
                if entry is _STOP:
                    going = False
                    break
                group.append(entry)
                try:
                    entry = self._queue.get_nowait()
                except queue.Empty:
                    break
            if group:
                outcome = self._transact(connection, group)
                after, self._after = self._after, []
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(_settle, outcome, after)
        connection.close()

    def _transact(
        self, connection: sqlite3.Connection, group: list[tuple[Operation, asyncio.Future[Any]]]
    ) -> list[tuple[asyncio.Future[Any], Any, BaseException | None]]:
        outcome: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for operation, future in group:
                connection.execute("SAVEPOINT one")
                hooks = len(self._after)
                try:
                    outcome.append((future, operation(connection), None))
                except (sqlite3.OperationalError, sqlite3.InternalError):
                    raise
                except Exception as error:
                    connection.execute("ROLLBACK TO one")
                    del self._after[hooks:]
                    outcome.append((future, None, error))
                connection.execute("RELEASE one")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self.failures += 1
            self._after.clear()
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            failed = Unavailable("agent.disk", f"the agent's database cannot be written: {error}")
            return [(future, None, failed) for _, future in group]
        self.commits += 1
        return outcome

    def _connect(self) -> sqlite3.Connection:
        where = str(self._path) if self._path else _MEMORY
        try:
            if self._path is not None:
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(where, isolation_level=None, timeout=5.0, cached_statements=64)
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA cache_size=-1024")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.executescript(f"BEGIN;{SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
            elif version > SCHEMA_VERSION:
                raise StartError(
                    "agent.database",
                    f"the spool was written by a newer Towline (schema {version}, known is {SCHEMA_VERSION})",
                    where=where,
                    hint="upgrade this agent",
                )
        except (sqlite3.Error, OSError) as error:
            raise StartError("agent.database", f"cannot open the agent's database: {error}", where=where) from None
        return connection


def _settle_one(future: asyncio.Future[None], error: BaseException | None) -> None:
    _settle([(future, None, error)], [])


def _settle(
    outcome: list[tuple[asyncio.Future[Any], Any, BaseException | None]], after: list[Callable[[], object]]
) -> None:
    for callback in after:
        try:
            callback()
        except Exception:  # whoever waits below must not wait for ever
            log.exception("what follows a commit failed")
    for future, result, error in outcome:
        if future.done():
            continue
        if error is not None:
            future.set_exception(error)
            future.exception()  # a caller that does not wait has decided not to know
        else:
            future.set_result(result)
