# SPDX-License-Identifier: Apache-2.0
"""The plugin API with no hub, for plugin authors and tests: what plugins send is printed, one JSON object a line."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from towline.agent.daemon import PluginSide
from towline.agent.database import Database
from towline.agent.settings import AgentSettings
from towline.agent.spooltables import Target
from towline.clock import Clock, rfc3339
from towline.errors import StartError
from towline.ids import command_id
from towline.protocols.link.items import Alert, CommandStep, Dec, Declared, Item, PluginPresence, Record, State
from towline.protocols.link.messages import Command
from towline.protocols.octo.declaration import GUID


class Printer:
    """Takes the place of the spool. ``emit`` gets each object; it is called from the event loop only."""

    def __init__(self, database: Database, emit: Callable[[dict[str, Any]], None]) -> None:
        self._database = database
        self._emit = emit

    def append(self, lane: Target, items: Iterable[Item], *, at_once: bool = False) -> bool:
        for item in items:
            self._emit(describe(item))
        return True

    def add(self, connection: sqlite3.Connection, lane: Target, items: Iterable[Item]) -> None:
        shown = [describe(item) for item in items]
        self._database.after_commit(lambda: [self._emit(one) for one in shown])


class Standalone:
    """The plugin side alone. ``async with``; :meth:`send_command` runs a command on a plugin."""

    def __init__(
        self,
        settings: AgentSettings,
        clock: Clock,
        credentials: Sequence[Path],
        emit: Callable[[dict[str, Any]], None],
    ) -> None:
        self._clock = clock
        self._database = Database(None)
        self._directory = tempfile.TemporaryDirectory(prefix="towline-standalone-")
        self._task: asyncio.Task[None] | None = None
        self.plugins = PluginSide(settings, self._database, Printer(self._database, emit), clock)
        self.plugins.keys.has_hub = False
        self.plugins.guard.no_key_hint = "give its credential with --credential, or check its appGUID"
        for path in credentials:
            guid, key = read_credential(path)
            self.plugins.keys.add_local(guid, key)

    @property
    def port(self) -> int:
        return self.plugins.server.port

    async def __aenter__(self) -> Standalone:
        await self._database.open()
        try:
            await self.plugins.start(Path(self._directory.name))
        except BaseException:
            await self._database.close()
            self._directory.cleanup()
            raise
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
        await self.plugins.stop()
        await self._database.close()
        self._directory.cleanup()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            await self.plugins.desk.tick()

    def send_command(
        self,
        app_guid: str,
        module: str,
        name: str,
        params: dict[str, str | bool] | None = None,
        *,
        expires_in_s: float = 60.0,
    ) -> str:
        """Run a command as the hub would; its steps come out as objects of type ``command``. Returns its id."""
        identifier = command_id()
        values = [{"name": key, "value": value} for key, value in (params or {}).items()]
        self.plugins.desk.command(
            Command(
                command_id=identifier,
                app_guid=app_guid,
                module=module,
                name=name,
                params=msgspec.json.encode(values),
                expires_in_s=expires_in_s,
            )
        )
        return identifier


async def run_standalone(
    settings: AgentSettings,
    clock: Clock,
    stop: asyncio.Event,
    credentials: Sequence[Path],
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve plugins until ``stop``. StartError ``agent.credential`` names a file that cannot be used."""

    def emit(shown: dict[str, Any]) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(shown) + b"\n")
        sys.stdout.buffer.flush()

    async with Standalone(settings, clock, credentials, emit) as standalone:
        emit({"type": "listening", "url": f"wss://localhost:{standalone.port}", "plugins": len(credentials)})
        ready()
        await stop.wait()


def read_credential(path: Path) -> tuple[str, str]:
    """appGUID and access key of a ``plugin_credential.json`` (spec octo §7). StartError ``agent.credential``."""
    try:
        content = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise StartError("agent.credential", f"cannot read the credential: {error.strerror}", where=str(path)) from None
    except msgspec.MsgspecError as error:
        raise StartError("agent.credential", f"the credential is no JSON object: {error}", where=str(path)) from None
    guid, key = content.get("app_guid"), content.get("access_key")
    if not isinstance(guid, str) or GUID.fullmatch(guid) is None:
        raise StartError("agent.credential", "app_guid must be a UUID", where=str(path))
    if not isinstance(key, str) or not key:
        raise StartError("agent.credential", "access_key must be a text that is not empty", where=str(path))
    return guid.lower(), key


def describe(item: Item) -> dict[str, Any]:
    """An item for a person: its kind as ``type``, times as RFC 3339, JSON as objects."""
    match item:
        case Record():
            fields = {name: value.text if isinstance(value, Dec) else value for name, value in item.fields.items()}
            return {
                "type": item.kind,
                "plugin": item.table,
                "module": item.source,
                "time": rfc3339(item.event_time_us),
                "fields": fields,
            }
        case State():
            return {
                "type": "state",
                "plugin": item.table,
                "module": item.source,
                "name": item.name,
                "value": msgspec.Raw(item.value),
                "time": rfc3339(item.time_us),
            }
        case Declared():
            return {
                "type": "declared",
                "plugin": item.app_name,
                "app_guid": item.app_guid,
                "version": item.version,
                "declaration": msgspec.Raw(item.declaration),
            }
        case PluginPresence():
            return {
                "type": "presence",
                "plugin": item.app_name,
                "app_guid": item.app_guid,
                "online": item.online,
                "cause": item.cause,
            }
        case Alert():
            return {
                "type": "alert",
                "plugin": item.table,
                "module": item.source,
                "name": item.name,
                "action": item.action,
                "message": item.message,
                "time": rfc3339(item.time_us),
            }
        case CommandStep():
            return {
                "type": "command",
                "command_id": item.command_id,
                "step": item.step,
                "result": msgspec.Raw(item.result) if item.result is not None else None,
                "note": item.note,
                "time": rfc3339(item.time_us),
            }
