# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import until
from towline.errors import InvalidInput, Unavailable
from towline.sdk.websocket import Closed, connect, masked

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def frame(opcode: int, payload: bytes, final: bool = True) -> bytes:
    head = struct.pack("!B", (0x80 if final else 0) | opcode)
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65_536:
        return head + struct.pack("!BH", 126, len(payload)) + payload
    return head + struct.pack("!BQ", 127, len(payload)) + payload


async def received(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, second = await reader.readexactly(2)
    assert second & 0x80, "client frames are masked"
    size = second & 127
    if size == 126:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await reader.readexactly(8))
    mask = await reader.readexactly(4)
    return first & 15, masked(await reader.readexactly(size), mask)


class Server:
    """Shakes hands, then plays a script."""

    def __init__(self) -> None:
        self.script: Script = self._nothing
        self.head = b""
        self.answer: bytes | None = None
        self.server: asyncio.Server | None = None
        self.writers: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def _nothing(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            self.head = await reader.readuntil(b"\r\n\r\n")
            key = self.head.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
            accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            writer.write(
                self.answer
                or b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: "
                + accept
                + b"\r\n\r\n"
            )
            if self.answer is None:
                await self.script(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    it = Server()
    it.server = await asyncio.start_server(it.handle, "127.0.0.1", 0)
    yield it
    it.server.close()
    for writer in it.writers:
        writer.close()
    for writer in it.writers:
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    await it.server.wait_closed()


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_is_its_own_inverse(payload: bytes, mask: bytes) -> None:
    once = masked(payload, mask)
    assert masked(once, mask) == payload
    assert once == bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 200_000])
async def test_messages_of_every_length(server: Server, size: int) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opcode, payload = await received(reader)
        writer.write(frame(opcode, payload))
        await reader.read()

    server.script = echo
    socket = await connect(f"{server.url}/path?a=b")
    assert server.head.startswith(b"GET /path?a=b HTTP/1.1\r\n")
    await socket.send("x" * size)
    assert await socket.receive() == "x" * size
    await socket.close()


async def test_fragments_pings_and_binary(server: Server) -> None:
    seen: list[tuple[int, bytes]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(1, b"Hel", final=False) + frame(9, b"p") + frame(0, b"lo", final=False) + frame(0, b""))
        writer.write(frame(2, b"\x00\xff") + frame(10, b""))
        seen.append(await received(reader))
        seen.append(await received(reader))
        writer.write(frame(8, struct.pack("!H", 4001) + b"replaced"))
        seen.append(await received(reader))

    server.script = script
    socket = await connect(server.url)
    assert await socket.receive() == "Hello"
    assert await socket.receive() == b"\x00\xff"
    await socket.ping()
    with pytest.raises(Closed) as caught:
        await socket.receive()
    assert (caught.value.status, caught.value.reason) == (4001, "replaced")
    assert socket.pongs == 1
    await socket.close()
    await until(lambda: len(seen) == 3)
    assert seen == [(10, b"p"), (9, b""), (8, struct.pack("!H", 4001))]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (frame(0, b"x"), 1002),
        (frame(1, b"x", final=False) + frame(1, b"y"), 1002),
        (frame(3, b""), 1002),
        (b"\xc1\x00", 1002),
        (b"\x81\x80\x00\x00\x00\x00", 1002),
        (b"\x09\x00", 1002),
        (b"\x89\x7e\x00\x7e" + b"x" * 126, 1002),
        (frame(1, b"\xff"), 1007),
        (frame(1, b"x" * 1001), 1009),
        (frame(1, b"x" * 600, final=False) + frame(0, b"x" * 600), 1009),
        (b"\x81", 1006),
        (b"", 1006),
    ],
)
async def test_what_ends_a_connection(server: Server, data: bytes, status: int) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    server.script = script
    socket = await connect(server.url, max_message=1000)
    with pytest.raises(Closed) as caught:
        await socket.receive()
    assert caught.value.status == status
    await socket.close()
    with pytest.raises(Closed):
        for _ in range(3):  # the first write after the peer left may still be taken
            await socket.send("x")
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 Forbidden\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"x" * 40_000,
        b"HTTP/1.1 101",
    ],
)
async def test_a_server_that_speaks_something_else(server: Server, answer: bytes) -> None:
    server.answer = answer
    with pytest.raises(Unavailable):
        await connect(server.url)


@pytest.mark.parametrize("url", ["http://localhost", "localhost:5", "ws://example.org", "wss://"])
async def test_urls_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        await connect(url)


async def test_an_agent_that_never_answers_times_out() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    with pytest.raises(TimeoutError):
        await connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=0.1)
    await ended.wait()
    server.close()
    await server.wait_closed()
