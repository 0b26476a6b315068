# SPDX-License-Identifier: Apache-2.0
"""How a role's process ends, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers import wait_until

STUBBORN = """
import asyncio, sys
from towline.app import child

async def stubborn():
    while True:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            pass

async def main(stop, ready):
    task = asyncio.create_task(stubborn())
    ready(["ready"])
    await stop.wait()

sys.exit(child.run(main, supervised=False))
"""

ENDLESS = """
import asyncio, sys
from towline.app import child

async def main(stop, ready):
    ready(["ready"])
    await stop.wait()
    print("told", flush=True)
    await asyncio.sleep(1000)

sys.exit(child.run(main, supervised=False))
"""


class Running:
    def __init__(self, folder: Path, source: str) -> None:
        (folder / "role.py").write_text(source)
        self._output = folder / "output.txt"
        with self._output.open("wb") as out:
            self.process = subprocess.Popen([sys.executable, str(folder / "role.py")], stdout=out, stderr=out)
        self.says("ready")

    def says(self, text: str) -> None:
        wait_until(lambda: text in self._output.read_text(), 20, what=text)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Running]]:
    running: list[Running] = []

    def begin(source: str) -> Running:
        running.append(Running(tmp_path, source))
        return running[-1]

    yield begin
    for one in running:
        one.process.kill()
        one.process.wait()


def test_a_parent_that_is_gone_when_it_gets_ready_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "role.py").write_text(STUBBORN.replace("supervised=False", "supervised=True"))
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, str(tmp_path / "role.py"), "--status-fd", str(writer)]
    done = subprocess.run(command, input=b"", capture_output=True, pass_fds=(writer,), timeout=20, check=False)
    os.close(writer)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr


def test_a_task_that_swallows_its_cancellation_holds_nobody_up(start: Callable[[str], Running]) -> None:
    role = start(STUBBORN)
    role.process.terminate()
    assert role.process.wait(20) == 0
    role.says("1 tasks do not end; the process does")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_told_twice_it_ends_at_once(start: Callable[[str], Running], second: signal.Signals) -> None:
    role = start(ENDLESS)
    role.process.send_signal(signal.SIGINT)
    role.says("told")

    def ended() -> bool:
        role.process.send_signal(second)
        return role.process.poll() is not None

    wait_until(ended, 10, what="the end")
    assert role.process.returncode == 128 + second
    role.says("told twice to stop: ending at once")
