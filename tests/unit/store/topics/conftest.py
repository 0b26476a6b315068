# SPDX-License-Identifier: Apache-2.0
"""One behaviour suite for every store of durable topics: a new implementation adds its world here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest

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


@pytest.fixture(params=["sqlite"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    world: World = SqliteWorld(tmp_path)
    yield world
    await world.close()


@pytest.fixture
async def store(world: World) -> TopicStore:
    return await world.open()
