# SPDX-License-Identifier: Apache-2.0
"""A node number leased in a JetStream key-value bucket: one key for each number, changed only by compare-and-set.

No expiry of the server's is used: who wants a number reads when its lease ended and whether it rested.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import KeyValueConfig
from nats.js.kv import KeyValue

from towline.bus.nats_link import FAILURES, NatsLink
from towline.bus.numbers import NUMBERS, Number, none_free
from towline.bus.settings import Timing
from towline.clock import Clock
from towline.errors import StartError, Unavailable

log = logging.getLogger("towline.bus")

REQUEST_SECONDS = 2.0

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Number)


class NumberLease:
    """The lease of one endpoint. ``number`` is −1 from the moment it runs out, whatever a renewal is doing."""

    def __init__(
        self,
        link: NatsLink,
        clock: Clock,
        timing: Timing,
        *,
        bucket: str,
        replicas: int,
        owner: str,
        avoid: Callable[[], Collection[int]],
    ) -> None:
        self.last_id_ms = 0
        self._link = link
        self._clock = clock
        self._timing = timing
        self._bucket = bucket
        self._replicas = replicas
        self._owner = owner
        self._avoid = avoid
        self._number = -1
        self._revision = 0
        self._valid_until = 0.0
        self._expires_us = 0
        self._kv: tuple[Client, KeyValue] | None = None

    @property
    def number(self) -> int:
        # The wall clock too: a machine that slept has an old monotonic clock.
        if self._clock.monotonic() < self._valid_until and self._clock.now_us() < self._expires_us:
            return self._number
        return -1

    def note(self, ms: int) -> None:
        self.last_id_ms = max(self.last_id_ms, ms)

    async def acquire(self, last_id_ms: int = 0) -> None:
        """Take the lowest free number. StartError without JetStream, Unavailable when none is free or the bus is cut."""
        try:
            kv = await self._store()
            avoid = self._avoid()
            for number in NUMBERS:
                if number not in avoid and await self._try(kv, number, last_id_ms):
                    return
        except (nats.js.errors.ServiceUnavailableError, nats.errors.NoRespondersError):
            raise StartError(
                "bus.no_jetstream",
                "the NATS server has no JetStream, which holds the node numbers",
                where="bus.url",
                hint="start nats-server with -js, and allow JetStream for this account",
            ) from None
        except FAILURES as error:
            raise Unavailable("bus.number_store", f"the node numbers cannot be read: {error!r}") from None
        raise none_free()

    async def renew(self) -> None:
        """Extend the lease, or win back what was lost: the same number if nobody took it, else another.

        :raises FAILURES, TowlineError: not this time
        """
        try:
            kv = await self._store()
            if self._number >= 0 and await self._extend(kv):
                return
        except (nats.js.errors.NoStreamResponseError, nats.js.errors.NotFoundError):
            self._kv = None  # the bucket is gone: made anew at the next attempt
            raise
        log.warning("the node number was taken by another", extra={"number": self._number, "endpoint": self._owner})
        self._number = -1
        await self.acquire()

    async def release(self) -> None:
        """Give the number back; from now on it rests."""
        number, self._number = self._number, -1
        if number < 0 or not self._link.up:
            return
        value = Number(owner="", expires_us=0, last_id_ms=self.last_id_ms, released_us=self._clock.now_us())
        try:
            kv = await self._store()
            try:
                await kv.update(str(number), _encode(value), last=self._revision)
            except nats.js.errors.KeyWrongLastSequenceError:
                held, revision = await self._read(kv, number)
                if held is None or held.owner != self._owner:
                    return
                # A renewal that was cut short by the end arrived all the same.
                await kv.update(str(number), _encode(value), last=revision)
        except FAILURES as error:
            log.info("the node number was not released, it expires", extra={"number": number, "reason": repr(error)})

    # The store

    async def _store(self) -> KeyValue:
        client = self._link.client
        if client is None:
            raise nats.errors.ConnectionClosedError
        if self._kv is None or self._kv[0] is not client:
            js = client.jetstream(timeout=REQUEST_SECONDS)
            try:
                kv = await js.key_value(self._bucket)
            except nats.js.errors.BucketNotFoundError:
                kv = await js.create_key_value(
                    KeyValueConfig(bucket=self._bucket, history=1, replicas=self._replicas, description="node numbers")
                )
            self._kv = (client, kv)
        return self._kv[1]

    async def _try(self, kv: KeyValue, number: int, last_id_ms: int) -> bool:
        held, revision = await self._read(kv, number)
        if held is not None and not held.free(self._clock.now_us(), round(self._timing.rest * 1_000_000)):
            return False
        floor = max(last_id_ms, held.floor_ms() if held else 0)
        return await self._write(kv, number, revision, floor)

    async def _extend(self, kv: KeyValue) -> bool:
        if await self._write(kv, self._number, self._revision, self.last_id_ms):
            return True
        held, revision = await self._read(kv, self._number)
        if held is not None and held.owner != self._owner:
            return False
        # An earlier renewal arrived although its answer did not, or the bucket was lost.
        return await self._write(kv, self._number, revision, self.last_id_ms)

    async def _read(self, kv: KeyValue, number: int) -> tuple[Number | None, int]:
        try:
            entry = await kv.get(str(number))
        except nats.js.errors.KeyNotFoundError:
            return None, 0
        return _decoder.decode(entry.value or b""), entry.revision or 0

    async def _write(self, kv: KeyValue, number: int, revision: int, last_id_ms: int) -> bool:
        started = self._clock.monotonic()
        expires_us = self._clock.now_us() + round(self._timing.lease * 1_000_000)
        value = Number(owner=self._owner, expires_us=expires_us, last_id_ms=last_id_ms)
        try:
            written = await kv.update(str(number), _encode(value), last=revision)
        except nats.js.errors.KeyWrongLastSequenceError:
            return False
        if self._number != number:
            self.last_id_ms = last_id_ms
        self._number = number
        self._revision = written
        self._valid_until = started + self._timing.lease
        self._expires_us = expires_us
        return True


async def keep(lease: NumberLease, link: NatsLink, renew_seconds: float, on_change: Callable[[int, int], None]) -> None:
    """Renew for ever; ``on_change(before, now)`` when the number changed, was lost (−1) or came back."""
    known = lease.number
    while True:
        await asyncio.sleep(renew_seconds)
        if link.up:
            try:
                await lease.renew()
            except Exception as error:
                log.info("the node number was not renewed", extra={"reason": repr(error)})
        if lease.number != known:
            before, known = known, lease.number
            on_change(before, known)
