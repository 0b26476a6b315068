# SPDX-License-Identifier: Apache-2.0
"""What only the bus in memory does."""

from __future__ import annotations

import asyncio

from tests.unit.bus.recorder import Recorder
from towline.bus.memory import BATCH, MemoryBus
from towline.clock import ManualClock


async def test_a_full_inbox_lets_the_loop_breathe() -> None:
    bus = MemoryBus(ManualClock())
    receiver = Recorder()
    hub = await bus.open("hub", receiver)
    node = await bus.open("node", Recorder())
    await asyncio.sleep(0)
    receiver.log.clear()
    for _ in range(3 * BATCH):
        node.send(hub.address, b"")
    await asyncio.sleep(0)
    assert len(receiver.log) == BATCH


async def test_who_closed_hears_nothing_more() -> None:
    bus = MemoryBus(ManualClock())
    closing: list[asyncio.Task[None]] = []

    class Once(Recorder):
        def on_message(self, sender: str, payload: bytes) -> None:
            super().on_message(sender, payload)
            if not closing:
                closing.append(asyncio.create_task(hub.close()))

    receiver = Once()
    hub = await bus.open("hub", receiver)
    node = await bus.open("node", Recorder())
    await asyncio.sleep(0)
    receiver.log.clear()
    for _ in range(3 * BATCH):
        node.send(hub.address, b"")
    await asyncio.sleep(0)
    await asyncio.gather(*closing)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(receiver.log) == BATCH


async def test_rest_is_by_the_clock() -> None:
    clock = ManualClock()
    bus = MemoryBus(clock)
    first = await bus.open("node", Recorder(), lease_number=True)
    first.note_last_id(123)
    await first.close()
    clock.advance(59.9)
    second = await bus.open("node", Recorder(), lease_number=True)
    clock.advance(0.1)
    third = await bus.open("node", Recorder(), lease_number=True)
    assert (first.number, second.number, third.number) == (-1, 2, 1)
    assert (second.last_id_ms, third.last_id_ms) == (0, 123)


async def test_closing_the_bus_closes_its_members() -> None:
    bus = MemoryBus(ManualClock())
    node = await bus.open("node", Recorder(), lease_number=True)
    await bus.close()
    assert bus.connected
    assert node.closed
    assert node.send(node.address, b"") is False
    node.announce(b"")
    assert node.counters()["dropped_unreachable"] == 2
