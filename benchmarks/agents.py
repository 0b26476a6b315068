# SPDX-License-Identifier: Apache-2.0
"""Many agents in one process: real links with real handshakes, lanes with one batch in flight, a plugin that answers.

``python -m benchmarks.agents FILE``: FILE is JSON of :class:`Fleet`. Orders come on standard input and figures go to standard
output, a JSON object a line: ``connect``, ``paced``, ``saturated``, ``quit`` (see :class:`Generator`). The server's CPU time
is read around each load.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import Any

import msgspec
import uvloop
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.usage import Usage, resident_kb
from towline.protocols.link import messages as m
from towline.protocols.link.frames import Stream, Type, decode_frame, encode_frame
from towline.protocols.link.handshake import AgentHandshake
from towline.protocols.link.items import (
    CommandStep,
    Dec,
    Declared,
    Item,
    Lane,
    Record,
    Value,
    encode_batch,
    encode_item,
)

GUID = "7c3f4a52-6d5e-4b6f-9a51-0d2d5b1c9e10"
MODULE, COMMAND = "bench", "say"
FIELDS = ("cpu", "memory", "swap", "disk", "load", "net_in", "net_out", "temperature", "uptime", "processes")
HEARTBEAT_S = 5.0
DIALS = 32
"""Links that are being opened at once."""
TICK_S = 0.005

DECLARATION = json.dumps(
    {
        "appGUID": GUID,
        "appName": "bench",
        "epoch": "1",
        "displayName": "Bench",
        "type": "ib",
        "sdk": "1.0.0",
        "version": "1.0.0",
        "modules": [
            {
                "moduleName": MODULE,
                "commands": [
                    {
                        "name": COMMAND,
                        "type": "asynchronous",
                        "params": [{"name": "who", "displayType": "string", "required": True}],
                    }
                ],
            }
        ],
    }
).encode()


class Fleet(msgspec.Struct):
    """Whom to play, and where. ``devices``: (device id, hex of the private key)."""

    url: str
    rest: str
    token: str
    server_pid: int
    core: int
    workgroup: str
    hub_id: str
    hub_key: str
    devices: list[tuple[str, str]]


def percentile(values: list[float], share: float) -> float:
    """Of sorted values."""
    return values[min(int(len(values) * share), len(values) - 1)] if values else 0.0


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def now_us() -> int:
    return time.time_ns() // 1000


class Agent(WSListener):
    """One device: its link, its lanes ``live`` and ``urgent``."""

    def __init__(self, generator: Generator, device_id: str, key: str) -> None:
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key))
        fleet = generator.fleet
        chance = generator.chance
        self.device_id = device_id
        self.spool_id = f"bench-{now_us():x}"
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._generator = generator
        self._handshake = AgentHandshake(
            device_id=device_id,
            workgroup=fleet.workgroup,
            hub_id=fleet.hub_id,
            hub_key=bytes.fromhex(fleet.hub_key),
            nonce=chance.randbytes(32),
            spool_id=self.spool_id,
            sign=private.sign,
            verify=verify,
            agent_version="bench",
            facts={"hostname": device_id, "os": "Linux", "arch": "x86_64"},
        )
        self._transport: WSTransport
        self._values = [chance.randrange(100_00) for _ in FIELDS]
        self._time_us = 0
        self._live_seq = 0
        self._live_readings = 0
        self._due_at: list[float] = []
        """When the batch in flight and those after it were due; empty: nothing is in flight."""
        self._urgent_seq = 0
        self._urgent_busy = False
        self._urgent: list[Item] = []

    # -- the link

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._send(self._handshake.start())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is not WSMsgType.BINARY:
            if frame.msg_type is WSMsgType.CLOSE:
                transport.disconnect()
            return
        data = frame.get_payload_as_bytes()
        if not self.ready.done():
            answer = self._handshake.receive(data)
            if answer is not None:
                self._send(answer)
            elif self._handshake.state == "done":
                self.ready.set_result(None)
            else:
                self.ready.set_exception(RuntimeError(f"refused: {self._handshake.refused}"))
            return
        head = decode_frame(data)
        if head.type == Type.ACK:
            if head.stream == Stream.LIVE:
                self._acked(head.seq)
            elif head.seq == self._urgent_seq:
                self._urgent_busy = False
                self._next_urgent()
        elif head.type == Type.COMMAND:
            command = m.expect(head, m.Command)
            self._say(command.command_id, "received", "delivered")
            self._say(command.command_id, "accepted", "acked")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if not self.ready.done():
            self.ready.set_exception(RuntimeError("the link was closed"))
        elif not self._generator.over:
            self._generator.lost += 1

    def _send(self, data: bytes) -> None:
        self._transport.send(WSMsgType.BINARY, data)

    def ping(self) -> None:
        self._send(m.encode(m.Ping(time_us=now_us())))

    def close(self) -> None:
        self._transport.disconnect()

    # -- lanes

    def declare(self) -> None:
        """Register the plugin."""
        self._urgent.append(Declared(GUID, "bench", "1.0.0", "Bench", DECLARATION, now_us()))
        self._next_urgent()

    def _say(self, command_id: str, *steps: Any) -> None:
        """Two batches for a command, as an agent's journal makes them: delivered, then what the plugin answered."""
        time_us = now_us()
        self._urgent += [
            CommandStep(command_id, step, time_us, b'{"response":"Hello"}' if step == "acked" else None)
            for step in steps
        ]
        self._next_urgent()

    def _next_urgent(self) -> None:
        if self._urgent and not self._urgent_busy:
            items, self._urgent = self._urgent, []
            self._urgent_busy = True
            self._urgent_seq += 1
            self._batch("urgent", Stream.URGENT, self._urgent_seq, items)

    def _batch(self, lane: Lane, stream: int, seq: int, items: list[Item]) -> None:
        body = encode_batch(self.spool_id, lane, seq, [encode_item(item) for item in items], {})
        self._send(encode_frame(Type.BATCH, body, stream=stream, seq=seq))

    def due(self, at: float) -> None:
        """A batch is due; it goes at once unless one is still in flight."""
        self._due_at.append(at)
        if len(self._due_at) == 1:
            self._send_live()

    def _send_live(self) -> None:
        generator = self._generator
        count = generator.records
        self._time_us = max(now_us(), self._time_us + count * 1000)
        items: list[Item] = []
        for at in range(count):
            steps = generator.steps[generator.chance.randrange(len(generator.steps))]
            self._values = [max(value + step, 0) for value, step in zip(self._values, steps, strict=True)]
            fields: dict[str, Value] = {
                name: Dec(f"{value // 100}.{value % 100:02}") for name, value in zip(FIELDS, self._values, strict=True)
            }
            items.append(Record("metric", "bench", "system", self._time_us - at * 1000, fields))
        self._live_seq += 1
        self._live_readings = count * len(FIELDS)
        generator.sent_batches += 1
        self._batch("live", Stream.LIVE, self._live_seq, items)

    def _acked(self, seq: int) -> None:
        if seq != self._live_seq or not self._due_at:
            return
        generator = self._generator
        now = time.perf_counter()
        generator.latencies.append(now - self._due_at.pop(0))
        generator.acked_readings += self._live_readings
        if generator.saturating:
            self._due_at.append(now)
        if self._due_at:
            self._send_live()


class Rest:
    """One kept connection to the door; requests one after another."""

    def __init__(self, address: str, token: str) -> None:
        self._host, self._port = address.rsplit(":", 1)
        self._token = token
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, int(self._port))
        reader, writer = self._streams
        content = b"" if body is None else json.dumps(body).encode()
        writer.write(
            f"{method} /api/towline/v1{path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Authorization: Bearer {self._token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:"))
        answer = json.loads(await reader.readexactly(length))
        if not head.startswith("HTTP/1.1 2"):
            raise RuntimeError(f"{method} {path}: {answer}")
        return answer


class Generator:
    """Carries out orders."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.chance = random.Random(7)
        self.steps = [[self.chance.randrange(-150, 151) for _ in FIELDS] for _ in range(256)]
        self.agents: list[Agent] = []
        self.latencies: list[float] = []
        self.records = 1
        self.acked_readings = self.sent_batches = self.lost = 0
        self.saturating = self.over = False
        self._rest = Rest(fleet.rest, fleet.token)
        self._beats = 0

    async def connect(self, order: dict[str, Any]) -> dict[str, Any]:
        """Sign the first ``n`` devices in, register the plugin on the first ten."""
        fleet, gate = self.fleet, asyncio.Semaphore(DIALS)
        before_kb = resident_kb(fleet.server_pid)
        usage = Usage(fleet.server_pid, fleet.core)

        async def dial(device: tuple[str, str]) -> Agent:
            async with gate:
                agent = Agent(self, *device)
                await ws_connect(lambda: agent, fleet.url, read_buffer_init_size=1024, logger_name="bench")
                await asyncio.wait_for(agent.ready, 20)
                return agent

        self.agents = await asyncio.gather(*[dial(device) for device in fleet.devices[: order["n"]]])
        figures = usage.figures()
        for agent in self.agents[:10]:
            agent.declare()
        asyncio.get_running_loop().call_later(TICK_S, self._beat, time.perf_counter())
        await asyncio.sleep(0.5)
        kb = resident_kb(fleet.server_pid)
        return {
            "links_per_s": len(self.agents) / figures["seconds"],
            "cpu_us_per_link": figures["cpu_s"] / len(self.agents) * 1e6,
            "rss_mb": kb / 1024,
            "kb_per_link": (kb - before_kb) / len(self.agents),
        }

    def _beat(self, start: float) -> None:
        """Every agent's PING is due once in HEARTBEAT_S, evenly spread."""
        if self.over:
            return
        due = int((time.perf_counter() - start) / HEARTBEAT_S * len(self.agents))
        while self._beats < due:
            self.agents[self._beats % len(self.agents)].ping()
            self._beats += 1
        asyncio.get_running_loop().call_later(0.02, self._beat, start)

    async def paced(self, order: dict[str, Any]) -> dict[str, Any]:
        """``rate`` readings a second for ``seconds``, in batches of ten; with ``commands`` one command after the other."""
        self.records = 1
        self.latencies = []
        readings, batches = self.acked_readings, self.sent_batches
        usage = Usage(self.fleet.server_pid, self.fleet.core)
        commanding = asyncio.create_task(self._command(order["seconds"])) if order.get("commands") else None
        start = at = time.perf_counter()
        due, sent = 0.0, 0
        while at < start + order["seconds"]:
            due += order["rate"] / len(FIELDS) * TICK_S
            while sent < due:
                self.agents[sent % len(self.agents)].due(at)
                sent += 1
            at += TICK_S
            await asyncio.sleep(max(at - time.perf_counter(), 0))
        figures = self._figures(usage, readings, batches)
        figures |= await commanding if commanding else {}
        await self._settle()
        return figures

    async def saturated(self, order: dict[str, Any]) -> dict[str, Any]:
        """Every agent has its next batch (of ``records`` records) ready when the last one is acknowledged."""
        self.records = order["records"]
        self.latencies = []
        self.saturating = True
        for agent in self.agents:
            agent.due(time.perf_counter())
        await asyncio.sleep(order.get("ramp", 0.3))
        self.latencies = []
        readings, batches = self.acked_readings, self.sent_batches
        usage = Usage(self.fleet.server_pid, self.fleet.core)
        await asyncio.sleep(order["seconds"])
        figures = self._figures(usage, readings, batches)
        self.saturating = False
        await self._settle()
        return figures

    async def quit(self, order: dict[str, Any]) -> dict[str, Any]:
        """What was acknowledged in all, to be compared with what is stored."""
        self.over = True
        for agent in self.agents:
            agent.close()
        return {"acked_readings": self.acked_readings, "lost_links": self.lost}

    async def _settle(self) -> None:
        """Until all that is in flight is acknowledged."""
        end = time.perf_counter() + 10
        while any(agent._due_at for agent in self.agents) and time.perf_counter() < end:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)

    def _figures(self, usage: Usage, readings: int, batches: int) -> dict[str, Any]:
        used = usage.figures()
        readings = self.acked_readings - readings
        found = sorted(self.latencies)
        return {
            "readings_per_s": readings / used["seconds"],
            "batches_per_s": (self.sent_batches - batches) / used["seconds"],
            "cpu_us_per_reading": used["cpu_s"] / max(readings, 1) * 1e6,
            "cpu%": used["cpu%"],
            "others%": used["others%"],
            "generator%": used["own%"],
            "p50_ms": percentile(found, 0.5) * 1e3,
            "p99_ms": percentile(found, 0.99) * 1e3,
            "rss_mb": resident_kb(self.fleet.server_pid) / 1024,
        }

    async def _command(self, seconds: float) -> dict[str, Any]:
        end = time.perf_counter() + seconds
        taken: list[float] = []
        while time.perf_counter() < end:
            agent = self.agents[len(taken) % min(10, len(self.agents))]
            start = time.perf_counter()
            body = {"app_guid": GUID, "module": MODULE, "name": COMMAND, "params": {"who": "bench"}}
            command = await self._rest.ask("POST", f"/devices/{agent.device_id}/commands", body)
            if not command["final"]:
                command = await self._rest.ask("GET", f"/commands/{command['id']}?wait_s=10")
            taken.append(time.perf_counter() - start)
            if command["state"] != "acked":
                raise RuntimeError(f"a command ended as {command['state']}")
            await asyncio.sleep(0.02 + 0.02 * self.chance.random())
        return {"commands_ms": [round(one * 1e3, 2) for one in taken]}


async def main() -> None:
    with open(sys.argv[1], "rb") as file:
        generator = Generator(msgspec.json.decode(file.read(), type=Fleet))
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        print(json.dumps(await getattr(generator, order["do"])(order)), flush=True)
        if order["do"] == "quit":
            return


if __name__ == "__main__":
    uvloop.run(main())
