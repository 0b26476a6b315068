# SPDX-License-Identifier: Apache-2.0
"""The bus inside one process: one event loop, no copies, no encoding.

Delivery is on a later turn of the loop (what came within one turn is handed over together), so a sender never runs its
receiver's code and both buses feel the same to their users.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from towline.bus import envelope
from towline.bus.base import Kind, Member, Receiver
from towline.bus.local import MAX_QUEUED, MAX_QUEUED_BYTES, LocalEndpoint, check
from towline.bus.numbers import REST_SECONDS, Number, pick
from towline.clock import Clock

BATCH = 256
"""Messages handed over in one turn of the loop before others get theirs."""

Item = tuple[int, str, int, bytes] | Callable[[], None]


class MemoryBus:
    """A bus whose members all live on this event loop. Satisfies :class:`towline.bus.base.Bus`."""

    def __init__(
        self,
        clock: Clock,
        *,
        max_queued: int = MAX_QUEUED,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
        rest_seconds: float = REST_SECONDS,
    ) -> None:
        self.clock = clock
        self.max_queued = max_queued
        self.max_queued_bytes = max_queued_bytes
        self.rest_us = round(rest_seconds * 1_000_000)
        self.endpoints: dict[str, MemoryEndpoint] = {}
        self.numbers: dict[int, Number] = {}

    @property
    def connected(self) -> bool:
        return True

    def local_host(self) -> str:
        return ""

    async def start(self) -> None:
        """Nothing to reach."""

    async def open(
        self,
        kind: Kind,
        receiver: Receiver,
        *,
        info: dict[str, str] | None = None,
        events: bool = False,
        lease_number: bool = False,
        last_id_ms: int = 0,
    ) -> MemoryEndpoint:
        endpoint = MemoryEndpoint(self, kind, receiver, info, events)
        if lease_number:
            endpoint.lease(last_id_ms)
        member = endpoint.me()
        for other in self.endpoints.values():
            other.tell(partial(other.joined, member))
            endpoint.tell(partial(endpoint.joined, other.me()))
        self.endpoints[endpoint.address] = endpoint
        return endpoint

    async def close(self) -> None:
        for endpoint in list(self.endpoints.values()):
            await endpoint.close()


class MemoryEndpoint(LocalEndpoint):
    """A member of a :class:`MemoryBus`."""

    def __init__(
        self, bus: MemoryBus, kind: Kind, receiver: Receiver, info: dict[str, str] | None, events: bool
    ) -> None:
        super().__init__(bus.clock, kind, receiver, info)
        self.events = events
        self._bus = bus
        self._number = -1
        self._inbox: deque[Item] = deque()
        self._inbox_bytes = 0
        self._draining = False

    @property
    def number(self) -> int:
        return self._number

    @property
    def last_id_ms(self) -> int:
        return self._bus.numbers[self._number].last_id_ms if self._number >= 0 else 0

    def note_last_id(self, ms: int) -> None:
        if self._number >= 0:
            lease = self._bus.numbers[self._number]
            lease.last_id_ms = max(lease.last_id_ms, ms)

    def members(self, kind: Kind) -> list[Member]:
        found = [endpoint.me() for endpoint in self._bus.endpoints.values() if endpoint.kind == kind]
        return sorted(found, key=lambda member: (member.started_us, member.address))

    def reachable(self, to: str) -> bool:
        return to in self._bus.endpoints and not self.closed

    def send(self, to: str, payload: bytes) -> bool:
        # As LocalEndpoint.send, in one piece: every frame of every link comes this way twice.
        check(payload)
        target = self._bus.endpoints.get(to)
        if target is None or self.closed:
            self.count["dropped_unreachable"] += 1
            return False
        if not target.accept((envelope.SEND, self._address, 0, payload)):
            self.count["dropped_full"] += 1
            return False
        self.count["sent"] += 1
        return True

    def post(self, to: str, kind: int, correlation: int, payload: bytes) -> bool:
        target = self._bus.endpoints.get(to)
        if target is None:
            self.count["dropped_unreachable"] += 1
            return False
        if target.accept((kind, self._address, correlation, payload)):
            return True
        self.count["dropped_full"] += 1
        return False

    def announce(self, payload: bytes) -> None:
        check(payload)
        if self.closed:
            self.count["dropped_unreachable"] += 1
            return
        self.count["events_sent"] += 1
        for target in self._bus.endpoints.values():
            if target.events and not target.accept((envelope.EVENT, self._address, 0, payload)):
                self.count["dropped_full"] += 1

    async def close(self) -> None:
        if self.closed:
            return
        self.stop()
        member = self.me()
        del self._bus.endpoints[self._address]
        for other in self._bus.endpoints.values():
            other.tell(partial(other.left, member, "closed"))
        if self._number >= 0:
            self._bus.numbers[self._number].release(self._clock.now_us())
            self._number = -1
        self._inbox.clear()
        await self.stopped()

    def lease(self, last_id_ms: int) -> None:
        """Take the lowest free number."""
        now_us = self._clock.now_us()
        number = pick(self._bus.numbers, now_us, self._bus.rest_us)
        before = self._bus.numbers.get(number)
        floor = max(last_id_ms, before.last_id_ms if before else 0)
        self._bus.numbers[number] = Number(owner=self._address, expires_us=FOREVER_US, last_id_ms=floor)
        self._number = number

    # Inbox

    def accept(self, item: tuple[int, str, int, bytes]) -> bool:
        """Queue one message; False when the queue is full."""
        size = self._inbox_bytes + len(item[3])
        if len(self._inbox) >= self._bus.max_queued or size > self._bus.max_queued_bytes:
            return False
        self._inbox_bytes = size
        self._inbox.append(item)
        if not self._draining:
            self._draining = True
            self._loop.call_soon(self._drain)
        return True

    def tell(self, item: Item) -> None:
        """Queue without a bound: joins and leaves, in order with messages."""
        self._inbox.append(item)
        if not self._draining:
            self._draining = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        inbox = self._inbox
        for _ in range(min(BATCH, len(inbox))):
            if not inbox:  # its own callback closed it
                break
            item = inbox.popleft()
            if callable(item):
                item()
            else:
                kind, sender, correlation, payload = item
                self._inbox_bytes -= len(payload)
                self.deliver(kind, sender, correlation, payload)
        if inbox:
            self._loop.call_soon(self._drain)
        else:
            self._draining = False


FOREVER_US = 1 << 62
"""A lease in memory ends with its process."""
