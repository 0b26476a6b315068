# SPDX-License-Identifier: Apache-2.0
"""Settings, the audit log and leases in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from towline.errors import Conflict
from towline.store.rows import SYSTEM, AuditEntry, Lease, Setting
from towline.store.sqlite.access import Access, check_limit

_SELECT_SETTING: Final = "SELECT workgroup, key, value, version, updated_us, updated_by FROM setting"
_SELECT_AUDIT: Final = (
    "SELECT workgroup, time_us, user_id, user_name, action, entity, entity_id, detail, address, id FROM audit"
)
_MAX_SKEW_US: Final = 60_000_000
"""By how much clocks of hubs may differ."""


def _setting(row: Sequence[Any]) -> Setting:
    return Setting(workgroup=row[0], key=row[1], value=row[2], version=row[3], updated_us=row[4], updated_by=row[5])


def _version(connection: sqlite3.Connection, workgroup: str, key: str, expected: int | None) -> int:
    """The present version, 0 when there is none. Conflict ``setting.version``."""
    row = connection.execute("SELECT version FROM setting WHERE workgroup = ? AND key = ?", (workgroup, key)).fetchone()
    version = 0 if row is None else int(row[0])
    if expected is not None and expected != version:
        raise Conflict(
            "setting.version", f"somebody else changed it: it has version {version}, not {expected}", where=key
        )
    return version


class SqliteSettings:
    """Fulfils :class:`towline.store.base.SettingStore`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def get(self, workgroup: str, key: str) -> Setting | None:
        def query(connection: sqlite3.Connection) -> Setting | None:
            row = connection.execute(f"{_SELECT_SETTING} WHERE workgroup = ? AND key = ?", (workgroup, key)).fetchone()
            return None if row is None else _setting(row)

        return await self._access.read(query)

    async def list(self, workgroup: str, prefix: str = "") -> list[Setting]:
        return await self._access.read(
            lambda connection: [
                _setting(row)
                for row in connection.execute(
                    f"{_SELECT_SETTING} WHERE workgroup = ? AND substr(key, 1, ?) = ? ORDER BY key",
                    (workgroup, len(prefix), prefix),
                )
            ]
        )

    async def put(
        self,
        workgroup: str,
        key: str,
        value: bytes,
        now_us: int,
        *,
        expected: int | None = None,
        by: str = "",
    ) -> Setting:
        def work(connection: sqlite3.Connection) -> Setting:
            version = _version(connection, workgroup, key, expected) + 1
            row = (workgroup, key, value, version, now_us, by)
            connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?, ?, ?, ?, ?)", row)
            return _setting(row)

        return await self._access.write(work)

    async def delete(self, workgroup: str, key: str, *, expected: int | None = None) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            if not _version(connection, workgroup, key, expected):
                return False
            connection.execute("DELETE FROM setting WHERE workgroup = ? AND key = ?", (workgroup, key))
            return True

        return await self._access.write(work)


class SqliteAudit:
    """Fulfils :class:`towline.store.base.AuditStore`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def append(self, entry: AuditEntry) -> AuditEntry:
        def work(connection: sqlite3.Connection) -> AuditEntry:
            cursor = connection.execute(
                "INSERT INTO audit (workgroup, time_us, user_id, user_name, action, entity, entity_id, detail, address)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    entry.workgroup,
                    entry.time_us,
                    entry.user_id,
                    entry.user_name,
                    entry.action,
                    entry.entity,
                    entry.entity_id,
                    entry.detail,
                    entry.address,
                ),
            )
            return msgspec.structs.replace(entry, id=int(cursor.lastrowid or 0))

        return await self._access.write(work)

    async def list(
        self,
        workgroup: str,
        *,
        limit: int = 100,
        before: int | None = None,
        entity: str | None = None,
        entity_id: str | None = None,
    ) -> list[AuditEntry]:
        check_limit(limit)
        where, values = "workgroup = ?", [workgroup]
        conditions: list[tuple[str, Any]] = [("id < ?", before), ("entity = ?", entity), ("entity_id = ?", entity_id)]
        for condition, value in conditions:
            if value is not None:
                where += f" AND {condition}"
                values.append(value)

        def query(connection: sqlite3.Connection) -> list[AuditEntry]:
            sql = f"{_SELECT_AUDIT} WHERE {where} ORDER BY id DESC LIMIT ?"
            return [_audit(row) for row in connection.execute(sql, (*values, limit))]

        return await self._access.read(query)


def _audit(row: Sequence[Any]) -> AuditEntry:
    return AuditEntry(
        workgroup=row[0],
        time_us=row[1],
        user_id=row[2],
        user_name=row[3],
        action=row[4],
        entity=row[5],
        entity_id=row[6],
        detail=row[7],
        address=row[8],
        id=row[9],
    )


class SqliteLeases:
    """Fulfils :class:`towline.store.base.LeaseStore`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def take(self, name: str, owner: str, ttl_us: int, now_us: int) -> bool:
        return await self._access.write(
            lambda connection: (
                connection.execute(
                    "INSERT INTO lease (name, workgroup, owner, expires_us) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (workgroup, name) DO UPDATE"
                    " SET owner = excluded.owner, expires_us = excluded.expires_us"
                    " WHERE lease.owner = excluded.owner OR lease.expires_us <= ? OR lease.expires_us > ?",
                    # No lease is so long: it was taken before a clock was set back.
                    (name, SYSTEM, owner, now_us + ttl_us, now_us, now_us + ttl_us + _MAX_SKEW_US),
                ).rowcount
                > 0
            )
        )

    async def release(self, name: str, owner: str) -> bool:
        return await self._access.write(
            lambda connection: (
                connection.execute(
                    "DELETE FROM lease WHERE workgroup = ? AND name = ? AND owner = ?", (SYSTEM, name, owner)
                ).rowcount
                > 0
            )
        )

    async def get(self, name: str) -> Lease | None:
        def query(connection: sqlite3.Connection) -> Lease | None:
            row = connection.execute(
                "SELECT name, owner, expires_us FROM lease WHERE workgroup = ? AND name = ?", (SYSTEM, name)
            ).fetchone()
            return None if row is None else Lease(name=row[0], owner=row[1], expires_us=row[2])

        return await self._access.read(query)
