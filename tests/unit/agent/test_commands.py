# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.agent.fakes import GUID, KEY, FakeConnection, Sink, opened, plugin
from towline.agent.commands import CommandDesk
from towline.agent.journal import Journal
from towline.agent.plugincore import Plugin
from towline.clock import ManualClock
from towline.errors import Unavailable
from towline.protocols.link.items import CommandStep
from towline.protocols.link.messages import Command, CommandQuery
from towline.protocols.octo import messages as m
from towline.protocols.octo.errors import OctoError
from towline.protocols.octo.guard import Guard
from towline.protocols.octo.session import CommandAcked, LocalCommandAsked

OTHER = "b8e873a1-e5df-43a2-928a-745ff9c94dfb"


class World:
    def __init__(self, desk: CommandDesk, sink: Sink, clock: ManualClock, guard: Guard) -> None:
        self.desk = desk
        self.sink = sink
        self.clock = clock
        self.guard = guard
        self.plugins: dict[str, Plugin] = {}

    def connect(self, guid: str = GUID) -> FakeConnection:
        made, connection = plugin(guid)
        self.plugins[guid] = made
        self.desk.registered(made)
        return connection

    async def command(self, command_id: str = "c", **changes: Any) -> None:
        plain = Command(command_id=command_id, app_guid=GUID, module="room", name="greet")
        self.desk.command(msgspec.structs.replace(plain, **changes))
        await self.desk.settle()

    async def ack(self, command_id: str, state: str, result: str | None = None, source: str = "remote") -> None:
        ack = m.CommandAck(
            app_guid=GUID,
            epoch="1",
            command_id=command_id,
            command_source=source,
            module_name="room",
            command_state=state,
            command_acks=[m.AckItem(name="greet")],
        )
        step = self.guard.of(GUID).commands.apply(ack, self.clock.now_us())
        self.desk.acked(self.plugins[GUID], CommandAcked(step, result, (), self.clock.now_us()))
        await self.desk.settle()

    def steps(self) -> list[str]:
        return [step for _, step in self.sink.steps()]


@contextlib.asynccontextmanager
async def world(path: Path | None = None, clock: ManualClock | None = None) -> AsyncIterator[World]:
    clock = clock or ManualClock()
    sink, guard = Sink(), Guard()
    async with opened(path) as database:
        made = World(None, sink, clock, guard)  # type: ignore[arg-type]
        made.desk = CommandDesk(Journal(database, sink), guard, made.plugins, clock)
        await made.desk.open()
        yield made
        await made.desk.settle()


async def test_a_command_is_delivered_signed_and_followed() -> None:
    async with world() as w:
        connection = w.connect()
        await w.command(params=b'[{"name":"person","value":"Buzz"}]')
        (text,) = connection.sent
        message = json.loads(text)
        assert message["method"].startswith("v2/notifyPluginCommand?authorization=$argon2id$")
        assert message["params"]["commandSource"] == "remote"
        assert message["params"]["commands"] == [{"name": "greet", "params": [{"name": "person", "value": "Buzz"}]}]
        await w.ack("c", "ACCEPTED")
        await w.ack("c", "ACKED", '{"response":"Hello"}')
        assert w.steps() == ["received", "delivered", "accepted", "acked"]
        assert w.sink.of(CommandStep)[-1].result == b'{"response":"Hello"}'


async def test_a_command_waits_for_its_plugin() -> None:
    async with world() as w:
        await w.command("first")
        await w.command("second")
        assert w.steps() == ["received", "received"]
        connection = w.connect()
        await w.desk.settle()
        assert [json.loads(text)["params"]["commandId"] for text in connection.sent] == ["first", "second"]
        assert w.steps()[2:] == ["delivered", "delivered"]


async def test_a_command_that_waited_too_long_expires_and_never_runs() -> None:
    async with world() as w:
        await w.command(expires_in_s=5.0)
        w.clock.advance(4)
        await w.desk.tick()
        assert w.steps() == ["received"]
        w.clock.advance(1)
        await w.desk.tick()
        assert w.steps() == ["received", "expired"]
        connection = w.connect()
        await w.desk.settle()
        assert connection.sent == []
        await w.command(expires_in_s=5.0)
        assert w.steps()[-1] == "expired"
        assert connection.sent == []


async def test_the_same_command_again_is_not_run_again() -> None:
    async with world() as w:
        connection = w.connect()
        await w.command()
        await w.command()
        assert len(connection.sent) == 1
        assert w.steps() == ["received", "delivered", "delivered"]
        assert w.desk.counters["repeated"] == 1


async def test_a_silent_plugin_times_out_once_and_may_still_answer() -> None:
    async with world() as w:
        w.connect()
        await w.command()
        w.clock.advance(59)
        await w.desk.tick()
        assert "timed_out" not in w.steps()
        w.clock.advance(1)
        await w.desk.tick()
        await w.desk.tick()
        assert w.steps() == ["received", "delivered", "timed_out"]
        await w.ack("c", "ACKED")
        last = w.sink.of(CommandStep)[-1]
        assert (last.step, last.note) == ("acked", "ACKED without ACCEPTED before it; after the minute")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "dance"}, "declares no command 'dance'"),
        ({"module": "attic"}, "in module 'attic'"),
        ({"params": b"nonsense"}, "cannot be read"),
        ({"params": b'[{"name":"a","value":"' + b"x" * 3000 + b'"}]'}, "2048"),
    ],
)
async def test_what_cannot_be_delivered_is_said_to_never_have_run(changes: dict[str, Any], words: str) -> None:
    async with world() as w:
        connection = w.connect()
        await w.command(**changes)
        assert w.steps() == ["received", "not_executed"]
        assert words in w.sink.of(CommandStep)[-1].note
        assert connection.sent == []


async def test_a_plugin_that_cannot_take_it_gets_it_at_its_next_registration() -> None:
    async with world() as w:
        slow = w.connect()
        slow.takes = False
        await w.command()
        assert w.steps() == ["received"]
        fresh = w.connect()
        await w.desk.settle()
        assert len(fresh.sent) == 1
        assert w.steps() == ["received", "delivered"]


async def test_cancelling_what_waits() -> None:
    async with world() as w:
        await w.command()
        w.desk.query(CommandQuery(command_ids=["c", "never"], cancel=True))
        await w.desk.settle()
        assert w.sink.steps()[-2:] == [("c", "not_executed"), ("never", "not_executed")]
        connection = w.connect()
        await w.command("never")
        assert connection.sent == []


async def test_after_a_restart_waiting_commands_wait_on_and_late_acks_count(tmp_path: Path) -> None:
    clock = ManualClock()
    async with world(tmp_path / "db", clock) as w:
        w.connect()
        await w.command("delivered")
        w.plugins.clear()
        await w.command("waits", expires_in_s=100.0)
    clock.advance(10)
    async with world(tmp_path / "db", clock) as w:
        connection = w.connect()
        await w.desk.settle()
        assert [json.loads(text)["params"]["commandId"] for text in connection.sent] == ["waits"]
        await w.ack("delivered", "ACKED")
        assert ("delivered", "acked") in w.sink.steps()
        clock.advance(60)
        await w.desk.tick()
        assert w.sink.steps()[-1] == ("waits", "timed_out")


async def test_a_waiting_command_expires_by_its_own_deadline_after_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with world(tmp_path / "db", clock) as w:
        await w.command(expires_in_s=30.0)
    clock.advance(31)
    async with world(tmp_path / "db", clock) as w:
        await w.desk.tick()
        assert w.steps() == ["expired"]


async def test_too_many_waiting_commands_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("towline.agent.commands.MAX_WAITING", 2)
    async with world() as w:
        for number in range(3):
            await w.command(str(number))
        assert w.sink.steps()[-1] == ("2", "not_executed")


async def test_one_plugin_runs_anothers_command() -> None:
    async with world() as w:
        target, client = w.connect(GUID), w.connect(OTHER)
        asked = LocalCommandAsked(OTHER, GUID, f"{OTHER}|1", "room", "greet", ())
        w.desk.local(w.plugins[OTHER], asked)
        message = json.loads(target.sent[-1])["params"]
        assert (message["commandSource"], message["commandId"]) == ("local", f"{OTHER}|1")
        await w.ack(f"{OTHER}|1", "ACCEPTED", source="local")
        await w.ack(f"{OTHER}|1", "ACKED", '{"a":1}', source="local")
        acks = [json.loads(text)["params"] for text in client.sent]
        assert [ack["commandState"] for ack in acks] == ["ACCEPTED", "ACKED"]
        assert acks[-1]["commandAcks"] == [{"name": "greet", "result": {"a": 1}}]
        assert w.sink.of(CommandStep) == []


async def test_a_local_commands_values_are_checked_and_put_in_order() -> None:
    async with world() as w:
        target, _ = w.connect(GUID), w.connect(OTHER)

        def ask(number: int, **params: str) -> None:
            values = tuple(m.ParamValue(name=name, value=value) for name, value in params.items())
            asked = LocalCommandAsked(OTHER, GUID, f"{OTHER}|{number}", "room", "greet", values)
            w.desk.local(w.plugins[OTHER], asked)

        ask(1, a="2", person="Buzz")
        sent = json.loads(target.sent[-1])["params"]["commands"][0]["params"]
        assert sent == [{"name": "person", "value": "Buzz"}, {"name": "a", "value": "2"}]
        with pytest.raises(OctoError, match=r"commands\[0\]\.params\.zz: the command declares no such parameter"):
            ask(2, zz="1")
        assert len(target.sent) == 1


@pytest.mark.parametrize("stays", [True, False])
async def test_the_client_of_a_local_command_does_not_wait_for_ever(stays: bool) -> None:
    async with world() as w:
        _, client = w.connect(GUID), w.connect(OTHER)
        w.desk.local(w.plugins[OTHER], LocalCommandAsked(OTHER, GUID, f"{OTHER}|1", "room", "greet", ()))
        if not stays:
            del w.plugins[GUID]
        w.clock.advance(60)
        await w.desk.tick()
        (ack,) = [json.loads(text)["params"] for text in client.sent]
        assert (ack["appGUID"], ack["commandId"], ack["commandState"]) == (GUID, f"{OTHER}|1", "ERRORED")
        assert ack["commandAcks"][0]["result"] == {"error": "the plugin did not answer within 60 s"}
        if stays:  # too late
            await w.ack(f"{OTHER}|1", "ACKED", source="local")
        await w.desk.tick()
        assert len(client.sent) == 1
        assert w.sink.of(CommandStep) == []


@pytest.mark.parametrize("asked", [(OTHER, "greet"), (GUID, "dance")])
async def test_a_local_command_needs_its_target(asked: tuple[str, str]) -> None:
    async with world() as w:
        w.connect(GUID)
        target, name = asked
        with pytest.raises(OctoError):
            w.desk.local(w.plugins[GUID], LocalCommandAsked(GUID, target, f"{GUID}|1", "room", name, ()))


async def test_a_local_command_to_a_plugin_that_cannot_take_it() -> None:
    async with world() as w:
        w.connect(GUID).takes = False
        asked = LocalCommandAsked(GUID, GUID, f"{GUID}|1", "room", "greet", ())
        with pytest.raises(OctoError, match="cannot take"):
            w.desk.local(w.plugins[GUID], asked)
        assert w.guard.of(GUID).commands.open() == []
        assert KEY


async def test_a_disk_that_refuses_only_delays_what_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("towline.agent.commands._RETRY_S", 0.01)
    async with world() as w:
        await w.command("waits", expires_in_s=5.0)
        w.connect(OTHER)
        await w.command("silent", app_guid=OTHER)
        w.clock.advance(61)
        step, refusals = w.desk._journal.step, [True, True, True]

        async def full(*arguments: Any, **more: Any) -> bool:
            if refusals:
                refusals.pop()
                raise Unavailable("agent.disk", "full")
            return await step(*arguments, **more)

        monkeypatch.setattr(w.desk._journal, "step", full)
        for _ in range(4):
            with contextlib.suppress(Unavailable):
                await w.desk.tick()
            await w.desk.settle()
        assert not refusals
        assert sorted(w.sink.steps()[-2:]) == [("silent", "timed_out"), ("waits", "expired")]


async def test_a_clock_that_went_back_does_not_prolong_a_commands_life(tmp_path: Path) -> None:
    clock = ManualClock()
    async with world(tmp_path / "db", clock) as w:
        await w.command(expires_in_s=30.0)
    behind = ManualClock(clock.now_us() - 86_400_000_000)
    async with world(tmp_path / "db", behind) as w:
        behind.advance(31)
        await w.desk.tick()
        assert w.steps() == ["expired"]
