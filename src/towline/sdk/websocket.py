# SPDX-License-Identifier: Apache-2.0
"""A small WebSocket client (RFC 6455) on asyncio streams.

A plugin needs one connection of small text messages; this costs a device 5 MB less than a library does. It knows
text and binary messages, fragments, ping, pong and close, and no extensions.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import ssl
import struct
from urllib.parse import urlsplit

from towline.errors import InvalidInput, Unavailable

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_HEAD = 16_384
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Closed(Unavailable):
    """The connection ended; ``status`` is its close code, 1006 when it broke."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__("sdk.closed", f"the connection was closed ({status} {reason})".replace(" )", ")"))
        self.status = status
        self.reason = reason


class WebSocket:
    """One open connection; make it with :func:`connect`. One task receives, any task sends."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_message: int = 1_048_576
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._max = max_message
        self._closing = False
        self.pongs = 0

    async def send(self, text: str) -> None:
        """:raises Closed:"""
        await self._write(TEXT, text.encode())

    async def ping(self) -> None:
        """:raises Closed:"""
        await self._write(PING, b"")

    async def receive(self) -> str | bytes:
        """The next message: text or binary; pings are answered on the way.

        :raises Closed:
        """
        try:
            return await self._receive()
        except (OSError, EOFError, ssl.SSLError) as exc:
            raise Closed(1006, str(exc) or type(exc).__name__) from exc

    async def close(self, status: int = 1000, timeout: float = 1.0) -> None:
        """Say goodbye and close; never raises."""
        try:
            async with asyncio.timeout(timeout):
                if not self._closing:
                    self._closing = True
                    await self._write(CLOSE, struct.pack("!H", status))
                self._writer.close()
                await self._writer.wait_closed()
        except (TimeoutError, OSError, ssl.SSLError, Closed):
            self._writer.transport.abort()

    def abort(self) -> None:
        """Drop the connection at once; whoever receives gets :class:`Closed`."""
        self._writer.transport.abort()

    async def _receive(self) -> str | bytes:
        kind, message = 0, b""
        while True:
            final, opcode, payload = await self._frame()
            if opcode == PING:
                await self._write(PONG, payload)
            elif opcode == PONG:
                self.pongs += 1
            elif opcode == CLOSE:
                status = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005
                if not self._closing:
                    self._closing = True
                    await self._write(CLOSE, payload[:2])
                raise Closed(status, payload[2:].decode("utf-8", "replace"))
            elif (opcode == 0) == (kind == 0) or opcode > BINARY:
                raise await self._fail(1002, "unexpected frame")
            else:
                kind = kind or opcode
                message += payload
                if len(message) > self._max:
                    raise await self._fail(1009, f"message over {self._max} bytes")
                if final:
                    break
        if kind == BINARY:
            return message
        try:
            return message.decode()
        except UnicodeDecodeError:
            raise await self._fail(1007, "text is not UTF-8") from None

    async def _frame(self) -> tuple[bool, int, bytes]:
        first, second = await self._reader.readexactly(2)
        opcode, size = first & 15, second & 127
        if first & 0x70 or second & 0x80:
            raise await self._fail(1002, "reserved bits set or frame masked")
        if opcode >= CLOSE and (size > 125 or not first & 0x80):
            raise await self._fail(1002, "control frame too long or fragmented")
        if size == 126:
            (size,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
        if size > self._max:
            raise await self._fail(1009, f"frame over {self._max} bytes")
        return bool(first & 0x80), opcode, await self._reader.readexactly(size)

    async def _fail(self, status: int, reason: str) -> Closed:
        await self.close(status)
        return Closed(status, reason)

    async def _write(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
        elif size < 65_536:
            head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
        mask = secrets.token_bytes(4)
        try:
            self._writer.write(head + mask + masked(payload, mask))
            await self._writer.drain()
        except (OSError, RuntimeError, ssl.SSLError) as exc:
            raise Closed(1006, str(exc) or type(exc).__name__) from exc


def masked(payload: bytes, mask: bytes) -> bytes:
    """RFC 6455's masking, which is its own inverse."""
    size = len(payload)
    pad = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


async def connect(url: str, *, timeout: float = 10.0, max_message: int = 1_048_576) -> WebSocket:
    """Open ``wss://`` (or, on loopback only, ``ws://``).

    A certificate is checked unless the host is loopback, where the agent's own is self-signed.

    :raises InvalidInput: the URL is not one we connect to
    :raises OSError: nobody listens, or TLS failed
    :raises Unavailable: the server does not speak WebSocket
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("ws", "wss") or not host:
        raise InvalidInput("sdk.url", f"{url!r} is no wss:// address")
    secure = parts.scheme == "wss"
    if not secure and host not in LOOPBACK:
        raise InvalidInput("sdk.url", f"{url!r}: plain ws:// is for loopback only", hint="use wss://")
    context = None
    if secure:
        if host in LOOPBACK:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    port = parts.port or (443 if secure else 80)
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=_MAX_HEAD)
        try:
            await _upgrade(reader, writer, parts.netloc.rpartition("@")[2], parts.path or "/", parts.query)
        except BaseException:
            writer.transport.abort()
            raise
    return WebSocket(reader, writer, max_message)


async def _upgrade(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, path: str, query: str
) -> None:
    nonce = base64.b64encode(secrets.token_bytes(16))
    target = f"{path}?{query}" if query else path
    writer.write(
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {nonce.decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode("ascii")
    )
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as exc:
        raise Unavailable("sdk.handshake", "the server ended the handshake") from exc
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    expected = base64.b64encode(hashlib.sha1(nonce + _GUID, usedforsecurity=False).digest()).decode()
    if status.split(" ")[1:2] != ["101"] or headers.get("sec-websocket-accept") != expected:
        raise Unavailable("sdk.handshake", f"the server refused the WebSocket: {status[:100]}")
