# SPDX-License-Identifier: Apache-2.0
"""The lease against a store that answers, fails or hangs. The real store is in tests/integration/test_bus_nats.py."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import nats.js.errors
import pytest

from towline.bus.nats_numbers import NumberLease, keep
from towline.bus.settings import Timing
from towline.clock import ManualClock
from towline.errors import Unavailable


class Store:
    """One bucket in memory; ``hang`` makes the next writes wait for ever."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[bytes, int]] = {}
        self.revision = 0
        self.hang = False

    async def get(self, key: str) -> Any:
        if key not in self.held:
            raise nats.js.errors.KeyNotFoundError
        value, revision = self.held[key]
        return SimpleNamespace(value=value, revision=revision)

    async def update(self, key: str, value: bytes, last: int) -> int:
        if self.hang:
            await asyncio.Event().wait()
        if self.held.get(key, (b"", 0))[1] != last:
            raise nats.js.errors.KeyWrongLastSequenceError
        self.revision += 1
        self.held[key] = (value, self.revision)
        return self.revision


def lease_on(store: Store, clock: ManualClock, owner: str) -> NumberLease:
    async def bucket(name: str) -> Store:
        return store

    client = SimpleNamespace(jetstream=lambda timeout: SimpleNamespace(key_value=bucket))
    link: Any = SimpleNamespace(client=client, up=True)
    return NumberLease(link, clock, Timing(renew=0.001), bucket="b", replicas=1, owner=owner, avoid=list)


async def test_a_lease_runs_out_while_its_renewal_hangs() -> None:
    clock, store = ManualClock(), Store()
    lease = lease_on(store, clock, "a")
    await lease.acquire()
    clock.advance(9.0)
    await lease.renew()
    clock.advance(9.9)
    assert lease.number == 1
    store.hang = True
    renewal = asyncio.create_task(lease.renew())
    await asyncio.sleep(0)
    clock.advance(0.1)
    assert lease.number == -1
    renewal.cancel()


async def test_time_that_only_the_wall_clock_saw_counts() -> None:
    clock, store = ManualClock(), Store()
    lease = lease_on(store, clock, "a")
    await lease.acquire()
    monotonic = clock.monotonic()
    clock.advance(3600.0)
    clock._monotonic = monotonic
    assert lease.number == -1


async def test_who_comes_after_a_silent_holder_starts_after_its_end() -> None:
    clock, store = ManualClock(), Store()
    first = lease_on(store, clock, "a")
    await first.acquire()
    ends_ms = clock.now_us() // 1000 + 10_000
    clock.advance(69.9)
    second = lease_on(store, clock, "b")
    await second.acquire()
    assert second.number == 2
    clock.advance(0.1)
    third = lease_on(store, clock, "c")
    await third.acquire()
    assert (third.number, third.last_id_ms) == (1, ends_ms)
    await first.renew()
    assert first.number == 3, "its old number belongs to another now"


async def test_a_lost_number_that_nobody_took_comes_back() -> None:
    clock, store = ManualClock(), Store()
    lease = lease_on(store, clock, "a")
    await lease.acquire()
    lease.note(12_345)
    clock.advance(3600.0)
    assert lease.number == -1
    await lease.renew()
    assert (lease.number, lease.last_id_ms) == (1, 12_345)
    value, _ = store.held["1"]
    assert b"12345" in value


async def test_a_renewal_whose_answer_was_lost_is_no_theft() -> None:
    clock, store = ManualClock(), Store()
    lease = lease_on(store, clock, "a")
    await lease.acquire()
    value, revision = store.held["1"]
    store.held["1"] = (value, revision + 50)
    store.revision += 50
    await lease.renew()
    assert lease.number == 1


@pytest.mark.parametrize("owner", ["a", "b"])
async def test_a_number_is_given_back_though_a_last_renewal_was_cut_short(owner: str) -> None:
    clock, store = ManualClock(), Store()
    lease = lease_on(store, clock, "a")
    await lease.acquire()
    lease.note(12_345)
    value, revision = store.held["1"]
    store.held["1"] = (value.replace(b'"a"', b'"%b"' % owner.encode()), revision + 50)
    store.revision += 50
    await lease.release()
    assert lease.number == -1
    assert (b"12345" in store.held["1"][0]) is (owner == "a")


async def test_a_store_that_fails_is_not_now() -> None:
    clock, store = ManualClock(), Store()
    lease = lease_on(store, clock, "a")

    async def fail(key: str) -> Any:
        raise TimeoutError

    store.get = fail  # type: ignore[method-assign]
    with pytest.raises(Unavailable) as caught:
        await lease.acquire()
    assert caught.value.code == "bus.number_store"
    assert lease.number == -1


async def test_changes_are_told() -> None:
    clock, store = ManualClock(), Store()
    lease = lease_on(store, clock, "a")
    await lease.acquire()
    told: list[tuple[int, int]] = []
    seen = asyncio.Event()

    def changed(before: int, now: int) -> None:
        told.append((before, now))
        seen.set()

    link: Any = lease._link
    link.up = False
    task = asyncio.create_task(keep(lease, link, 0.001, changed))
    await asyncio.sleep(0)
    clock.advance(10.0)
    await asyncio.wait_for(seen.wait(), 5)
    seen.clear()
    link.up = True
    await asyncio.wait_for(seen.wait(), 5)
    task.cancel()
    assert told == [(1, -1), (-1, 1)]
