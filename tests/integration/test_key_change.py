# SPDX-License-Identifier: Apache-2.0
"""A device's key is changed, with a real agent, node and hub; and the agent is killed at each step of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.helpers import until
from tests.integration.agentprocess import AgentProcess
from tests.integration.agentworld import CLOCK, World, online, running, settings
from tests.integration.test_agent_hub import eventually
from towline.agent.daemon import Agent
from towline.agent.identity import KEY_FILE, NEXT_KEY_FILE, device_key
from towline.hub import identity as hub_identity


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path / "server") as made:
        yield made


def grow_old(data: Path) -> bytes:
    """Make the key older than its days; its public half."""
    past = (CLOCK.now_us() - 91 * 86_400_000_000) * 1000
    os.utime(data / KEY_FILE, ns=(past, past))
    return device_key(data).public


async def known_key(world: World, device: str) -> bytes:
    entry = await world.store.devices.get(world.actor.workgroup, device)
    assert entry is not None
    return entry.device.public_key


async def test_the_key_changes_by_itself(world: World, tmp_path: Path) -> None:
    data = tmp_path / "agent"
    device = await world.enrol(data)
    old = grow_old(data)
    async with running(Agent(settings(data), CLOCK)) as agent:
        await online(agent)
        assert agent.link is not None
        await until(lambda: device_key(data).public != old, what="new key")
        assert await known_key(world, device) == device_key(data).public
        await until(lambda: agent.stats().get("device_key.changed") == 1, what="counter")
        assert agent.link.online
        assert agent.link.counters["dials"] == 1
        # The same process signs in with it.
        await world.node.close()
        await world.start_node()
        await until(lambda: agent.link is not None and agent.link.counters["welcomes"] == 2, 15.0, what="second link")
        assert agent.link.counters["refused"] == 0
    assert not (data / NEXT_KEY_FILE).exists()
    audit = await world.hub.audit.list(world.actor)
    assert [row.entity_id for row in audit.items if row.action == "device.key_change"] == [device]


@pytest.mark.parametrize("days", [0, 90])
async def test_a_hub_that_does_not_know_it_is_not_asked(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    if days:
        monkeypatch.setattr(hub_identity, "FEATURES", ())
    data = tmp_path / "agent"
    device = await world.enrol(data)
    old = grow_old(data)
    async with running(Agent(settings(data, key_days=days), CLOCK)) as agent:
        await online(agent)
        await agent.spool.commit()
        assert await known_key(world, device) == old
        assert agent.link is not None
        assert not agent.link.keys.counters
    assert not (data / NEXT_KEY_FILE).exists()


@pytest.mark.parametrize(
    ("crash", "hub_has_new", "file_is_new"),
    [
        ("before:key.ask", False, False),
        ("after:key.ask", False, False),  # the next key is on the disk, the hub was not asked
        ("before:key.answered", True, False),  # the hub has it, the answer was not heeded
        ("before:key.use", True, False),
        ("after:key.use", True, True),
    ],
)
async def test_killed_at_any_step_the_device_comes_back(
    world: World, tmp_path: Path, crash: str, hub_has_new: bool, file_is_new: bool
) -> None:
    data = tmp_path / "agent"
    device = await world.enrol(data)
    old = grow_old(data)
    process = AgentProcess(settings(data, reconnect_spread_s=0.1))
    try:
        await process.start(crash)
        assert await process.ended() == -9
        assert (await known_key(world, device) != old) is hub_has_new
        assert (device_key(data).public != old) is file_is_new
        await process.start()

        async def settled() -> bool:
            # Done: the hub has the new key, and it is the only one here.
            new = device_key(data).public
            there = await known_key(world, device)
            return new == there != old and not (data / NEXT_KEY_FILE).exists()

        await eventually(settled, 15.0, what="the new key in use")

        async def here() -> bool:
            return await world.presence(device) == "online"

        await eventually(here, 15.0, what="online")
        assert await process.stop() == 0
    finally:
        await process.kill()


async def test_the_other_way_round(world: World, tmp_path: Path) -> None:
    """Neither key pleases the hub at first; later the first does again: nothing was thrown away."""
    data = tmp_path / "agent"
    device = await world.enrol(data)
    old = grow_old(data)
    (data / NEXT_KEY_FILE).write_bytes(os.urandom(32))
    strange = bytes(range(32))
    assert await world.store.devices.set_key(world.actor.workgroup, device, old, strange)
    quick = msgspec.structs.replace(settings(data), reconnect_spread_s=0.1, reconnect_max_s=0.2)
    async with running(Agent(quick, CLOCK)) as agent:
        await until(lambda: agent.link is not None and agent.link.counters["refused"] >= 3, what="refusals")
        assert await world.store.devices.set_key(world.actor.workgroup, device, strange, old)
        await online(agent)
        await until(lambda: device_key(data).public != old, what="new key")
        async with asyncio.timeout(5):
            assert await known_key(world, device) == device_key(data).public
