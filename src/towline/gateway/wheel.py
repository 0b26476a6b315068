# SPDX-License-Identifier: Apache-2.0
"""Many connections, each looked at when it may be due, and not all of them every second."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """Something on a wheel. ``slot`` is the wheel's; -1 at first."""

    slot: int


T = TypeVar("T", bound=Timed)


class Wheel(Generic[T]):
    """Things by the time they are due, in slots of ``step`` seconds. Adding, removing and taking one cost the same however
    many there are. A thing is handed out at most one step late, and never early."""

    def __init__(self, step: float, now: float) -> None:
        self._step = step
        self._next = int(now / step)
        self._slots: dict[int, set[T]] = {}

    def add(self, thing: T, due: float) -> None:
        """Put a thing on the wheel, or move it."""
        self.remove(thing)
        slot = max(int(due / self._step) + 1, self._next)
        thing.slot = slot
        things = self._slots.get(slot)
        if things is None:
            things = self._slots[slot] = set()
        things.add(thing)

    def remove(self, thing: T) -> None:
        """Take a thing off; one that is not on the wheel is passed over."""
        if thing.slot < 0:
            return
        things = self._slots.get(thing.slot)
        thing.slot = -1
        if things is not None:
            things.discard(thing)

    def due(self, now: float) -> Iterator[T]:
        """Take off what is due, one by one; things may be added and removed meanwhile."""
        end = int(now / self._step)
        while self._next <= end:
            slot = self._next
            self._next += 1
            things = self._slots.get(slot)
            while things:
                thing = things.pop()
                thing.slot = -1
                yield thing
            self._slots.pop(slot, None)
