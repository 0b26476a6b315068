# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the agent: between the steps of a command, and at random moments of telemetry."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.helpers import free_port, until
from tests.integration.agentprocess import ROOT, AgentProcess
from tests.integration.agentworld import CLOCK, RawPlugin, World, settings
from tests.integration.test_agent_hub import eventually
from towline.agent.database import Database
from towline.agent.spool import Spool
from towline.protocols.link.items import Record, decode_batch
from towline.protocols.octo.envelope import Name


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path / "server") as made:
        yield made


async def reconnect(port: int, guid: str, key: str) -> RawPlugin:
    """A registered plugin, as soon as the port answers."""
    async with asyncio.timeout(20):
        while True:
            try:
                plugin = await RawPlugin.connect(port, guid, key)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            await plugin.register()
            with contextlib.suppress(AssertionError):
                await until(lambda p=plugin: p.named(Name.ALARM_UPDATE), 3.0)  # type: ignore[misc]
                return plugin
            await plugin.close()


@pytest.mark.parametrize(
    ("crash", "away", "ran", "outcome"),
    [
        ("before:receive", False, 1, "delivered"),  # the hub sends it again
        ("after:receive", True, 1, "delivered"),  # it waited in the journal
        ("after:receive", False, 0, "unknown"),  # nobody can know whether the plugin had it
        ("after:delivering", True, 0, "unknown"),
        ("after:send", False, 1, "unknown"),
        ("after:delivered", False, 1, "delivered"),
    ],
)
async def test_a_command_cut_at_any_step_never_runs_twice(
    world: World, tmp_path: Path, crash: str, away: bool, ran: int, outcome: str
) -> None:
    device = await world.enrol(tmp_path / "agent")
    guid, key = await world.credential()
    process = AgentProcess(settings(tmp_path / "agent", plugin_port=free_port()))
    port = process.settings.plugin_port
    await process.start(crash)
    first = await reconnect(port, guid, key)

    async def declared() -> bool:
        return bool(await world.hub.plugins.of_device(world.actor, device))

    await eventually(declared, what="declaration")
    if away:
        await first.close()

        async def gone() -> bool:
            return not (await world.hub.plugins.of_device(world.actor, device))[0].online

        await eventually(gone, what="plugin offline")
    command = await world.hub.commands.submit(world.actor, device, guid, "room", "greet", {"person": "Buzz"})
    if crash == "after:delivering":
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(3):
                await (await RawPlugin.connect(port, guid, key)).register()
    assert await process.ended() == -9
    await process.start()
    second = await reconnect(port, guid, key)

    async def settled() -> bool:
        return (await world.hub.commands.get(world.actor, command.id)).state == outcome

    await eventually(settled, 20, what=outcome)
    await asyncio.sleep(0.3)
    received = first.named(Name.COMMAND) + second.named(Name.COMMAND)
    assert len(received) == ran
    if received:
        await second.ack(command.id, "ACKED", {"late": "yes"})

        async def acked() -> bool:
            return (await world.hub.commands.get(world.actor, command.id)).state == "acked"

        await eventually(acked, what="acked after the restart")
    for plugin in (first, second):
        await plugin.close()
    assert await process.stop() == 0


async def test_telemetry_survives_kills_without_doubles(world: World, tmp_path: Path) -> None:
    device = await world.enrol(tmp_path / "agent")
    guid, key = await world.credential()
    process = AgentProcess(settings(tmp_path / "agent", plugin_port=free_port()))
    generator = random.Random(11)
    start = CLOCK.now_us() // 1_000_000 - 400
    sent: list[int] = []
    kept: set[int] = set()
    await process.start()
    for round_ in range(4):
        plugin = await reconnect(process.settings.plugin_port, guid, key)
        for _ in range(25):
            number = len(sent)
            await plugin.metric(f"{number}", start + number)
            sent.append(number)
            await asyncio.sleep(0.005)
        # What the agent had for longer than its commit takes must survive.
        await asyncio.sleep(0.4)
        kept.update(sent[-25:])
        for _ in range(generator.randrange(1, 10)):
            number = len(sent)
            await plugin.metric(f"{number}", start + number)
            sent.append(number)
        if round_ < 3:
            await asyncio.sleep(generator.random() * 0.1)
            await process.kill()
            await process.start()
        await plugin.close()
    kept.update(sent[-1:])

    missing = set(kept)

    async def arrived() -> bool:
        missing.difference_update({int(value) for _, value in await world.points(device)})
        return not missing

    with contextlib.suppress(AssertionError):
        await eventually(arrived, 20)
    assert missing == set()
    values = [int(value) for _, value in await world.points(device)]
    assert len(values) == len(set(values))
    assert set(values) <= set(sent)
    assert await process.stop() == 0


CHILD = """
import asyncio, sys
from pathlib import Path
from towline.agent.database import Database
from towline.agent.spool import Spool
from towline.protocols.link.items import Dec, Record

async def main():
    database = Database(Path(sys.argv[1]))
    await database.open()
    spool = Spool(database, limit=1 << 30)
    await spool.open("device")
    start = int(sys.argv[2])
    for number in range(start, start + 100_000):
        spool.append("live", [Record("metric", "t", "s", number, {"n": Dec(str(number))})])
        await spool.commit()
        if number % 7 == 0:
            await spool.fill("live") if "live" not in spool.flights else None
        print(number, flush=True)

asyncio.run(main())
"""


async def test_what_the_spool_confirmed_is_there_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    confirmed = -1
    for _ in range(3):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, str(path), str(confirmed + 1), stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        assert process.stdout is not None
        end = time.monotonic() + 10
        for _ in range(60):
            line = await asyncio.wait_for(process.stdout.readline(), end - time.monotonic())
            confirmed = int(line)
        process.kill()
        rest = await process.stdout.read()
        numbers = [int(word) for word in rest.split()]
        confirmed = max([confirmed, *numbers])
        await process.wait()
    database = Database(path)
    await database.open()
    spool = Spool(database, limit=1 << 30)
    await spool.open("device")
    times: list[int] = []
    flight = spool.flights.get("live") or await spool.fill("live")
    while flight is not None:
        batch = decode_batch(flight.body)
        times += [item.event_time_us for item in batch.items if isinstance(item, Record)]
        flight = await spool.trim("live", refill=True)
    await database.close()
    # The last of a killed process may have been committed and not said; the next one then wrote it again.
    assert set(range(confirmed + 1)) <= set(times)
    assert len(times) - len(set(times)) <= 3


async def test_a_second_agent_is_refused_and_the_first_is_small_and_quick_to_stop(tmp_path: Path) -> None:
    first = await AgentProcess(settings(tmp_path / "agent")).start()
    assert first.process is not None
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.agentprocess",
        msgspec.json.encode(first.settings).decode(),
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    _, said = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 2
    assert f"process {first.process.pid}" in said.decode()
    status = Path(f"/proc/{first.process.pid}/status").read_text()
    resident = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
    assert resident <= 60 * 1024, f"the agent takes {resident} KiB"
    began = time.monotonic()
    assert await first.stop() == 0
    assert time.monotonic() - began < 2.0
