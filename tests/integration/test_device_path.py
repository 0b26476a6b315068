# SPDX-License-Identifier: Apache-2.0
"""The device path under kill -9: plugin → agent → link → node → bus → hub → store, on both buses.

A raw plugin counts: each number goes out as an event and as a metric. Meanwhile processes are killed at random and started
again. In the end the database is compared with what was sent:

* no number is stored twice, and every stored one was sent;
* of each agent's life the stored numbers are the first ones sent to it, without a hole; what is missing at the end of a
  life that was cut off is what its spool had not yet committed: sent in the last moment before the kill;
* the last agent's numbers are all there, and no lane has a gap.

A share of ``TOWLINE_TEST_SOAK`` is how many seconds the killing lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.helpers import free_port, soak_seconds, until
from tests.integration.agentworld import CLOCK, RawPlugin
from tests.integration.product import environment
from tests.natsserver import NatsServer
from towline.agent.settings import AgentSettings, OctoSettings
from towline.api.settings import DoorSettings
from towline.app.settings import LogSettings, Settings
from towline.bus.settings import BusSettings
from towline.gateway.settings import GatewaySettings
from towline.protocols.octo.envelope import Name
from towline.store.rows import plain
from towline.store.sqlite import open_store

pytestmark = [pytest.mark.slow, pytest.mark.soak]

SECONDS = soak_seconds(0.1, 12)
EVERY_S = 0.02
UNCOMMITTED_S = 1.0
"""How long before a kill a number may have been sent and yet not be in the agent's spool: its commits come every 100 ms
at the latest, the rest is for a machine that does other things besides."""


class Fleet:
    """The processes of one installation; each is started from settings and killed by its pid."""

    def __init__(self, folder: Path, bus: BusSettings, roles: tuple[str, ...]) -> None:
        self.folder = folder
        self.roles = roles
        portal, api, clients, plugin = (free_port() for _ in range(4))
        self.plugin_port = plugin
        self.url = f"http://127.0.0.1:{portal}/api/towline/v1"
        self.line = folder / "line"
        self.settings = Settings(
            data=str(folder / "data"),
            log=LogSettings(level="info"),
            bus=bus,
            portal=DoorSettings(port=portal),
            gateway=GatewaySettings(api_listen=f"127.0.0.1:{api}", clients_listen=f"127.0.0.1:{clients}"),
            agent=AgentSettings(
                data=str(folder / "agent"),
                enrol_file=str(self.line),
                plugin_port=plugin,
                bundled=(),
                flush_s=0.1,
                reconnect_max_s=1.0,
                octo=OctoSettings(calls_per_hour=0),
            ),
        )
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, role: str) -> None:
        with (self.folder / f"{role}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"towline.app.{role}", "--unsupervised"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
            )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(msgspec.to_builtins(self.settings)) + b"\n")
        process.stdin.close()
        self._running[role] = process

    def kill(self, role: str) -> None:
        process = self._running.pop(role)
        assert process.poll() is None, f"{role} ended by itself with {process.returncode}:\n{self.log(role)}"
        process.kill()
        process.wait()

    async def stop(self) -> None:
        """End all in order, as an operator does."""
        for role in ("agent", *reversed(self.roles)):
            process = self._running.pop(role, None)
            if process is not None:
                process.terminate()
                try:
                    assert await asyncio.to_thread(process.wait, 10) == 0, self.log(role)
                except subprocess.TimeoutExpired:
                    raise AssertionError(f"{role} does not end:\n{self.log(role)}") from None

    def close(self) -> None:
        """End whatever still runs."""
        for process in self._running.values():
            process.kill()
            process.wait()

    def log(self, role: str) -> str:
        return (self.folder / f"{role}.log").read_text(errors="replace")[-3000:]

    async def ask(self, method: str, path: str, **more: Any) -> Any:
        """A request at the door as this machine's command line makes it; its token is new after each start."""
        token = (self.folder / "data" / "cli-token").read_text().strip()
        async with httpx.AsyncClient(base_url=self.url, timeout=5.0) as client:
            answer = await client.request(method, path, headers={"Authorization": f"Bearer {token}"}, **more)
        assert answer.is_success, answer.text
        return answer.json()


class Counter:
    """The plugin: sends numbers for as long as it may, through whatever happens to the agent."""

    def __init__(self, port: int, guid: str, key: str) -> None:
        self._port, self._guid, self._key = port, guid, key
        self.base_s = CLOCK.now_us() // 1_000_000 - 500_000
        self.sent: list[tuple[int, float, int]] = []
        """(number, when, life of the agent)"""
        self.lives = 0
        self._stopping = False
        self._pause = asyncio.Event()
        self._pause.set()

    async def run(self) -> None:
        while not self._stopping:
            try:
                plugin = await RawPlugin.connect(self._port, self._guid, self._key)
            except (OSError, ConnectionClosed, TimeoutError, EOFError):
                await asyncio.sleep(0.05)
                continue
            except InvalidHandshake:  # cut off by the kill
                await asyncio.sleep(0.05)
                continue
            self.lives += 1
            with contextlib.suppress(ConnectionClosed, OSError):
                await self._live(plugin, self.lives)
            plugin._task.cancel()
            await asyncio.gather(plugin._task, return_exceptions=True)
            with contextlib.suppress(Exception):
                await plugin.socket.close()
            assert not plugin.errors(), plugin.errors()[:3]

    async def _live(self, plugin: RawPlugin, life: int) -> None:
        await plugin.register()
        while not self._stopping:
            number = len(self.sent)
            event = plugin.sign(
                Name.EVENT, {"moduleName": "room", "events": [{"name": "opened", "value": str(number)}]}
            )
            sample = {"name": "temperature", "value": str(number), "time": str(self.base_s + number)}
            metric = plugin.sign(Name.METRIC, {"moduleName": "room", "metrics": [sample]})
            self.sent.append((number, time.monotonic(), life))
            await plugin.socket.send(event)
            await plugin.socket.send(metric)
            await asyncio.sleep(EVERY_S)

    def stop(self) -> None:
        self._stopping = True


@contextlib.asynccontextmanager
async def installation(folder: Path, bus: BusSettings, roles: tuple[str, ...]) -> AsyncIterator[Fleet]:
    fleet = Fleet(folder, bus, roles)
    try:
        for role in roles:
            fleet.start(role)
        await up(fleet)
        yield fleet
    finally:
        fleet.close()


async def up(fleet: Fleet) -> None:
    """Wait until the door answers."""
    async with httpx.AsyncClient(timeout=2.0) as client:
        for _ in range(600):
            with contextlib.suppress(httpx.HTTPError):
                answer = await client.get(f"{fleet.url}/health")
                if answer.status_code == 200 and (fleet.folder / "data" / "cli-token").exists():
                    return
            await asyncio.sleep(0.05)
    raise AssertionError("no door:\n" + "\n".join(fleet.log(role) for role in fleet.roles))


async def device_of(fleet: Fleet) -> str:
    """Start the agent with a line; its device's id once it is online."""
    fleet.line.write_text((await fleet.ask("POST", "/enrolments", json={}))["line"])
    fleet.start("agent")
    return await online(fleet)


async def online(fleet: Fleet, timeout: float = 20.0) -> str:
    """The device's id, once it is online; presence has to be true within 20 s."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        found = (await fleet.ask("GET", "/devices", params={"state": "online"}))["devices"]
        if found and found[0]["presence"]["state"] == "online":
            return str(found[0]["id"])
        await asyncio.sleep(0.1)
    logs = "\n".join(f"--- {role}\n{fleet.log(role)}" for role in (*fleet.roles, "agent"))
    raise AssertionError(f"not online after {timeout} s:\n{logs}")


async def newest_event(fleet: Fleet, device: str) -> int:
    events = (await fleet.ask("GET", f"/devices/{device}/events", params={"limit": 1}))["events"]
    return int(events[0]["value"]) if events else -1


async def torment(fleet: Fleet, seconds: float, dice: random.Random) -> dict[int, float]:
    """Kill and start again until the time is over. When each agent's life ended, by its number."""
    ends: dict[int, float] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(dice.uniform(0.5, 2.5))
        victims = dice.sample(["agent", *fleet.roles], dice.choice([1, 1, 1, 2]))
        for role in victims:
            fleet.kill(role)
            if role == "agent":
                ends[len(ends) + 1] = time.monotonic()
        await asyncio.sleep(dice.uniform(0.0, 0.7))
        for role in sorted(victims, key=["hub", "server", "gateway", "agent"].index):
            fleet.start(role)
        # A process killed before it does anything tells nothing.
        await up(fleet)
        if "agent" in victims:
            await until(lambda: listening(fleet.plugin_port), 15, what="the agent's plugin port")
    return ends


def listening(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def stored(fleet: Fleet, device: str, count: int) -> tuple[list[int], dict[int, int], int]:
    """Numbers of the events, of the metrics by time, and how many sequences of lanes never came."""
    store = await open_store(Path(fleet.settings.data) / "towline.db", CLOCK)
    try:
        numbers: list[int] = []
        before = None
        last_id = 1 << 63
        while page := await store.records.events("main", device, limit=1000, before=before):
            for row in page:
                assert row.message_id < last_id, "message ids are not unique"
                last_id = row.message_id
                numbers += [int(str(value)) for value in row.fields.values()]
            before = page[-1].message_id
        found = await store.records.series("main", device, from_us=0, to_us=1 << 60, max_points=10 * count + 100)
        metrics: dict[int, int] = {}
        for series in found.series:
            for time_us, value in series.points:
                number = int(str(plain(value)))
                metrics[number] = metrics.get(number, 0) + 1
                assert time_us % 1_000_000 == 0
        gaps = [gap for gap in await store.records.gaps("main", device, 1000) if gap.cause != "first_seen"]
        drops = await store.records.drops("main", device)
        assert not drops, drops
        return sorted(numbers), metrics, sum(gap.last - gap.first + 1 for gap in gaps)
    finally:
        await store.close()


def compare(counter: Counter, ends: dict[int, float], found: list[int], what: str) -> None:
    """No double, no stranger, no hole; a tail missing only where a life was cut off."""
    assert len(set(found)) == len(found), (
        f"{what} stored twice: {sorted({n for n in found if found.count(n) > 1})[:10]}"
    )
    assert set(found) <= {number for number, _, _ in counter.sent}, f"{what} stored that were never sent"
    present = set(found)
    cuts = sorted(ends.values())
    for life in range(1, counter.lives + 1):
        lived = [(number, at) for number, at, of in counter.sent if of == life]
        missing = [(number, at) for number, at in lived if number not in present]
        if not missing:
            continue
        first, first_at = missing[0]
        assert [number for number, _ in missing] == list(range(first, lived[-1][0] + 1)), (
            f"{what} of life {life} have a hole: {[number for number, _ in missing][:20]}"
        )
        cut = next((at for at in cuts if at >= lived[-1][1] - UNCOMMITTED_S), None)
        assert cut is not None, f"{what} from {first} are missing, and nothing was killed"
        assert cut - first_at < UNCOMMITTED_S, f"{what} {first} was lost {cut - first_at:.2f} s before the kill"


async def run(fleet: Fleet, seconds: float) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    device = await device_of(fleet)
    made = await fleet.ask("POST", "/plugins", json={"name": "thermometer"})
    counter = Counter(fleet.plugin_port, made["app_guid"], made["access_key"])
    counting = asyncio.create_task(counter.run())
    try:
        await until(lambda: len(counter.sent) > 10 or counting.done(), 15, what="the first numbers")
        ends = await torment(fleet, seconds, random.Random(seed))
        sent = len(counter.sent)
        await until(lambda: len(counter.sent) > sent + 20 or counting.done(), 20, what="numbers after the last kill")
    finally:
        counter.stop()
        await counting
    assert await online(fleet) == device
    last = counter.sent[-1][0]
    finish = time.monotonic() + 30
    while await newest_event(fleet, device) < last:
        assert time.monotonic() < finish, f"number {last} does not arrive\n{fleet.log('agent')}"
        await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)  # the other lanes' last batches
    await fleet.stop()
    events, metrics, missing_sequences = await stored(fleet, device, len(counter.sent))
    print(f"{len(counter.sent)} sent, {len(events)} events, {len(metrics)} metrics, {counter.lives} lives")
    assert len(ends) + len(fleet.roles) > 0
    compare(counter, ends, events, "events")
    compare(counter, ends, [number for number, times in metrics.items() for _ in range(times)], "metrics")
    assert missing_sequences == 0


@pytest.mark.timeout(SECONDS * 2 + 150)
async def test_nothing_is_lost_or_doubled_in_one_process(tmp_path: Path) -> None:
    async with installation(tmp_path, BusSettings(), ("server",)) as fleet:
        await run(fleet, SECONDS)


@pytest.mark.needs_nats
@pytest.mark.timeout(SECONDS * 2 + 150)
async def test_nothing_is_lost_or_doubled_over_nats(tmp_path: Path) -> None:
    nats = NatsServer().start()
    try:
        async with installation(tmp_path, BusSettings(url=nats.url), ("hub", "gateway")) as fleet:
            await run(fleet, SECONDS)
    finally:
        nats.stop()
