# SPDX-License-Identifier: Apache-2.0
"""The SDK against a real agent's socket, TLS and session."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.helpers import free_port, until
from tests.unit.sdk.agent import GUID, KEY, TestAgent
from towline.errors import Unavailable
from towline.protocols.octo import (
    AlertsReported,
    CommandAcked,
    EventsReported,
    Limits,
    MetricsReported,
    Name,
    OctoError,
    Reason,
    Registered,
    StatesReported,
    outgoing,
)
from towline.protocols.octo import messages as m
from towline.sdk import Alarm, Call, Config, Credential, Event, Metric, Param, Plugin, State


@pytest.fixture
async def agent() -> AsyncIterator[TestAgent]:
    it = await TestAgent().start()
    yield it
    await it.stop()


def make(url: str, **options: Any) -> Plugin:
    plugin = Plugin(Credential(GUID, KEY), name="my-plugin", version="1.0.0", url=url, **options)
    module = plugin.module(
        "main",
        states=[State("status"), State("disks", "table")],
        metrics=[Metric("load", "%"), Metric("temp", display_type="temperature")],
        events=[Event("login")],
        alarms=[Alarm("hot", params=[Param("limit", display_type="temperature")])],
        configs=[Config("report", params=[Param("every")])],
    )

    @module.command("say_hello", params=[Param("person", required=True), Param("title")])
    async def say_hello(person: str, title: str = "Mx", call: Call | None = None) -> dict[str, str]:
        assert call is not None
        return {"response": f"Hello {title} {person}", "id": call.command_id}

    @module.command("fail")
    async def fail() -> None:
        raise RuntimeError("out of order")

    @module.command("unfit")
    async def unfit() -> None:
        raise Unavailable("host.ping", "there is no ping program")

    @module.command("long")
    async def long() -> str:
        return "x" * 20_000

    @module.command("closed", refuse=lambda: "closed today")
    async def closed() -> None: ...

    @module.command("broken", refuse=lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    async def broken() -> None: ...

    @module.command("text")
    async def text() -> str:
        return "done"

    @module.command("wait")
    async def wait() -> None:
        await asyncio.Event().wait()

    return plugin


@contextlib.asynccontextmanager
async def serving(plugin: Plugin) -> AsyncIterator[Plugin]:
    task = asyncio.create_task(plugin.serve())
    try:
        yield plugin
    finally:
        plugin.stop()
        async with asyncio.timeout(5):
            await task


@pytest.fixture
async def plugin(agent: TestAgent) -> AsyncIterator[Plugin]:
    async with serving(make(agent.url)) as it:
        await until(lambda: agent.registered, what="registration")
        await it.wait_connected()
        yield it


async def test_telemetry(agent: TestAgent, plugin: Plugin) -> None:
    assert await plugin.metrics({"load": 12.345, "temp": "301.15"})
    assert await plugin.metrics([("load", 1, 1_700_000_000), ("load", 2, None)])
    assert await plugin.state("status", 5)
    assert await plugin.states({"disks": [{"Disk": "sda"}]}, time=1_700_000_000)
    assert await plugin.event("login", "root")
    assert await plugin.event("login")
    await until(lambda: len(agent.of(EventsReported)) == 2)
    first, second = agent.of(MetricsReported)
    assert [(item.name, item.value) for item in first.metrics] == [("load", "12.34"), ("temp", "301.15")]
    assert second.metrics[0].time_us == 1_700_000_000_000_000
    assert [event.states[0].value for event in agent.of(StatesReported)] == ["5", [{"Disk": "sda"}]]
    assert agent.replies == []
    assert (plugin.refusals, plugin.dropped, plugin.waiting) == (0, 0, 0)
    assert plugin.calls_left == 500 - 7


async def test_long_lists_are_split_under_the_limit(agent: TestAgent, plugin: Plugin) -> None:
    await plugin.metrics([("load", number, 1_700_000_000 + number) for number in range(100)])
    await until(lambda: sum(len(event.metrics) for event in agent.of(MetricsReported)) == 100)
    sizes = [len(frame) for frame in agent.frames[1:]]
    assert max(sizes) <= 2048
    assert len(sizes) == 3
    values = [item.value for event in agent.of(MetricsReported) for item in event.metrics]
    assert values == [str(number) for number in range(100)]


async def test_what_is_not_declared_is_refused_before_sending(agent: TestAgent, plugin: Plugin) -> None:
    for call, says in [
        (plugin.metrics({"nope": 1}), "no metric"),
        (plugin.metrics({"load": "much"}), "no decimal"),
        (plugin.metrics({"load": True}), "decimal"),
        (plugin.metrics({"load": 1}, module="other"), "no module"),
        (plugin.state("nope", "x"), "no state"),
        (plugin.state("disks", "x"), "table"),
        (plugin.state("status", "x" * 3000), "a message has room for"),
        (plugin.event("nope"), "no event"),
        (plugin.alert("nope"), "no alarm"),
        (plugin.alert("hot", "fire"), "trigger, resolve"),
    ]:
        with pytest.raises(OctoError, match=says):
            await call
    assert len(agent.frames) == 1


async def acks(agent: TestAgent, count: int) -> list[CommandAcked]:
    await until(lambda: len(agent.of(CommandAcked)) >= count, what=f"{count} acks")
    return agent.of(CommandAcked)


@pytest.mark.parametrize(
    ("name", "params", "states", "result"),
    [
        ("say_hello", {"person": "Buzz"}, ["ACCEPTED", "ACKED"], {"response": "Hello Mx Buzz", "id": "c" * 40}),
        (
            "say_hello",
            {"person": "Buzz", "title": "Dr"},
            ["ACCEPTED", "ACKED"],
            {"response": "Hello Dr Buzz", "id": "c" * 40},
        ),
        ("say_hello", {}, ["REJECTED"], {"reason": "$.params.person: a value is required"}),
        ("nope", {}, ["REJECTED"], {"reason": "no command 'nope' in module 'main'"}),
        ("fail", {}, ["ACCEPTED", "ERRORED"], {"error": "RuntimeError: out of order"}),
        ("unfit", {}, ["ACCEPTED", "ERRORED"], {"error": "there is no ping program"}),
        ("closed", {}, ["REJECTED"], {"reason": "closed today"}),
        ("broken", {}, ["REJECTED"], {"reason": "ZeroDivisionError: division by zero"}),
        ("text", {}, ["ACCEPTED", "ACKED"], {"response": "done"}),
    ],
)
async def test_commands(
    agent: TestAgent,
    plugin: Plugin,
    name: str,
    params: dict[str, str | bool],
    states: list[str],
    result: dict[str, str],
) -> None:
    agent.command("main", name, params)
    done = await acks(agent, len(states))
    assert [ack.state for ack in done] == states
    assert json.loads(done[-1].result_json or "") == result


async def test_a_result_too_large_becomes_an_error(agent: TestAgent, plugin: Plugin) -> None:
    agent.command("main", "long")
    done = await acks(agent, 2)
    assert done[1].state == "ERRORED"
    assert "at most 16384" in str(done[1].result_json)


async def test_a_command_that_comes_twice_runs_once(agent: TestAgent, plugin: Plugin) -> None:
    agent.command("main", "wait", command_id="w")
    await acks(agent, 1)
    agent.command("main", "wait", command_id="w")
    done = await acks(agent, 2)
    assert [ack.state for ack in done] == ["ACCEPTED", "ACCEPTED"]
    assert done[1].step.note == "ACCEPTED twice"


async def test_running_commands_are_answered_when_the_plugin_stops(agent: TestAgent) -> None:
    async with serving(make(agent.url)) as plugin:
        await until(lambda: agent.registered)
        agent.command("main", "wait")
        await acks(agent, 1)
        assert plugin.connected
    done = await acks(agent, 2)
    assert done[1].state == "ERRORED"
    assert "the plugin is stopping" in str(done[1].result_json)


async def test_too_many_commands_at_once(agent: TestAgent, plugin: Plugin) -> None:
    for number in range(9):
        agent.command("main", "wait", command_id=str(number))
    done = await acks(agent, 9)
    assert [ack.state for ack in done] == ["ACCEPTED"] * 8 + ["REJECTED"]


def settings_text(agent: TestAgent, *, enabled: bool) -> str:
    now = agent.clock.now_us()
    item = m.AlarmItem(name="hot", enabled=enabled, params=[m.ParamValue(name="limit", value="300")])
    module = m.AlarmModule(module_name="main", epoch=outgoing.epoch_text(now), alarms=[item])
    return outgoing.alarm_updates(KEY, app_guid=GUID, version="1.0.0", modules=[module], now_us=now)[0]


async def test_alerts_follow_the_alarm_settings(agent: TestAgent) -> None:
    plugin = make(agent.url)
    called = asyncio.Event()

    @plugin.on_alarms
    async def changed() -> None:
        called.set()
        raise RuntimeError("a callback's fault is logged, no more")

    async with serving(plugin):
        await until(lambda: agent.registered)
        assert not await plugin.alert("hot", message="never sent")
        agent.send(settings_text(agent, enabled=True))
        await called.wait()
        assert plugin.alarm("hot").params == {"limit": "300"}
        assert await plugin.alert("hot", message="very")
        await until(lambda: agent.of(AlertsReported))
        assert agent.of(AlertsReported)[0].alerts[0].message == "very"
        agent.send(settings_text(agent, enabled=False))
        await until(lambda: not plugin.alarm("hot").enabled)
        assert not await plugin.alert("hot", "resolve")


async def test_configs_and_agent_events(agent: TestAgent) -> None:
    plugin = make(agent.url)
    called = asyncio.Event()

    @plugin.on_configs
    async def changed() -> None:
        called.set()

    async with serving(plugin):
        await until(lambda: agent.registered)
        now = agent.clock.now_us()
        items = [m.ConfigItem(name="report", params=[m.ParamValue(name="every", value="5")])]
        module = m.ConfigModule(module_name="main", epoch=outgoing.epoch_text(now), configs=items)
        agent.send(outgoing.config_updates(KEY, app_guid=GUID, version="1.0.0", modules=[module], now_us=now)[0])
        await called.wait()
        assert plugin.config("report").params == {"every": "5"}
        assert plugin.online is None
        agent.send(outgoing.agent_event(KEY, app_guid=GUID, online=False, now_us=now))
        await until(lambda: plugin.online is False)


async def test_messages_that_are_not_the_agents_are_ignored(
    agent: TestAgent, plugin: Plugin, caplog: pytest.LogCaptureFixture
) -> None:
    now = agent.clock.now_us()
    agent.send(outgoing.agent_event("wrong key", app_guid=GUID, online=False, now_us=now))
    agent.send("nonsense")
    agent.send(outgoing.agent_event(KEY, app_guid="b" + GUID[1:], online=False, now_us=now))
    agent.send(outgoing.signed(Name.STATE, {"appGUID": GUID}, KEY))
    await until(lambda: "nothing that this plugin takes" in caplog.text)
    for says in ("does not match", "not JSON", "not for this plugin"):
        assert says in caplog.text
    assert plugin.online is None


async def test_a_lost_connection_comes_back_and_loses_nothing_that_waited(agent: TestAgent, plugin: Plugin) -> None:
    agent.command("main", "wait", command_id="w")
    await acks(agent, 1)
    agent.drop()
    await until(lambda: not plugin.connected, what="loss noticed")
    before = agent.clock.now_us() // 1_000_000
    assert not await plugin.metrics({"load": 7})
    assert not await plugin.event("login")
    await until(lambda: agent.of(EventsReported), what="reconnection")
    assert len(agent.of(Registered)) == 2
    (metric,) = agent.of(MetricsReported)
    assert before <= metric.metrics[0].time_us // 1_000_000 <= agent.clock.now_us() // 1_000_000
    assert agent.replies == []


@pytest.mark.parametrize("status", [4000, 4001])
async def test_a_replaced_plugin_does_not_fight_back(agent: TestAgent, plugin: Plugin, status: int) -> None:
    transport = agent.connections[0].transport
    assert transport is not None
    transport.send_close(status, b"a newer connection of this plugin registered")  # type: ignore[arg-type]
    await until(lambda: not plugin.connected)
    with pytest.raises(TimeoutError):  # after any other loss it is back in a quarter of a second
        await asyncio.wait_for(plugin.wait_connected(), 0.6)


async def test_an_agent_that_starts_later() -> None:
    port = free_port()
    async with serving(make(f"wss://localhost:{port}")):
        agent = TestAgent()
        await asyncio.sleep(0.05)
        await agent.start(port)
        await until(lambda: agent.registered)
    await agent.stop()


async def test_a_registration_refused_for_want_of_a_key_is_tried_again(agent: TestAgent) -> None:
    agent.key = None
    async with serving(make(agent.url)) as plugin:
        await until(lambda: agent.replies)
        assert agent.replies[0].reason is Reason.KEY
        agent.key = KEY
        await until(lambda: agent.registered, what="second registration")
        assert plugin.refusals == 1


async def test_properties_can_be_sent_anew(agent: TestAgent, plugin: Plugin) -> None:
    from towline.sdk import Property

    plugin.registration.modules[0].properties = [Property("model", "X2")]
    plugin.refresh_properties()
    await until(lambda: len(agent.of(Registered)) == 2)
    index = agent.of(Registered)[1].declaration.modules["main"]
    assert index.properties["model"].value == "X2"


async def test_the_budget_holds_telemetry_back(agent: TestAgent) -> None:
    async with serving(make(agent.url, limits=Limits(calls_per_hour=10))) as plugin:
        await until(lambda: plugin.connected)
        sent = [await plugin.state("status", str(number)) for number in range(8)]
        assert sent == [True] * 4 + [False] * 4
        assert plugin.waiting == 4
        agent.command("main", "text")
        await acks(agent, 2)


async def test_an_error_in_the_background_ends_the_plugin(agent: TestAgent) -> None:
    plugin = make(agent.url)

    @plugin.background
    async def measure() -> None:
        raise RuntimeError("no sensor")

    with pytest.raises(RuntimeError, match="no sensor"):
        await plugin.serve()


async def test_from_a_template(agent: TestAgent) -> None:
    template = {
        "jsonrpc": "2.0",
        "method": "v2/notifyPluginUpdate",
        "params": {
            "appGUID": "${PLUGIN_APP_GUID}",
            "appName": "${PLUGIN_NAME}",
            "epoch": "",
            "type": "ib",
            "version": "${PLUGIN_VERSION}",
            "modules": [{"moduleName": "m", "commands": [{"name": "go", "type": "asynchronous"}]}],
        },
    }
    plugin = Plugin.from_declaration(Credential(GUID, KEY), template, name="old-plugin", version="3.1.4", url=agent.url)

    @plugin.command("go")
    async def go() -> dict[str, str]:
        return {"went": "yes"}

    async with serving(plugin):
        await until(lambda: agent.registered)
        assert agent.of(Registered)[0].declaration.app_name == "old-plugin"
        agent.command("m", "go")
        done = await acks(agent, 2)
        assert done[1].result_json == '{"went":"yes"}'


def test_a_wrong_declaration_ends_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = Plugin(Credential(GUID, KEY), name="my plugin", version="1.0.0")
    with pytest.raises(SystemExit) as caught:
        plugin.run()
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "my plugin: $.params.appName: 'my plugin' is no name: a letter, then letters, digits, '_' and '-'\n"
    )
