# SPDX-License-Identifier: Apache-2.0
"""A small Redis client (RESP2): a bounded pool of connections for each configured name."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from towline.gateway.settings import RedisSettings

CONNECT_S = 5.0
COMMAND_S = 30.0
IDLE_S = 300.0
MAX_REPLY_BYTES = 8 * 1024 * 1024
MAX_ITEMS = 100_000
MAX_DEPTH = 8

REFUSED = {b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"MONITOR", b"SELECT", b"AUTH", b"HELLO", b"QUIT", b"RESET",
           b"MULTI", b"EXEC", b"DISCARD", b"WATCH", b"UNWATCH", b"CLIENT"}  # fmt: skip
"""They change a connection's state, and the pool shares its connections."""


class RedisError(ValueError):
    """Redis answered with an error, or not in its protocol."""


class _Broken(RedisError):
    """The connection cannot be used any more."""


def encode_command(parts: Sequence[bytes]) -> bytes:
    """A command as Redis takes it: an array of bulk strings."""
    out = [b"*%d\r\n" % len(parts)]
    for part in parts:
        out.append(b"$%d\r\n%b\r\n" % (len(part), part))
    return b"".join(out)


async def read_reply(reader: asyncio.StreamReader, depth: int = 0, budget: list[int] | None = None) -> Any:
    """One reply: bytes, int, list or None; an error reply is a :class:`RedisError` (inside an array: its value)."""
    left = budget if budget is not None else [MAX_REPLY_BYTES, MAX_ITEMS]
    line = await _line(reader)
    kind, rest = line[:1], line[1:]
    match kind:
        case b"+":
            return rest
        case b"-":
            raise RedisError(rest.decode("utf-8", "replace"))
        case b":":
            return _number(rest)
        case b"$":
            size = _number(rest)
            if size < 0:
                return None
            left[0] -= size
            if left[0] < 0:
                raise _Broken(f"the reply is longer than {MAX_REPLY_BYTES} bytes")
            data = await reader.readexactly(size + 2)
            if data[-2:] != b"\r\n":
                raise _Broken("the reply is not in Redis' protocol")
            return data[:-2]
        case b"*":
            count = _number(rest)
            if count < 0:
                return None
            left[1] -= count
            if left[1] < 0 or depth >= MAX_DEPTH:
                raise _Broken(f"the reply has more than {MAX_ITEMS} items, or is nested too deeply")
            items = []
            for _ in range(count):
                try:
                    items.append(await read_reply(reader, depth + 1, left))
                except _Broken:
                    raise
                except RedisError as error:
                    items.append(str(error).encode())
            return items
        case _:
            raise _Broken("the reply is not in Redis' protocol")


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        line = await reader.readuntil(b"\r\n")
    except asyncio.LimitOverrunError:
        raise _Broken("a line of the reply is too long") from None
    return line[:-2]


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise _Broken("the reply is not in Redis' protocol") from None


class RedisClient:
    """Commands to one server; each has a connection of its own while it runs."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter, float]] = deque()
        self._places = asyncio.Semaphore(settings.pool_size)

    async def command(self, *parts: bytes) -> Any:
        """The reply. RedisError for an error reply; OSError or TimeoutError when the server cannot be had."""
        if parts[0].upper() in REFUSED:
            raise RedisError(f"{parts[0].decode('ascii', 'replace').upper()} is not possible on a shared connection")
        async with asyncio.timeout(COMMAND_S), self._places:
            reader, writer, fresh = await self._take()
            try:
                try:
                    reply = await self._ask(reader, writer, parts)
                except (ConnectionError, asyncio.IncompleteReadError):
                    if fresh:
                        raise
                    # It was closed while it was idle; nothing was read of an answer.
                    writer.close()
                    reader, writer = await self._connect()
                    reply = await self._ask(reader, writer, parts)
            except asyncio.IncompleteReadError:
                writer.close()
                raise ConnectionResetError("the server closed the connection") from None
            except RedisError as error:
                self._give_back(reader, writer, broken=isinstance(error, _Broken))
                raise
            except BaseException:
                writer.close()
                raise
            self._give_back(reader, writer, broken=False)
            return reply

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, parts: Sequence[bytes]) -> Any:
        writer.write(encode_command(parts))
        await writer.drain()
        return await read_reply(reader)

    async def _take(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bool]:
        now = asyncio.get_running_loop().time()
        while self._idle:
            reader, writer, since = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing() and now - since < IDLE_S:
                return reader, writer, False
            writer.close()
        return *await self._connect(), True

    def _give_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, broken: bool) -> None:
        if broken:
            writer.close()
        else:
            self._idle.append((reader, writer, asyncio.get_running_loop().time()))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        settings = self._settings
        host, _, port = settings.addr.rpartition(":")
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            try:
                if settings.password:
                    await self._ask(reader, writer, (b"AUTH", settings.password.encode()))
                if settings.db:
                    await self._ask(reader, writer, (b"SELECT", str(settings.db).encode()))
            except BaseException:
                writer.close()
                raise
        return reader, writer

    async def close(self) -> None:
        """End idle connections."""
        while self._idle:
            _, writer, _ = self._idle.pop()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class RedisClients:
    """The configured servers by name."""

    def __init__(self, settings: Sequence[RedisSettings]) -> None:
        self._clients = {one.name: RedisClient(one) for one in settings}

    def get(self, name: str) -> RedisClient:
        """LookupError for a name that is not configured."""
        client = self._clients.get(name)
        if client is None:
            raise LookupError(f"no Redis named {name[:40]!r} is configured (gateway.redis)")
        return client

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()
