# SPDX-License-Identifier: Apache-2.0
"""The bus between processes, through a NATS server.

Subjects, in a realm (``towline`` unless set): ``towline.<realm>.inbox.<address>`` for each endpoint, and
``towline.<realm>.beat`` and ``towline.<realm>.events`` for all. Everything between two endpoints goes through the
receiver's inbox, because NATS keeps order within one subscription only.
"""

from __future__ import annotations

import asyncio
import contextlib

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from towline.bus import envelope
from towline.bus.base import Kind, Member, Receiver
from towline.bus.local import MAX_QUEUED, MAX_QUEUED_BYTES, LocalEndpoint, check
from towline.bus.membership import Membership
from towline.bus.nats_link import FAILURES, NatsLink
from towline.bus.nats_numbers import NumberLease, keep
from towline.bus.settings import BusSettings, Timing
from towline.clock import Clock
from towline.errors import Unavailable

PENDING_MESSAGES = 1_000_000
PENDING_BYTES = 512 * 1024 * 1024
"""What the client library may hold for a subscription. Far more than one read brings: reading stops when the loop is
busy, so TCP holds back the server, which ends the connection of a reader that lags by its own limit."""


class NatsBus:
    """A bus whose members may be anywhere. Satisfies :class:`towline.bus.base.Bus`.

    :param where: settings, or just the servers' address
    """

    def __init__(
        self,
        where: BusSettings | str,
        clock: Clock,
        *,
        realm: str = "towline",
        allow_plain: bool = False,
        timing: Timing = Timing(),  # noqa: B008  (frozen)
        max_queued: int = MAX_QUEUED,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        if isinstance(where, str):
            where = BusSettings(url=where, realm=realm, allow_plain=allow_plain)
        self.settings = where
        self.timing = timing
        self.clock = clock
        self.endpoints: dict[str, NatsEndpoint] = {}
        self.link = NatsLink(
            where,
            timing,
            self._connected,
            self._up,
            self._down,
            self._error,
            max_queued=max_queued,
            max_queued_bytes=max_queued_bytes,
        )
        self.subject = f"towline.{where.realm}."
        self._ticker: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def connected(self) -> bool:
        return self.link.up

    def local_host(self) -> str:
        return self.link.client.local_host() if self.link.client is not None else ""

    async def start(self) -> None:
        await self.link.start()
        self._ticker = asyncio.create_task(self._tick())

    async def open(
        self,
        kind: Kind,
        receiver: Receiver,
        *,
        info: dict[str, str] | None = None,
        events: bool = False,
        lease_number: bool = False,
        last_id_ms: int = 0,
    ) -> NatsEndpoint:
        endpoint = NatsEndpoint(self, kind, receiver, info, events)
        client = self.link.client
        if client is None or not self.link.up:
            raise Unavailable("bus.unreachable", "the bus is cut at present")
        self.endpoints[endpoint.address] = endpoint
        try:
            await endpoint.subscribe(client)
            await client.flush()
            endpoint.beat(hello=True)
            await asyncio.sleep(self.timing.settle)
            if lease_number:
                await endpoint.lease(last_id_ms)
        except FAILURES as error:
            await endpoint.close()
            raise Unavailable("bus.unreachable", f"the bus was cut: {error!r}") from None
        except BaseException:
            await endpoint.close()
            raise
        return endpoint

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for endpoint in list(self.endpoints.values()):
            await endpoint.close()
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.wait([self._ticker])
        await self.link.close()

    # What the link tells

    async def _connected(self, client: Client) -> None:
        await client.subscribe(self.subject + "beat", cb=self._heard)
        for endpoint in list(self.endpoints.values()):
            await endpoint.subscribe(client)

    def _up(self) -> None:
        for endpoint in self.endpoints.values():
            endpoint.introduced.clear()
            endpoint.beat(hello=True)

    def _down(self) -> None:
        pass  # members stay until their time is up: a short cut is none

    def _error(self, error: Exception) -> None:
        if isinstance(error, nats.errors.SlowConsumerError):
            for endpoint in self.endpoints.values():
                if endpoint.owns(error.sub):
                    endpoint.count["dropped_incoming"] += 1

    async def _heard(self, message: Msg) -> None:
        for endpoint in list(self.endpoints.values()):
            endpoint.incoming(message.data)

    async def _tick(self) -> None:
        """Say that we live, and find who no longer does."""
        beat, dead = self.timing.beat, self.timing.dead
        before = self.clock.monotonic()
        while True:
            await asyncio.sleep(beat)
            now = self.clock.monotonic()
            paused = now - before - beat
            before = now
            for endpoint in list(self.endpoints.values()):
                if paused > dead / 2:  # stopped or starved: what others said meanwhile is still to be read
                    endpoint.membership.forgive(paused)
                endpoint.sweep(now, dead)
                endpoint.beat()


class NatsEndpoint(LocalEndpoint):
    """A member of a :class:`NatsBus`."""

    def __init__(self, bus: NatsBus, kind: Kind, receiver: Receiver, info: dict[str, str] | None, events: bool) -> None:
        super().__init__(bus.clock, kind, receiver, info)
        self.membership = Membership()
        self.introduced: set[str] = set()
        self._bus = bus
        self._events = events
        self._lease: NumberLease | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._subscribed_on: Client | None = None
        self._subscriptions: list[Subscription] = []

    @property
    def number(self) -> int:
        return self._lease.number if self._lease is not None else -1

    @property
    def last_id_ms(self) -> int:
        return self._lease.last_id_ms if self._lease is not None else 0

    def note_last_id(self, ms: int) -> None:
        if self._lease is not None:
            self._lease.note(ms)

    def members(self, kind: Kind) -> list[Member]:
        found = [member for member in self.membership.all() if member.kind == kind]
        if self.kind == kind and not self.closed:
            found.append(self.me())
        return sorted(found, key=lambda member: (member.started_us, member.address))

    # Out

    def reachable(self, to: str) -> bool:
        return not self.closed and self._bus.link.up and (to in self.membership or to == self._address)

    def post(self, to: str, kind: int, correlation: int, payload: bytes) -> bool:
        if to not in self.introduced:
            self._introduce(to)
        data = envelope.encode(kind, self._address, correlation, payload)
        return self._bus.link.enqueue(self.count, f"{self._bus.subject}inbox.{to}", data)

    def announce(self, payload: bytes) -> None:
        check(payload)
        data = envelope.encode(envelope.EVENT, self._address, 0, payload)
        if self._bus.link.enqueue(self.count, self._bus.subject + "events", data):
            self.count["events_sent"] += 1

    def beat(self, *, hello: bool = False) -> None:
        """Tell everyone that we live; ``hello`` asks them to say the same."""
        if self._bus.link.up and not self.closed:
            self._bus.link.enqueue(self.count, self._bus.subject + "beat", self._beat(hello), first=True)

    def _introduce(self, to: str) -> None:
        """A beat into one inbox, so that its owner knows us before our first message."""
        if self._bus.link.enqueue(self.count, f"{self._bus.subject}inbox.{to}", self._beat(hello=False)):
            self.introduced.add(to)

    def _beat(self, hello: bool) -> bytes:
        body = envelope.Beat(self.kind, self.number, self.started_us, self.info, hello)
        return envelope.encode(envelope.BEAT, self._address, 0, envelope.pack(body))

    # In

    async def subscribe(self, client: Client) -> None:
        """Hear the inbox (and events) on this connection; once for each connection."""
        if self._subscribed_on is client:
            return
        self._subscribed_on = client
        self._subscriptions = []
        subjects = ["inbox." + self._address, *(["events"] if self._events else [])]
        for subject in subjects:
            self._subscriptions.append(
                await client.subscribe(
                    self._bus.subject + subject,
                    cb=self._receive,
                    pending_msgs_limit=PENDING_MESSAGES,
                    pending_bytes_limit=PENDING_BYTES,
                )
            )

    def owns(self, subscription: object) -> bool:
        return any(own is subscription for own in self._subscriptions)

    async def _receive(self, message: Msg) -> None:
        self.incoming(message.data)

    def incoming(self, data: bytes) -> None:
        """One envelope from the inbox, the events or the beats."""
        if self.closed:
            return
        try:
            kind, sender, correlation, payload = envelope.decode(data)
            if kind == envelope.BEAT:
                self._heard(sender, envelope.unpack_beat(payload))
                return
        except envelope.Refusal as refusal:
            self.count["version_refused" if refusal.code == "bus.version_refused" else "malformed"] += 1
            return
        if kind == envelope.BYE:
            member = self.membership.bye(sender)
            self.introduced.discard(sender)
            if member is not None:
                self.left(member, "closed")
        else:
            self.deliver(kind, sender, correlation, payload)

    def _heard(self, sender: str, beat: envelope.Beat) -> None:
        if sender == self._address:
            return
        newcomer = self.membership.beat(sender, beat, self._clock.monotonic())
        if beat.hello:
            self._introduce(sender)
        if newcomer is not None:
            self.joined(newcomer)

    def sweep(self, now: float, dead_seconds: float) -> None:
        for member in self.membership.sweep(now, dead_seconds):
            self.introduced.discard(member.address)
            self.left(member, "silent")

    # Number, end

    async def lease(self, last_id_ms: int) -> None:
        bus = self._bus
        lease = NumberLease(
            bus.link,
            bus.clock,
            bus.timing,
            bucket=f"towline-{bus.settings.realm}-numbers",
            replicas=bus.settings.number_replicas,
            owner=self._address,
            avoid=lambda: {member.number for member in self.membership.all()},
        )
        await lease.acquire(last_id_ms)
        self._lease = lease
        self._keeper = asyncio.create_task(keep(lease, bus.link, bus.timing.renew, self._number_changed))
        self.beat()

    def _number_changed(self, before: int, now: int) -> None:
        if now < 0:
            self.count["number_lost"] += 1
        self.beat()

    async def close(self) -> None:
        if self.closed:
            return
        self.stop()
        link = self._bus.link
        for address in self.membership.addresses() if link.up else ():
            bye = envelope.encode(envelope.BYE, self._address, 0, b"")
            link.enqueue(self.count, f"{self._bus.subject}inbox.{address}", bye)
        del self._bus.endpoints[self._address]
        if self._keeper is not None:
            # More than once: a request of the client library that is answered just then swallows a cancellation.
            while not self._keeper.done():
                self._keeper.cancel()
                await asyncio.wait([self._keeper], timeout=0.1)
        if self._lease is not None:
            await self._lease.release()
        await self.stopped()
        await link.drained()
        for subscription in self._subscriptions:
            if self._subscribed_on is link.client:
                with contextlib.suppress(*FAILURES):
                    await subscription.unsubscribe()
