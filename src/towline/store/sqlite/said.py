# SPDX-License-Identifier: Apache-2.0
"""Storing what a batch carries besides records: states, declarations, plugins' presence, alerts, command steps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from towline.protocols.link.items import (
    Alert,
    CommandStep,
    Declared,
    Item,
    Lane,
    PluginPresence,
    Record,
    State,
)
from towline.store.rows import AlertRow, DeclarationRow, PluginPresenceRow, StepOutcome
from towline.store.sqlite.ledger import apply_step
from towline.store.sqlite.writer import in_savepoint

_UPSERT_STATE: Final = (
    "INSERT INTO state (workgroup, device_id, app_guid, tbl, source, name, value, time_us)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (workgroup, device_id, app_guid, source, name) DO UPDATE SET tbl = excluded.tbl, value = excluded.value,"
    " time_us = excluded.time_us WHERE ? OR excluded.time_us >= state.time_us"
)
_UPSERT_DECLARATION: Final = (
    "INSERT INTO declaration (workgroup, device_id, app_guid, app_name, version, display_name, declaration, declared_us)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (workgroup, device_id, app_guid) DO UPDATE SET app_name = excluded.app_name,"
    " version = excluded.version, display_name = excluded.display_name, declaration = excluded.declaration,"
    " declared_us = excluded.declared_us"
)
_UPSERT_PRESENCE: Final = (
    "INSERT INTO plugin_presence (workgroup, device_id, app_guid, app_name, online, since_us, cause)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (workgroup, device_id, app_guid) DO UPDATE SET app_name = excluded.app_name, online = excluded.online,"
    " since_us = excluded.since_us, cause = excluded.cause"
)
_INSERT_ALERT: Final = "INSERT INTO alert VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Said:
    """Takes the items of one batch in order and collects what they changed."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        workgroup: str,
        device_id: str,
        lane: Lane,
        stored_us: int,
        message_id: int,
    ) -> None:
        self._connection = connection
        self._whose = (workgroup, device_id)
        self._newest = lane != "backlog"
        self._stored_us = stored_us
        self.message_id = message_id
        """The last one given."""
        self.states: list[State] = []
        self.declarations: list[DeclarationRow] = []
        self.plugin_presences: list[PluginPresenceRow] = []
        self.alerts: list[AlertRow] = []
        self.steps: list[StepOutcome] = []

    def take(self, item: Item) -> str | None:
        """Store an item that is not a record; why it cannot be kept, or None."""
        store = _STORE.get(type(item))
        if store is None:
            return f"an item of unknown type {type(item).__name__}"
        try:
            store(self, item)
        except (UnicodeError, OverflowError, sqlite3.ProgrammingError, sqlite3.InterfaceError) as error:
            return str(error)
        return None

    def _state(self, item: State) -> None:
        cursor = self._connection.execute(
            _UPSERT_STATE,
            (
                *self._whose,
                item.app_guid,
                item.table,
                item.source,
                item.name,
                bytes(item.value).decode(),
                item.time_us,
                self._newest,
            ),
        )
        if cursor.rowcount:
            self.states.append(item)

    def _declared(self, item: Declared) -> None:
        before = self._connection.execute(
            "SELECT declaration FROM declaration WHERE workgroup = ? AND device_id = ? AND app_guid = ?",
            (*self._whose, item.app_guid),
        ).fetchone()
        declaration = bytes(item.declaration)
        values = (item.app_name, item.version, item.display_name, declaration, item.time_us)
        self._connection.execute(_UPSERT_DECLARATION, (*self._whose, item.app_guid, *values))
        self.declarations.append(
            DeclarationRow(
                device_id=self._whose[1],
                app_guid=item.app_guid,
                app_name=item.app_name,
                version=item.version,
                display_name=item.display_name,
                declaration=declaration,
                declared_us=item.time_us,
                changed=before is None or before[0] != declaration,
            )
        )

    def _presence(self, item: PluginPresence) -> None:
        values = (item.app_guid, item.app_name, item.online, item.time_us, item.cause)
        self._connection.execute(_UPSERT_PRESENCE, (*self._whose, *values))
        self.plugin_presences.append(
            PluginPresenceRow(
                device_id=self._whose[1],
                app_guid=item.app_guid,
                app_name=item.app_name,
                online=item.online,
                since_us=item.time_us,
                cause=item.cause,
            )
        )

    def _alert(self, item: Alert) -> None:
        message_id = self.message_id + 1
        values = (item.app_guid, item.table, item.source, item.name, item.action, item.message, item.time_us)
        self._connection.execute(_INSERT_ALERT, (message_id, *self._whose, *values, self._stored_us))
        self.message_id = message_id
        self.alerts.append(
            AlertRow(
                message_id=message_id,
                device_id=self._whose[1],
                app_guid=item.app_guid,
                table=item.table,
                source=item.source,
                name=item.name,
                action=item.action,
                message=item.message,
                time_us=item.time_us,
                stored_us=self._stored_us,
            )
        )

    def _step(self, item: CommandStep) -> None:
        workgroup, device_id = self._whose
        # What became of a command is worth more than a character: a broken one is replaced.
        result = None if item.result is None else bytes(item.result).decode(errors="replace")

        def work(connection: sqlite3.Connection) -> StepOutcome:
            return apply_step(
                connection,
                workgroup,
                device_id,
                item.command_id,
                item.step,
                item.time_us,
                result,
                item.note,
                self._stored_us,
            )

        self.steps.append(in_savepoint(self._connection, work))


_STORE: Final[dict[type, Callable[[Said, Any], None]]] = {
    State: Said._state,
    Declared: Said._declared,
    PluginPresence: Said._presence,
    Alert: Said._alert,
    CommandStep: Said._step,
}
assert Record not in _STORE, "records are encoded in blocks"
