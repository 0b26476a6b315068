# SPDX-License-Identifier: Apache-2.0
"""Joining small blocks into compressed ones, and removing what is past retention."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from towline.store import codec
from towline.store.sqlite.access import Access
from towline.store.sqlite.ingest import HOUR_US

log = logging.getLogger("towline.store")

_MAX_JOINED: Final = 5000
"""Plain blocks read for one device at once."""
_MAX_JOINED_READINGS: Final = 200_000
"""And readings: decoded they take some 30 MB and half a second; what an outage left behind is joined in portions."""
_MAX_RECORDS: Final = {"metric": 20_000}
"""Records of one compressed block; those read page by page (events, logs) are smaller."""
_MAX_PAGED: Final = 500


class _Plan(NamedTuple):
    """What is to be replaced by what."""

    old: list[int]
    new: list[tuple[Any, ...]]


class Compaction:
    """Goes round all devices, a piece with each call. Reads and encodes beside the writer, which only swaps rows."""

    def __init__(self, access: Access, bound: Callable[[sqlite3.Connection, int], int]) -> None:
        self._access = access
        self._bound = bound
        self._after = 0
        self._damaged: set[int] = set()

    async def run(self, before_us: int, limit: int) -> int:
        """Join at least ``limit`` plain blocks if there are so many; how many, 0 after a round without any."""
        joined = 0
        start, wrapped = self._after, False
        while joined < limit:
            plans, after = await self._access.scan(lambda connection: self._plan_next(connection, before_us))
            if after is None:
                if wrapped or not start:
                    self._after = 0
                    break
                wrapped, self._after = True, 0
                continue
            self._after = after
            for plan in plans:
                joined += await self._access.write(lambda connection, plan=plan: _swap(connection, plan))  # type: ignore[misc]
        return joined

    def _plan_next(self, connection: sqlite3.Connection, before_us: int) -> tuple[list[_Plan], int | None]:
        """Plans for the next device that has something to join, and its number; None at the end of the round."""
        bound = self._bound(connection, before_us)
        for no, workgroup in connection.execute(
            "SELECT no, workgroup FROM device WHERE no > ? ORDER BY no", (self._after,)
        ):
            plans = [
                plan
                for kind in _kinds(connection, workgroup, no)
                if (plan := self._plan(connection, workgroup, no, kind, bound)) is not None
            ]
            if plans:
                return plans, no
        return [], None

    def _plan(self, connection: sqlite3.Connection, workgroup: str, no: int, kind: str, bound: int) -> _Plan | None:
        rows = connection.execute(
            "SELECT id, readings FROM block WHERE workgroup = ? AND device = ? AND kind = ? AND form = 1"
            " AND id <= ? AND last_id <= ? ORDER BY id LIMIT ?",
            (workgroup, no, kind, bound, bound, _MAX_JOINED),
        )
        old: list[int] = []
        parts: dict[int, list[codec.Entry]] = {}
        total = 0
        for block_id, readings in rows.fetchall():
            if block_id in self._damaged:
                continue
            total += readings
            if old and total > _MAX_JOINED_READINGS:
                break
            data = connection.execute("SELECT data FROM block WHERE id = ?", (block_id,)).fetchone()[0]
            try:
                entries = codec.decode(data)
            except codec.CodecError as error:
                self._damaged.add(block_id)
                log.error("a block cannot be read", extra={"block": block_id, "reason": str(error)})
                continue
            old.append(block_id)
            for entry in entries:
                # Only metrics are asked for by time; others keep the order of their ids, which pages follow.
                parts.setdefault(entry.event_time_us // HOUR_US if kind == "metric" else 0, []).append(entry)
        if not old:
            return None
        size = _MAX_RECORDS.get(kind, _MAX_PAGED)
        pieces = [part[at : at + size] for part in parts.values() for at in range(0, len(part), size)]
        return _Plan(old, [_row(workgroup, no, kind, piece) for piece in pieces])


def _kinds(connection: sqlite3.Connection, workgroup: str, no: int) -> list[str]:
    """Kinds of which the device has blocks: one look into the index for each."""
    kinds: list[str] = []
    kind = ""
    while True:
        row = connection.execute(
            "SELECT kind FROM block WHERE workgroup = ? AND device = ? AND kind > ? ORDER BY kind LIMIT 1",
            (workgroup, no, kind),
        ).fetchone()
        if row is None:
            return kinds
        kind = row[0]
        kinds.append(kind)


def _row(workgroup: str, no: int, kind: str, entries: list[codec.Entry]) -> tuple[Any, ...]:
    times = [entry.event_time_us for entry in entries]
    ids = [entry.message_id for entry in entries]
    return (
        min(ids),
        workgroup,
        no,
        kind,
        codec.COLUMNS,
        min(times),
        max(times),
        max(ids),
        max(entry.stored_us for entry in entries),
        sum(len(entry.series) for entry in entries),
        codec.encode(entries),
    )


def _swap(connection: sqlite3.Connection, plan: _Plan) -> int:
    """Replace the old rows if all of them still are there (a sweep may have come between)."""
    present = 0
    for at in range(0, len(plan.old), 500):
        ids = plan.old[at : at + 500]
        marks = ", ".join("?" * len(ids))
        present += connection.execute(f"SELECT count(*) FROM block WHERE form = 1 AND id IN ({marks})", ids).fetchone()[
            0
        ]
    if present != len(plan.old):
        return 0
    connection.executemany("DELETE FROM block WHERE id = ?", [(block_id,) for block_id in plan.old])
    connection.executemany(
        "INSERT INTO block (id, workgroup, device, kind, form, min_us, max_us, last_id, stored_us, readings, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        plan.new,
    )
    return len(plan.old)


def bound_of(connection: sqlite3.Connection, before_us: int) -> int:
    """The greatest message_id of which it is known that it was stored before ``before_us``; 0 for none."""
    books = dict(connection.execute("SELECT name, value FROM counter").fetchall())
    if books["stored_us"] < before_us:
        return int(books["message_id"])
    row = connection.execute(
        "SELECT coalesce(max(message_id), 0) FROM mark WHERE stored_us < ?", (before_us,)
    ).fetchone()
    return int(row[0])


def sweep(
    connection: sqlite3.Connection, workgroup: str, bound: int, limit: int, kind: str | None, before_us: int
) -> int:
    """Remove blocks, alerts and gaps up to ``bound``, then what deleted devices left; how many blocks and alerts."""
    of_kind, values = ("", [workgroup]) if kind is None else (" AND kind = ?", [workgroup, kind])
    # The oldest have the lowest ids: "+" keeps SQLite from walking through the index by workgroup instead.
    gone = connection.execute(
        "DELETE FROM block WHERE id IN (SELECT id FROM block WHERE id <= ? AND last_id <= ? AND +workgroup = ?"
        f"{of_kind} ORDER BY id LIMIT ?)",
        (bound, bound, *values, limit),
    ).rowcount
    if kind is None and gone < limit:
        gone += connection.execute(
            "DELETE FROM alert WHERE message_id IN"
            " (SELECT message_id FROM alert WHERE message_id <= ? AND workgroup = ? LIMIT ?)",
            (bound, workgroup, limit - gone),
        ).rowcount
    if kind is None and gone < limit:
        connection.execute("DELETE FROM lane_gap WHERE workgroup = ? AND time_us < ?", (workgroup, before_us))
    deleted = connection.execute("SELECT device FROM deleted_device WHERE workgroup = ?", (workgroup,)).fetchall()
    for (no,) in deleted:
        if gone >= limit:
            break
        gone += _sweep_device(connection, workgroup, no, limit - gone)
    return gone


def _sweep_device(connection: sqlite3.Connection, workgroup: str, no: int, limit: int) -> int:
    whose = (workgroup, no)
    gone = connection.execute(
        "DELETE FROM block WHERE id IN (SELECT id FROM block WHERE workgroup = ? AND device = ? LIMIT ?)",
        (*whose, limit),
    ).rowcount
    if gone < limit:
        for table in ("series", "lane", "lane_gap", "lane_drop", "deleted_device"):
            connection.execute(f"DELETE FROM {table} WHERE workgroup = ? AND device = ?", whose)
    return gone
