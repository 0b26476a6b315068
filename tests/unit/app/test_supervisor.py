# SPDX-License-Identifier: Apache-2.0
"""The supervisor with real processes: small children written here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import wait_until
from towline.app.supervisor import TWICE_SECONDS

CHILD = """
import asyncio, os, sys
from towline.app import child
settings = child.read_settings(dict)
async def main(stop, ready):
    with open(settings["log"], "a") as log: print("start", os.getpid(), file=log)
    if settings.get("fail"):
        from towline.errors import StartError
        raise StartError("port.taken", "port 1 is taken")
    ready(["hello from " + settings["name"]])
    await stop.wait()
    if settings.get("slow"):
        with open(settings["log"], "a") as log: print("slow", os.getpid(), file=log)
        await asyncio.sleep(settings["slow"])
    with open(settings["log"], "a") as log: print("stop", os.getpid(), file=log)
sys.exit(child.run(main, supervised=True))
"""


class Running:
    def __init__(self, folder: Path, *children: dict[str, Any], **more: Any) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.log.touch()
        script = folder / "child.py"
        script.write_text(CHILD)
        plan = {
            **more,
            "lock": str(folder / "supervisor.lock"),
            "children": [
                {
                    "name": child["name"],
                    "argv": [sys.executable, str(script)],
                    "settings": {"log": str(self.log), **child},
                }
                for child in children
            ],
        }
        path = folder / "plan.json"
        path.write_text(json.dumps(plan))
        descriptor = os.open(path, os.O_RDONLY)
        self.out = (folder / "out").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "towline.app.supervisor", "--plan-fd", str(descriptor)],
            pass_fds=(descriptor,),
            stdout=self.out,
            stderr=subprocess.STDOUT,
        )
        os.close(descriptor)

    def output(self) -> str:
        return (self.folder / "out").read_text()

    def pids(self, word: str = "start") -> list[int]:
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [int(line[1]) for line in lines if line[0] == word]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(5)
        self.out.close()
        wait_until(lambda: not any(alive(pid) for pid in self.pids()), what="end of the children")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    running: list[Running] = []

    def begin(*children: dict[str, Any], **more: Any) -> Running:
        running.append(Running(tmp_path, *children, **more))
        return running[-1]

    yield begin
    for one in running:
        one.close()


def test_ready_is_said_once_all_are(start: Any) -> None:
    up = start({"name": "a"}, {"name": "b"})
    wait_until(lambda: "Ready in" in up.output(), what="readiness")
    assert "hello from a" in up.output()
    assert "hello from b" in up.output()


def test_a_killed_child_comes_back(start: Any) -> None:
    up = start({"name": "a"})
    wait_until(lambda: "Ready in" in up.output())
    os.kill(up.pids()[0], signal.SIGKILL)
    wait_until(lambda: len(up.pids()) == 2, what="second start")
    assert "a ended (signal SIGKILL); starting it again in 0.5 s" in up.output()


def test_a_child_that_cannot_start_ends_everything_with_one_line(start: Any) -> None:
    up = start({"name": "a"}, {"name": "b", "fail": True})
    assert up.process.wait(10) == 2
    assert up.output().count("towline: port 1 is taken") == 1
    wait_until(lambda: not any(alive(pid) for pid in up.pids()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_ends_children_cleanly(start: Any, number: signal.Signals) -> None:
    up = start({"name": "a"}, {"name": "b"})
    wait_until(lambda: "Ready in" in up.output())
    up.process.send_signal(number)
    assert up.process.wait(5) == 0
    assert sorted(up.pids("stop")) == sorted(up.pids())


def test_a_child_that_does_not_end_is_killed_after_the_plans_time(start: Any) -> None:
    up = start({"name": "a", "slow": 60}, stop_seconds=0.5)
    wait_until(lambda: "Ready in" in up.output())
    up.process.terminate()
    assert up.process.wait(10) == 0
    assert "towline: a was killed after 0.5 s" in up.output()
    assert up.pids("slow")
    assert not up.pids("stop")


def test_told_twice_it_waits_no_longer(start: Any) -> None:
    up = start({"name": "a", "slow": 60}, stop_seconds=60)
    wait_until(lambda: "Ready in" in up.output())
    up.process.terminate()
    wait_until(lambda: up.pids("slow"))
    up.process.terminate()  # at once after the first: the same wish said by two
    told = time.monotonic()
    wait_until(lambda: time.monotonic() - told > TWICE_SECONDS)
    assert up.process.poll() is None
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(10) == 0
    assert "towline: a was killed at once, as told" in up.output()


def test_children_end_when_the_supervisor_is_killed(start: Any) -> None:
    up = start({"name": "a"}, {"name": "b"})
    wait_until(lambda: "Ready in" in up.output())
    up.process.kill()
    wait_until(lambda: not any(alive(pid) for pid in up.pids()), 5, what="end of the children")
    assert len(up.pids("stop")) == 2


def test_a_second_supervisor_on_the_same_data_is_refused(start: Any, tmp_path: Path) -> None:
    up = start({"name": "a"})
    wait_until(lambda: "Ready in" in up.output())
    first = up.output()
    other = start({"name": "a"})
    assert other.process.wait(10) == 2
    assert f"is in use by another towline (process {up.process.pid})" in other.output()
    assert "Ready" in first


def test_the_supervisor_is_small(start: Any) -> None:
    up = start({"name": "a"})
    wait_until(lambda: "Ready in" in up.output())
    status = Path(f"/proc/{up.process.pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident < 20_000, f"{resident} kB"
