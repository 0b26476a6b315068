# SPDX-License-Identifier: Apache-2.0
"""What plugins say becomes items for the hub, and what the hub wants reaches plugins.

One :class:`Plugin` for each appGUID that is registered now; the newest connection wins and the older one is closed.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from towline.agent.database import Database
from towline.agent.keys import Keys
from towline.agent.pluginserver import CLOSE_REPLACED, CLOSE_REVOKED, PluginConnection
from towline.agent.pluginsettings import PluginSettings
from towline.agent.spool import Outgoing
from towline.agent.spooltables import Target
from towline.clock import Clock
from towline.errors import Unavailable
from towline.protocols.link.items import Alert, Dec, Declared, Item, PluginPresence, Record, State
from towline.protocols.octo import outgoing as out
from towline.protocols.octo.declaration import Declaration
from towline.protocols.octo.errors import ErrorReply, OctoError, Reason
from towline.protocols.octo.guard import Guard
from towline.protocols.octo.session import (
    Accepted,
    AlertsReported,
    CommandAcked,
    EventsReported,
    LocalCommandAsked,
    MetricsReported,
    Registered,
    StatesReported,
)
from towline.protocols.octo.validate import MetricSample, StateValue

log = logging.getLogger("towline.agent.plugins")
_json = msgspec.json.Encoder()


@dataclass(slots=True)
class Plugin:
    """A plugin that is registered now."""

    app_guid: str
    key: str
    declaration: Declaration
    connection: PluginConnection

    @property
    def app_name(self) -> str:
        return self.declaration.app_name

    def send(self, text: str) -> bool:
        """Write a signed message; False if it could not be taken."""
        return self.connection.send(text)


class Commands(Protocol):
    """What the commands' side wants to know."""

    def registered(self, plugin: Plugin) -> None:
        """A plugin is there (again)."""
        ...

    def acked(self, plugin: Plugin, event: CommandAcked) -> None:
        """An ack that fits its command."""
        ...

    def local(self, plugin: Plugin, event: LocalCommandAsked) -> None:
        """A plugin asks for another's command. OctoError: it cannot be."""
        ...


class PluginCore:
    """See the module.

    :ivar plugins: those registered now, by appGUID
    """

    commands: Commands

    def __init__(
        self,
        outgoing: Outgoing,
        keys: Keys,
        guard: Guard,
        settings: PluginSettings,
        database: Database,
        clock: Clock,
        *,
        agent_events: bool = True,
    ) -> None:
        self.plugins: dict[str, Plugin] = {}
        self._outgoing = outgoing
        self._keys = keys
        self._guard = guard
        self._settings = settings
        self._database = database
        self._clock = clock
        self._agent_events = agent_events
        self._digests: dict[str, tuple[str, str]] = {}
        keys.on_revoked = self.revoked

    async def open(self) -> None:
        """Report plugins that were online when the agent died last time."""
        now = self._clock.now_us()

        def report(connection: sqlite3.Connection) -> None:
            rows = connection.execute("SELECT app_guid, app_name FROM plugin").fetchall()
            connection.execute("DELETE FROM plugin")
            items = [PluginPresence(guid, name, False, "agent_restarted", now) for guid, name in rows]
            if items:
                self._outgoing.add(connection, "urgent", items)

        await self._database.run(report)

    # -- frames ------------------------------------------------------------------------------------------------------

    async def frame(self, connection: PluginConnection, data: bytes, *, binary: bool) -> None:
        """One message of a plugin; a refusal is answered, a success is not (spec octo §4)."""
        session = connection.session
        seen = session.inspect(data, self._clock.now_us(), binary=binary)
        if isinstance(seen, ErrorReply):
            connection.send(seen.encode())
            return
        try:
            key = await self._keys.get(seen.signer)
        except Unavailable as error:
            connection.send(session.refuse(OctoError(Reason.OFFLINE, error.message)).encode())
            return
        event = session.accept(seen, key, self._clock.now_us())
        if isinstance(event, ErrorReply):
            connection.send(event.encode())
            return
        assert key is not None
        try:
            self._accepted(connection, key, event)
        except OctoError as error:
            connection.send(session.refuse(error).encode())

    def _accepted(self, connection: PluginConnection, key: str, event: Accepted) -> None:
        if isinstance(event, Registered):
            self._register(connection, key, event)
            return
        # What came before a newer connection of the plugin took its place was signed as well, and counts.
        plugin = self.plugins.get(connection.session.app_guid or "")
        if plugin is None:
            raise OctoError(Reason.SEQUENCE, "this plugin is not registered any more")
        match event:
            case MetricsReported():
                self._put("live", metric_records(plugin.app_name, event.module, event.metrics))
            case StatesReported():
                self._put("live", self._states(plugin, event.module, event.states))
            case EventsReported():
                self._put(
                    "live",
                    [
                        Record("event", plugin.app_name, event.module, one.time_us, {one.name: one.value})
                        for one in event.events
                    ],
                )
            case AlertsReported():
                self._put(
                    "urgent",
                    [
                        Alert(
                            plugin.app_guid,
                            plugin.app_name,
                            event.module,
                            one.name,
                            one.action,
                            one.message,
                            one.time_us,
                        )
                        for one in event.alerts
                    ],
                )
            case CommandAcked():
                states = self._states(plugin, event.step.command.module, event.states)
                try:
                    if states:
                        # At once (spec octo §1.2), but in the lane of earlier ones, which must not come after them.
                        self._put("live", states, at_once=True)
                finally:  # the book has the ack; it cannot come again
                    self.commands.acked(plugin, event)
            case LocalCommandAsked():
                self.commands.local(plugin, event)

    def _put(self, lane: Target, items: Iterable[Item], *, at_once: bool = False) -> None:
        if not self._outgoing.append(lane, items, at_once=at_once):
            raise OctoError(Reason.OFFLINE, "the device can neither pass this on nor keep it: its disk refuses")

    def _states(self, plugin: Plugin, module: str, states: Iterable[StateValue]) -> list[Item]:
        return [
            State(plugin.app_guid, plugin.app_name, module, one.name, _json.encode(one.value), one.time_us)
            for one in states
        ]

    # -- coming and going --------------------------------------------------------------------------------------------

    def _register(self, connection: PluginConnection, key: str, event: Registered) -> None:
        declaration = event.declaration
        guid, now = declaration.app_guid, self._clock.now_us()
        before = self.plugins.get(guid)
        plugin = self.plugins[guid] = Plugin(guid, key, declaration, connection)
        self._compare(declaration)
        if before is not None and before.connection is not connection:
            before.connection.close(CLOSE_REPLACED, "replaced", "a newer connection of this plugin registered")
        connection.registered()
        for warning in declaration.warnings:
            log.info("plugin %s: %s", declaration.app_name, warning)
        items: list[Item] = [
            Declared(
                guid,
                declaration.app_name,
                declaration.version,
                declaration.update.display_name,
                declaration.encode(),
                now,
            )
        ]
        if event.first:
            items.append(PluginPresence(guid, declaration.app_name, True, "registered", now))
            log.info("plugin %s registered", declaration.app_name, extra={"app_guid": guid})
        # An item and the row that remembers it stand or fall together.
        self._database.run(lambda database: self._remember(database, guid, declaration.app_name, items))
        self._settings.send(plugin.send, key, declaration, now)
        self.commands.registered(plugin)

    def _compare(self, declaration: Declaration) -> None:
        """Warn of a changed declaration without a new version (spec octo §6), and of a name used twice (§2)."""
        guid, version, digest = declaration.app_guid, declaration.version, declaration.digest()
        for other in self.plugins.values():
            if other.app_name == declaration.app_name and other.app_guid != guid:
                log.warning(
                    "plugins %s and %s have the same appName %s: their metrics and events cannot be told apart",
                    other.app_guid,
                    guid,
                    declaration.app_name,
                    extra={"app_guid": guid},
                )
        before = self._digests.get(guid)
        if before is not None and before[0] == version and before[1] != digest:
            log.warning(
                "plugin %s declares other things than before with the same version %s: give it a new one",
                declaration.app_name,
                version,
                extra={"app_guid": guid},
            )
        self._digests[guid] = (version, digest)

    def _remember(self, connection: sqlite3.Connection, guid: str, name: str, items: list[Item]) -> None:
        connection.execute("INSERT OR REPLACE INTO plugin VALUES (?, ?)", (guid, name))
        self._outgoing.add(connection, "urgent", items)

    def gone(self, connection: PluginConnection, cause: str) -> None:
        """A connection ended."""
        guid = connection.session.app_guid or ""
        plugin = self.plugins.get(guid)
        if plugin is None or plugin.connection is not connection:
            return
        del self.plugins[guid]
        log.info("plugin %s is gone: %s", plugin.app_name, cause, extra={"app_guid": guid})
        item = PluginPresence(guid, plugin.app_name, False, cause, self._clock.now_us())

        def forget(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM plugin WHERE app_guid = ?", (guid,))
            self._outgoing.add(database, "urgent", [item])

        self._database.run(forget)

    def revoked(self, guid: str) -> None:
        """The hub took a key back, or changed it: the connection that it opened ends."""
        plugin = self.plugins.get(guid)
        if plugin is not None:
            plugin.connection.close(CLOSE_REVOKED, "revoked", "the access key of this plugin is no longer valid")
        self._guard.forget(guid)

    # -- the hub's wishes --------------------------------------------------------------------------------------------

    def connectivity(self, online: bool) -> None:
        """The link came or went: every plugin is told (spec octo §3.11)."""
        if not self._agent_events:
            return
        now = self._clock.now_us()
        for plugin in list(self.plugins.values()):
            plugin.send(out.agent_event(plugin.key, app_guid=plugin.app_guid, online=online, now_us=now))

    def settings_changed(self, guid: str) -> None:
        """New alarm or config settings of a plugin."""
        plugin = self.plugins.get(guid)
        if plugin is not None:
            self._settings.send(plugin.send, plugin.key, plugin.declaration, self._clock.now_us())


def metric_records(table: str, source: str, samples: Iterable[MetricSample]) -> list[Item]:
    """One record for each time, in the order of arrival; the same name twice at one time begins another."""
    open_records: dict[int, dict[str, Dec]] = {}
    records: list[tuple[int, dict[str, Dec]]] = []
    for sample in samples:
        fields = open_records.get(sample.time_us)
        if fields is None or sample.name in fields:
            fields = open_records[sample.time_us] = {}
            records.append((sample.time_us, fields))
        fields[sample.name] = Dec(sample.value)
    return [Record("metric", table, source, time_us, dict(fields)) for time_us, fields in records]
