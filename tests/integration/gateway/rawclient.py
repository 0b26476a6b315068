# SPDX-License-Identifier: Apache-2.0
"""A client that writes what it likes and reads when it likes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from tests.integration.gateway.running import running_node
from tests.integration.wrong.wire import CLOSE, PING, PONG, encode
from towline.gateway.node import Node

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class RawClient:
    """One connection to a client port. Nothing is read from the socket but by :meth:`frame` and what uses it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, receive_bytes: int = 0) -> Self:
        """Connect. ``receive_bytes``: the kernel's receive buffer."""
        plain = socket.socket()
        if receive_bytes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=plain, limit=4096)
        return cls(reader, writer)

    @staticmethod
    def head(path: str = "/", *headers: str) -> bytes:
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {KEY}",
            *headers,
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    async def upgrade(self, path: str = "/", *headers: str) -> bytes:
        """The head of the answer."""
        self.send(self.head(path, *headers))
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        first, second = await asyncio.wait_for(self.reader.readexactly(2), 10)
        size = second & 127
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await self.reader.readexactly(8), "big")
        return first & 15, await asyncio.wait_for(self.reader.readexactly(size), 10)

    async def message(self) -> str:
        """The next text; pings and pongs are passed over."""
        while (found := await self.frame())[0] in (PING, PONG):
            pass
        return found[1].decode()

    async def closed(self) -> int:
        """The close code that comes next, after whatever comes before; it is answered."""
        while (found := await self.frame())[0] != CLOSE:
            pass
        self.send(encode(CLOSE, found[1][:2]))
        assert await asyncio.wait_for(self.reader.read(), 10) == b""
        return int.from_bytes(found[1][:2], "big")

    def cut(self) -> None:
        """Reset the connection."""
        self.writer.transport.abort()


class RawClients:
    """Clients of a test, which are gone when it ends."""

    def __init__(self) -> None:
        self._all: list[RawClient] = []

    @asynccontextmanager
    async def node(self, **settings: Any) -> AsyncIterator[Node]:
        """A node that need not wait for these clients when it closes."""
        async with running_node(**settings) as node:
            try:
                yield node
            finally:
                await self.cut()

    async def open(self, node: Node, receive_bytes: int = 0) -> RawClient:
        """Connected, no more."""
        client = await RawClient.open(node.clients_address[1], receive_bytes)
        self._all.append(client)
        return client

    async def upgraded(self, node: Node, receive_bytes: int = 0) -> RawClient:
        """A WebSocket."""
        client = await self.open(node, receive_bytes)
        answer = await client.upgrade()
        assert b" 101 " in answer, answer
        return client

    async def cut(self) -> None:
        for client in self._all:
            client.cut()
        await asyncio.sleep(0)  # the transports close their sockets in the loop's next turn
