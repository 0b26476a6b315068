# SPDX-License-Identifier: Apache-2.0
"""A Lua script as an entry: its callbacks on a WebSocket port, calls that wait, hot reload."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from towline.errors import StartError
from towline.gateway.entries.lua.functions import Functions, Shared, told
from towline.gateway.entries.lua.vm import LuaVM, OutOfMemory, ScriptError, Sources
from towline.gateway.entries.options import ScriptOptions

if TYPE_CHECKING:
    from towline.gateway.connections import Connection
    from towline.gateway.entries.base import Handshake, Message

log = logging.getLogger("towline.gateway")


class LuaScript:
    """What entries in Lua have in common.

    Every callback runs as a Lua coroutine: what waits inside suspends its own connection. A changed file is loaded
    into a new machine within ``reload_s``; callbacks that wait finish in the old one.
    """

    raw = False
    """Whether it is for a raw TCP port."""

    def __init__(self, path: Path, options: ScriptOptions | None = None) -> None:
        self.name = path.name
        self._path = path
        self._options = options or ScriptOptions()
        self._shared = Shared(self._options, self.name, self.raw)
        self._vm = self._load()
        self.reloads = 0
        """Times a changed script was taken."""
        self.reload_failures = 0
        """Times a changed script did not load and the old one stayed."""
        self.restarts = 0
        """Times a script was started anew because its memory was full."""
        self._refused: Sources | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._schedule()

    # -- callbacks

    def on_close(self, conn: Connection, error: str | None) -> Awaitable[None] | None:
        client_id = conn.id.encode()
        try:
            vm = self._ready()
            waiting = self._run(vm, client_id, vm.closed, client_id, None if error is None else error.encode())
        except BaseException:
            self._shared.connections.pop(client_id, None)
            raise
        if waiting is None:
            self._shared.connections.pop(client_id, None)
            return None
        return self._forget(client_id, waiting)

    async def _forget(self, client_id: bytes, waiting: Awaitable[None]) -> None:
        try:
            await waiting
        finally:
            self._shared.connections.pop(client_id, None)

    # -- running

    def _ready(self, size: int = 0) -> LuaVM:
        """The machine, with room for ``size`` bytes. A script that keeps its memory full is started anew."""
        vm = self._vm
        try:
            vm.room(size)
        except OutOfMemory as full:
            if vm.used < vm.memory_bytes * 3 // 4:
                raise ScriptError(str(full)) from None  # this one thing is too large
            log.error("script started anew: its memory is full", extra={"entry": self.name, "limit": vm.memory_bytes})
            self.restarts += 1
            try:
                vm = self._vm = self._load()
                vm.room(size)
            except (StartError, OutOfMemory):
                raise ScriptError(str(full)) from None
        return vm

    def _run(self, vm: LuaVM, client_id: bytes, function: Any, *arguments: Any) -> Awaitable[None] | None:
        key = vm.call(function, *arguments)
        return None if key is None else self._finish(vm, client_id, key, self._shared.take_pending())

    async def _finish(self, vm: LuaVM, client_id: bytes, key: int | None, pending: Any) -> None:
        """Wait for what a callback waits for, and let it go on."""
        while key is not None:
            given = await self._given(vm, key, pending)
            key = vm.call(vm.go_on, key, client_id, *given)
            pending = self._shared.take_pending() if key is not None else None

    async def _given(self, vm: LuaVM, key: int, pending: Any) -> list[Any]:
        """What a callback waits for, as Lua values; nil and a text for what the machine cannot be given."""
        try:
            values = await pending()
            try:
                return [vm.give(value) for value in values]
            except Exception as error:
                return [None, told(error)]
        except BaseException:
            vm.drop(key)  # nobody resumes it any more, and a coroutine that waits is not collected
            raise

    # -- loading

    def _load(self, sources: Sources | None = None) -> LuaVM:
        options = self._options
        return LuaVM(
            sources or Sources(self._path),
            lambda vm: Functions(vm, self._shared).table(),
            trusted=options.trusted,
            callback_ms=options.callback_ms,
            memory_bytes=options.memory_bytes,
            raw=self.raw,
        )

    def _schedule(self) -> None:
        if self._loop is not None and self._options.reload_s > 0:
            self._timer = self._loop.call_later(self._options.reload_s / 2, self._tick)

    def _tick(self) -> None:
        self._schedule()
        self.reload()

    def reload(self) -> bool:
        """Load the script anew if one of its files changed; one that does not load leaves the old one running."""
        if not (self._refused or self._vm.sources).changed():
            return False
        sources = Sources(self._path)
        try:
            vm = self._load(sources)
        except StartError as error:
            self.reload_failures += 1
            self._refused = sources
            log.error("changed script not taken, the old one goes on: %s", error, extra={"entry": self.name})
            return False
        self._vm, self._refused = vm, None
        self.reloads += 1
        log.info("changed script taken", extra={"entry": self.name})
        return True

    @property
    def events(self) -> dict[str, int]:
        """For ``/metrics``."""
        return {"reloaded": self.reloads, "not_reloaded": self.reload_failures, "restarted": self.restarts}

    async def close(self) -> None:
        """Stop watching files; end connections to Redis and HTTP servers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._shared.close()


class LuaEntry(LuaScript):
    """A script with ``on_handshake`` (or ``on_connect``), ``on_message`` and ``on_close`` (spec connmix §4.4)."""

    def on_handshake(self, conn: Connection, handshake: Handshake) -> Awaitable[None] | None:
        client_id = conn.id.encode()
        self._shared.connections[client_id] = conn
        server = {
            "Method": handshake.method,
            "RequestUri": handshake.target,
            "ServerProtocol": handshake.protocol,
            "Host": handshake.host,
            "RemoteAddr": handshake.remote_addr,
        }
        vm = self._ready()
        return self._run(vm, client_id, vm.handshake, client_id, vm.give(handshake.headers), vm.give(server))

    def on_message(self, conn: Connection, message: Message) -> Awaitable[None] | None:
        data = message[1]
        if isinstance(data, str):
            data, kind = data.encode(), b"text"
        else:
            kind = b"binary"
        vm = self._ready(len(data))
        client_id = conn.id.encode()
        return self._run(vm, client_id, vm.message, client_id, kind, data)
