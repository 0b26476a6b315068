# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from argon2 import PasswordHasher

from tests.unit.hub.fakes import Door, FakeAgent, FakeNode
from towline.bus.memory import MemoryBus
from towline.clock import ManualClock
from towline.hub.actor import Actor
from towline.hub.hub import Hub
from towline.hub.passwords import Passwords
from towline.hub.settings import HubSettings
from towline.store.base import Store
from towline.store.sqlite import open_store

SECRET = bytes(range(32))
SETTINGS = HubSettings(verifying_seconds=0.3)

MakeHub = Callable[[], Awaitable[Hub]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def bus(clock: ManualClock) -> AsyncIterator[MemoryBus]:
    bus = MemoryBus(clock)
    yield bus
    await bus.close()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    store = await open_store(tmp_path / "towline.db", clock)
    yield store
    await store.close()


@pytest.fixture
async def make_hub(store: Store, bus: MemoryBus, clock: ManualClock) -> AsyncIterator[MakeHub]:
    """Starts hubs on the test's store and bus; the first makes the workgroup."""
    hubs: list[Hub] = []

    async def make() -> Hub:
        passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        hub = Hub(store, bus, clock, SETTINGS, secret=SECRET, passwords=passwords)
        await hub.start()
        hubs.append(hub)
        return hub

    yield make
    for hub in hubs:
        await hub.close()


@pytest.fixture
async def hub(make_hub: MakeHub, store: Store, clock: ManualClock) -> Hub:
    await store.workgroups.create("main", "Main", clock.now_us())
    return await make_hub()


@pytest.fixture
async def node(bus: MemoryBus, hub: Hub) -> FakeNode:
    return await FakeNode.open(bus)


@pytest.fixture
async def door(bus: MemoryBus, hub: Hub) -> Door:
    return await Door.open(bus)


@pytest.fixture
def owner() -> Actor:
    return Actor(
        user_id="", name="ada", kind="user", workgroup="main", privileges=frozenset({"owner"}), remote="198.51.100.1"
    )


@pytest.fixture
async def agent(hub: Hub, node: FakeNode, owner: Actor) -> FakeAgent:
    """An enrolled device, not signed in."""
    agent = FakeAgent(node)
    await agent.enrol((await hub.enrolments.create(owner)).line)
    return agent


@pytest.fixture
async def online(agent: FakeAgent) -> FakeAgent:
    """An enrolled device that is signed in."""
    await agent.login()
    assert agent.welcome is not None
    return agent


def only(actor: Actor, *privileges: str) -> Actor:
    """The same person with other privileges."""
    return msgspec.structs.replace(actor, privileges=frozenset(privileges))
