# SPDX-License-Identifier: Apache-2.0
"""Presence in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from towline.errors import NotFound, Refused
from towline.store.rows import Confirmation, Connected, Presence, RosterEntry
from towline.store.sqlite.access import Access

PRESENCE_COLUMNS: Final = "p.workgroup, p.device_id, p.state, p.since_us, p.cause, p.detail, p.conn, p.node, p.counter"
_SELECT: Final = f"SELECT {PRESENCE_COLUMNS} FROM presence p"


def presence_row(row: Sequence[Any]) -> Presence:
    return Presence(
        workgroup=row[0],
        device_id=row[1],
        state=row[2],
        since_us=row[3],
        cause=row[4],
        detail=row[5],
        conn=row[6],
        node=row[7],
        counter=row[8],
    )


def presence_of(connection: sqlite3.Connection, workgroup: str, device_id: str) -> Presence:
    """NotFound ``device.unknown``."""
    row = connection.execute(f"{_SELECT} WHERE workgroup = ? AND device_id = ?", (workgroup, device_id)).fetchone()
    if row is None:
        raise NotFound("device.unknown", f"there is no device {device_id}")
    return presence_row(row)


class SqlitePresence:
    """Fulfils :class:`towline.store.base.PresenceStore`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def get(self, workgroup: str, device_id: str) -> Presence | None:
        def query(connection: sqlite3.Connection) -> Presence | None:
            row = connection.execute(
                f"{_SELECT} WHERE workgroup = ? AND device_id = ?", (workgroup, device_id)
            ).fetchone()
            return None if row is None else presence_row(row)

        return await self._access.read(query)

    async def connected(
        self, workgroup: str, device_id: str, conn: str, node: str, now_us: int, detail: str = ""
    ) -> Connected:
        def work(connection: sqlite3.Connection) -> Connected:
            before = presence_of(connection, workgroup, device_id)
            if connection.execute(
                "SELECT revoked_us FROM device WHERE workgroup = ? AND id = ?", (workgroup, device_id)
            ).fetchone()[0]:
                raise Refused("device.revoked", "the key of this device was revoked")
            replaced = before.conn if before.conn not in ("", conn) else None
            connection.execute(
                "UPDATE presence SET state = 'online', since_us = ?, cause = ?, detail = ?, conn = ?, node = ?,"
                " counter = counter + 1 WHERE workgroup = ? AND device_id = ?",
                (
                    now_us,
                    "replaced" if replaced and before.state == "online" else "connected",
                    detail,
                    conn,
                    node,
                    workgroup,
                    device_id,
                ),
            )
            return Connected(
                presence=presence_of(connection, workgroup, device_id),
                before=before,
                replaced=replaced,
                replaced_node=None if replaced is None else before.node,
            )

        return await self._access.write(work)

    async def disconnected(
        self, workgroup: str, device_id: str, conn: str, cause: str, now_us: int, detail: str = ""
    ) -> Presence | None:
        def work(connection: sqlite3.Connection) -> Presence | None:
            which = " WHERE workgroup = ? AND device_id = ? AND conn = ? AND conn <> ''"
            changed = connection.execute(
                "UPDATE presence SET state = 'offline', since_us = ?, cause = ?, detail = ?, conn = '', node = ''"
                f"{which} AND state <> 'offline'",
                (now_us, cause, detail, workgroup, device_id, conn),
            ).rowcount
            if changed:
                return presence_of(connection, workgroup, device_id)
            # Declared offline before (not seen in time): only the name of its connection goes.
            connection.execute(f"UPDATE presence SET conn = '', node = ''{which}", (workgroup, device_id, conn))
            return None

        return await self._access.write(work)

    async def node_died(self, node: str, cause: str, now_us: int) -> list[Presence]:
        return await self._end("node = ? AND node <> ''", (node,), cause, now_us, keep=False)

    async def verifying_all(self, now_us: int, nodes: Sequence[str] | None = None) -> int:
        # The connection stays named: it is what a roster is compared with.
        where = "state = 'online'"
        values: tuple[str, ...] = ()
        if nodes is not None:
            where += f" AND node IN ({', '.join('?' * len(nodes))})"
            values = tuple(nodes)
        return await self._access.write(
            lambda connection: (
                connection.execute(
                    f"UPDATE presence SET state = 'verifying', since_us = ?, cause = 'hub_restarted', detail = ''"
                    f" WHERE {where}",
                    (now_us, *values),
                ).rowcount
            )
        )

    async def confirm(self, node: str, roster: Sequence[RosterEntry], now_us: int) -> Confirmation:
        def work(connection: sqlite3.Connection) -> Confirmation:
            online: list[Presence] = []
            stale: list[RosterEntry] = []
            current: list[RosterEntry] = []
            for entry in roster:
                verdict = _confirm_one(connection, node, entry, now_us)
                if verdict is None:
                    stale.append(entry)
                    continue
                current.append(entry)
                if verdict:
                    online.append(presence_of(connection, entry.workgroup, entry.device_id))
            return Confirmation(online=online, stale=stale, current=current)

        return await self._access.write(work)

    async def expire_verifying(self, cause: str, now_us: int) -> list[Presence]:
        # Counter and connection stay: a roster that comes later still can bring the device back.
        return await self._end("state = 'verifying'", (), cause, now_us, keep=True)

    async def on_node(self, node: str) -> list[Presence]:
        return await self._access.read(
            lambda connection: [
                presence_row(row)
                for row in connection.execute(
                    f"{_SELECT} WHERE node = ? AND node <> '' AND state <> 'offline'", (node,)
                )
            ]
        )

    async def _end(self, where: str, values: tuple[Any, ...], cause: str, now_us: int, *, keep: bool) -> list[Presence]:
        gone = "" if keep else ", conn = '', node = ''"

        def work(connection: sqlite3.Connection) -> list[Presence]:
            rows = connection.execute(f"{_SELECT} WHERE {where} AND state <> 'offline'", values).fetchall()
            connection.execute(
                f"UPDATE presence SET state = 'offline', since_us = ?, cause = ?, detail = ''{gone}"
                f" WHERE {where} AND state <> 'offline'",
                (now_us, cause, *values),
            )
            return [presence_of(connection, row[0], row[1]) for row in rows]

        return await self._access.write(work)


def _confirm_one(connection: sqlite3.Connection, node: str, entry: RosterEntry, now_us: int) -> bool | None:
    """None: stale. Otherwise whether it changed the device's presence."""
    whose = (entry.workgroup, entry.device_id)
    row = connection.execute(
        "SELECT p.conn, p.counter, p.state, d.revoked_us FROM presence p JOIN device d"
        " ON d.workgroup = p.workgroup AND d.id = p.device_id WHERE p.workgroup = ? AND p.device_id = ?",
        whose,
    ).fetchone()
    if row is None or row[3] is not None:
        return None
    conn, counter, state, _ = row
    if entry.counter < counter or (entry.counter == counter and conn not in ("", entry.conn)):
        return None
    if conn == entry.conn and state == "online":
        return False
    # Its counter is as great or greater: it is the newest, also when it was declared offline meanwhile.
    connection.execute(
        "UPDATE presence SET state = 'online', since_us = ?, cause = ?, detail = '', conn = ?, node = ?, counter = ?"
        " WHERE workgroup = ? AND device_id = ?",
        (
            entry.since_us if state == "verifying" else now_us,
            "confirmed" if state == "verifying" else "seen_again",
            entry.conn,
            node,
            entry.counter,
            *whose,
        ),
    )
    return True
