# SPDX-License-Identifier: Apache-2.0
"""Issues client ids; how they are built: :mod:`towline.protocols.connmix.clientid`."""

from __future__ import annotations

from typing import Protocol

from towline.clock import Clock
from towline.errors import Unavailable
from towline.protocols.connmix.clientid import LAST_NODE, LAST_SEQUENCE, client_id

MAX_AHEAD_MS = 1000
"""How far ids may run ahead of a clock that went back or of a burst; beyond it, issuing stops until time catches up."""


class Lease(Protocol):
    """A leased node number, as the bus gives it (:class:`towline.bus.base.Endpoint`)."""

    @property
    def number(self) -> int: ...

    @property
    def last_id_ms(self) -> int: ...

    def note_last_id(self, ms: int) -> None: ...


class Snowflakes:
    """Issues ids that are unique in the mesh and increase on this node.

    The lease is asked for each id: no number, or a lost one, stops issuing at once. A clock that goes back does not
    repeat ids: the last millisecond is kept, and moved on when its 4096 ids are used up. It is noted in the lease, so
    that who has the number next begins behind it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lease: Lease | None = None
        self._number = -1
        self._last_ms = 0
        self._sequence = 0

    def attach(self, lease: Lease | None) -> None:
        """Issue ids under this lease; None stops issuing."""
        self._lease = lease
        self._number = -1

    @property
    def ready(self) -> bool:
        """Whether there is a node number now."""
        return self._lease is not None and self._lease.number >= 0

    def next(self) -> str:
        """A new id. Unavailable ``gateway.no_number`` without a lease, ``gateway.clock_behind`` when the clock is."""
        lease = self._lease
        number = -1 if lease is None else lease.number
        if lease is None or not 0 <= number <= LAST_NODE:
            raise Unavailable("gateway.no_number", "this node has no node number at present, so it gives no client ids")
        if number != self._number:
            self._number = number
            if lease.last_id_ms >= self._last_ms:
                # Somebody may have used all of that millisecond.
                self._last_ms, self._sequence = lease.last_id_ms, LAST_SEQUENCE
        now = self._clock.now_us() // 1000
        if now > self._last_ms:
            self._last_ms, self._sequence = now, 0
            lease.note_last_id(now)
        elif self._sequence < LAST_SEQUENCE:
            self._sequence += 1
        elif self._last_ms - now < MAX_AHEAD_MS:
            self._last_ms, self._sequence = self._last_ms + 1, 0
            lease.note_last_id(self._last_ms)
        else:
            raise Unavailable(
                "gateway.clock_behind",
                f"the clock is {self._last_ms - now} ms behind the last client id; waiting for it to catch up",
            )
        return client_id(self._last_ms, number, self._sequence)
