# SPDX-License-Identifier: Apache-2.0
"""What waits to be sent: bounded, acks before telemetry, within the hourly budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from towline.protocols.octo.envelope import Name
from towline.protocols.octo.errors import OctoError, Reason
from towline.protocols.octo.guard import CallWindow

URGENT = frozenset({Name.UPDATE, Name.COMMAND_ACK, Name.ALERT, Name.LOCAL_COMMAND})


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message, not signed yet: its epoch is given when it leaves."""

    name: Name
    params: dict[str, Any]


class Outbox:
    """Two bounded queues and the budget of calls an hour.

    Telemetry may use all of the budget but ``reserve``, so that a command can always be answered.

    :ivar dropped: messages given up since the queue was full, oldest first
    """

    def __init__(self, calls_per_hour: int, *, reserve: int = 60, urgent: int = 256, telemetry: int = 128) -> None:
        self.dropped = 0
        self._limit = calls_per_hour
        self._reserve = min(reserve, calls_per_hour // 2)
        self._window = CallWindow(calls_per_hour)
        self._urgent: deque[Outgoing] = deque()
        self._telemetry: deque[Outgoing] = deque()
        self._sizes = {id(self._urgent): urgent, id(self._telemetry): telemetry}

    def __len__(self) -> int:
        return len(self._urgent) + len(self._telemetry)

    def put(self, item: Outgoing) -> None:
        """Queue a message; past the bound the oldest of its kind goes and is counted."""
        queue = self._urgent if item.name in URGENT else self._telemetry
        if len(queue) >= self._sizes[id(queue)]:
            queue.popleft()
            self.dropped += 1
        queue.append(item)

    def put_back(self, item: Outgoing) -> None:
        """A message that was taken but could not be written; it is the next again."""
        (self._urgent if item.name in URGENT else self._telemetry).appendleft(item)

    def take(self, now_us: int) -> Outgoing | None:
        """The next message that may be sent now, counted as a call; None: nothing, or no budget is left."""
        left = self.left(now_us)
        if self._urgent and left > 0:
            queue = self._urgent
        elif self._telemetry and left > self._reserve:
            queue = self._telemetry
        else:
            return None
        self.spend(now_us)
        return queue.popleft()

    def left(self, now_us: int) -> int:
        """Calls left in this hour."""
        return self._limit - self._window.used(now_us) if self._limit > 0 else 1 << 30

    def spend(self, now_us: int) -> bool:
        """Count one call; False when the budget has none left."""
        try:
            self._window.take(now_us)
        except OctoError:
            return False
        return True


def split_items(items: list[dict[str, Any]], room: int, member: str) -> Iterable[list[dict[str, Any]]]:
    """Items in order, in parts of at most ``room`` bytes of JSON.

    :raises OctoError: ``size``: one item alone has more
    """
    part: list[dict[str, Any]] = []
    used = 0
    for number, item in enumerate(items):
        size = len(msgspec.json.encode(item)) + 1
        if size > room:
            raise OctoError(
                Reason.SIZE, f"has {size} bytes; a message has room for {room}", where=f"{member}[{number}]"
            )
        if part and used + size > room:
            yield part
            part, used = [], 0
        part.append(item)
        used += size
    if part:
        yield part
