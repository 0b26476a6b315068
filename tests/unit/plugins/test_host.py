# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from typing import Any

import psutil
import pytest

from tests.helpers import until
from tests.unit.sdk.agent import GUID, KEY, TestAgent
from towline.clock import ManualClock
from towline.plugins.host import commands, facts, samples
from towline.plugins.host.__main__ import main
from towline.plugins.host.plugin import MODULE_ROOM, build, fitting, report
from towline.protocols.octo import CommandAcked, Declaration, MetricsReported, Name, StatesReported, outgoing
from towline.protocols.octo.limits import SIGNATURE_BYTES
from towline.sdk import Credential, Plugin
from towline.sdk.outbox import split_items

CREDENTIAL = Credential(GUID, KEY)


class Recorder(Plugin):
    """Notes what would be sent, and when."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(CREDENTIAL, name="towline-host", version="1.0.0")
        self.clock = clock
        self.calls: list[tuple[float, str, Any]] = []

    async def metrics(self, values: Any, *, module: str | None = None, time: Any = None) -> bool:
        self.calls.append((self.clock.monotonic(), "metrics", values))
        return True

    async def states(self, values: Any, *, module: str | None = None, time: Any = None) -> bool:
        self.calls.append((self.clock.monotonic(), "states", values))
        return True

    async def event(self, name: str, value: Any = None, *, module: str | None = None, time: Any = None) -> bool:
        self.calls.append((self.clock.monotonic(), "event", name))
        return True


async def simulate(seconds: float) -> list[tuple[float, str, Any]]:
    clock = ManualClock()
    plugin = Recorder(clock)

    async def sleep(delay: float) -> None:
        clock.advance(delay)
        if clock.monotonic() > seconds:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await report(plugin, clock, sleep)
    return [(round(at - 0.2, 3), kind, content) for at, kind, content in plugin.calls]


async def test_the_schedule() -> None:
    calls = await simulate(60)
    assert [at for at, kind, _ in calls if kind == "metrics"] == [0, 3, 6, 16, 26, 36, 46, 56]
    assert [at for at, kind, _ in calls if kind == "states"] == [0]
    for at, kind, rows in calls:
        if kind == "metrics" and at >= 16:
            names = Counter(name for name, _, _ in rows)
            assert names["cpu"] == names["memory"] == names["net_rx"] == names["net_tx"] == 5
            assert names["disk"] == names["load"] == names["processes"] == 1
            times = sorted({when for name, _, when in rows if name == "cpu"})
            assert [later - earlier for earlier, later in itertools.pairwise(times)] == [2] * 4


async def test_an_hour_stays_inside_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples.Sampler, "sample", lambda *_: None)
    monkeypatch.setattr(samples.Sampler, "take", lambda *_: [])
    monkeypatch.setattr(facts, "states", dict)
    calls = await simulate(3600)
    # 500 an hour, of which the SDK keeps 60 for acks.
    assert len(calls) + 1 < 440


async def test_a_pause_is_followed_by_no_burst() -> None:
    clock = ManualClock()
    plugin = Recorder(clock)
    turns = itertools.count()

    async def sleep(delay: float) -> None:
        turn = next(turns)
        clock.advance(500 if turn == 20 else delay)
        if turn > 30:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await report(plugin, clock, sleep)
    sends = [at for at, kind, _ in plugin.calls if kind == "metrics"]
    after = [at for at in sends if at > 500]
    assert 1 <= len(after) <= 2 + (clock.monotonic() - after[0]) / samples.SEND_EVERY_S


def test_the_worst_case_fits_one_message() -> None:
    now = 1_795_234_382
    rate, number = samples.MAX_RATE, 999_999.99
    fast = [
        (name, value, now - back)
        for back in (8, 6, 4, 2, 0)
        for name, value in (("cpu", 100.0), ("memory", 100.0), ("net_rx", rate), ("net_tx", rate))
    ]
    slow = [
        (name, number, now) for name in ("disk", "load", "swap", "processes", "temperature", "disk_read", "disk_write")
    ]
    rows = fitting([*fast, *slow])
    items = [{"name": name, "value": f"{value:.2f}", "time": str(at)} for name, value, at in rows]
    assert len(list(split_items(items, MODULE_ROOM, "metrics"))) == 1
    base = {"appGUID": GUID, "moduleName": "host", "epoch": "0" * 10, "metrics": items}
    assert len(outgoing.render(Name.METRIC, base)) + SIGNATURE_BYTES <= 2048
    assert len(rows) >= len(fast) + len(slow) - 2
    assert rows[-7:] == slow


def test_rates() -> None:
    assert samples.rate(0, 10_000, 2) == 5
    assert samples.rate(10, 5, 2) == 0
    assert samples.rate(0, 5, 0) == 0
    assert samples.rate(0, 10**18, 1) == samples.MAX_RATE


def test_temperatures(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        def __init__(self, current: float) -> None:
            self.current = current

    monkeypatch.setattr(
        psutil, "sensors_temperatures", lambda: {"cpu": [Entry(41.5), Entry(-273), Entry(999)]}, raising=False
    )
    assert samples.temperature() == pytest.approx(314.65)
    assert samples.declared_metrics() == samples.METRICS
    monkeypatch.setattr(psutil, "sensors_temperatures", dict, raising=False)
    assert samples.temperature() is None
    monkeypatch.delattr(psutil, "sensors_temperatures")
    assert samples.temperature() is None
    assert "temperature" not in [metric.name for metric in samples.declared_metrics()]


def test_the_sampler_keeps_the_newest_five_samples() -> None:
    sampler = samples.Sampler()
    for number in range(8):
        sampler.sample(number * 2.0, 1000 + number * 2)
    assert sorted({row[2] for row in sampler.fast}) == [1006, 1008, 1010, 1012, 1014]
    sampler.take(16.0, 1016)
    assert sampler.fast == []
    assert {"disk_read", "disk_write"} <= {name for name, _, _ in sampler.take(26.0, 1026)}


def test_facts_are_valid_and_states_fit_one_message() -> None:
    plugin = build(CREDENTIAL)
    declaration = Declaration.parse(plugin.registration.render())
    properties = declaration.modules["host"].properties
    assert {"hostname", "os", "kernel", "cpu_model", "cores", "ram", "boot_time"} <= set(properties)
    assert properties["reboot_allowed"].value == "no"
    assert properties["cores"].value.startswith(str(psutil.cpu_count()))
    states = facts.states()
    assert states["filesystems"]
    assert len(json.dumps(states)) < 1600


def test_the_declaration_is_the_same_whatever_the_machine_says() -> None:
    # A change would need a new version.
    one = build(CREDENTIAL).declaration.digest()
    assert build(CREDENTIAL, allow_reboot=True).declaration.digest() == one


@pytest.mark.parametrize(("seconds", "text"), [(59, "0 h 0 min"), (3_660, "1 h 1 min"), (90_000, "1 d 1 h 0 min")])
def test_durations(seconds: float, text: str) -> None:
    assert facts.duration(seconds) == text


@pytest.mark.parametrize("host", ["localhost", "10.0.0.1", "fe80::1", "a-b.example.org"])
def test_hosts(host: str) -> None:
    assert commands.refuse_host(host) is None


@pytest.mark.parametrize("host", ["-f", "", "a b", "a;b", "x" * 300, "a\n", "$(id)"])
def test_what_is_no_host(host: str) -> None:
    assert commands.refuse_host(host) is not None


def test_ping_output() -> None:
    output = (
        "PING localhost (127.0.0.1) 56(84) bytes of data.\n\n--- localhost ping statistics ---\n"
        "3 packets transmitted, 3 received, 0% packet loss, time 2003ms\n"
        "rtt min/avg/max/mdev = 0.025/0.030/0.037/0.005 ms\n"
    )
    result = commands.ping_result("localhost", output)
    assert result["output"] == output.strip()
    del result["output"]
    assert result == {
        "host": "localhost",
        "sent": "3",
        "received": "3",
        "min_ms": "0.025",
        "avg_ms": "0.030",
        "max_ms": "0.037",
    }


async def test_ping_runs_the_systems_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    program = tmp_path / "ping"
    program.write_text("#!/bin/sh\necho \"$@\"\necho '3 packets transmitted, 2 received'\n")
    program.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(program))
    result = await commands.ping("localhost", "3")
    assert result["received"] == "2"
    assert result["output"].startswith("-c 3 -W 2 localhost")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(Exception, match="no ping program"):
        await commands.ping("localhost", "3")


async def test_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MEASURE_S", 0.0)
    result = await commands.top("memory", "5")
    rows = result["processes"]
    assert 0 < len(rows) <= 5
    assert set(rows[0]) == {"PID", "User", "CPU %", "Memory %", "Name"}
    used = [float(row["Memory %"]) for row in rows]
    assert used == sorted(used, reverse=True)


async def test_reboot_is_refused_unless_allowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    assert "switched off" in str(commands.refuse_reboot(False))
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "neither" in str(commands.refuse_reboot(True))
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\necho $1 > {tmp_path}/done\n")
    program.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(program) if name == "systemctl" else None)
    assert commands.refuse_reboot(True) is None
    await commands.reboot(0)
    assert (tmp_path / "done").read_text() == "reboot\n"


async def test_against_an_agent() -> None:
    agent = await TestAgent().start()
    plugin = build(CREDENTIAL, url=agent.url)
    task = asyncio.create_task(plugin.serve())
    await until(lambda: agent.of(MetricsReported) and agent.of(StatesReported), what="first data")
    names = {item.name for item in agent.of(MetricsReported)[0].metrics}
    assert {"cpu", "memory", "disk", "processes"} <= names
    assert all(len(frame) <= 2048 for frame in agent.frames[1:])
    agent.command("host", "reboot", command_id="r")
    agent.command("host", "ping", {"host": "-f"}, command_id="p")
    agent.command("host", "top", {"count": "40"}, command_id="t")
    await until(lambda: len(agent.of(CommandAcked)) == 4, what="acks")
    last = {ack.command_id: ack for ack in agent.of(CommandAcked)}
    assert last["r"].state == "REJECTED"
    assert "--allow-reboot" in str(last["r"].result_json)
    assert last["p"].state == "REJECTED"
    assert last["t"].state == "ACKED"
    assert agent.replies == []
    plugin.stop()
    await task
    await agent.stop()


def test_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    monkeypatch.delenv("TOWLINE_PLUGIN_CREDENTIAL", raising=False)
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "TOWLINE_PLUGIN_CREDENTIAL" in capsys.readouterr().err
    monkeypatch.setenv("TOWLINE_PLUGIN_CREDENTIAL", str(tmp_path / "none.json"))
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("towline-host: ")
