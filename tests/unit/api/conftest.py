# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from tests.unit.api.fakehub import NOW_US, FakeHub
from towline.api import DoorApp, DoorServer, DoorSettings, create_app
from towline.bus.base import Member
from towline.bus.memory import MemoryBus
from towline.clock import ManualClock
from towline.hub.events import Happening, encode

BASE = "/api/towline/v1"


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def settings() -> DoorSettings:
    return DoorSettings(port=0)


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    made = MemoryBus(ManualClock(NOW_US))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def doors(hub: FakeHub, bus: MemoryBus, settings: DoorSettings) -> AsyncIterator[DoorApp]:
    app = create_app(hub.as_hub(), bus, settings, clock=ManualClock(NOW_US))
    await app.start()
    yield app
    await app.close()


def client_of(
    doors: DoorApp, token: str | None = "owner-token", base: str = "http://towline.test"
) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(doors.asgi), base_url=base + BASE, headers=headers)


@pytest.fixture
async def client(doors: DoorApp) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(doors) as made:
        yield made


@pytest.fixture
async def served(doors: DoorApp, settings: DoorSettings) -> AsyncIterator[str]:
    """The doors on a real port; their address."""
    server = DoorServer(doors.asgi, settings, doors.counters)
    await server.start()
    yield server.url
    await server.close()


@pytest.fixture
async def announcer(bus: MemoryBus) -> AsyncIterator[Callable[[Happening], None]]:
    """What a hub does after a commit."""
    endpoint = await bus.open("hub", Deaf())

    def announce(happening: Happening) -> None:
        endpoint.announce(encode(happening))

    yield announce
    await endpoint.close()


class Deaf:
    """A receiver that is told nothing."""

    def on_message(self, sender: str, payload: bytes) -> None:
        raise AssertionError

    def on_call(self, sender: str, payload: bytes) -> bytes:
        raise AssertionError

    def on_event(self, sender: str, payload: bytes) -> None:
        raise AssertionError

    def on_joined(self, member: Member) -> None:
        pass

    def on_left(self, member: Member, cause: str) -> None:
        pass
