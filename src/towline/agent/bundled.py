# SPDX-License-Identifier: Apache-2.0
"""Plugins that ship with Towline: ordinary octo plugins, started beside the agent with a key made for the occasion.

They end with the agent, also when it is killed, and are started again when they end by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import secrets
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from towline.agent.files import prepare_directory, write_private
from towline.agent.keys import Keys
from towline.agent.platform import end_with_parent
from towline.agent.settings import AgentSettings
from towline.errors import StartError

log = logging.getLogger("towline.agent.bundled")

_STEADY_S = 60.0
_LONGEST_WAIT_S = 60.0
_STOP_S = 1.2


@dataclass(frozen=True, slots=True)
class Bundled:
    """A plugin of ours. ``app_guid`` never changes: it is the same plugin on every device."""

    module: str
    app_guid: str
    app_name: str


PLUGINS = {"host": Bundled("towline.plugins.host", "7c1f6f0e-3b0f-4f63-9d1e-5d2a8c4b7e10", "towline-host")}


class Supervisor:
    """Runs the bundled plugins.

    :ivar counters: ``started``, ``ended``
    """

    def __init__(self, data: Path, settings: AgentSettings, keys: Keys) -> None:
        self.counters: Counter[str] = Counter()
        self._data = data
        self._settings = settings
        self._keys = keys
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, port: int) -> None:
        """Start all of the setting ``bundled``. StartError ``agent.bundled`` for a name that is none of ours."""
        for name in self._settings.bundled:
            if name not in PLUGINS:
                raise StartError(
                    "agent.bundled", f"{name!r} does not ship with Towline; there is: {', '.join(PLUGINS)}"
                )
            plugin = PLUGINS[name]
            command = [sys.executable, "-m", plugin.module, "--port", str(port)]
            command += ["--credential", str(self._credential(name, plugin))]
            if name == "host" and self._settings.allow.reboot:
                command.append("--allow-reboot")
            self._tasks.append(asyncio.create_task(self._keep(name, command), name=f"bundled-{name}"))

    def processes(self) -> dict[str, int]:
        """Process ids by name."""
        return {name: process.pid for name, process in self._processes.items()}

    async def stop(self) -> None:
        """SIGTERM, a moment, SIGKILL."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        processes = list(self._processes.values())
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_S):
                for process in processes:
                    await process.wait()
        except TimeoutError:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        self._processes.clear()

    def _credential(self, name: str, plugin: Bundled) -> Path:
        """A fresh key, known to this agent and the file only."""
        key = secrets.token_urlsafe(24)
        self._keys.add_local(plugin.app_guid, key)
        directory = self._data / "bundled" / name
        prepare_directory(directory)
        path = directory / "plugin_credential.json"
        machine = platform.machine()
        content = {
            "app_guid": plugin.app_guid,
            "access_key": key,
            "platform": "linux",
            "architecture": {"AMD64": "x86_64", "arm64": "aarch64"}.get(machine, machine),
        }
        write_private(path, msgspec.json.encode(content))
        return path

    async def _keep(self, name: str, command: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        wait = 1.0
        while True:
            began = loop.time()
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    start_new_session=True,
                    preexec_fn=end_with_parent(os.getpid()),
                )
            except OSError as error:
                log.error("plugin %s cannot be started: %s", name, error)
            else:
                self.counters["started"] += 1
                self._processes[name] = process
                code = await process.wait()
                del self._processes[name]
                self.counters["ended"] += 1
                log.warning("plugin %s ended with status %s", name, code)
            wait = 1.0 if loop.time() - began > _STEADY_S else min(wait * 2, _LONGEST_WAIT_S)
            await asyncio.sleep(wait)
