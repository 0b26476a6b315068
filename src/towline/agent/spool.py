# SPDX-License-Identifier: Apache-2.0
"""The spool: everything on its way to the hub, in one file, until the hub has committed it.

Items come in through :meth:`Spool.append` and are committed at most 100 ms later (urgent ones at once). A batch is
made, numbered and committed before it is first sent and never changes after. What piled up while the hub was away
moves to the lane ``backlog``, so that ``live`` stays live. When the spool is full the oldest metrics go first, then
logs, states and events; what is lost is counted by kind and the count travels with the next batch.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from towline.agent.database import Database
from towline.agent.spooltables import (
    Encoded,
    Flight,
    Target,
    count_lost,
    get_meta,
    load,
    new_id,
    rows_of,
    set_meta,
    size_of,
)
from towline.protocols.link.items import (
    LANES,
    Alert,
    CommandStep,
    Declared,
    Item,
    Lane,
    PluginPresence,
    Record,
    State,
    decode_batch,
    encode_batch,
    encode_item,
    encode_joined,
)
from towline.protocols.link.limits import MAX_BATCH, MAX_BATCH_FRAME

log = logging.getLogger("towline.agent.spool")

COMMIT_S = 0.1
RETRY_S = 1.0
"""After the disk refused a commit."""
_ROOM = 512
"""Bytes of a batch besides its items."""
_DROP_ORDER = ("metric", "log", "state", "event")
_KINDS: dict[type, str] = {
    State: "state",
    Declared: "declared",
    PluginPresence: "presence",
    Alert: "alert",
    CommandStep: "command",
}


class Outgoing(Protocol):
    """Where the parts of the agent put what is for the hub: the spool, or a printer in the standalone mode."""

    def append(self, lane: Target, items: Iterable[Item], *, at_once: bool = False) -> bool:
        """Take items; False if they are refused, which is counted. ``at_once``: ``live`` goes without its usual wait."""
        ...

    def add(self, connection: sqlite3.Connection, lane: Target, items: Iterable[Item]) -> None:
        """Take items within a transaction of the agent's database."""
        ...


def kind_of(item: Item) -> str:
    """What an item is counted as when it is lost."""
    return item.kind if isinstance(item, Record) else _KINDS[type(item)]


class Spool:
    """See the module. All methods are for the event loop's thread, except those that take a connection.

    :ivar spool_id: random, made with the file; part of every batch
    :ivar flights: the batch in flight of each lane
    :ivar last: the highest sequence of each lane
    :ivar dropped: items lost since the start of the process, by kind
    :ivar refused: items that could not even be taken, by kind
    """

    def __init__(self, database: Database, *, limit: int, on_data: Callable[[], None] = lambda: None) -> None:
        self.spool_id = ""
        self.flights: dict[Lane, Flight] = {}
        self.last: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self.dropped: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.on_data = on_data
        self.on_hurry: Callable[[], object] = lambda: None
        self.eager = False
        self.on_eager: Callable[[Flight], object] = lambda _flight: None
        self._database = database
        self._limit = limit
        self._bytes = 0
        self._backlog_until = 0
        self._failures = 0
        self._waiting: list[Encoded] = []
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._broken = False
        self._hurry = False

    # -- opening
    # -----------------------------------------------------------------------------------------------------

    async def open(self, device_id: str) -> None:
        """Read what the file holds. A file that belongs to another device is emptied first."""
        self.spool_id, self.last, self.flights, self._bytes, self._backlog_until = await self._database.run(
            lambda connection: load(connection, device_id)
        )

    async def adopt(self, device_id: str) -> None:
        """The agent was enrolled anew: what waits for another device's hub is not for this one."""
        await self.commit()
        await self.open(device_id)

    async def renew(self) -> None:
        """Give the spool a new id: the hub knows sequences that this file does not (it was restored from a
        copy).
        """

        def renew(connection: sqlite3.Connection) -> None:
            spool_id = new_id(connection)
            connection.execute("DELETE FROM lane")
            for lane, body in connection.execute("SELECT lane, body FROM flight").fetchall():
                batch = decode_batch(body)
                again = encode_batch(spool_id, lane, 1, [encode_item(item) for item in batch.items], batch.dropped)
                connection.execute("UPDATE flight SET seq = 1, body = ? WHERE lane = ?", (again, lane))
                connection.execute("INSERT INTO lane VALUES (?, 1)", (lane,))

        log.warning("the hub knows more of this spool than the spool itself; it goes on under a new id")
        await self._database.run(renew)
        device = await self._database.run(lambda connection: get_meta(connection, "device_id"))
        await self.open(device)

    # -- coming in
    # ---------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes that wait, those not committed yet included."""
        return self._bytes + self._waiting_bytes

    @property
    def broken(self) -> bool:
        """The last commit failed: items are refused until one succeeds."""
        return self._broken

    def append(self, lane: Target, items: Iterable[Item], *, at_once: bool = False) -> bool:
        """Take items. False if the spool cannot be written; they are then counted in :attr:`refused`.

        ``live`` is committed within 100 ms, or with ``at_once`` now, and then leaves now with all before it; ``urgent``
        at once and in order.
        """
        encoded = [(lane, kind_of(item), encode_item(item)) for item in items]
        if self._broken:
            self.refused.update(kind for _, kind, _ in encoded)
            return False
        self._waiting += encoded
        self._waiting_bytes += sum(len(body) for _, _, body in encoded)
        self._hurry = self._hurry or at_once
        if lane == "urgent" or at_once:
            self._commit_soon()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(COMMIT_S, self._commit_soon)
        return True

    def add(self, connection: sqlite3.Connection, lane: Target, items: Iterable[Item]) -> None:
        """Take items in a transaction of the caller's, so that they stand or fall with its other changes.

        While ``eager`` is set and nothing urgent is in flight, that transaction makes the next urgent batch too: a
        command's step then costs one commit instead of two. ``on_eager`` is told of each such batch.
        """
        self._insert(connection, [(lane, kind_of(item), encode_item(item)) for item in items])
        flight = self._fill(connection, "urgent") if lane == "urgent" and self.eager else None
        self._database.after_commit(self.on_data if flight is None else lambda: self._eager(flight))

    def _eager(self, flight: Flight) -> None:
        self.flights["urgent"] = flight
        self.last["urgent"] = flight.seq
        self.on_eager(flight)

    async def commit(self) -> None:
        """Commit what waits now; raises Unavailable ``agent.disk``."""
        future = self._commit_soon()
        if future is not None:
            await future

    def _commit_soon(self) -> asyncio.Future[None] | None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        hurry, self._hurry = self._hurry, False
        self._waiting_bytes = 0
        if not waiting:
            return None
        future = self._database.run(lambda connection: self._insert(connection, waiting))
        future.add_done_callback(lambda done: self._committed(done, waiting, hurry))
        return future

    def _committed(self, future: asyncio.Future[None], waiting: list[Encoded], hurry: bool) -> None:
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is None:
            if self._broken:
                log.info("the spool can be written again")
            self._broken = False
            if hurry:
                self.on_hurry()
            self.on_data()
            return
        if not self._broken:
            log.error("the spool cannot be written: %s", error)
        self._broken = True
        # What was taken is kept and tried again; what comes meanwhile is refused.
        self._waiting = waiting + self._waiting
        self._hurry = self._hurry or hurry
        self._waiting_bytes = sum(len(body) for _, _, body in self._waiting)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RETRY_S, self._commit_soon)

    def _insert(self, connection: sqlite3.Connection, encoded: list[Encoded]) -> None:
        """In the writer's thread."""
        if self._failures != self._database.failures:  # what a failed commit had added to the size was undone
            self._failures = self._database.failures
            self._bytes = size_of(connection)
        lost: Counter[str] = Counter()
        for row in rows_of(encoded):
            if len(row[3]) > MAX_BATCH - _ROOM:
                lost[row[1]] += row[2]
                continue
            connection.execute("INSERT INTO pending (lane, kind, items, body) VALUES (?, ?, ?, ?)", row)
            self._bytes += len(row[3])
        if self._bytes > self._limit:
            lost += self._make_room(connection)
        if lost:
            count_lost(connection, lost)
            self.dropped += lost

    def _make_room(self, connection: sqlite3.Connection) -> Counter[str]:
        lost: Counter[str] = Counter()
        target = self._limit - self._limit // 50
        for kind in (*_DROP_ORDER, None):
            while self._bytes > target:
                where, values = ("WHERE kind = ?", (kind,)) if kind else ("WHERE kind <> 'command'", ())
                rows = connection.execute(
                    f"SELECT id, kind, items, length(body) FROM pending {where} ORDER BY id LIMIT 64",  # noqa: S608
                    values,
                ).fetchall()
                if not rows:
                    break
                for row_id, row_kind, items, size in rows:
                    connection.execute("DELETE FROM pending WHERE id = ?", (row_id,))
                    self._bytes -= size
                    lost[row_kind] += items
                    if self._bytes <= target:
                        break
        return lost

    # -- going out
    # ---------------------------------------------------------------------------------------------------

    async def went_online(self) -> None:
        """A link is up: what waits in ``live`` beyond one batch is old and becomes the backlog."""

        def mark(connection: sqlite3.Connection) -> int:
            fresh = "SELECT coalesce(sum(length(body)), 0) FROM pending WHERE lane = 'live' AND id > ?"
            (waiting,) = connection.execute(fresh, (self._backlog_until,)).fetchone()
            if waiting <= MAX_BATCH_FRAME:
                return self._backlog_until
            (until,) = connection.execute("SELECT max(id) FROM pending").fetchone()
            set_meta(connection, "backlog_until", str(until))
            return int(until)

        self._backlog_until = await self._database.run(mark)

    async def fill(self, lane: Lane) -> Flight | None:
        """Make and number the next batch of a lane; None if nothing waits there. Committed when this returns."""
        flight = await self._database.run(lambda connection: self._fill(connection, lane))
        if flight is not None:
            self.flights[lane] = flight
            self.last[lane] = flight.seq
        return flight

    async def trim(self, lane: Lane, *, refill: bool) -> Flight | None:
        """The batch in flight is stored at the hub: forget it and, in the same commit, make the next."""
        done = self.flights.get(lane)

        def trim(connection: sqlite3.Connection) -> Flight | None:
            if done is not None:
                connection.execute("DELETE FROM flight WHERE lane = ? AND seq = ?", (lane, done.seq))
                self._bytes -= len(done.body)
            flight = self._fill(connection, lane) if refill else None
            connection.execute("PRAGMA incremental_vacuum(64)").fetchall()
            return flight

        flight = await self._database.run(trim)
        if self.flights.get(lane) is done:  # only now: a disk that refuses is tried again
            self.flights.pop(lane, None)
        if flight is not None:
            self.flights[lane] = flight
            self.last[lane] = flight.seq
        return flight

    def _fill(self, connection: sqlite3.Connection, lane: Lane) -> Flight | None:
        """In the writer's thread. None if nothing waits or a batch of the lane is in flight already."""
        if connection.execute("SELECT 1 FROM flight WHERE lane = ?", (lane,)).fetchone():
            return None
        condition = {
            "urgent": "lane = 'urgent' AND id > ?",
            "live": "lane = 'live' AND id > ?",
            "backlog": "lane = 'live' AND id <= ?",
        }[lane]
        bound = 0 if lane == "urgent" else self._backlog_until
        cursor = connection.execute(
            f"SELECT id, items, body FROM pending WHERE {condition} ORDER BY id LIMIT 2000",  # noqa: S608
            (bound,),
        )
        bodies: list[bytes] = []
        ids: list[tuple[int]] = []
        count = size = 0
        for row_id, items, body in cursor:
            if bodies and size + len(body) > MAX_BATCH_FRAME - _ROOM:
                break
            ids.append((row_id,))
            bodies.append(body)
            count += items
            size += len(body)
        cursor.close()
        lost = dict(connection.execute("SELECT kind, count FROM dropped").fetchall())
        if not bodies and not (lost and lane == "urgent"):
            return None
        row = connection.execute("SELECT last FROM lane WHERE name = ?", (lane,)).fetchone()
        seq = (row[0] if row else 0) + 1
        body = encode_joined(self.spool_id, lane, seq, count, b"".join(bodies), lost)
        connection.execute("INSERT OR REPLACE INTO lane VALUES (?, ?)", (lane, seq))
        connection.execute("INSERT INTO flight VALUES (?, ?, ?)", (lane, seq, body))
        connection.executemany("DELETE FROM pending WHERE id = ?", ids)
        if lost:
            connection.execute("DELETE FROM dropped")
        self._bytes += len(body) - size
        return Flight(seq, body)
