# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy between a node and its NATS server, which can be cut in two ways."""

from __future__ import annotations

import asyncio


class Proxy:
    """``hold`` lets nothing through and breaks nothing, as a cable that was pulled; ``cut`` resets and refuses."""

    def __init__(self, to: int) -> None:
        self.port = 0
        self._to = to
        self._server: asyncio.Server | None = None
        self._pipes: set[_Pipe] = set()
        self.held = False
        self.severed = False

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Pipe(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def hold(self) -> None:
        self.held = True
        for pipe in self._pipes:
            pipe.hold()

    def cut(self) -> None:
        self.severed = True
        for pipe in list(self._pipes):
            pipe.abort()

    def heal(self) -> None:
        self.held = self.severed = False
        for pipe in list(self._pipes):
            pipe.resume()

    async def close(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()


class _Pipe(asyncio.Protocol):
    """One direction; the connection from the node makes the other one."""

    def __init__(self, proxy: Proxy, other: _Pipe | None = None) -> None:
        self._proxy = proxy
        self._other = other
        self._early: list[bytes] = []
        self._connecting: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        proxy = self._proxy
        proxy._pipes.add(self)
        if proxy.severed:
            transport.abort()
            return
        if proxy.held:
            transport.pause_reading()
        if self._other is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, self._other = await loop.create_connection(
                lambda: _Pipe(self._proxy, self), "127.0.0.1", self._proxy._to
            )
        except OSError:
            self.abort()
            return
        for data in self._early:
            self._other.write(data)
        self._early = []

    def data_received(self, data: bytes) -> None:
        if self._other is None or self._other.transport is None:
            self._early.append(data)
        else:
            self._other.write(data)

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def hold(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._proxy._pipes.discard(self)
        if self._connecting is not None:
            self._connecting.cancel()
        if self._other is not None and self._other.transport is not None:
            self._other.transport.close()
