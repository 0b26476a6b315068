# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.api.fakehub import FakeHub
from towline.api import DoorServer, DoorSettings, create_app
from towline.bus.memory import MemoryBus
from towline.clock import SystemClock

Run = Callable[..., Result]


class Served:
    """Doors over a fake hub in a thread of their own: the command line is not asynchronous."""

    def __init__(self) -> None:
        self.hub = FakeHub()
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Served:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        bus = MemoryBus(SystemClock())
        await bus.start()
        settings = DoorSettings(port=0)
        app = create_app(self.hub.as_hub(), bus, settings)
        server = DoorServer(app.asgi, settings, app.counters)
        await app.start()
        await server.start()
        self.url = server.url
        self._ready.set()
        await self._stop.wait()
        await server.close()
        await app.close()
        await bus.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with Served() as made:
        yield made


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the person who runs the tests."""
    for name in ("TOWLINE_URL", "TOWLINE_TOKEN", "TOWLINE_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(server: Served, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line as an owner."""
    server.hub.calls.clear()
    server.hub.answer_at_once = True
    monkeypatch.setenv("TOWLINE_URL", server.url)
    monkeypatch.setenv("TOWLINE_TOKEN", "owner-token")
    return invoke


def invoke(*arguments: str, stdin: str | None = None) -> Result:
    from towline.cli.main import app

    return CliRunner().invoke(app, list(arguments), input=stdin)
