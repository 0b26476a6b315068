# SPDX-License-Identifier: Apache-2.0
"""The whole product as a person starts it: ``towline up`` in a directory of its own, on ports of its own."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.helpers import free_port, wait_until

MODULES = {"server": "towline.app.server", "agent": "towline.app.agent", "host": "towline.plugins.host"}
TOWLINE = [sys.executable, "-m", "towline.cli.main"]


def environment() -> dict[str, str]:
    """This process's environment without settings of Towline."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TOWLINE_")}


class Product:
    """A running Towline. ``stop`` or ``kill`` end it; ``start`` begins it again on the same data and ports."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.ports = {name: free_port() for name in ("portal", "api", "clients", "plugin")}
        self.arguments = [word for name, port in self.ports.items() for word in (f"--{name}-port", str(port))]
        self.arguments += ["--data", str(self.data), *arguments]
        self.process: subprocess.Popen[bytes] | None = None
        self.password = ""
        self.cookie = ""
        """Name of the session's cookie, once somebody signed in."""
        self._starts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['portal']}"

    @property
    def output_path(self) -> Path:
        return self.folder / f"output-{self._starts}.txt"

    def output(self) -> str:
        """What this start printed so far."""
        return self.output_path.read_text("utf-8", errors="replace")

    def start(self, *, ready: bool = True) -> Product:
        self._starts += 1
        with self.output_path.open("wb") as out:
            self.process = subprocess.Popen(
                [*TOWLINE, "up", *self.arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=environment(),
                start_new_session=True,
            )
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self, timeout: float = 30.0) -> None:
        def answered() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"towline up ended with {self.process.returncode}:\n{self.output()}")
            return "Ready in" in self.output()

        wait_until(answered, timeout, what="readiness")
        found = re.search(r"with the password\s+(\S+)", self.output())
        if found:
            self.password = found[1]

    @contextlib.contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """A signed-in REST client."""
        with httpx.Client(base_url=f"{self.url}/api/towline/v1", timeout=20.0) as client:
            who = {"user": "admin", "password": self.password}
            answer = client.post("/session", json=who, headers={"Origin": self.url})
            assert answer.status_code == 200, answer.text
            self.cookie = next(iter(client.cookies))
            client.cookies.clear()
            client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
            yield client

    def towline(
        self,
        *arguments: str,
        timeout: float = 30.0,
        stdin: str | None = None,
        environ: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line as the owner of the data directory does."""
        own = {"TOWLINE_DATA": str(self.data), "XDG_CONFIG_HOME": str(self.folder / "config")}
        return subprocess.run(
            [*TOWLINE, *arguments],
            capture_output=True,
            text=True,
            input=stdin,
            cwd=self.folder,
            env=environment() | own | (environ or {}),
            timeout=timeout,
            check=False,
        )

    def children(self) -> dict[str, int]:
        """Process ids by role: server, agent, and the agent's own child for the host plugin."""
        assert self.process is not None
        found: dict[str, int] = {}
        for pid in descendants(self.process.pid):
            words = command_line(pid)
            for role, module in (
                ("server", "towline.app.server"),
                ("agent", "towline.app.agent"),
                ("host", "towline.plugins.host"),
            ):
                if module in words:
                    # Parents come first: a child that has forked and not yet become a shell looks like its parent.
                    found.setdefault(role, pid)
        return found

    def stop(self, timeout: float = 8.0) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout)

    def close(self) -> None:
        """End everything, whatever state it is in."""
        if self.process is None:
            return
        pids = descendants(self.process.pid)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(8)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        for pid in pids:
            try:
                wait_until(functools.partial(_ended, pid), 6)
            except AssertionError:
                os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Process ids below ``pid``."""
    found: list[int] = []
    todo = [pid]
    while todo:
        parent = todo.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                children = [int(word) for word in task.read_text().split()]
            except OSError:
                continue
            found += children
            todo += children
    return found


def command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def _ended(pid: int) -> bool:
    return not running(pid)


def resident_kb(pid: int) -> int:
    """Resident memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS"))


def local_device(client: httpx.Client) -> dict[str, Any]:
    """This machine's own device, once it is online."""
    found: list[dict[str, Any]] = []

    def online() -> bool:
        found[:] = [one for one in client.get("/devices").json()["devices"] if one["presence"]["state"] == "online"]
        return bool(found)

    wait_until(online, 20, what="the local device online")
    return found[0]
