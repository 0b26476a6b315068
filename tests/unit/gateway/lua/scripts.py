# SPDX-License-Identifier: Apache-2.0
"""A Lua script on connections without sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from tests.unit.gateway.fakes import Socket, World
from towline.gateway.connections import Connection
from towline.gateway.entries.base import Message
from towline.gateway.entries.lua import LuaEntry
from towline.gateway.entries.options import ScriptOptions
from towline.gateway.mesh import Mesh

REST = """
if not on_handshake then function on_handshake() end end
if not on_message then function on_message() end end
if not on_close then function on_close() end end
"""


def entry_of(folder: Path, source: str, **options: Any) -> LuaEntry:
    """The script, with callbacks that it leaves out."""
    path = folder / "entry.lua"
    path.write_text(source + REST)
    return LuaEntry(path, ScriptOptions(**options))


class Script:
    """A script with one client."""

    def __init__(self, folder: Path, source: str, **options: Any) -> None:
        self.world = World()
        self.mesh = Mesh(self.world.realm, _loop(), 1.0, 240 * 1024)
        self.entry = entry_of(folder, source, **options)
        self.conn, self.socket = self.connect()

    def connect(self) -> tuple[Connection, Socket]:
        conn, socket = self.world.connect()
        self.entry.on_handshake(conn, conn.handshake)
        return conn, socket

    def send(self, text: str | bytes, conn: Connection | None = None) -> Awaitable[None] | None:
        message = Message("text", text) if isinstance(text, str) else Message("binary", text)
        return self.entry.on_message(conn or self.conn, message)

    def heard(self, socket: Socket | None = None) -> list[bytes]:
        """Payloads of the frames that went out since the last look."""
        self.world.turn()
        socket = socket or self.socket
        data, found = socket.data, []
        socket.writes.clear()
        while data:
            size, head = data[1], 2
            if size == 126:
                size, head = int.from_bytes(data[2:4], "big"), 4
            elif size == 127:
                size, head = int.from_bytes(data[2:10], "big"), 10
            found.append(data[head : head + size])
            data = data[head + size :]
        return found


def _loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None  # type: ignore[return-value]


ASK = """
local function pack(...) return {...}, select("#", ...) end
function on_message(msg)
  local fn, problem = loadstring("return " .. msg.data)
  if not fn then error(problem) end
  local out, n = pack(fn())
  for i = 1, n do if out[i] == nil then out[i] = "(nil)" end end
  mix.websocket():send(mix.json_encode(out))
end
"""


def ask(script: Script, expression: str) -> Any:
    """The values of a Lua expression, by way of JSON; nil comes as ``(nil)``."""
    assert script.send(expression) is None
    (answer,) = script.heard()
    return json.loads(answer)
