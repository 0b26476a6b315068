# SPDX-License-Identifier: Apache-2.0
"""What joins gateway nodes, hubs and doors.

A process (or a role inside one) opens an :class:`Endpoint` on a :class:`Bus`. Each endpoint has ONE inbox; sends, calls and
their replies between two endpoints all travel through it, so what A gave to B arrives in that order. Payloads are bytes
on every implementation. Delivery is at most once: what must not be lost is stored before it is sent.

No name that a client supplies becomes part of a subject.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Literal, NamedTuple, Protocol

from towline.errors import TowlineError, Unavailable

Kind = Literal["node", "hub", "door"]

MAX_PAYLOAD = 256 * 1024
"""Largest payload in bytes, checked against the server's own limit at start."""

MAX_MEMBERS = 32
"""Gateway nodes that a mesh is documented for."""

BEAT_SECONDS = 1.0
"""How often a member says that it lives."""

DEAD_SECONDS = 5.0
"""A member silent for this long is dead."""


class BusTimeout(Unavailable):
    """No reply in time, or the callee left before it replied. It may or may not have acted."""


class BusUnreachable(Unavailable):
    """The call was not sent: no such living member, the bus is cut, or the outgoing queue is full (``bus.full``)."""


class BusCallError(TowlineError):
    """The callee raised: ``code`` and ``message`` are its own."""


class Member(NamedTuple):
    """A living endpoint.

    ``address`` is unique for ever (a restarted process has a new one); ``number`` is a gateway node's leased number
    (1–1023) or −1; ``started_us`` orders members by age; ``info`` is what the member tells of itself (version, api
    address), small and JSON-like.
    """

    address: str
    kind: Kind
    number: int
    started_us: int
    info: dict[str, str]


class Receiver(Protocol):
    """What an endpoint's owner is told. Methods are called one at a time, on the owner's event loop."""

    def on_message(self, sender: str, payload: bytes) -> None:
        """A :meth:`Endpoint.send` from ``sender``. Must not block; in the order sent."""
        ...

    def on_call(self, sender: str, payload: bytes) -> bytes | Awaitable[bytes]:
        """A :meth:`Endpoint.call`. Called in order with the messages; an awaitable may finish later.

        A raised TowlineError travels to the caller as :class:`BusCallError`; any other as code ``internal``.
        """
        ...

    def on_event(self, sender: str, payload: bytes) -> None:
        """Something happened at a hub (:meth:`Endpoint.announce`); only for endpoints opened with ``events=True``."""
        ...

    def on_joined(self, member: Member) -> None:
        """A member was seen for the first time, or again after it was silent. Not called for oneself; called for those
        who were there before, and before the first message of a newcomer."""
        ...

    def on_left(self, member: Member, cause: Literal["closed", "silent"]) -> None:
        """A member said good-bye, or was silent for :data:`DEAD_SECONDS` (also when it was this process that was cut
        off: then every other member is ``silent``)."""
        ...


class Endpoint(Protocol):
    """One member's place on the bus."""

    @property
    def address(self) -> str: ...

    @property
    def number(self) -> int:
        """The leased node number, −1 without one or once the lease is lost. After a loss it comes back by itself, as
        the same number if nobody took it."""
        ...

    @property
    def last_id_ms(self) -> int:
        """The newest millisecond in which anyone may have issued an id with :attr:`number`: new ids must be later.
        Read it again when :attr:`number` changed. 0 without a number."""
        ...

    def note_last_id(self, ms: int) -> None:
        """The millisecond of the newest id issued here. Cheap: kept in memory and stored with the lease."""
        ...

    def members(self, kind: Kind) -> list[Member]:
        """Living members of a kind, oldest first, this one included."""
        ...

    def send(self, to: str, payload: bytes) -> bool:
        """Queue for ``to``'s inbox; never waits. False when it is certainly not going to arrive (no such living
        member, outgoing queue full): counted in :meth:`counters`. InvalidInput ``bus.payload_too_large`` over
        :data:`MAX_PAYLOAD`."""
        ...

    async def call(self, to: str, payload: bytes, timeout: float) -> bytes:
        """Send and wait for the reply, at most ``timeout`` seconds. BusTimeout, BusUnreachable, BusCallError."""
        ...

    def announce(self, payload: bytes) -> None:
        """Tell every endpoint opened with ``events=True`` (this one included), in order for this announcer."""
        ...

    def counters(self) -> dict[str, int]:
        """``sent``, ``received``, ``dropped_full``, ``dropped_unreachable``, ``timeouts``, ``version_refused`` … (listed
        in docs/reference/bus.md)."""
        ...

    async def close(self) -> None:
        """Say good-bye and stop. The node number rests before another member can have it."""
        ...


class Bus(Protocol):
    """A way to reach others: in this process, or through a NATS server."""

    @property
    def connected(self) -> bool:
        """False while the bus is cut: nothing that is sent now arrives."""
        ...

    def local_host(self) -> str:
        """This machine's address on the way to the bus's server; empty where there is none, or while the bus is cut."""
        ...

    async def start(self) -> None:
        """Connect and check limits. StartError names what is wrong."""
        ...

    async def open(
        self,
        kind: Kind,
        receiver: Receiver,
        *,
        info: dict[str, str] | None = None,
        events: bool = False,
        lease_number: bool = False,
        last_id_ms: int = 0,
    ) -> Endpoint:
        """Become a member. With ``lease_number`` a node number is leased first (gateway nodes); ``last_id_ms`` is the
        newest millisecond of an id that the caller already knows of. Returns when the members that live now are known.
        """
        ...

    async def close(self) -> None: ...
