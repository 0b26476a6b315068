# SPDX-License-Identifier: Apache-2.0
"""Raw TCP clients: however bytes are cut on the way, and whether callbacks wait or not, the packets are the same."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.gateway.fakes import World
from towline.gateway.entries.buffer import Buffer
from towline.gateway.portsettings import PortSettings, first_port
from towline.gateway.rawconnection import RawConnection
from towline.gateway.rawport import RawPort
from towline.gateway.rawsocket import RawClient
from towline.gateway.settings import GatewaySettings

LIMIT = 1003
"""As long as the longest packet below."""


def settings_of() -> PortSettings:
    return first_port(GatewaySettings(protocol="socket", max_message_bytes=LIMIT))


class Ids:
    ready = True

    def next(self) -> str:
        return "1"


class Transport:
    """Takes everything that is written, and remembers whether reading is paused."""

    def __init__(self) -> None:
        self.written = b""
        self.paused = False
        self.closed = False

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 5) if name == "peername" else None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    abort = close


class Entry:
    """Packets are lines, or ``#NNN`` and as many bytes. Every callback may wait."""

    name = "entry.py"

    def __init__(self, waits: frozenset[str]) -> None:
        self.waits = waits
        self.packets: list[bytes] = []
        self.order: list[str] = []

    def _maybe(self, name: str, value: Any) -> Any:
        if name not in self.waits:
            return value

        async def later() -> Any:
            await asyncio.sleep(0)
            return value

        return later()

    def on_connect(self, conn: RawConnection) -> Any:
        self.order.append("connect")
        return self._maybe("on_connect", None)

    def protocol_input(self, conn: RawConnection, buffer: Buffer) -> Any:
        size = buffer.find(b"\n") + 1
        if buffer.find(b"#") == 0:
            head = buffer.read(4)
            size = 4 + int(head[1:]) if head else 0
        return self._maybe("protocol_input", size)

    def protocol_decode(self, conn: RawConnection, data: bytes) -> Any:
        return self._maybe("protocol_decode", data)

    def protocol_encode(self, conn: RawConnection, data: bytes) -> bytes:
        return data

    def on_message(self, conn: RawConnection, message: bytes) -> Any:
        self.packets.append(message)
        return self._maybe("on_message", None)

    def on_close(self, conn: RawConnection, error: str | None) -> Any:
        self.order.append("close")
        return self._maybe("on_close", None)


LINES = st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"").replace(b"#", b"") + b"\n")
SIZED = st.binary(max_size=999).map(lambda data: b"#%03d" % len(data) + data)
WAITS = st.frozensets(st.sampled_from(["on_connect", "protocol_input", "protocol_decode", "on_message", "on_close"]))


@settings(max_examples=200, deadline=None)
@given(packets=st.lists(LINES | SIZED, max_size=30), cuts=st.lists(st.integers(0, 20_000)), waits=WAITS, data=st.data())
def test_packets_do_not_depend_on_where_they_were_cut(
    packets: list[bytes], cuts: list[int], waits: frozenset[str], data: st.DataObject
) -> None:
    stream = b"".join(packets)
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    chunks = [stream[a:b] for a, b in pairwise(places)]
    yields = data.draw(st.lists(st.booleans(), min_size=len(chunks), max_size=len(chunks)))

    async def play() -> None:
        entry, transport = Entry(waits), Transport()
        port = RawPort(World().realm, Ids(), settings_of(), entry)  # type: ignore[arg-type]
        client = RawClient(port)
        client.connection_made(transport)  # type: ignore[arg-type]
        for chunk, turn in zip(chunks, yields, strict=True):
            while transport.paused:
                await asyncio.sleep(0)
            client.data_received(chunk)
            if turn:
                await asyncio.sleep(0)
        async with asyncio.timeout(10):
            while len(entry.packets) < len(packets):
                assert not transport.closed
                await asyncio.sleep(0)
        client.connection_lost(None)
        async with asyncio.timeout(10):
            while entry.order[-1] != "close":
                await asyncio.sleep(0)
        assert entry.packets == packets
        assert entry.order == ["connect", "close"]
        assert port.counters.messages == len(packets)
        assert port.counters.entry_errors == 0

    asyncio.run(play())


@settings(max_examples=200, deadline=None)
@given(chunks=st.lists(st.binary(max_size=200), max_size=20), waits=WAITS)
def test_any_bytes_end_well(chunks: list[bytes], waits: frozenset[str]) -> None:
    """Nothing escapes, nothing hangs; what is no packet closes the connection."""

    async def play() -> None:
        entry, transport = Entry(waits), Transport()
        port = RawPort(World().realm, Ids(), settings_of(), entry)  # type: ignore[arg-type]
        client = RawClient(port)
        client.connection_made(transport)  # type: ignore[arg-type]
        for chunk in chunks:
            client.data_received(chunk)
        client.connection_lost(None)
        async with asyncio.timeout(10):
            while entry.order[-1] != "close":
                await asyncio.sleep(0)
        assert entry.order == ["connect", "close"]
        assert not port.clients

    asyncio.run(play())
