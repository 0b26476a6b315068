# SPDX-License-Identifier: Apache-2.0
"""A Lua script as the entry of a raw TCP port, and its protocol (spec connmix §4.4)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from towline.gateway.entries.lua.entry import LuaScript
from towline.gateway.entries.lua.vm import LuaVM, ScriptError

if TYPE_CHECKING:
    from towline.gateway.entries.buffer import Buffer
    from towline.gateway.rawconnection import RawConnection

HANDED_OVER = 4096
"""A buffer up to this long is given to Lua whole; of a longer one, what the script reads."""


class LuaRawEntry(LuaScript):
    """A script with ``on_connect``, ``on_close``, ``on_message``, ``protocol_input``, ``protocol_decode`` and
    ``protocol_encode``."""

    raw = True

    def on_connect(self, conn: RawConnection) -> Awaitable[None] | None:
        client_id = conn.id.encode()
        self._shared.connections[client_id] = conn
        vm = self._ready()
        return self._run(vm, client_id, vm.connect, client_id)

    def protocol_input(self, conn: RawConnection, buffer: Buffer) -> Any:
        """The script's answer as it is; what is no length, the socket refuses."""
        client_id, size = conn.id.encode(), len(buffer)
        if size <= HANDED_OVER:
            vm = self._ready(size)
            return self._valued(vm, client_id, vm.input, client_id, bytes(buffer), size)
        vm, buffers = self._ready(), self._shared.buffers
        buffers[client_id] = buffer
        result: Any = None
        try:
            result = self._valued(vm, client_id, vm.input, client_id, None, size)
        finally:
            if not isinstance(result, Awaitable):
                del buffers[client_id]
        return self._looked_at(client_id, result) if isinstance(result, Awaitable) else result

    async def _looked_at(self, client_id: bytes, waiting: Awaitable[Any]) -> Any:
        try:
            return await waiting
        finally:
            del self._shared.buffers[client_id]

    def protocol_decode(self, conn: RawConnection, data: bytes) -> Any:
        """A :class:`_Decoded`, or None, or what waits for one of them."""
        client_id = conn.id.encode()
        vm = self._ready(len(data))
        key, value = vm.call_valued(vm.decode, client_id, data)
        if key is None:
            return None if value is None else _Decoded(vm, value)
        return self._decoded(vm, self._finish_valued(vm, client_id, key, self._shared.take_pending()))

    async def _decoded(self, vm: LuaVM, waiting: Awaitable[Any]) -> Any:
        value = await waiting
        return None if value is None else _Decoded(vm, value)

    def protocol_encode(self, conn: RawConnection, data: bytes) -> bytes | None:
        client_id = conn.id.encode()
        vm = self._vm
        vm.room(len(data))
        try:
            _, value = vm.call_valued(vm.encode, client_id, data)
        except ScriptError:
            self._shared.pending = None
            raise
        return value if isinstance(value, bytes) else None

    def on_message(self, conn: RawConnection, message: _Decoded) -> Awaitable[None] | None:
        client_id = conn.id.encode()
        vm = message.vm
        return self._run(vm, client_id, vm.raw_message, client_id, message.value)

    # -- inside

    def _valued(self, vm: LuaVM, client_id: bytes, function: Any, *arguments: Any) -> Any:
        key, value = vm.call_valued(function, *arguments)
        return value if key is None else self._finish_valued(vm, client_id, key, self._shared.take_pending())

    async def _finish_valued(self, vm: LuaVM, client_id: bytes, key: int | None, pending: Any) -> Any:
        value: Any = None
        while key is not None:
            given = await self._given(vm, key, pending)
            key, value = vm.call_valued(vm.go_on_valued, key, client_id, *given)
            pending = self._shared.take_pending() if key is not None else None
        return value


class _Decoded:
    """What ``protocol_decode`` returned belongs to one machine: a script that was loaded anew since cannot take it."""

    __slots__ = ("value", "vm")

    def __init__(self, vm: LuaVM, value: Any) -> None:
        self.vm = vm
        self.value = value
