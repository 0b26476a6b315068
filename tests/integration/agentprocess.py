# SPDX-License-Identifier: Apache-2.0
"""An agent as a process of its own, which tests kill. ``python -m tests.integration.agentprocess SETTINGS [CRASH]``.

CRASH names where the process kills itself, as a power cut would: ``before:STEP`` or ``after:STEP`` of the journal, where
STEP is ``receive``, ``delivering``, ``send`` or a step such as ``delivered``; or of a change of the device's key:
``key.ask``, ``key.answered``, ``key.use``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from tests.helpers import until
from towline.agent.daemon import run_agent
from towline.agent.journal import Journal
from towline.agent.keyring import KeyRing
from towline.agent.plugincore import Plugin
from towline.agent.settings import AgentSettings
from towline.clock import SystemClock
from towline.errors import StartError

ROOT = Path(__file__).parent.parent.parent


class AgentProcess:
    """One agent in a process."""

    def __init__(self, settings: AgentSettings) -> None:
        self.settings = settings
        self.process: asyncio.subprocess.Process | None = None
        self.ready = Path(settings.data) / "ready"

    async def start(self, crash: str = "") -> AgentProcess:
        self.ready.unlink(missing_ok=True)
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.agentprocess",
            msgspec.json.encode(self.settings).decode(),
            crash,
            cwd=ROOT,
        )
        await until(lambda: self.ready.exists() or self.process_ended(), 20.0, what="agent ready")
        return self

    def process_ended(self) -> bool:
        return self.process is not None and self.process.returncode is not None

    async def kill(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def ended(self, timeout: float = 10.0) -> int:
        assert self.process is not None
        async with asyncio.timeout(timeout):
            return await self.process.wait()

    async def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()


def crash_at(where: str) -> None:
    """Make this process kill itself at a place of the journal."""
    moment, _, step = where.partition(":")

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def wrap(owner: type, name: str, matches: Any) -> None:
        original = getattr(owner, name)

        async def around(*arguments: Any, **more: Any) -> Any:
            hit = matches(arguments)
            if hit and moment == "before":
                die()
            result = await original(*arguments, **more)
            if hit and moment == "after":
                die()
            return result

        setattr(owner, name, around)

    if step.startswith("key."):
        wrap(KeyRing, {"ask": "ask", "answered": "answered", "use": "_use_next"}[step[4:]], lambda arguments: True)
    elif step in ("receive", "delivering"):
        wrap(Journal, step, lambda arguments: True)
    elif step == "send":
        original = Plugin.send

        def send(self: Plugin, text: str) -> bool:
            command = "notifyPluginCommand?" in text
            if command and moment == "before":
                die()
            result = original(self, text)
            if command:
                asyncio.get_running_loop().call_later(0.05, die)  # let the bytes leave; the journal waits in its thread
            return result

        Plugin.send = send  # type: ignore[method-assign]
        if moment == "after":
            wrap_never_delivered()
    else:
        wrap(Journal, "step", lambda arguments: arguments[2] == step)


def wrap_never_delivered() -> None:
    original = Journal.step

    async def step(self: Journal, command_id: str, word: str, *arguments: Any, **more: Any) -> bool:
        if word == "delivered":
            await asyncio.sleep(3600)
        return await original(self, command_id, word, *arguments, **more)

    Journal.step = step  # type: ignore[method-assign,assignment]


def main() -> int:
    settings = msgspec.json.decode(sys.argv[1].encode(), type=AgentSettings)
    if len(sys.argv) > 2 and sys.argv[2]:
        crash_at(sys.argv[2])

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await run_agent(settings, SystemClock(), stop, (Path(settings.data) / "ready").touch)

    try:
        asyncio.run(run())
    except StartError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
