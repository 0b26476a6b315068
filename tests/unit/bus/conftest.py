# SPDX-License-Identifier: Apache-2.0
"""One behaviour, two buses: every test that takes ``world`` runs on both."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.natsserver import NatsServer
from towline.bus.base import Bus
from towline.bus.memory import MemoryBus
from towline.bus.settings import Timing
from towline.clock import SystemClock

TIMING = Timing(beat=0.05, dead=1.0, settle=0.05, lease=2.0, renew=0.1, rest=0.4, backoff=0.02, backoff_max=0.1)
"""As in service, but a test does not want to wait."""

_realms = itertools.count(1)


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    server = NatsServer().start()
    yield server
    server.stop()


class World:
    """Gives buses whose members meet: the one memory bus, or a NATS connection each time."""

    def __init__(self, server: NatsServer | None) -> None:
        self.realm = f"test{next(_realms)}"
        self._server = server
        self._memory = MemoryBus(SystemClock(), rest_seconds=TIMING.rest)
        self._buses: list[Bus] = []

    @property
    def distant(self) -> bool:
        return self._server is not None

    async def bus(self, **options: Any) -> Bus:
        """``options``: ``max_queued``, ``max_queued_bytes``."""
        bus: Bus = self._memory
        if self._server is not None:
            from towline.bus.nats import NatsBus

            bus = NatsBus(self._server.url, SystemClock(), realm=self.realm, timing=TIMING, **options)
        else:
            for name, value in options.items():
                setattr(self._memory, name, value)
        await bus.start()
        self._buses.append(bus)
        return bus

    async def close(self) -> None:
        for bus in self._buses:
            await bus.close()


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.needs_nats)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    server = request.getfixturevalue("nats_server") if request.param == "nats" else None
    world = World(server)
    yield world
    await world.close()
