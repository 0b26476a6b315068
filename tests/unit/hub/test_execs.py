# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json

import pytest

from tests.helpers import until
from tests.unit.hub.conftest import MakeHub, only
from tests.unit.hub.fakes import FakeAgent, settle
from towline.errors import InvalidInput, NotFound, Refused, Unavailable
from towline.hub import execs
from towline.hub.actor import Actor
from towline.hub.hub import Hub
from towline.protocols.link import messages as m
from towline.protocols.link.frames import Frame, Type
from towline.protocols.link.limits import MAX_STREAMS
from towline.protocols.link.streams import StreamSender
from towline.store.base import Store
from towline.store.rows import AuditEntry


class Shell:
    """Plays the device's shell on its link."""

    def __init__(self, agent: FakeAgent) -> None:
        self.agent = agent
        self.commands: list[tuple[int, m.Exec]] = []
        self.cancelled: list[tuple[int, str]] = []
        self.senders: dict[int, StreamSender] = {}
        agent.answer = self.on_frame

    def on_frame(self, frame: Frame) -> None:
        if frame.type == Type.EXEC:
            message = m.expect(frame, m.Exec)
            self.commands.append((frame.stream, message))
            self.senders[frame.stream] = StreamSender(frame.stream, message.credit)
        elif frame.type == Type.CREDIT:
            sender = self.senders[frame.stream]
            sender.grant(m.expect(frame, m.Credit).amount)
            self.flush(sender)
        elif frame.type == Type.EXEC_CANCEL:
            self.cancelled.append((frame.stream, m.expect(frame, m.ExecCancel).reason))

    def flush(self, sender: StreamSender) -> None:
        for data in sender.frames():
            self.agent.send(data)

    def write(self, stream: int, data: bytes, channel: int = 1) -> None:
        sender = self.senders[stream]
        sender.write(data, 2 if channel == 2 else 1)
        self.flush(sender)

    def end(self, stream: int, code: int = 0, **more: str) -> None:
        self.agent.send(m.encode(m.End(return_code=code, **more), stream=stream))  # type: ignore[arg-type]

    async def next(self, count: int = 1) -> tuple[int, m.Exec]:
        await until(lambda: len(self.commands) >= count)
        return self.commands[count - 1]


@pytest.fixture
def shell(online: FakeAgent) -> Shell:
    return Shell(online)


async def test_output_and_code_come_back(hub: Hub, owner: Actor, online: FakeAgent, shell: Shell) -> None:
    execution = await hub.execs.run(owner, online.device_id, "uptime", 30)
    stream, message = await shell.next()
    assert (message.command, message.timeout_s, message.user) == ("uptime", 30, "ada")
    assert message.exec_id == execution.correlation_id
    shell.write(stream, "grüße\n".encode())
    shell.write(stream, b"\xff", 2)
    shell.end(stream, 3)
    result = await execution.result()
    assert (result.stdout, result.stderr, result.return_code, result.reason) == ("grüße\n", "\ufffd", 3, None)
    entry = (await hub.audit.list(owner)).items[0]
    assert (entry.action, entry.entity_id, entry.address) == ("device.exec", online.device_id, "198.51.100.1")
    await until(lambda: not hub.execs.running)


async def test_more_than_the_credit_flows(hub: Hub, owner: Actor, online: FakeAgent, shell: Shell) -> None:
    execution = await hub.execs.run(owner, online.device_id, "cat big")
    stream, _ = await shell.next()
    data = bytes(range(32, 96)) * 8192
    shell.write(stream, data)
    await until(lambda: shell.senders[stream].waiting == 0)
    shell.end(stream)
    assert (await execution.result()).stdout == data.decode()


async def test_concurrent_commands_are_kept_apart(hub: Hub, owner: Actor, online: FakeAgent, shell: Shell) -> None:
    runs = [await hub.execs.run(owner, online.device_id, f"echo {number}") for number in range(10)]
    await shell.next(10)
    for stream, message in reversed(shell.commands):
        shell.write(stream, message.command.encode())
        shell.end(stream)
    results = await asyncio.gather(*(run.result() for run in runs))
    assert [result.stdout for result in results] == [f"echo {number}" for number in range(10)]
    assert len({run.correlation_id for run in runs}) == 10


async def test_a_lost_link_ends_it_with_the_reason(hub: Hub, owner: Actor, online: FakeAgent, shell: Shell) -> None:
    execution = await hub.execs.run(owner, online.device_id, "sleep 60")
    stream, _ = await shell.next()
    shell.write(stream, b"begun\n")
    online.cut("silent")
    result = await execution.result()
    assert (result.stdout, result.return_code, result.reason) == ("begun\n", -1, "link_lost")
    assert "silent" in result.message


async def test_the_devices_own_refusal_comes_through(hub: Hub, owner: Actor, online: FakeAgent, shell: Shell) -> None:
    execution = await hub.execs.run(owner, online.device_id, "id")
    stream, _ = await shell.next()
    shell.end(stream, -1, reason="not_allowed")
    result = await execution.result()
    assert (result.return_code, result.reason) == (-1, "not_allowed")
    assert "does not allow" in result.message


async def test_a_silent_device_is_not_waited_for_for_ever(
    hub: Hub, owner: Actor, online: FakeAgent, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execs, "_GRACE_S", 0.05)
    execution = await hub.execs.run(owner, online.device_id, "sleep 60", 0.05)
    result = await execution.result()
    assert (result.return_code, result.reason) == (-1, "timeout")
    stream, _ = await shell.next()
    await until(lambda: shell.cancelled)
    assert shell.cancelled == [(stream, "timeout")]
    shell.write(stream, b"late")
    shell.end(stream)
    await until(lambda: not hub.links.devices[online.device_id].streams)


async def test_output_over_the_limit_ends_it(hub: Hub, owner: Actor, online: FakeAgent, shell: Shell) -> None:
    execution = await hub.execs.run(owner, online.device_id, "yes")
    stream, message = await shell.next()
    shell.write(stream, b"y" * (message.max_output + 10))
    result = await execution.result()
    assert (len(result.stdout), result.return_code, result.reason) == (message.max_output, -1, "output_limit")
    await until(lambda: shell.cancelled == [(stream, "output_limit")])


async def test_what_is_refused(hub: Hub, owner: Actor, agent: FakeAgent) -> None:
    where = agent.device_id
    with pytest.raises(Unavailable) as offline:
        await hub.execs.run(owner, where, "id")
    assert offline.value.code == "device.offline"
    with pytest.raises(NotFound) as unknown:
        await hub.execs.run(owner, "nobody", "id")
    assert unknown.value.code == "device.unknown"
    with pytest.raises(Refused) as refused:
        await hub.execs.run(only(owner, "read", "manage_devices"), where, "id")
    assert refused.value.code == "privilege.missing"
    for cmd in ("", "  ", "a\0b", "x" * 40_000):
        with pytest.raises(InvalidInput, match="a command is"):
            await hub.execs.run(owner, where, cmd)
    with pytest.raises(InvalidInput, match="up to 3600"):
        await hub.execs.run(owner, where, "id", 1e6)
    assert not hub.execs.running


async def test_a_link_has_a_bounded_number_of_streams(hub: Hub, owner: Actor, online: FakeAgent, shell: Shell) -> None:
    runs = [await hub.execs.run(owner, online.device_id, "sleep 1") for _ in range(32)]
    with pytest.raises(Unavailable) as busy:
        await hub.execs.run(owner, online.device_id, "id")
    assert busy.value.code == "exec.busy"
    online.cut()
    assert {(await run.result()).reason for run in runs} == {"link_lost"}


async def test_closing_the_hub_ends_what_runs(hub: Hub, owner: Actor, online: FakeAgent, shell: Shell) -> None:
    execution = await hub.execs.run(owner, online.device_id, "sleep 60")
    waiter = asyncio.ensure_future(execution.result())
    await shell.next()
    await hub.close()
    assert (await waiter).reason == "hub_closing"
    with pytest.raises(Unavailable) as closing:
        await hub.execs.run(owner, online.device_id, "id")
    assert closing.value.code == "hub.closing"


async def test_who_is_signed_out_hears_no_more_of_a_command(
    hub: Hub, owner: Actor, online: FakeAgent, shell: Shell
) -> None:
    await hub.users.create(owner, "eve", "correct horse", ["control_devices"])
    eve = await hub.users.verify((await hub.users.login("eve", "correct horse", "10.0.0.1")).token)
    execution = await hub.execs.run(eve, online.device_id, "cat secrets")
    other = await hub.execs.run(owner, online.device_id, "id")
    stream, _ = await shell.next()
    waiter = asyncio.ensure_future(execution.result())
    shell.write(stream, b"half")
    await hub.users.update(owner, eve.user_id, disabled=True)
    with pytest.raises(Refused) as cut:
        await waiter
    assert cut.value.code == "token.revoked"
    await settle()
    assert not shell.cancelled  # as when its caller is gone
    assert set(hub.execs.running) == {execution.correlation_id, other.correlation_id}
    shell.end(stream)
    await until(lambda: set(hub.execs.running) == {other.correlation_id})


async def test_nothing_begins_for_who_is_signed_out_meanwhile(
    hub: Hub, owner: Actor, online: FakeAgent, shell: Shell, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.users.create(owner, "eve", "correct horse", ["control_devices"])
    eve = await hub.users.verify((await hub.users.login("eve", "correct horse", "10.0.0.1")).token)
    append = store.audit.append

    async def slowly(entry: AuditEntry) -> AuditEntry:
        monkeypatch.undo()
        await hub.users.update(owner, eve.user_id, disabled=True)
        await settle()
        return await append(entry)

    monkeypatch.setattr(store.audit, "append", slowly)
    with pytest.raises(Refused) as ended:
        await hub.execs.run(eve, online.device_id, "reboot")
    assert ended.value.code == "token.revoked"
    await settle()
    assert not shell.commands


async def test_a_stream_that_breaks_the_rules_closes_the_link(
    hub: Hub, owner: Actor, online: FakeAgent, shell: Shell
) -> None:
    execution = await hub.execs.run(owner, online.device_id, "yes")
    stream, _ = await shell.next()
    online.send(m.encode(m.Data(data=b"x"), stream=stream, seq=5))
    assert (await execution.result()).reason == "link_lost"
    assert online.closed is not None
    assert online.closed.code == 3511


async def test_through_another_hub(hub: Hub, owner: Actor, online: FakeAgent, shell: Shell, make_hub: MakeHub) -> None:
    other = await make_hub()
    execution = await other.execs.run(owner, online.device_id, "uptime")
    stream, message = await shell.next()
    assert message.exec_id == execution.correlation_id
    data = b"0123456789" * 30_000
    shell.write(stream, data)
    await until(lambda: shell.senders[stream].waiting == 0)
    shell.end(stream, 4)
    result = await execution.result()
    assert (result.stdout, result.return_code) == (data.decode(), 4)
    assert not hub.execs.remote_streams

    lost = await other.execs.run(owner, online.device_id, "sleep 60")
    await shell.next(2)
    online.cut("silent")
    assert (await lost.result()).reason == "link_lost"
    with pytest.raises(Unavailable, match="not connected"):
        await other.execs.run(owner, online.device_id, "id")


async def test_the_serving_hub_dies(hub: Hub, owner: Actor, online: FakeAgent, shell: Shell, make_hub: MakeHub) -> None:
    other = await make_hub()
    execution = await other.execs.run(owner, online.device_id, "sleep 60")
    await shell.next()
    await hub._core.endpoint.close()
    assert (await execution.result()).reason in ("hub_died", "link_lost")


async def test_the_asking_hub_dies(hub: Hub, owner: Actor, online: FakeAgent, shell: Shell, make_hub: MakeHub) -> None:
    other = await make_hub()
    await other.execs.run(owner, online.device_id, "sleep 60")
    await shell.next()
    await other.close()
    await until(lambda: shell.cancelled)
    assert not hub.execs.remote_streams


async def test_nothing_runs_that_cannot_be_written_down(
    hub: Hub, owner: Actor, online: FakeAgent, shell: Shell, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(entry: AuditEntry) -> AuditEntry:
        raise Unavailable("store.full", "nothing was stored: the disk is full")

    monkeypatch.setattr(store.audit, "append", full)
    with pytest.raises(Unavailable, match="the disk is full"):
        await hub.execs.run(owner, online.device_id, "reboot")
    await settle()
    assert not shell.commands
    assert not hub.execs.running


async def test_a_command_that_could_not_start_is_told_from_one_that_ran(
    hub: Hub, owner: Actor, online: FakeAgent, shell: Shell
) -> None:
    for _ in range(MAX_STREAMS):
        await hub.execs.run(owner, online.device_id, "sleep 9")
    with pytest.raises(Unavailable) as busy:
        await hub.execs.run(owner, online.device_id, "reboot")
    assert busy.value.code == "exec.busy"
    refused, asked = (await hub.audit.list(owner, 2)).items
    assert (asked.action, refused.action) == ("device.exec", "device.exec_refused")
    assert json.loads(refused.detail) == {"id": json.loads(asked.detail)["id"], "code": "exec.busy"}
