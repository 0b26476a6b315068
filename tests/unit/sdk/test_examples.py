# SPDX-License-Identifier: Apache-2.0
"""The examples do what their pages say, as processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import until
from tests.unit.sdk.agent import GUID, KEY, TestAgent
from towline import __version__
from towline.protocols.octo import CommandAcked, EventsReported, MetricsReported, StatesReported

EXAMPLES = Path(__file__).parents[3] / "examples"
HELLO: dict[str, Any] = {
    "sdk": __version__,
    "appGUID": GUID,
    "appName": "plugin-hello",
    "displayName": "plugIN Hello",
    "type": "ib",
    "version": "1.0.0",
    "modules": [
        {
            "moduleName": "plugin-hello",
            "displayName": "plugIN Hello",
            "properties": [],
            "commands": [
                {
                    "name": "say_hello",
                    "type": "asynchronous",
                    "displayCategory": "Action",
                    "displayName": "Say Hello",
                    "description": "Say hello to a person",
                    "params": [
                        {
                            "name": "person",
                            "displayName": "Person Name",
                            "description": "Person who you wanna to say hello",
                            "displayType": "string",
                            "required": True,
                            "defaultValue": "Buzz",
                        }
                    ],
                }
            ],
        }
    ],
}
"""The protocol's own introductory declaration, macros filled; the epoch is of the moment."""


@contextlib.asynccontextmanager
async def example(name: str, folder: Path) -> AsyncIterator[TestAgent]:
    agent = await TestAgent().start()
    credential = folder / "hello.json"
    credential.write_text(json.dumps({"app_guid": GUID, "access_key": KEY}))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / name / f"{name}.py"),
        str(credential),
        env={**os.environ, "TOWLINE_PLUGIN_URL": agent.url},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: agent.registered, 20, what="registration")
        yield agent
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0
        await agent.stop()


def test_hello_is_under_forty_lines() -> None:
    assert len((EXAMPLES / "hello" / "hello.py").read_text().splitlines()) < 40


async def test_hello_declares_field_for_field_and_answers(tmp_path: Path) -> None:
    async with example("hello", tmp_path) as agent:
        params: dict[str, Any] = json.loads(agent.frames[0])["params"]
        assert params.pop("epoch").isdigit()
        assert params == HELLO
        agent.command("plugin-hello", "say_hello", {"person": "Buzz"})
        await until(lambda: len(agent.of(CommandAcked)) == 2)
        accepted, acked = agent.of(CommandAcked)
        assert (accepted.state, acked.state) == ("ACCEPTED", "ACKED")
        assert acked.result_json == '{"response":"Hello Buzz"}'
        assert agent.replies == []


async def test_hello_full_adds_a_state_a_metric_and_an_event(tmp_path: Path) -> None:
    async with example("hello_full", tmp_path) as agent:
        await until(lambda: agent.of(MetricsReported))
        agent.command("plugin-hello-full", "say_hello", {"person": "Buzz"})
        await until(lambda: len(agent.of(CommandAcked)) == 2)
        await until(lambda: agent.of(EventsReported))
        assert agent.of(StatesReported)[-1].states[0].value == "Hello Buzz"
        assert agent.of(EventsReported)[0].events[0].name == "greeted"
        assert agent.replies == []


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
async def test_a_plugin_stays_small(tmp_path: Path) -> None:
    async with example("hello", tmp_path) as agent:
        agent.command("plugin-hello", "say_hello", {"person": "Buzz"})
        await until(lambda: len(agent.of(CommandAcked)) == 2)
        own = os.getpid()
        sizes = []
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
                if int(fields["PPid"]) == own and "VmRSS" in fields:
                    command = (status.parent / "cmdline").read_bytes()
                    if b"hello.py" in command:
                        sizes.append(int(fields["VmRSS"].split()[0]))
        assert sizes
        assert max(sizes) < 40_000  # kB; 28,000 when this was written
