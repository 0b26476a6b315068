# SPDX-License-Identifier: Apache-2.0
"""Access keys of plugins: those the hub gave, kept on disk; those made here for bundled plugins, kept in memory."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable

from towline.agent.database import Database
from towline.clock import Clock
from towline.errors import Unavailable
from towline.protocols.link.frames import Priority
from towline.protocols.link.messages import PluginKey, PluginKeyAsk, PluginKeyRevoked, encode

log = logging.getLogger("towline.agent.keys")

MISS_S = 60.0
"""How long "there is no such plugin" is remembered."""
ANSWER_S = 5.0
MAX_MISSES = 1000
ASKS_A_MINUTE = 60
"""A program that invents appGUIDs must not flood the hub."""


class Keys:
    """Finds the key of an appGUID: here, or at the hub.

    :ivar counters: ``asked``, ``answered``, ``missed``, ``held_back``, ``revoked``
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self.counters: Counter[str] = Counter()
        self.has_hub = True
        """Whether there is a hub that may know a key which is not here."""
        self.on_revoked: Callable[[str], None] = lambda _guid: None
        self._database = database
        self._clock = clock
        self._local: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self._misses: dict[str, float] = {}
        self._asks: dict[str, asyncio.Future[str | None]] = {}
        self._asked_at: list[float] = []
        self._send: Callable[[bytes, Priority], bool] | None = None

    async def open(self) -> None:
        """Read what the hub gave before."""
        rows = await self._database.run(
            lambda connection: connection.execute("SELECT app_guid, access_key FROM plugin_key").fetchall()
        )
        self._keys = dict(rows)

    def add_local(self, app_guid: str, access_key: str) -> None:
        """A plugin that this agent itself vouches for."""
        self._local[app_guid.lower()] = access_key

    def known(self, app_guid: str) -> str | None:
        """The key, if it is here already."""
        return self._local.get(app_guid) or self._keys.get(app_guid)

    async def get(self, app_guid: str) -> str | None:
        """The key of a lower-case appGUID; None if there is no such plugin.

        Unavailable ``agent.key_unknown`` if only the hub can know and it cannot be asked now.
        """
        key = self.known(app_guid)
        if key is not None:
            return key
        if not self.has_hub:
            return None
        now = self._clock.monotonic()
        if self._misses.get(app_guid, 0.0) > now:
            return None
        ask = self._asks.get(app_guid)
        if ask is None:
            self._ask(app_guid, now)
            ask = self._asks[app_guid] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ANSWER_S):
                return await asyncio.shield(ask)
        except TimeoutError:
            self._asks.pop(app_guid, None)
            raise Unavailable(
                "agent.key_unknown", f"the hub did not say within {ANSWER_S:.0f} s whether it knows this plugin"
            ) from None

    def _ask(self, app_guid: str, now: float) -> None:
        self._asked_at = [at for at in self._asked_at if at > now - 60.0]
        if len(self._asked_at) >= ASKS_A_MINUTE:
            self.counters["held_back"] += 1
            raise Unavailable("agent.key_unknown", "too many unknown plugins in the last minute; try again later")
        frame = encode(PluginKeyAsk(app_guid=app_guid))
        if self._send is None or not self._send(frame, Priority.URGENT):
            raise Unavailable(
                "agent.key_unknown", "this plugin's key is not on this device yet and the hub cannot be asked now"
            )
        self._asked_at.append(now)
        self.counters["asked"] += 1

    # -- the link ----------------------------------------------------------------------------------------------------

    def link_up(self, send: Callable[[bytes, Priority], bool]) -> None:
        self._send = send
        self._misses.clear()

    def link_down(self) -> None:
        self._send = None
        for ask in self._asks.values():
            if not ask.done():
                ask.set_exception(Unavailable("agent.key_unknown", "the link to the hub was cut while it was asked"))
                ask.exception()
        self._asks.clear()

    async def on_key(self, message: PluginKey) -> None:
        """An answer, or a key sent in advance."""
        guid, key = message.app_guid.lower(), message.access_key
        self.counters["answered"] += 1
        if key is None:
            self.counters["missed"] += 1
            if len(self._misses) >= MAX_MISSES:
                self._misses.clear()
            self._misses[guid] = self._clock.monotonic() + MISS_S
        else:
            changed = self._keys.get(guid) not in (None, key)
            self._keys[guid] = key
            self._misses.pop(guid, None)
            if changed:
                self.on_revoked(guid)  # the connection that the old key opened ends
            await self._database.run(lambda connection: _store(connection, guid, key, message.app_name))
        ask = self._asks.pop(guid, None)
        if ask is not None and not ask.done():
            ask.set_result(key)

    async def on_revoked_message(self, message: PluginKeyRevoked) -> None:
        """The key ends now; the plugin's connection closes."""
        guid = message.app_guid.lower()
        self.counters["revoked"] += 1
        self._keys.pop(guid, None)
        self._misses[guid] = self._clock.monotonic() + MISS_S
        log.info("plugin key revoked", extra={"app_guid": guid})
        self.on_revoked(guid)
        await self._database.run(
            lambda connection: connection.execute("DELETE FROM plugin_key WHERE app_guid = ?", (guid,))
        )


def _store(connection: sqlite3.Connection, guid: str, key: str, name: str) -> None:
    connection.execute("INSERT OR REPLACE INTO plugin_key VALUES (?, ?, ?)", (guid, key, name))
