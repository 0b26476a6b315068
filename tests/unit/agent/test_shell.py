# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.helpers import until
from towline.agent.settings import AgentSettings, AllowSettings
from towline.agent.shell import Shell
from towline.protocols.link.frames import Priority, Type, decode_frame
from towline.protocols.link.messages import Credit, Data, End, Exec, ExecCancel, expect
from towline.protocols.link.streams import StreamReceiver


class Hub:
    """Collects output; grants credit unless told not to."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.out: dict[int, dict[int, bytes]] = {}
        self.ends: dict[int, End] = {}
        self.grant = True
        self.full = False
        self._receivers: dict[int, StreamReceiver] = {}
        shell.link_up(self.send)

    def send(self, frame: bytes, priority: Priority) -> bool:
        if self.full:
            return False
        header = decode_frame(frame)
        stream = header.stream
        if header.type == Type.END:
            self.ends[stream] = expect(header, End)
            return True
        data = expect(header, Data)
        credit = self._receivers.setdefault(stream, StreamReceiver(stream)).take(data, header.seq)
        channels = self.out.setdefault(stream, {1: b"", 2: b""})
        channels[data.channel] += data.data
        if credit is not None and self.grant:
            message = expect(decode_frame(credit), Credit)
            asyncio.get_running_loop().call_soon(self.shell.credit, message, stream)
        return True

    async def run(self, command: str, stream: int = 16, **changes: Any) -> End:
        self.start(command, stream, **changes)
        await until(lambda: stream in self.ends, 15.0, what="end of the command")
        return self.ends[stream]

    def start(self, command: str, stream: int = 16, **changes: Any) -> None:
        self.shell.exec(Exec(exec_id=str(stream), command=command, **changes), stream)


@pytest.fixture
def hub() -> Hub:
    return Hub(Shell(AgentSettings()))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_both_outputs_and_the_status(hub: Hub) -> None:
    end = await hub.run("printf out; printf err >&2; exit 7")
    assert hub.out[16] == {1: b"out", 2: b"err"}
    assert end == End(return_code=7)
    assert hub.shell.running == 0


async def test_large_output_flows_with_credit(hub: Hub) -> None:
    end = await hub.run("head -c 700000 /dev/zero")
    assert end == End(return_code=0)
    assert len(hub.out[16][1]) == 700_000


async def test_output_without_credit_waits_and_the_rest_of_the_agent_does_not(hub: Hub) -> None:
    hub.grant = False
    hub.start("head -c 500000 /dev/zero")
    await until(lambda: len(hub.out.get(16, {}).get(1, b"")) == 64 * 1024, what="the first window")
    assert await hub.run("echo quick", 17) == End(return_code=0)
    hub.shell.cancel(ExecCancel(), 16)
    await until(lambda: 16 in hub.ends, what="cancelled")
    assert hub.ends[16].reason == "cancelled"


async def test_a_timeout_kills_the_whole_group(hub: Hub, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    end = await hub.run(f"sleep 60 & echo $! > {pid_file}; wait", timeout_s=0.5)
    assert end.return_code < 0
    assert end.reason == "timeout"
    pid = int(pid_file.read_text())
    await until(lambda: not alive(pid), what="the child's end")


async def test_cancelling(hub: Hub) -> None:
    hub.start("sleep 60")
    await until(lambda: hub.shell.running == 1, what="start")
    hub.shell.cancel(ExecCancel(reason="enough"), 16)
    await until(lambda: 16 in hub.ends, what="end")
    assert hub.ends[16].return_code < 0
    assert hub.ends[16].reason == "cancelled"


async def test_too_much_output_ends_the_command(hub: Hub) -> None:
    end = await hub.run("yes", max_output=10_000)
    assert (end.reason, end.truncated) == ("output_limit", True)
    assert end.return_code < 0
    assert len(hub.out[16][1]) == 10_000


async def test_a_lost_link_kills_everything(hub: Hub) -> None:
    hub.start("sleep 60")
    await until(lambda: hub.shell.running == 1, what="start")
    hub.shell.link_down()
    await until(lambda: hub.shell.running == 0, what="end")
    assert hub.shell.counters["link_lost"] == 1


async def test_stopping_the_agent_ends_commands(hub: Hub) -> None:
    hub.start("sleep 60")
    await hub.shell.stop()
    assert hub.ends[16].reason == "agent_stopped"


async def test_a_full_outbox_ends_the_command(hub: Hub) -> None:
    hub.full = True
    hub.start("echo x")
    await until(lambda: hub.shell.counters["ended"] == 1, what="end")
    assert hub.shell.counters["link_lost"] == 1


async def test_what_the_shell_left_behind_does_not_hold_the_answer(hub: Hub) -> None:
    end = await hub.run("sleep 20 & echo done")
    assert end == End(return_code=0)
    assert hub.out[16][1] == b"done\n"


async def test_a_device_may_not_allow_it() -> None:
    hub = Hub(Shell(AgentSettings(allow=AllowSettings(shell=False))))
    end = await hub.run("echo no")
    assert (end.return_code, end.reason) == (-1, "not_allowed")


async def test_limits_and_impossible_commands() -> None:
    settings = msgspec.structs.replace(AgentSettings(), shell_concurrent=1)
    hub = Hub(Shell(settings))
    hub.start("sleep 60", 16)
    assert (await hub.run("echo", 17)).reason == "busy"
    assert hub.shell.running == 1
    await hub.shell.stop()
    assert (await hub.run("echo \0", 18)).reason == "failed"
    assert (await hub.run("echo", 3)).reason == "failed"
    unknown = Hub(Shell(msgspec.structs.replace(AgentSettings(), shell_user="nobody-like-this")))
    assert "no user" in (await unknown.run("echo")).message


async def test_a_stream_in_use_is_not_opened_again(hub: Hub) -> None:
    hub.start("sleep 60", 16)
    hub.start("echo", 16)
    await until(lambda: 16 in hub.ends, what="refusal")
    assert hub.ends[16].message == "the stream is in use"
    await hub.shell.stop()


async def test_secrets_of_the_agent_do_not_reach_the_command(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWLINE_ENROLMENT", "secret")
    await hub.run("env; pwd")
    text = hub.out[16][1].decode()
    assert "TOWLINE" not in text
    assert "PATH=" in text
    assert text.splitlines()[-1] == os.path.expanduser("~")


async def test_credit_and_cancel_for_nothing_are_ignored(hub: Hub) -> None:
    hub.shell.credit(Credit(amount=1), 99)
    hub.shell.cancel(ExecCancel(), 99)


async def test_a_slow_reader_gets_all_of_what_was_written_before_the_end(hub: Hub) -> None:
    hub.grant = False
    hub.start("head -c 200000 /dev/zero")
    await until(lambda: len(hub.out.get(16, {}).get(1, b"")) == 64 * 1024, what="the first window")
    (run,) = hub.shell._runs.values()
    await until(lambda: run.returned is not None, what="the command's own end")
    await asyncio.sleep(0.7)  # longer than what a process left behind may hold the pipes
    assert 16 not in hub.ends
    for _ in range(4):
        hub.shell.credit(Credit(amount=64 * 1024), 16)
    await until(lambda: 16 in hub.ends, what="end")
    assert hub.ends[16] == End(return_code=0)
    assert len(hub.out[16][1]) == 200_000


async def test_who_never_reads_is_told_that_output_is_missing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("towline.agent.shell._DRAIN_S", 0.3)
    hub.grant = False
    end = await hub.run("head -c 200000 /dev/zero")
    assert (end.return_code, end.truncated) == (0, True)
