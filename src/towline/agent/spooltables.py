# SPDX-License-Identifier: Apache-2.0
"""The spool's tables: what is read and written there, each function within a transaction of the caller's."""

from __future__ import annotations

import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from towline.protocols.link.items import LANES, Lane

Target = Literal["urgent", "live"]
Encoded = tuple[Target, str, bytes]
"""Lane, kind, item."""
CHUNK = 16 * 1024
"""Items of one kind are kept in rows of about this size."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A batch that was numbered and not acknowledged."""

    seq: int
    body: bytes


def load(connection: sqlite3.Connection, device_id: str) -> tuple[str, dict[Lane, int], dict[Lane, Flight], int, int]:
    owner = get_meta(connection, "device_id")
    if owner and device_id and owner != device_id:
        for table in ("pending", "flight", "lane", "dropped", "command", "plugin_key", "setting", "plugin"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608
        set_meta(connection, "backlog_until", "0")
        new_id(connection)
    if device_id:
        set_meta(connection, "device_id", device_id)
    spool_id = get_meta(connection, "spool_id") or new_id(connection)
    last: dict[Lane, int] = dict.fromkeys(LANES, 0)
    last.update(connection.execute("SELECT name, last FROM lane").fetchall())
    flights: dict[Lane, Flight] = {
        lane: Flight(seq, body) for lane, seq, body in connection.execute("SELECT lane, seq, body FROM flight")
    }
    return spool_id, last, flights, size_of(connection), int(get_meta(connection, "backlog_until") or 0)


def size_of(connection: sqlite3.Connection) -> int:
    total = 0
    for table in ("pending", "flight"):
        (size,) = connection.execute(f"SELECT coalesce(sum(length(body)), 0) FROM {table}").fetchone()  # noqa: S608
        total += size
    return total


def rows_of(encoded: list[Encoded]) -> Iterator[tuple[Target, str, int, bytes]]:
    """Urgent items one by one, in order; others joined by kind."""
    by_kind: dict[str, list[bytes]] = {}
    for lane, kind, body in encoded:
        if lane == "urgent":
            yield lane, kind, 1, body
        else:
            by_kind.setdefault(kind, []).append(body)
    for kind, bodies in by_kind.items():
        group: list[bytes] = []
        size = 0
        for body in bodies:
            if group and size + len(body) > CHUNK:
                yield "live", kind, len(group), b"".join(group)
                group, size = [], 0
            group.append(body)
            size += len(body)
        yield "live", kind, len(group), b"".join(group)


def count_lost(connection: sqlite3.Connection, lost: Counter[str]) -> None:
    connection.executemany(
        "INSERT INTO dropped VALUES (?, ?) ON CONFLICT (kind) DO UPDATE SET count = count + excluded.count",
        list(lost.items()),
    )


def get_meta(connection: sqlite3.Connection, key: str) -> str:
    row: Any = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else ""


def set_meta(connection: sqlite3.Connection, key: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def new_id(connection: sqlite3.Connection) -> str:
    spool_id = secrets.token_hex(16)
    set_meta(connection, "spool_id", spool_id)
    return spool_id
