# SPDX-License-Identifier: Apache-2.0
"""A whole world in one process for tests of the agent: memory bus, SQLite store, hub, gateway node; and a raw plugin."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.helpers import until
from towline.agent.daemon import Agent
from towline.agent.enrol import redeem
from towline.agent.settings import AgentSettings
from towline.bus.memory import MemoryBus
from towline.clock import SystemClock
from towline.gateway.node import Node
from towline.gateway.settings import GatewaySettings
from towline.hub.actor import Actor
from towline.hub.hub import Hub
from towline.hub.settings import HubSettings
from towline.protocols.octo.envelope import Name
from towline.protocols.octo.outgoing import signed
from towline.store.base import Store
from towline.store.sqlite import open_store

CLOCK = SystemClock()
GUID = "a8e873a1-e5df-43a2-928a-745ff9c94dfb"
KEY = "made-up-key-for-testing-00000000"
SECRET = bytes(range(32))


def settings(data: Path, **changes: Any) -> AgentSettings:
    """Settings for tests: any free port, no bundled plugins, quick."""
    plain = AgentSettings(data=str(data), plugin_port=0, bundled=(), flush_s=0.05)
    return msgspec.structs.replace(plain, **changes)


class World:
    """The server's side. ``async with World(path)``."""

    def __init__(self, path: Path, *, tls: Path | None = None, ca_fingerprint: str = "") -> None:
        self.path = path
        self.tls = tls
        self.ca_fingerprint = ca_fingerprint
        self.bus: MemoryBus
        self.store: Store
        self.hub: Hub
        self.node: Node
        self.actor: Actor
        self.port = 0
        self.lines = 0

    async def __aenter__(self) -> World:
        self.path.mkdir(parents=True, exist_ok=True)
        self.bus = MemoryBus(CLOCK)
        await self.bus.start()
        await self.start_node()
        await self.start_hub()
        return self

    async def start_node(self) -> None:
        # The port of the first start is kept, so that agents find the node again.
        listen = f"127.0.0.1:{self.port}"
        pem = str(self.tls) if self.tls else None
        gateway = GatewaySettings(api_listen="127.0.0.1:0", clients_listen=listen, certificate=pem, key=pem)
        self.node = Node(self.bus, CLOCK, gateway)
        await self.node.start()
        self.port = self.node.link_address[1]

    async def start_hub(self) -> None:
        self.store = await open_store(self.path / "towline.db", CLOCK)
        scheme, host = ("wss", "localhost") if self.tls else ("ws", "127.0.0.1")
        link_url = f"{scheme}://{host}:{self.port}/link/v1"
        hub_settings = HubSettings(link_url=link_url, ca_fingerprint=self.ca_fingerprint)
        self.hub = Hub(self.store, self.bus, CLOCK, hub_settings, secret=SECRET)
        await self.hub.start()
        made = await self.hub.bootstrap()
        self.actor = Actor.system(made.workgroup)

    async def stop_hub(self) -> None:
        await self.hub.close()
        await self.store.close()

    async def __aexit__(self, *_exc: object) -> None:
        await self.node.close()
        await self.stop_hub()
        await self.bus.close()

    async def line(self) -> str:
        self.lines += 1
        return (await self.hub.enrolments.create(self.actor, f"box {self.lines}")).line

    async def enrol(self, data: Path) -> str:
        """Enrol a device whose agent keeps its files in ``data``; its id."""
        data.mkdir(parents=True, exist_ok=True)
        return (await redeem(data, await self.line(), CLOCK)).device_id

    async def presence(self, device_id: str) -> str:
        return (await self.hub.devices.get(self.actor, device_id)).presence.state

    async def credential(self) -> tuple[str, str]:
        made = await self.hub.plugins.create_credential(self.actor, "thermometer")
        return made.app_guid, made.access_key

    async def points(self, device_id: str, name: str = "temperature") -> list[tuple[int, str]]:
        """All stored values of a metric, oldest first."""
        page = await self.hub.records.series(self.actor, device_id, from_us=0, to_us=1 << 62, max_points=10_000)
        return [point for series in page.series if series.field == name for point in series.points]


@contextlib.asynccontextmanager
async def running(agent: Agent) -> AsyncIterator[Agent]:
    """An agent, from its readiness to its end."""
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(agent.run(stop, ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        await task
    try:
        yield agent
    finally:
        stop.set()
        await asyncio.wait_for(task, 5.0)


async def online(agent: Agent, timeout: float = 10.0) -> None:
    """Wait for the agent's link."""
    await until(lambda: agent.link is not None and agent.link.online, timeout, what="link")


def declaration(guid: str = GUID, version: str = "1.0.0", **module: Any) -> dict[str, Any]:
    """A registration with one of everything."""
    return {
        "appGUID": guid,
        "appName": "thermometer",
        "type": "ib",
        "sdk": "1.0.0",
        "version": version,
        "displayName": "Thermometer",
        "modules": [
            {
                "moduleName": "room",
                "states": [{"name": "mood", "displayType": "string"}],
                "metrics": [{"name": "temperature", "displayType": "temperature"}],
                "events": [{"name": "opened"}],
                "commands": [
                    {
                        "name": "greet",
                        "type": "asynchronous",
                        "params": [{"name": "person", "displayType": "string", "required": True}],
                    }
                ],
                "alarms": [{"name": "hot", "params": []}],
                "configs": [{"name": "rate", "params": []}],
                **module,
            }
        ],
    }


class RawPlugin:
    """A plugin without the SDK: signs what it is told to and keeps what it gets."""

    def __init__(self, socket: ClientConnection, guid: str = GUID, key: str = KEY) -> None:
        self.socket = socket
        self.guid = guid
        self.key = key
        self.got: list[dict[str, Any]] = []
        self.closed = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, port: int, guid: str = GUID, key: str = KEY, host: str = "127.0.0.1") -> RawPlugin:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        url = f"wss://{f'[{host}]' if ':' in host else host}:{port}/"
        return cls(await connect(url, ssl=context, max_size=None, compression=None), guid, key)

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                self.got.append(json.loads(message))
        except ConnectionClosed:
            pass
        finally:
            self.closed.set()

    def sign(self, name: Name, params: dict[str, Any], *, epoch: str | None = None) -> str:
        now = str(CLOCK.now_us() // 1_000_000) if epoch is None else epoch
        return signed(name, {"appGUID": self.guid, "epoch": now, **params}, self.key)

    async def send(self, name: Name, params: dict[str, Any]) -> None:
        await self.socket.send(self.sign(name, params))

    async def register(self, **changes: Any) -> None:
        params = declaration(self.guid) | changes
        await self.send(Name.UPDATE, params)

    async def metric(self, value: str, time_s: int | None = None) -> None:
        sample = {"name": "temperature", "value": value}
        if time_s is not None:
            sample["time"] = str(time_s)
        await self.send(Name.METRIC, {"moduleName": "room", "metrics": [sample]})

    async def ack(self, command_id: str, state: str, result: dict[str, Any] | None = None, **more: Any) -> None:
        acks = [{"name": "greet"} | ({"result": result} if result is not None else {})]
        await self.send(
            Name.COMMAND_ACK,
            {
                "commandId": command_id,
                "commandSource": "remote",
                "moduleName": "room",
                "commandState": state,
                "commandAcks": acks,
                **more,
            },
        )

    def named(self, name: Name) -> list[dict[str, Any]]:
        """Params of the messages of one method so far."""
        return [
            message["params"]
            for message in self.got
            if str(message.get("method", "")).partition("?")[0] == f"v2/{name.value}"
        ]

    def errors(self) -> list[dict[str, Any]]:
        return [message["error"] for message in self.got if "error" in message]

    async def wait(self, name: Name, count: int = 1) -> list[dict[str, Any]]:
        await until(lambda: len(self.named(name)) >= count, what=name.value)
        return self.named(name)

    async def refused(self, count: int = 1) -> dict[str, Any]:
        """The newest error, once there are so many."""
        await until(lambda: len(self.errors()) >= count, what="error reply")
        return self.errors()[-1]

    async def close(self) -> None:
        await self.socket.close()
        self._task.cancel()
