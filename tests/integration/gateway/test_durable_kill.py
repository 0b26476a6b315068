# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a real ``towline gateway`` while it pushes and acks: what it accepted is there, and comes until it is acked."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import sys
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.helpers import free_port, until
from tests.integration.gateway.backend import BackEnd
from tests.integration.product import environment
from tests.natsserver import NatsServer

ENTRY = """
from towline.errors import Unavailable

async def on_message(conn, message):
    try:
        waiting = await conn.queue.put("orders", message.data)
    except Unavailable:
        conn.close(4002, "not kept")
    else:
        conn.send(f"{message.data} {waiting}")
"""


class Gateway:
    """A process of ``towline gateway``; started again on the same ports and data."""

    def __init__(self, folder: Path, bus: str = "") -> None:
        self._folder = folder
        self.ports = {"api": free_port(), "clients": free_port()}
        (folder / "entry.py").write_text(ENTRY)
        topic = {"name": "orders", "ack_s": 1, "max_deliveries": 0}
        gateway = {"entry": str(folder / "entry.py"), "queue": {"topics": [topic]}}
        settings = {"data": str(folder / "data"), "gateway": gateway, "bus": {"url": bus}}
        (folder / "gateway.yaml").write_text(json.dumps(settings))
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "towline.cli.main", "gateway", "--config", str(self._folder / "gateway.yaml")),
                *(word for name, port in self.ports.items() for word in (f"--{name}-port", str(port))),
                stdout=log,
                stderr=log,
                env=environment(),
            )

    async def end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(how)
            await asyncio.wait_for(process.wait(), 20)

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()


async def held(gateway: Gateway) -> float:
    """How many messages the topic holds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.ports["api"])
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    (line,) = [line for line in text.splitlines() if line.startswith('towline_gateway_topic_messages{topic="orders"}')]
    return float(line.split()[1])


class World:
    """Clients that push for ever, and a back end that acks, against a gateway that dies."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.accepted: set[str] = set()
        self.heard: list[str] = []
        self.acked: set[str] = set()
        self.stop = False
        self._tasks = [asyncio.ensure_future(self._client(name)) for name in range(4)]
        self._tasks += [asyncio.ensure_future(self._back_end()) for _ in range(2)]

    async def _client(self, name: int) -> None:
        numbers = itertools.count()
        while not self.stop:
            with contextlib.suppress(OSError, WebSocketException, EOFError, TimeoutError):
                async with connect(f"ws://127.0.0.1:{self.gateway.ports['clients']}/", open_timeout=2) as socket:
                    while not self.stop:
                        await socket.send(f"{name}-{next(numbers)}")
                        self.accepted.add(str(await asyncio.wait_for(socket.recv(), 25)).partition(" ")[0])
            await asyncio.sleep(0.05)

    async def _back_end(self) -> None:
        while True:
            with contextlib.suppress(OSError, WebSocketException, EOFError, TimeoutError):
                async with connect(f"ws://127.0.0.1:{self.gateway.ports['api']}/ws/v1", open_timeout=2) as socket:
                    back_end = BackEnd(socket)
                    await back_end.ask("queue.pop", {"t": ["orders"]})
                    while True:
                        (event,) = await back_end.events(1)
                        self.heard.append(event["d"])
                        if (await back_end.ack(event))["s"]:
                            self.acked.add(event["d"])
            await asyncio.sleep(0.05)

    async def more(self, count: int = 100) -> None:
        """Until so many more are accepted and acked."""
        accepted, acked = len(self.accepted) + count, len(self.acked) + count
        try:
            await until(lambda: len(self.accepted) >= accepted and len(self.acked) >= acked, 40, what="progress")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.gateway.log}") from None

    async def finish(self) -> None:
        self.stop = True
        await asyncio.gather(*self._tasks[:4])
        # Not "acked": an ack may be done although its answer was lost with the process.
        await until(lambda: self.accepted <= set(self.heard), 30, what="everything accepted is heard")
        async with asyncio.timeout(30):
            while await held(self.gateway):
                await asyncio.sleep(0.1)
        await self.abandon()

    async def abandon(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_a_killed_gateway_loses_nothing_it_accepted(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    await gateway.start()
    world = World(gateway)
    try:
        for how in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
            await world.more()
            await gateway.end(how)
            after = set(world.acked)
            heard = len(world.heard)
            await gateway.start()
            await world.more()
            # An answered ack is final: it does not come again.
            assert not after.intersection(world.heard[heard:])
        await world.finish()
        assert "Traceback" not in gateway.log
    finally:
        await gateway.end(signal.SIGTERM)


@pytest.mark.needs_nats
@pytest.mark.slow
async def test_gateways_and_nats_are_killed_in_turn(tmp_path: Path) -> None:
    server = NatsServer(config="jetstream { sync_interval: always }").start()
    gateway = Gateway(tmp_path, server.url)
    await gateway.start()
    world = World(gateway)
    try:
        for _ in range(2):
            await world.more()
            await gateway.end(signal.SIGKILL)
            await gateway.start()
            await world.more()
            server.kill()
            await asyncio.to_thread(server.restart)
        await world.more()
        await world.finish()
        assert "Traceback" not in gateway.log
    finally:
        await gateway.end(signal.SIGTERM)
        server.stop()


@pytest.mark.needs_nats
async def test_stopping_ends_although_nats_is_gone(tmp_path: Path) -> None:
    server = NatsServer(config="jetstream { sync_interval: always }").start()
    gateway = Gateway(tmp_path, server.url)
    await gateway.start()
    world = World(gateway)
    try:
        await world.more(20)
        server.kill()
        await until(lambda: "bus is cut" in gateway.log)
        await gateway.end(signal.SIGTERM)  # waits 20 s at most
        assert "Traceback" not in gateway.log
    finally:
        await world.abandon()
        await gateway.end(signal.SIGKILL)
        server.stop()
