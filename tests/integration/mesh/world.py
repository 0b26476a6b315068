# SPDX-License-Identifier: Apache-2.0
"""The processes: nodes, each with a proxy of its own on its way to one nats-server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers import free_port
from tests.integration.mesh.proxy import Proxy
from tests.integration.mesh.sockets import get_figures, get_json
from tests.integration.product import TOWLINE, environment
from tests.natsserver import NatsServer

ANSWER_S = 1.0
"""``gateway.answer_s``, as by default."""

GONE_S = 10.0
"""The promise: a node that died is gone from counts and routes within this."""

ENTRY = """
def on_handshake(conn, handshake):
    conn.subscribe(*filter(None, handshake.query.split(",")))
    conn.send("id " + conn.id)

def on_message(conn, message):
    word, _, rest = message.data.partition(" ")
    if word == "push":
        conn.queue.push("work", int(rest))
        conn.send("pushed " + rest)
    else:
        conn.send("context " + repr(conn.context()))
"""


class NodeProcess:
    """One ``towline gateway``. It comes back on its own ports."""

    def __init__(self, folder: Path, index: int, proxy: Proxy, entry: Path) -> None:
        self.index = index
        self.proxy = proxy
        self.api = free_port()
        self.clients = free_port()
        self.folder = folder
        self.starts = 0
        self.dead = False
        """Killed, and to stay so for now."""
        self._entry = entry
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.starts += 1
        self.dead = False
        settings = {
            "TOWLINE_GATEWAY__ENTRY": str(self._entry),
            "TOWLINE_GATEWAY__ANSWER_S": str(ANSWER_S),
            "TOWLINE_GATEWAY__QUEUE__TOPIC_SIZE": "100000",
        }
        with self._output.open("wb") as out:
            self._process = await asyncio.create_subprocess_exec(
                *TOWLINE, "gateway", "--bus", f"nats://127.0.0.1:{self.proxy.port}",
                "--api-port", str(self.api), "--clients-port", str(self.clients),
                cwd=self.folder, env=environment() | settings, stdout=out, stderr=out,
            )  # fmt: skip

    @property
    def _output(self) -> Path:
        return self.folder / f"node-{self.index}-{self.starts}.txt"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def output(self) -> str:
        """What all its starts printed."""
        paths = sorted(self.folder.glob(f"node-{self.index}-*.txt"))
        return "\n".join(path.read_text(errors="replace") for path in paths)

    async def kill(self) -> None:
        assert self._process is not None
        self.dead = True
        self._process.kill()
        await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        async with asyncio.timeout(15):
            return await self._process.wait()

    # -- looking

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.api}{path}"

    async def sees(self) -> list[tuple[int, str]]:
        """Push API port and number of the nodes that it lists; nothing while it does not answer. A node that came back has
        another number, and its former life stays until it is found dead: messages are still offered to it. Also to one
        that has no number now (-1), because it was cut off."""
        try:
            nodes = (await get_json(self.url("/v1/nodes")))["nodes"]
        except (OSError, ValueError):
            return []
        return sorted((node["port"], node["id"]) for node in nodes)

    async def publish(self, channel: str, data: str) -> Any:
        """What the push API answers by HTTP."""
        body = json.dumps({"c": channel, "d": data}).encode()
        return await get_json(self.url("/v1/mesh/publish"), body)

    async def figures(self) -> dict[str, float]:
        return await get_figures(self.url("/metrics"))


class World:
    """Nodes, proxies and the NATS server."""

    def __init__(self, folder: Path, count: int) -> None:
        self.nats = NatsServer()
        self.nodes: list[NodeProcess] = []
        self._folder = folder
        self._count = count

    async def start(self) -> None:
        await asyncio.to_thread(self.nats.start)
        entry = self._folder / "entry.py"
        entry.write_text(ENTRY)
        for index in range(self._count):
            proxy = Proxy(self.nats.port)
            await proxy.start()
            self.nodes.append(NodeProcess(self._folder, index, proxy, entry))
        for node in self.nodes:
            await node.start()
        await self.whole()

    async def whole(self, timeout: float = 40.0) -> None:
        """Until every node sees every node."""
        everyone = sorted(node.api for node in self.nodes)

        def agree(seen: list[list[tuple[int, str]]]) -> bool:
            # All of them run: the others still list one that has just ended.
            return (
                len(seen) == len(self.nodes)
                and [port for port, _ in seen[0]] == everyone
                and all(number != "-1" for _, number in seen[0])
                and all(one == seen[0] for one in seen)
            )

        await self.reach(agree, timeout, "every node sees every node, and nobody else")

    async def reach(self, condition: Callable[[list[list[tuple[int, str]]]], bool], timeout: float, what: str) -> float:
        """Until ``condition`` holds for what the running nodes see; the seconds that took."""
        began = time.monotonic()
        while True:
            seen = await asyncio.gather(*(node.sees() for node in self.nodes if node.running))
            if condition(seen):
                return time.monotonic() - began
            if time.monotonic() - began > timeout:
                raise AssertionError(f"not within {timeout} s: {what}; seen {seen}; {self.output()[-4000:]}")
            await self.supervise()
            await asyncio.sleep(0.05)

    async def supervise(self) -> None:
        """A node that came while the bus was cut has ended, saying so: it is started again, as a supervisor does."""
        for node in self.nodes:
            if not node.running and not node.dead:
                assert "bus." in node.output(), f"node {node.index} ended by itself: {node.output()[-4000:]}"
                await node.start()

    def signal_nats(self, number: signal.Signals) -> None:
        process = self.nats._process
        assert process is not None
        os.kill(process.pid, number)

    def output(self) -> str:
        return "\n".join(node.output() for node in self.nodes)

    async def close(self) -> None:
        for node in self.nodes:
            if node.running:
                node.signal(signal.SIGCONT)
                await node.kill()
            await node.proxy.close()
        await asyncio.to_thread(self.nats.stop)
