# SPDX-License-Identifier: Apache-2.0
"""The same line protocol as an entry in Python and in Lua, and a client for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

PYTHON = """
closed = []

def on_connect(conn):
    conn.send(f"hello {conn.id}\\n")
    conn.subscribe("news")

def on_close(conn, error):
    conn.queue.push("closed", {"id": conn.id, "error": error})

def protocol_input(conn, buffer):
    if buffer.find(b"!", 0) == 0:
        return -1
    if buffer.find(b"?", 0) == 0:
        return "nonsense"
    if buffer.find(b"@", 0) == 0:
        raise ValueError("in protocol_input")
    if buffer.find(b"clear", 0) == 0:
        conn.clear_buffer()
        conn.send("cleared\\n")
        return 0
    if buffer.find(b"#", 0) == 0:  # a length in five digits, and that many bytes
        head = buffer.read(6)
        return 6 + int(head[1:]) if head else 0
    return buffer.find(b"\\n") + 1

def protocol_decode(conn, data):
    if data == b"bad\\n":
        raise ValueError("in protocol_decode")
    if data == b"nothing\\n":
        return None
    return {"line": data.rstrip(b"\\n") if data[:1] != b"#" else b"%d bytes" % (len(data) - 6)}

def protocol_encode(conn, data):
    if data == b"boom":
        raise ValueError("in protocol_encode")
    if data == b"no":
        return b""
    return b"[" + conn.id.encode() + b"]" + data + b"\\n"

async def on_message(conn, message):
    word, _, rest = message["line"].partition(b" ")
    if word == b"quit":
        conn.send("bye\\n")
        conn.close()
    elif word == b"fail":
        raise ValueError("in on_message")
    elif word == b"wait":
        conn.send(f"got {await conn.wait_context_value('key')}\\n")
    elif word == b"pub":
        counts = await conn.mesh.publish("news", rest)
        conn.send(f"{counts.sent} {counts.failed}\\n")
    else:
        conn.send(b"> " + message["line"] + b"\\n")
"""

LUA = r"""
function on_connect(id)
  local conn, err = mix.websocket()
  assert(conn == nil and err:find("mix.socket.tcp", 1, true))
  conn = mix.socket.tcp()
  assert(conn:client_id() == id)
  conn:send("hello " .. id .. "\n")
  conn:subscribe("news")
end

function on_close(id, err) mix.queue.push("closed", {id = id, error = err}) end

function protocol_input(buf)
  local all = buf:tostring()
  assert(#all == buf:length())
  local first = all:sub(1, 1)
  if first == "!" then return -1 end
  if first == "?" then return "nonsense" end
  if first == "@" then error("in protocol_input") end
  if all:sub(1, 5) == "clear" then
    mix.socket.tcp():clear_buffer()
    mix.socket.tcp():send("cleared\n")
    return 0
  end
  if first == "#" then
    local head, err = buf:read(6)
    if not head then return 0 end
    assert(buf:position() == 6)
    return 6 + tonumber(head:sub(2))
  end
  return all:find("\n", 1, true) or 0
end

function protocol_decode(str)
  if str == "bad\n" then error("in protocol_decode") end
  if str == "nothing\n" then return nil end
  if str:sub(1, 1) == "#" then return {line = #str - 6 .. " bytes"} end
  return {line = str:sub(1, -2)}
end

function protocol_encode(str)
  if str == "boom" then error("in protocol_encode") end
  if str == "no" then return "" end
  return "[" .. mix.socket.tcp():client_id() .. "]" .. str .. "\n"
end

function on_message(msg)
  local conn = mix.socket.tcp()
  local word, rest = msg.line:match("^(%S*) ?(.*)$")
  if word == "quit" then
    conn:send("bye\n")
    conn:close()
  elseif word == "fail" then
    error("in on_message")
  elseif word == "wait" then
    conn:send("got " .. tostring(conn:wait_context_value("key")) .. "\n")
  elseif word == "pub" then
    local sent, failed = mix.mesh.publish("news", rest)
    conn:send(sent .. " " .. failed .. "\n")
  else
    conn:send("> " .. msg.line .. "\n")
  end
end
"""

SCRIPTS = {"python": ("entry.py", PYTHON), "lua": ("entry.lua", LUA)}


class RawLines:
    """A TCP client that reads lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.id = ""

    async def line(self) -> str:
        return (await asyncio.wait_for(self.reader.readline(), 5)).decode().rstrip("\n")

    async def ask(self, text: str) -> str:
        self.writer.write(text.encode() + b"\n")
        return await self.line()

    async def rest(self) -> bytes:
        """What comes until the node closes."""
        return await asyncio.wait_for(self.reader.read(), 5)


class Dial:
    """Opens clients, and closes all of them in the end."""

    def __init__(self) -> None:
        self._writers: list[asyncio.StreamWriter] = []

    async def plain(self, address: tuple[str, int], **more: Any) -> RawLines:
        client = RawLines(*await asyncio.open_connection(*address, **more))
        self._writers.append(client.writer)
        return client

    async def __call__(self, address: tuple[str, int], **more: Any) -> RawLines:
        """Connect, and read the greeting."""
        client = await self.plain(address, **more)
        word, client.id = (await client.line()).split()
        assert word == "hello"
        return client

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
