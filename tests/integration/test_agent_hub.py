# SPDX-License-Identifier: Apache-2.0
"""The agent against the real hub, node and store, over the memory bus and a loopback link."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.helpers import until
from tests.integration.agentworld import CLOCK, RawPlugin, World, online, running, settings
from towline.agent.daemon import Agent, enrol
from towline.errors import Conflict, Refused
from towline.protocols.octo.envelope import Name


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path / "server") as made:
        yield made


async def eventually(check: Callable[[], Awaitable[bool]], timeout: float = 10.0, what: str = "condition") -> None:
    """As ``until``, for a coroutine function."""
    end = asyncio.get_running_loop().time() + timeout
    while not await check():
        assert asyncio.get_running_loop().time() < end, f"{what} did not become true in {timeout} s"
        await asyncio.sleep(0.02)


async def test_a_metric_a_state_and_an_event_reach_the_store(world: World, tmp_path: Path) -> None:
    device = await world.enrol(tmp_path / "agent")
    guid, key = await world.credential()
    async with running(Agent(settings(tmp_path / "agent"), CLOCK)) as agent:
        await online(agent)
        assert await world.presence(device) == "online"
        plugin = await RawPlugin.connect(agent.plugins.server.port, guid, key)
        await plugin.register()
        await plugin.wait(Name.ALARM_UPDATE)
        await plugin.metric("298.15")
        await plugin.send(Name.STATE, {"moduleName": "room", "states": [{"name": "mood", "value": "sunny"}]})
        await plugin.send(Name.EVENT, {"moduleName": "room", "events": [{"name": "opened", "value": "door"}]})

        async def arrived() -> bool:
            states = await world.hub.records.states(world.actor, device)
            events = await world.hub.records.events(world.actor, device)
            return bool(states and events.items and await world.points(device))

        await eventually(arrived, what="state, event and metric")
        assert [value for _, value in await world.points(device)] == ["298.15"]
        (state,) = await world.hub.records.states(world.actor, device)
        assert (state.name, state.value) == ("mood", '"sunny"')
        (view,) = await world.hub.plugins.of_device(world.actor, device)
        assert (view.app_guid, view.online, view.display_name) == (guid, True, "Thermometer")
        assert plugin.errors() == []
        await plugin.close()

        async def gone() -> bool:
            return not (await world.hub.plugins.of_device(world.actor, device))[0].online

        await eventually(gone, what="plugin offline")


async def test_a_command_goes_to_the_plugin_and_back(world: World, tmp_path: Path) -> None:
    device = await world.enrol(tmp_path / "agent")
    guid, key = await world.credential()
    async with running(Agent(settings(tmp_path / "agent"), CLOCK)) as agent:
        await online(agent)
        plugin = await RawPlugin.connect(agent.plugins.server.port, guid, key)
        await plugin.register()

        async def declared() -> bool:
            return bool(await world.hub.plugins.of_device(world.actor, device))

        await eventually(declared, what="declaration")
        view = await world.hub.commands.submit(world.actor, device, guid, "room", "greet", {"person": "Buzz"})
        (command,) = await plugin.wait(Name.COMMAND)
        assert command["commandId"] == view.id
        assert command["commands"] == [{"name": "greet", "params": [{"name": "person", "value": "Buzz"}]}]
        await plugin.ack(view.id, "ACCEPTED")
        await plugin.ack(view.id, "ACKED", {"response": "Hello Buzz"})

        async def acked() -> bool:
            return (await world.hub.commands.get(world.actor, view.id)).state == "acked"

        await eventually(acked, what="acked")
        final = await world.hub.commands.get(world.actor, view.id)
        assert final.result is not None
        assert json.loads(final.result) == {"response": "Hello Buzz"}
        await plugin.close()


async def test_a_shell_command_answers(world: World, tmp_path: Path) -> None:
    device = await world.enrol(tmp_path / "agent")
    async with running(Agent(settings(tmp_path / "agent"), CLOCK)) as agent:
        await online(agent)
        execution = await world.hub.execs.run(world.actor, device, "echo out; echo err >&2; exit 3")
        result = await asyncio.wait_for(execution.result(), 10)
        assert (result.stdout, result.stderr, result.return_code) == ("out\n", "err\n", 3)


async def test_the_hub_restarts_and_nothing_is_lost_or_doubled(world: World, tmp_path: Path) -> None:
    device = await world.enrol(tmp_path / "agent")
    guid, key = await world.credential()
    async with running(Agent(settings(tmp_path / "agent", reconnect_max_s=0.5), CLOCK)) as agent:
        await online(agent)
        plugin = await RawPlugin.connect(agent.plugins.server.port, guid, key)
        await plugin.register()
        await plugin.wait(Name.ALARM_UPDATE)
        start = CLOCK.now_us() // 1_000_000 - 500
        for number in range(60):
            if number == 20:
                await world.stop_hub()
            if number == 40:
                await world.start_hub()
            await plugin.metric(f"{number}.5", start + number)
            await asyncio.sleep(0.01)

        async def arrived() -> bool:
            return len(await world.points(device)) >= 60

        await eventually(arrived, 20, what="all 60 points")
        assert [value for _, value in await world.points(device)] == [f"{number}.5" for number in range(60)]
        await plugin.close()


async def test_enrolling_twice_with_one_line(world: World, tmp_path: Path) -> None:
    line = await world.line()
    first = await enrol(settings(tmp_path / "agent"), line, CLOCK)
    with pytest.raises(Conflict) as caught:
        await enrol(settings(tmp_path / "agent"), line, CLOCK)
    assert caught.value.code == "agent.enrolled"
    (tmp_path / "agent" / "identity.json").unlink()
    again = await enrol(settings(tmp_path / "agent"), line, CLOCK)
    assert again.device_id == first.device_id
    with pytest.raises(Refused):
        await enrol(settings(tmp_path / "other"), line, CLOCK)


async def test_an_agent_waits_for_its_enrolment_file(world: World, tmp_path: Path) -> None:
    file = tmp_path / "line"
    async with running(Agent(settings(tmp_path / "agent", enrol_file=str(file)), CLOCK)) as agent:
        assert agent.link is None
        file.write_text(await world.line() + "\n")
        await online(agent)
        await until(lambda: not file.exists(), what="the line removed")
        assert agent.identity is not None
        assert await world.presence(agent.identity.device_id) == "online"


async def test_plugins_hear_of_the_link_and_their_data_waits(world: World, tmp_path: Path) -> None:
    device = await world.enrol(tmp_path / "agent")
    guid, key = await world.credential()
    async with running(Agent(settings(tmp_path / "agent", reconnect_max_s=0.3), CLOCK)) as agent:
        await online(agent)
        plugin = await RawPlugin.connect(agent.plugins.server.port, guid, key)
        await plugin.register()
        await plugin.wait(Name.ALARM_UPDATE)
        await world.node.close()
        assert (await plugin.wait(Name.AGENT_EVENT))[0]["serverConnectivity"] == "offline"
        await plugin.metric("1.25")
        await world.start_node()
        assert (await plugin.wait(Name.AGENT_EVENT, 2))[1]["serverConnectivity"] == "online"

        async def arrived() -> bool:
            return [value for _, value in await world.points(device)] == ["1.25"]

        await eventually(arrived, what="the metric of the outage")
        assert plugin.errors() == []
        await plugin.close()


async def test_a_revoked_credential_ends_the_plugin(world: World, tmp_path: Path) -> None:
    await world.enrol(tmp_path / "agent")
    guid, key = await world.credential()
    async with running(Agent(settings(tmp_path / "agent"), CLOCK)) as agent:
        await online(agent)
        plugin = await RawPlugin.connect(agent.plugins.server.port, guid, key)
        await plugin.register()
        await plugin.wait(Name.ALARM_UPDATE)
        await world.hub.plugins.revoke_credential(world.actor, guid)
        await asyncio.wait_for(plugin.closed.wait(), 5)
        assert plugin.socket.close_code == 4001
        again = await RawPlugin.connect(agent.plugins.server.port, guid, key)
        await again.register()
        assert (await again.refused())["code"] == "-326000"
        await again.close()


async def test_a_command_for_a_plugin_that_is_away_waits_and_expires(world: World, tmp_path: Path) -> None:
    device = await world.enrol(tmp_path / "agent")
    guid, key = await world.credential()
    async with running(Agent(settings(tmp_path / "agent"), CLOCK)) as agent:
        await online(agent)
        plugin = await RawPlugin.connect(agent.plugins.server.port, guid, key)
        await plugin.register()

        async def declared() -> bool:
            return bool(await world.hub.plugins.of_device(world.actor, device))

        await eventually(declared, what="declaration")
        await plugin.close()
        short = await world.hub.commands.submit(world.actor, device, guid, "room", "greet", {"person": "A"}, 1)
        long = await world.hub.commands.submit(world.actor, device, guid, "room", "greet", {"person": "B"}, 60)

        async def expired() -> bool:
            return (await world.hub.commands.get(world.actor, short.id)).state == "expired"

        await eventually(expired, what="expired")
        plugin = await RawPlugin.connect(agent.plugins.server.port, guid, key)
        await plugin.register()
        (command,) = await plugin.wait(Name.COMMAND)
        assert command["commandId"] == long.id
        await plugin.close()
