# SPDX-License-Identifier: Apache-2.0
"""The one thread that writes: jobs that wait together are committed together.

A job is a function of the connection. Each runs in a savepoint, so that one that fails takes nothing with it; the
batches of devices are cheaper still (:mod:`towline.store.sqlite.ingest`). A batch waits until 20 ms have passed since
the commit before, for company; what a person waits for commits at once and takes along whatever is there.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from towline.clock import Clock
from towline.errors import TowlineError, Unavailable

T = TypeVar("T")
log = logging.getLogger("towline.store")

LINGER_S: Final = 0.018
"""Commits of batches are this far apart; with the commit itself a batch waits about 20 ms at most."""
FULL_JOBS: Final = 64
"""So many are company enough."""
MAX_JOBS: Final = 2000
"""Jobs of one commit."""
_IDLE_S: Final = 1.0
"""After this long without a job the write-ahead log is copied into the database."""

Work = Callable[[sqlite3.Connection], Any]


class Job(NamedTuple):
    """``work`` for a function, ``batch`` for a device's batch."""

    future: asyncio.Future[Any]
    work: Work | None
    batch: Any


class Batches(Protocol):
    """What stores batches within a transaction."""

    def begin(self, connection: sqlite3.Connection) -> None: ...
    def add(self, batch: Any) -> Any: ...
    def flush(self) -> None: ...
    def committed(self) -> None: ...
    def rolled_back(self) -> None: ...


class Writer:
    """Owns the writing connection and its thread."""

    def __init__(
        self, connection: sqlite3.Connection, batches: Batches, clock: Clock, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._connection = connection
        self._batches = batches
        self._clock = clock
        self._loop = loop
        self._jobs: deque[Job] = deque()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._sleeping = False
        self._closing = False
        self._dirty = False
        self.counters = dict.fromkeys(("jobs", "commits", "failed_commits", "checkpoints"), 0)
        self._thread = threading.Thread(target=self._run, name="towline-store", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._jobs)

    def run(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """``work`` in a transaction; done once it is committed. What it raises comes back, with nothing changed."""
        return self._submit(work, None, hurry=True)

    def store(self, batch: Any, *, hurry: bool) -> asyncio.Future[Any]:
        """A device's batch; done once it is committed."""
        return self._submit(None, batch, hurry=hurry)

    def _submit(self, work: Work | None, batch: Any, *, hurry: bool) -> asyncio.Future[Any]:
        if self._closing:
            raise Unavailable("store.closed", "the store is closed")
        future = self._loop.create_future()
        self._jobs.append(Job(future, work, batch))
        if hurry or len(self._jobs) == FULL_JOBS:
            self._hurry.set()
        # The writer says that it sleeps before it looks at the queue a last time: no job is left behind.
        if self._sleeping or hurry:
            self._wake.set()
        return future

    async def close(self) -> None:
        """Commit what waits, then stop the thread and close the connection."""
        if self._closing:
            return
        self._closing = True
        self._hurry.set()
        self._wake.set()
        await asyncio.to_thread(self._thread.join)

    # -- in the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        last = float("-inf")
        while self._wait_for_jobs():
            rest = last + LINGER_S - self._clock.monotonic()
            if 0 < rest <= LINGER_S and not self._hurry.is_set():
                self._hurry.wait(rest)
            self._hurry.clear()
            jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), MAX_JOBS))]
            self._deliver(self._commit(jobs))
            last = self._clock.monotonic()
        self._checkpoint("TRUNCATE")
        self._connection.close()

    def _wait_for_jobs(self) -> bool:
        while not self._jobs:
            self._sleeping = True
            if not self._jobs and not self._closing and not self._wake.wait(_IDLE_S if self._dirty else None):
                self._checkpoint("PASSIVE")
            self._wake.clear()
            self._sleeping = False
            if self._closing and not self._jobs:
                return False
        return True

    def _checkpoint(self, mode: str) -> None:
        try:
            self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
            self.counters["checkpoints"] += 1
        except sqlite3.Error as error:
            log.warning("checkpoint failed", extra={"reason": str(error)})
        self._dirty = False

    def _commit(
        self, jobs: list[Job], *, again: bool = True
    ) -> list[tuple[asyncio.Future[Any], Any, BaseException | None]]:
        connection, batches = self._connection, self._batches
        answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            batches.begin(connection)
            for future, work, batch in jobs:
                try:
                    if work is None:
                        answers.append((future, batches.add(batch), None))
                    else:
                        batches.flush()
                        answers.append((future, in_savepoint(connection, work), None))
                except Exception as error:
                    if _concerns_all(error):
                        raise
                    answers.append((future, None, error))
            batches.flush()
            connection.execute("COMMIT")
        except Exception as error:
            self._roll_back()
            self.counters["failed_commits"] += 1
            if again and not _is_full(error):
                # Whoever it was fails alone; what was remembered wrongly is forgotten now.
                return [answer for job in jobs for answer in self._commit([job], again=False)]
            failure = _unavailable(error)
            return [(job.future, None, failure) for job in jobs]
        batches.committed()
        self._dirty = True
        self.counters["commits"] += 1
        self.counters["jobs"] += len(jobs)
        return answers

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            log.exception("rollback failed")
        self._batches.rolled_back()

    def _deliver(self, answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
        try:
            self._loop.call_soon_threadsafe(_answer, answers)
        except RuntimeError:  # the loop is gone, and with it whoever waited
            log.debug("answers after the end of the loop")


def in_savepoint(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """Run ``work``; what it wrote is undone if it raises, unless the whole transaction is lost anyway."""
    connection.execute("SAVEPOINT job")
    try:
        result = work(connection)
    except Exception as error:
        if not _concerns_all(error):
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
        raise
    connection.execute("RELEASE job")
    return result


def _is_full(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "full" in str(error)


def _concerns_all(error: Exception) -> bool:
    """A full disk, an I/O error, damage: SQLite may have given up the transaction."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)
    )


def _answer(answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for future, result, error in answers:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _unavailable(error: Exception) -> TowlineError:
    if isinstance(error, TowlineError):
        return error
    if _is_full(error):
        return Unavailable("store.full", "nothing was stored: the disk is full", hint="make room; it goes on by itself")
    log.error("a commit failed", exc_info=error)
    return Unavailable("store.write_failed", f"nothing was stored: {error}")
