# SPDX-License-Identifier: Apache-2.0
"""One behaviour suite for every store: a new implementation adds its factory here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.unit.store.support import GROUP, NOW, device_key
from towline.clock import ManualClock
from towline.store.base import Store
from towline.store.rows import Facts
from towline.store.sqlite import open_store

Factory = Callable[[Path], Awaitable[Store]]


async def _sqlite(folder: Path) -> Store:
    return await open_store(folder / "towline.db", ManualClock())


FACTORIES: dict[str, Factory] = {"sqlite": _sqlite}


@pytest.fixture(params=sorted(FACTORIES))
def factory(request: pytest.FixtureRequest) -> Factory:
    """Opens a store in a folder; again in the same folder: the same data."""
    return FACTORIES[request.param]


@pytest.fixture
async def empty(factory: Factory, tmp_path: Path) -> AsyncIterator[Store]:
    """A store without anything."""
    store = await factory(tmp_path)
    yield store
    await store.close()


@pytest.fixture
async def store(empty: Store) -> Store:
    """A store with workgroup ``plant`` and its devices ``d1``, ``d2``; workgroup ``other`` has a ``d1`` too."""
    await empty.workgroups.create(GROUP, "The plant", NOW)
    await empty.workgroups.create("other", "Somebody else", NOW + 1)
    for n, (workgroup, device) in enumerate([(GROUP, "d1"), (GROUP, "d2"), ("other", "d1")]):
        await empty.devices.create(workgroup, device, f"Device {device}", device_key(n), Facts(), NOW)
    return empty
