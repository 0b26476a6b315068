# SPDX-License-Identifier: Apache-2.0
"""Plugins in SQLite: credentials, declarations, presence."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from towline.errors import Conflict, NotFound
from towline.store.rows import DeclarationRow, DevicePlugin, PluginCredential, PluginPresenceRow
from towline.store.sqlite.access import Access
from towline.store.sqlite.devices import check_workgroup

_SELECT: Final = (
    "SELECT workgroup, app_guid, name, platform, architecture, sealed_key, created_us, created_by, revoked_us,"
    " (SELECT count(*) FROM declaration d WHERE d.workgroup = c.workgroup AND d.app_guid = c.app_guid)"
    " FROM credential c"
)


def _credential(row: Sequence[Any]) -> PluginCredential:
    return PluginCredential(
        workgroup=row[0],
        app_guid=row[1],
        name=row[2],
        platform=row[3],
        architecture=row[4],
        sealed_key=row[5],
        created_us=row[6],
        created_by=row[7],
        revoked_us=row[8],
        devices=row[9],
    )


class SqlitePlugins:
    """Fulfils :class:`towline.store.base.PluginStore`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def create_credential(self, credential: PluginCredential) -> PluginCredential:
        whose = (credential.workgroup, credential.app_guid)

        def work(connection: sqlite3.Connection) -> PluginCredential:
            check_workgroup(connection, credential.workgroup)
            row = connection.execute(
                "SELECT revoked_us FROM credential WHERE workgroup = ? AND app_guid = ?", whose
            ).fetchone()
            if row is not None and row[0] is None:
                raise Conflict("plugin.exists", f"plugin {credential.app_guid} has a credential already")
            connection.execute(
                "INSERT OR REPLACE INTO credential VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                (
                    *whose,
                    credential.name,
                    credential.platform,
                    credential.architecture,
                    credential.sealed_key,
                    credential.created_us,
                    credential.created_by,
                ),
            )
            row = connection.execute(f"{_SELECT} WHERE workgroup = ? AND app_guid = ?", whose).fetchone()
            return _credential(row)

        return await self._access.write(work)

    async def credential(self, workgroup: str, app_guid: str) -> PluginCredential | None:
        def query(connection: sqlite3.Connection) -> PluginCredential | None:
            row = connection.execute(
                f"{_SELECT} WHERE workgroup = ? AND app_guid = ?", (workgroup, app_guid)
            ).fetchone()
            return None if row is None else _credential(row)

        return await self._access.read(query)

    async def credentials(self, workgroup: str) -> list[PluginCredential]:
        return await self._access.read(
            lambda connection: [
                _credential(row)
                for row in connection.execute(
                    f"{_SELECT} WHERE workgroup = ? AND revoked_us IS NULL ORDER BY name, app_guid",
                    (workgroup,),
                )
            ]
        )

    async def revoke_credential(self, workgroup: str, app_guid: str, now_us: int) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            row = connection.execute(
                "SELECT revoked_us FROM credential WHERE workgroup = ? AND app_guid = ?",
                (workgroup, app_guid),
            ).fetchone()
            if row is None:
                raise NotFound("plugin.unknown", f"plugin {app_guid} has no credential")
            if row[0] is not None:
                return False
            connection.execute(
                "UPDATE credential SET revoked_us = ? WHERE workgroup = ? AND app_guid = ?",
                (now_us, workgroup, app_guid),
            )
            return True

        return await self._access.write(work)

    async def devices_with(self, workgroup: str, app_guid: str) -> list[str]:
        return await self._access.read(
            lambda connection: [
                row[0]
                for row in connection.execute(
                    "SELECT device_id FROM declaration WHERE workgroup = ? AND app_guid = ? ORDER BY device_id",
                    (workgroup, app_guid),
                )
            ]
        )

    async def of_device(self, workgroup: str, device_id: str) -> list[DevicePlugin]:
        def query(connection: sqlite3.Connection) -> list[DevicePlugin]:
            declarations = {
                row[0]: DeclarationRow(
                    device_id=device_id,
                    app_guid=row[0],
                    app_name=row[1],
                    version=row[2],
                    display_name=row[3],
                    declaration=row[4],
                    declared_us=row[5],
                )
                for row in connection.execute(
                    "SELECT app_guid, app_name, version, display_name, declaration, declared_us FROM declaration"
                    " WHERE workgroup = ? AND device_id = ?",
                    (workgroup, device_id),
                )
            }
            presences = {
                row[0]: PluginPresenceRow(
                    device_id=device_id,
                    app_guid=row[0],
                    app_name=row[1],
                    online=bool(row[2]),
                    since_us=row[3],
                    cause=row[4],
                )
                for row in connection.execute(
                    "SELECT app_guid, app_name, online, since_us, cause FROM plugin_presence"
                    " WHERE workgroup = ? AND device_id = ?",
                    (workgroup, device_id),
                )
            }
            plugins = [
                DevicePlugin(app_guid=guid, declaration=declarations.get(guid), presence=presences.get(guid))
                for guid in declarations.keys() | presences.keys()
            ]
            return sorted(plugins, key=_order)

        return await self._access.read(query)


def _order(plugin: DevicePlugin) -> tuple[str, str]:
    named = plugin.declaration or plugin.presence
    return ("" if named is None else named.app_name, plugin.app_guid)
