# SPDX-License-Identifier: Apache-2.0
"""Workgroups and devices in SQLite."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from towline.errors import Conflict, InvalidInput, NotFound
from towline.ids import WORKGROUP
from towline.store.rows import (
    DEFAULT_GROUP,
    SYSTEM,
    Device,
    DeviceCounts,
    DeviceEntry,
    Facts,
    Page,
    Presence,
    PresenceState,
    Workgroup,
)
from towline.store.sqlite.access import Access, check_limit
from towline.store.sqlite.presence import PRESENCE_COLUMNS, presence_of, presence_row

_COLUMNS: Final = "d.workgroup, d.id, d.name, d.grp, d.public_key, d.created_us, d.facts, d.flags, d.revoked_us"
_WIDTH: Final = 9
_OWN_TABLES: Final = ("presence", "state", "declaration", "plugin_presence", "alert")
"""Tables by device id that go with their device; what goes by device number is swept later."""

_STATES: Final[dict[str, tuple[str, ...]]] = {
    "online": ("online", "verifying"),
    "offline": ("offline", "never"),
    "verifying": ("verifying",),
    "never": ("never",),
}


def check_workgroup(connection: sqlite3.Connection, workgroup: str) -> None:
    """NotFound ``workgroup.unknown``. The system's own exists always."""
    if workgroup != SYSTEM and not _one(connection, "SELECT 1 FROM workgroup WHERE workgroup = ?", (workgroup,)):
        raise NotFound("workgroup.unknown", f"there is no workgroup {workgroup}")


def unknown_device(device_id: str) -> NotFound:
    return NotFound("device.unknown", f"there is no device {device_id}")


def device_row(row: Sequence[Any]) -> Device:
    return Device(
        workgroup=row[0],
        id=row[1],
        name=row[2],
        group=row[3],
        public_key=row[4],
        created_us=row[5],
        facts=msgspec.json.decode(row[6], type=Facts),
        flags=tuple(json.loads(row[7])),
        revoked_us=row[8],
    )


def find_device(connection: sqlite3.Connection, workgroup: str, device_id: str) -> Device:
    """NotFound ``device.unknown``."""
    row = _one(connection, f"SELECT {_COLUMNS} FROM device d WHERE workgroup = ? AND id = ?", (workgroup, device_id))
    if row is None:
        raise unknown_device(device_id)
    return device_row(row)


def device_with_key(connection: sqlite3.Connection, workgroup: str, public_key: bytes) -> Device | None:
    row = _one(
        connection,
        f"SELECT {_COLUMNS} FROM device d WHERE workgroup = ? AND public_key = ?",
        (workgroup, public_key),
    )
    return None if row is None else device_row(row)


def create_device(connection: sqlite3.Connection, device: Device) -> Device:
    """The rows of a new device and its presence. Conflict ``device.exists``, ``device.key_exists``."""
    if _one(connection, "SELECT 1 FROM device WHERE workgroup = ? AND id = ?", (device.workgroup, device.id)):
        raise Conflict("device.exists", f"there is a device {device.id} already")
    if device_with_key(connection, device.workgroup, device.public_key) is not None:
        raise Conflict("device.key_exists", "another device has this public key")
    connection.execute(
        "INSERT INTO device (workgroup, id, name, grp, public_key, created_us, facts, sort, search)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            device.workgroup,
            device.id,
            device.name,
            device.group,
            device.public_key,
            device.created_us,
            msgspec.json.encode(device.facts).decode(),
            device.name.casefold(),
            _search(device),
        ),
    )
    connection.execute(
        "INSERT INTO presence (workgroup, device_id, state, since_us, cause) VALUES (?, ?, 'never', ?, 'created')",
        (device.workgroup, device.id, device.created_us),
    )
    return device


def change_device(connection: sqlite3.Connection, device: Device) -> Device:
    """Write what of a device can change."""
    connection.execute(
        "UPDATE device SET name = ?, grp = ?, public_key = ?, facts = ?, flags = ?, revoked_us = ?, sort = ?, search = ?"
        " WHERE workgroup = ? AND id = ?",
        (
            device.name,
            device.group,
            device.public_key,
            msgspec.json.encode(device.facts).decode(),
            json.dumps(device.flags),
            device.revoked_us,
            device.name.casefold(),
            _search(device),
            device.workgroup,
            device.id,
        ),
    )
    return device


def _search(device: Device) -> str:
    facts = device.facts
    words = (device.name, device.id, facts.hostname, facts.address, facts.platform, facts.os, device.group)
    return "\n".join(words).casefold()


def _one(connection: sqlite3.Connection, sql: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = connection.execute(sql, values).fetchone()
    return row


class SqliteWorkgroups:
    """Fulfils :class:`towline.store.base.WorkgroupStore`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def create(self, workgroup: str, name: str, now_us: int) -> Workgroup:
        if not WORKGROUP.fullmatch(workgroup):
            raise InvalidInput(
                "workgroup.bad_id", f"a workgroup's id is [a-z0-9-]{{2,32}}, not {workgroup!r}", where="id"
            )

        def work(connection: sqlite3.Connection) -> Workgroup:
            if _one(connection, "SELECT 1 FROM workgroup WHERE workgroup = ?", (workgroup,)):
                raise Conflict("workgroup.exists", f"there is a workgroup {workgroup} already")
            connection.execute("INSERT INTO workgroup VALUES (?, ?, ?)", (workgroup, name, now_us))
            return Workgroup(id=workgroup, name=name, created_us=now_us)

        return await self._access.write(work)

    async def get(self, workgroup: str) -> Workgroup | None:
        return next((one for one in await self.list() if one.id == workgroup), None)

    async def list(self) -> list[Workgroup]:
        return await self._access.read(
            lambda connection: [
                Workgroup(id=row[0], name=row[1], created_us=row[2])
                for row in connection.execute(
                    "SELECT workgroup, name, created_us FROM workgroup ORDER BY created_us, workgroup"
                )
            ]
        )


class SqliteDevices:
    """Fulfils :class:`towline.store.base.DeviceStore`.

    :param forget: told in the writer's thread of a device that is being deleted
    """

    def __init__(self, access: Access, forget: Callable[[str, str], None]) -> None:
        self._access = access
        self._forget = forget

    async def create(
        self,
        workgroup: str,
        device_id: str,
        name: str,
        public_key: bytes,
        facts: Facts,
        now_us: int,
        group: str = DEFAULT_GROUP,
    ) -> Device:
        device = Device(
            workgroup=workgroup,
            id=device_id,
            name=name,
            group=group,
            public_key=public_key,
            created_us=now_us,
            facts=facts,
        )

        def work(connection: sqlite3.Connection) -> Device:
            check_workgroup(connection, workgroup)
            return create_device(connection, device)

        return await self._access.write(work)

    async def get(self, workgroup: str, device_id: str) -> DeviceEntry | None:
        def query(connection: sqlite3.Connection) -> DeviceEntry | None:
            row = _one(
                connection,
                f"SELECT {_COLUMNS}, {PRESENCE_COLUMNS} FROM device d JOIN presence p"
                " ON p.workgroup = d.workgroup AND p.device_id = d.id WHERE d.workgroup = ? AND d.id = ?",
                (workgroup, device_id),
            )
            return None if row is None else _entry(row)

        return await self._access.read(query)

    async def list(
        self,
        workgroup: str,
        *,
        search: str = "",
        state: PresenceState | None = None,
        group: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> Page[DeviceEntry]:
        check_limit(limit)
        where, values = ["d.workgroup = ?"], [workgroup]
        for word in search.casefold().split():
            where.append("instr(d.search, ?) > 0")
            values.append(word)
        if state is not None:
            where.append(f"p.state IN ({', '.join('?' * len(_STATES[state]))})")
            values += _STATES[state]
        if group is not None:
            where.append("d.grp = ?")
            values.append(group)
        if after is not None:
            where.append("(d.sort, d.id) > (?, ?)")
            values += _read_cursor(after)
        sql = (
            f"SELECT {_COLUMNS}, {PRESENCE_COLUMNS} FROM device d JOIN presence p"
            " ON p.workgroup = d.workgroup AND p.device_id = d.id"
            f" WHERE {' AND '.join(where)} ORDER BY d.sort, d.id LIMIT ?"
        )

        def query(connection: sqlite3.Connection) -> Page[DeviceEntry]:
            rows = connection.execute(sql, (*values, limit + 1)).fetchall()
            found = [_entry(row) for row in rows[:limit]]
            return Page(items=found, next=_cursor(found[-1].device) if len(rows) > limit else None)

        return await self._access.read(query)

    async def counts(self, workgroup: str) -> DeviceCounts:
        def query(connection: sqlite3.Connection) -> DeviceCounts:
            total, online = connection.execute(
                "SELECT count(*), count(*) FILTER (WHERE state IN ('online', 'verifying')) FROM presence"
                " WHERE workgroup = ?",
                (workgroup,),
            ).fetchone()
            return DeviceCounts(total=total, online=online)

        return await self._access.read(query)

    async def rename(self, workgroup: str, device_id: str, name: str) -> Device:
        return (await self._change(workgroup, device_id, name=name))[0]

    async def set_group(self, workgroup: str, device_id: str, group: str) -> Device:
        return (await self._change(workgroup, device_id, group=group))[0]

    async def set_facts(self, workgroup: str, device_id: str, facts: Facts) -> bool:
        return (await self._change(workgroup, device_id, facts=facts))[1]

    async def set_flag(self, workgroup: str, device_id: str, flag: str, on: bool) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            device = find_device(connection, workgroup, device_id)
            flags = tuple(sorted({*device.flags, flag} if on else set(device.flags) - {flag}))
            if flags == device.flags:
                return False
            change_device(connection, msgspec.structs.replace(device, flags=flags))
            return True

        return await self._access.write(work)

    async def set_key(self, workgroup: str, device_id: str, old: bytes, new: bytes) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            device = find_device(connection, workgroup, device_id)
            if device.public_key != old:
                return False
            other = device_with_key(connection, workgroup, new)
            if other is not None and other.id != device_id:
                raise Conflict("device.key_exists", "another device has this public key")
            change_device(connection, msgspec.structs.replace(device, public_key=new))
            return True

        return await self._access.write(work)

    async def revoke(self, workgroup: str, device_id: str, now_us: int) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            device = find_device(connection, workgroup, device_id)
            if device.revoked_us is not None:
                return False
            change_device(connection, msgspec.structs.replace(device, revoked_us=now_us))
            return True

        return await self._access.write(work)

    async def delete(self, workgroup: str, device_id: str) -> Presence:
        whose = (workgroup, device_id)

        def work(connection: sqlite3.Connection) -> Presence:
            find_device(connection, workgroup, device_id)
            presence = presence_of(connection, workgroup, device_id)
            for table in _OWN_TABLES:
                connection.execute(f"DELETE FROM {table} WHERE workgroup = ? AND device_id = ?", whose)
            connection.execute(
                "DELETE FROM command_step WHERE workgroup = ? AND command IN"
                " (SELECT no FROM command WHERE workgroup = ? AND device_id = ?)",
                (workgroup, *whose),
            )
            connection.execute("DELETE FROM command WHERE workgroup = ? AND device_id = ?", whose)
            connection.execute(
                "INSERT INTO deleted_device SELECT workgroup, no FROM device WHERE workgroup = ? AND id = ?", whose
            )
            connection.execute("DELETE FROM device WHERE workgroup = ? AND id = ?", whose)
            self._forget(workgroup, device_id)
            return presence

        return await self._access.write(work)

    async def _change(self, workgroup: str, device_id: str, **values: Any) -> tuple[Device, bool]:
        def work(connection: sqlite3.Connection) -> tuple[Device, bool]:
            device = find_device(connection, workgroup, device_id)
            changed = msgspec.structs.replace(device, **values)
            return (device, False) if changed == device else (change_device(connection, changed), True)

        return await self._access.write(work)


def _entry(row: Sequence[Any]) -> DeviceEntry:
    return DeviceEntry(device=device_row(row[:_WIDTH]), presence=presence_row(row[_WIDTH:]))


def _cursor(device: Device) -> str:
    return base64.urlsafe_b64encode(json.dumps([device.name.casefold(), device.id]).encode()).decode()


def _read_cursor(text: str) -> list[str]:
    try:
        sort, device_id = json.loads(base64.urlsafe_b64decode(text))
        f"{sort}{device_id}".encode()  # JSON can spell half characters, which no name has
    except (ValueError, TypeError, RecursionError):
        sort = device_id = None
    if not isinstance(sort, str) or not isinstance(device_id, str):
        raise InvalidInput("page.bad_cursor", "not a cursor from a former page", where="after")
    return [sort, device_id]
