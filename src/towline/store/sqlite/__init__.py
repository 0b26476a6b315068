# SPDX-License-Identifier: Apache-2.0
"""The embedded store: one SQLite file, one writer thread, two threads for look-ups and two for scans.

A process that is killed loses nothing that was answered: every answer to a write comes after its commit is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from towline.clock import Clock
from towline.store.rows import Counters
from towline.store.sqlite.access import Access
from towline.store.sqlite.compaction import bound_of
from towline.store.sqlite.devices import SqliteDevices, SqliteWorkgroups
from towline.store.sqlite.enrolments import SqliteEnrolments
from towline.store.sqlite.ingest import Ingest
from towline.store.sqlite.keeping import SqliteAudit, SqliteLeases, SqliteSettings
from towline.store.sqlite.ledger import SqliteLedger
from towline.store.sqlite.opening import Lock, Migration, open_writer, prepare
from towline.store.sqlite.plugins import SqlitePlugins
from towline.store.sqlite.presence import SqlitePresence
from towline.store.sqlite.records import SqliteRecords
from towline.store.sqlite.users import SqliteTokens, SqliteUsers
from towline.store.sqlite.writer import Writer


class SqliteStore:
    """Fulfils :class:`towline.store.base.Store`; made by :func:`open_store`."""

    def __init__(self, access: Access, writer: Writer, ingest: Ingest, lock: Lock) -> None:
        self._access = access
        self._writer = writer
        self._ingest = ingest
        self._lock: Lock | None = lock
        self.workgroups = SqliteWorkgroups(access)
        self.devices = SqliteDevices(access, ingest.forget)
        self.presence = SqlitePresence(access)
        self.records = SqliteRecords(access, bound_of)
        self.plugins = SqlitePlugins(access)
        self.ledger = SqliteLedger(access)
        self.users = SqliteUsers(access)
        self.tokens = SqliteTokens(access)
        self.enrolments = SqliteEnrolments(access)
        self.settings = SqliteSettings(access)
        self.audit = SqliteAudit(access)
        self.leases = SqliteLeases(access)

    def counters(self) -> Counters:
        """See :meth:`towline.store.base.Store.counters`."""
        return {
            **self._writer.counters,
            **self._ingest.counters,
            "reads": self._access.reads,
            "queue": self._writer.waiting,
        }

    async def close(self) -> None:
        """Commit what is queued, copy the write-ahead log into the database, close, release the lock."""
        await self._access.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None


async def open_store(path: Path | str, clock: Clock, migrations: list[Migration] | None = None) -> SqliteStore:
    """Open the database file, making or migrating it as needed.

    Beside it lie ``<file>.lock``, SQLite's ``-wal`` and ``-shm``, and ``<file>.backup-<schema version>`` from before each
    migration. ``migrations`` replaces the built-in ones (tests).

    StartError ``store.not_writable``, ``store.locked`` (another process has it), ``store.newer`` (a later Towline wrote
    it), ``store.corrupt``, ``store.foreign`` (another program's database), ``store.backup_failed``, ``store.full``.
    """
    path = Path(path)
    return await asyncio.to_thread(_open, path, clock, migrations, asyncio.get_running_loop())


def _open(path: Path, clock: Clock, migrations: list[Migration] | None, loop: asyncio.AbstractEventLoop) -> SqliteStore:
    prepare(path)
    with contextlib.ExitStack() as undo:
        lock = Lock(path.with_name(path.name + ".lock"))
        undo.callback(lock.release)
        connection = open_writer(path, clock.now_us(), migrations)
        undo.callback(connection.close)
        ingest = Ingest(connection)
        writer = Writer(connection, ingest, clock, loop)
        store = SqliteStore(Access(path, writer), writer, ingest, lock)
        undo.pop_all()
    return store
