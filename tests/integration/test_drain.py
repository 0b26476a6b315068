# SPDX-License-Identifier: Apache-2.0
"""A node told to stop, as a real process: whom it tells what, how it spreads that, and that nobody can hold it up."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.helpers import until
from tests.integration.gatewayprocess import GatewayProcess
from tests.integration.mesh.sockets import Socket, get_json
from tests.natsserver import NatsServer
from towline.app.supervisor import TWICE_SECONDS

DRAIN_S = 2.0
ANSWERING = 300
SILENT = 50
RAW = 30
UNFINISHED = 20

ENTRY = """
def on_handshake(conn, handshake):
    conn.subscribe("all")
    conn.send(conn.id)

async def on_message(conn, message):
    conn.queue.push("work", message.data)
"""

RAW_ENTRY = """
def on_connect(conn):
    conn.subscribe("all")

def protocol_input(conn, buffer):
    return buffer.find(b"\\n") + 1

def on_message(conn, message):
    pass
"""

SETTINGS = """
data: data
bus: {{url: "{url}"}}
gateway:
  api_listen: 127.0.0.1:{{api}}
  clients_listen: 127.0.0.1:{{clients}}
  center_listen: ""
  drain_s: {drain}
  entry: entry.py
  listeners:
    - {{listen: "127.0.0.1:{{raw}}", protocol: socket, entry: raw.py}}
"""


@pytest.fixture
def nats() -> Iterator[NatsServer]:
    server = NatsServer().start()
    yield server
    server.stop()


def node(folder: Path, url: str, drain: float, entry: str = ENTRY) -> GatewayProcess:
    folder.mkdir()
    (folder / "entry.py").write_text(entry)
    (folder / "raw.py").write_text(RAW_ENTRY)
    text = SETTINGS.format(url=url, drain=drain).replace("{{", "{").replace("}}", "}")
    return GatewayProcess(folder, text, "raw")


@pytest.fixture
def two(tmp_path: Path, nats: NatsServer) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    going = node(tmp_path / "going", nats.url, DRAIN_S)
    staying = node(tmp_path / "staying", nats.url, 0)
    yield going, staying
    going.close()
    staying.close()


class Clients:
    """Those of the node that goes, each with the moment it heard of that."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.ends: dict[int, float] = {}
        self.sockets: list[Socket] = []
        self.ids: list[str] = []

    async def come(self, count: int) -> None:
        for number in range(count):
            self.sockets.append(
                await Socket.connect(
                    self.port,
                    "/",
                    lambda text: self.ids.append(text.decode()),
                    partial(self._ended, number),
                )
            )

    def _ended(self, number: int) -> None:
        self.ends[number] = time.monotonic()

    def abort(self) -> None:
        for one in self.sockets:
            one.abort()


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def stubborn(port: int) -> Stream:
    """A client that never answers a close, nor hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def reach(ask: Callable[[], Awaitable[object]], expected: object, timeout: float = 20.0) -> None:
    """Ask until the answer is ``expected``."""
    answer: object = None
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        answer = await ask()
        if answer == expected:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{expected} expected, {answer} at last")


async def nodes_of(process: GatewayProcess) -> int:
    return len((await get_json(f"http://127.0.0.1:{process.ports['api']}/v1/nodes"))["nodes"])


async def test_everyone_is_told_and_the_other_node_counts_right(two: tuple[GatewayProcess, GatewayProcess]) -> None:
    going, staying = two
    push = f"http://127.0.0.1:{staying.ports['api']}/v1/mesh/"

    async def publish() -> dict[str, int]:
        found: dict[str, int] = (await get_json(push + "publish", b'{"c":"all","d":"x"}'))["r"]
        return found

    await reach(lambda: nodes_of(staying), 2)
    clients, others = Clients(going.ports["clients"]), Clients(staying.ports["clients"])
    await others.come(3)
    await clients.come(ANSWERING)
    silent = [await stubborn(going.ports["clients"]) for _ in range(SILENT)]
    raw = [await asyncio.open_connection("127.0.0.1", going.ports["raw"]) for _ in range(RAW)]
    unfinished = [await asyncio.open_connection("127.0.0.1", going.ports["clients"]) for _ in range(UNFINISHED)]
    for _, writer in unfinished:
        writer.write(b"GET / HTTP/1.1\r\n")
    whole = ANSWERING + SILENT + RAW + 3
    await reach(publish, {"s": whole, "f": 0})

    async with connect(f"ws://127.0.0.1:{going.ports['api']}/ws/v1") as consumer:
        await consumer.send(json.dumps({"m": "queue.pop", "p": {"t": ["work"]}, "i": 1}))
        assert json.loads(await consumer.recv())["r"] == {"s": True}
        clients.sockets[0].send(b"the last")
        assert json.loads(await consumer.recv())["p"]["d"] == "the last"

        began = time.monotonic()
        going.process.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            await consumer.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 3000
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", going.ports["clients"])
    assert await asyncio.to_thread(going.process.wait, DRAIN_S + 12) == 0, going.output()
    took = time.monotonic() - began
    await until(lambda: len(clients.ends) == ANSWERING)
    assert {one.close_code for one in clients.sockets} == {3000}
    times = sorted(end - began for end in clients.ends.values())
    assert times[-1] - times[0] > DRAIN_S / 2, "told all at once"
    assert len({int(at / DRAIN_S * 8) for at in times}) >= 4, "told in one heap"
    for reader, _ in silent:
        assert b"\x88" in await reader.read()  # the close frame, and then the end
    for reader, _ in (*raw, *unfinished):
        await reader.read()
    for _, writer in (*silent, *raw, *unfinished):
        writer.close()
    assert took < DRAIN_S + 10
    assert "Traceback" not in going.output(), going.output()[-4000:]

    await until(lambda: all(one.open for one in others.sockets))
    await reach(lambda: nodes_of(staying), 1)
    assert await publish() == {"s": 3, "f": 0}
    gone = await get_json(push + "send", json.dumps({"c": clients.ids[0], "d": "x"}).encode())
    assert gone["E"]["c"] == 401, gone
    others.abort()
    staying.stop()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_told_twice_it_ends_at_once(tmp_path: Path, nats: NatsServer, second: signal.Signals) -> None:
    process = node(tmp_path / "node", nats.url, 300)
    clients = Clients(process.ports["clients"])
    try:
        await clients.come(ANSWERING)  # 50 a second at least: for 6 s
        process.process.terminate()
        process.process.terminate()  # the same wish said by two
        first = time.monotonic()
        await until(lambda: len(clients.ends) >= 1)
        await until(lambda: time.monotonic() - first > 2 * TWICE_SECONDS)
        assert process.process.poll() is None
        assert len(clients.ends) < ANSWERING
        process.process.send_signal(second)
        assert await asyncio.to_thread(process.process.wait, 5) == 128 + second
        assert "told twice to stop" in process.output()
    finally:
        process.close()
        clients.abort()


LEAVING = """
import asyncio

def on_handshake(conn, handshake):
    conn.send(conn.id)

async def on_message(conn, message):
    pass

async def on_close(conn, error):
    await asyncio.sleep(0.3)
    conn.queue.push("closed", conn.id)
"""


async def test_consumers_hear_of_the_clients_that_the_end_sent_away(tmp_path: Path, nats: NatsServer) -> None:
    process = node(tmp_path / "node", nats.url, 0, LEAVING)
    clients = Clients(process.ports["clients"])
    await clients.come(15)
    silent = [await stubborn(process.ports["clients"]) for _ in range(5)]
    heard = []
    async with connect(f"ws://127.0.0.1:{process.ports['api']}/ws/v1") as consumer:
        await consumer.send(json.dumps({"m": "queue.pop", "p": {"t": ["closed"]}, "i": 1}))
        await consumer.recv()
        process.process.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                heard.append(json.loads(await consumer.recv())["p"]["d"])
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 3000
    assert await asyncio.to_thread(process.process.wait, 15) == 0
    assert len(heard) == len(set(heard)) == 20
    assert set(clients.ids) <= set(heard)
    assert "still waited" not in process.output()
    for _, writer in silent:
        writer.close()
