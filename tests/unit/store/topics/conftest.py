# SPDX-License-Identifier: Apache-2.0
"""One behaviour suite for every store of durable topics: a new implementation adds its world here."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.natsserver import NatsServer
from towline.app.topics import join_jetstream
from towline.bus.settings import BusSettings, Timing
from towline.clock import SystemClock
from towline.store.base.topics import TopicSpec, TopicStore
from towline.store.sqlite.topics import open_topics


def spec(name: str, **other: int | float) -> TopicSpec:
    limits: dict[str, int | float] = {"max_messages": 1000, "max_bytes": 10_000_000, "ack_s": 30.0} | other
    return TopicSpec(name, **limits)  # type: ignore[arg-type]


SPECS = [spec("a"), spec("b"), spec("small", max_messages=3), spec("bytes", max_bytes=65536)]


class World(Protocol):
    """Where a store can be opened; again: the same messages."""

    shared: bool
    """Whether several may be open at once."""

    async def open(self, specs: list[TopicSpec] = SPECS) -> TopicStore: ...
    async def close(self) -> None: ...


class SqliteWorld:
    shared = False

    def __init__(self, folder: Path) -> None:
        self._path = folder / "topics.db"
        self._open: list[TopicStore] = []

    async def open(self, specs: list[TopicSpec] = SPECS) -> TopicStore:
        store = await open_topics(self._path, SystemClock(), specs)
        self._open.append(store)
        return store

    async def close(self) -> None:
        for store in self._open:
            await store.close()


_realms = itertools.count(1)
TIMING = Timing(backoff=0.02, backoff_max=0.1)


class JetStreamWorld:
    shared = True

    def __init__(self, server: NatsServer) -> None:
        self._bus = BusSettings(url=server.url, realm=f"topics{next(_realms)}")
        self._stack = contextlib.AsyncExitStack()

    async def open(self, specs: list[TopicSpec] = SPECS) -> TopicStore:
        return await join_jetstream(self._stack, self._bus, specs, 1, SystemClock(), TIMING)

    async def close(self) -> None:
        await self._stack.aclose()


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    server = NatsServer(config="jetstream { sync_interval: always }").start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", pytest.param("jetstream", marks=pytest.mark.needs_nats)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    world: World = (
        SqliteWorld(tmp_path) if request.param == "sqlite" else JetStreamWorld(request.getfixturevalue("nats_server"))
    )
    yield world
    await world.close()


@pytest.fixture
async def store(world: World) -> TopicStore:
    return await world.open()
