# SPDX-License-Identifier: Apache-2.0
"""A WebSocket client that is quick enough to keep three nodes busy, and plain HTTP requests beside it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from typing import Any

HEAD = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)
NO_MASK = b"\0\0\0\0"


class Socket(asyncio.Protocol):
    """One connection. ``on_text`` gets each message, ``on_end`` the moment when it is gone."""

    def __init__(self, head: bytes, on_text: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self._head = head
        self._on_text = on_text
        self._on_end = on_end
        self._buffer = b""
        self._out: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.close_code = 0
        self.open = False

    @classmethod
    async def connect(
        cls, port: int, path: str, on_text: Callable[[bytes], None], on_end: Callable[[], None]
    ) -> Socket:
        """OSError when there is no such WebSocket."""
        loop = asyncio.get_running_loop()
        head = HEAD.format(path=path, port=port).encode()
        transport, socket = await loop.create_connection(lambda: cls(head, on_text, on_end), "127.0.0.1", port)
        try:
            async with asyncio.timeout(5):
                await socket.opened
        except BaseException:
            transport.abort()
            raise
        return socket

    def send(self, text: bytes) -> None:
        """Send one text; what is sent within one turn of the loop leaves together."""
        size = len(text)
        if size < 126:
            head = bytes((0x81, 0x80 | size))
        elif size < 65536:
            head = b"\x81\xfe" + size.to_bytes(2, "big")
        else:
            head = b"\x81\xff" + size.to_bytes(8, "big")
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out += (head, NO_MASK, text)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if not self._transport.is_closing():
            self._transport.write(b"".join(out))

    def abort(self) -> None:
        self._transport.abort()

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        if not self.open:
            head, end, buffer = buffer.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._transport.abort()
                return
            self.open = True
            self.opened.set_result(None)
        at, length = 0, len(buffer)
        while at + 2 <= length:
            size, start = buffer[at + 1], at + 2
            if size == 126:
                start += 2
                size = int.from_bytes(buffer[at + 2 : at + 4], "big")
            elif size == 127:
                start += 8
                size = int.from_bytes(buffer[at + 2 : at + 10], "big")
            end_ = start + size
            if end_ > length:
                break
            first = buffer[at]
            if first == 0x81:
                self._on_text(buffer[start:end_])
            elif first == 0x88:
                self.close_code = int.from_bytes(buffer[start : start + 2], "big")
                self._transport.close()
            at = end_
        self._buffer = buffer[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("no WebSocket"))
        else:
            self._on_end()


def _get(url: str, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(url, body, timeout=5) as answer:
        found: bytes = answer.read()
    return found


async def get_json(url: str, body: bytes | None = None) -> Any:
    """By POST with a body. OSError when nobody answers."""
    return json.loads(await asyncio.to_thread(_get, url, body))


async def get_figures(url: str) -> dict[str, float]:
    """``/metrics`` by name, labels summed up."""
    found: dict[str, float] = {}
    for line in (await asyncio.to_thread(_get, url)).decode().splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            name = name.partition("{")[0]
            found[name] = found.get(name, 0.0) + float(value)
    return found
