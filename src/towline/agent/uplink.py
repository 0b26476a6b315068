# SPDX-License-Identifier: Apache-2.0
"""The way up: takes batches from the spool's lanes to the link, and trims what the hub has committed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable

from towline.agent.spool import Spool
from towline.agent.spooltables import Flight
from towline.clock import Clock
from towline.errors import Unavailable
from towline.protocols.link.frames import Priority, Type, priority_of
from towline.protocols.link.items import LANES, Lane
from towline.protocols.link.lanes import STREAM_OF_LANE, LaneSender, batch_frames
from towline.protocols.link.limits import RESEND_S
from towline.protocols.link.messages import Ack

log = logging.getLogger("towline.agent.uplink")

SendFrame = Callable[[bytes, Priority], bool]
_DISK_RETRY_S = 1.0
_FULL_RETRY_S = 0.25


class Uplink:
    """One small task for each lane.

    :ivar counters: ``batches`` numbered, ``sent`` (repeats included), ``resent``, ``acked``, ``late_acks``,
    ``failures``
    """

    def __init__(self, spool: Spool, clock: Clock, *, flush_s: float, resend_s: float = RESEND_S) -> None:
        self.counters: Counter[str] = Counter()
        self._spool = spool
        self._clock = clock
        self._flush_s = flush_s
        self._resend_s = resend_s
        self._send: SendFrame | None = None
        self._senders: dict[Lane, LaneSender] = {}
        self._trims: set[Lane] = set()
        self._wakes: dict[Lane, asyncio.Event] = {lane: asyncio.Event() for lane in LANES}
        self._tasks: list[asyncio.Task[None]] = []
        self._filled_at = float("-inf")
        self._hurry = asyncio.Event()
        spool.on_data = self._on_data
        spool.on_hurry = self._hurry.set
        spool.on_eager = self._on_eager

    def start(self) -> None:
        """After the spool was opened."""
        self._make_senders()
        self._tasks = [asyncio.create_task(self._run(lane), name=f"uplink-{lane}") for lane in LANES]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def online(self, acked: dict[str, int], send: SendFrame) -> None:
        """A link is signed in. SpoolRolledBack: the spool has a new id now; sign in again with it."""
        await self._spool.went_online()
        if any(acked.get(lane, 0) > sender.last for lane, sender in self._senders.items()):
            await self._renew(acked)
        for lane, sender in self._senders.items():
            if sender.welcome(acked.get(lane, 0)):
                self._trims.add(lane)
        self._send = send
        self._spool.eager = True
        self._wake_all()

    def _on_eager(self, flight: Flight) -> None:
        """A step of a command was committed together with its batch; the link may be lost by now."""
        self._took("urgent", self._senders["urgent"], flight)
        self._wakes["urgent"].set()

    async def _renew(self, acked: dict[str, int]) -> None:
        """Raises SpoolRolledBack, after the spool got its new id."""
        for lane, sender in self._senders.items():
            try:
                sender.welcome(acked.get(lane, 0))
            except Exception:
                await self._spool.renew()
                self._make_senders()
                raise

    def offline(self) -> None:
        self._send = None
        self._spool.eager = False
        for sender in self._senders.values():
            sender.lost()
        self._wake_all()

    def resync(self) -> None:
        """Another hub serves the link: what is in flight goes again at once."""
        for sender in self._senders.values():
            sender.again()
        self._wake_all()

    def adopted(self) -> None:
        """The spool belongs to another device now."""
        self._make_senders()

    def on_ack(self, ack: Ack) -> None:
        sender = self._senders.get(ack.lane)
        if sender is None or ack.spool_id != self._spool.spool_id or not sender.ack(ack.seq):
            self.counters["late_acks"] += 1
            return
        self.counters["acked"] += 1
        self._trims.add(ack.lane)
        self._wakes[ack.lane].set()

    def _make_senders(self) -> None:
        self._trims.clear()
        self._senders = {
            lane: LaneSender(
                lane,
                last=self._spool.last[lane],
                inflight=lane in self._spool.flights,
                resend_s=self._resend_s,
            )
            for lane in LANES
        }

    def _on_data(self) -> None:
        self._wakes["urgent"].set()
        self._wakes["live"].set()

    def _wake_all(self) -> None:
        for wake in self._wakes.values():
            wake.set()

    async def _run(self, lane: Lane) -> None:
        while True:
            try:
                await self._step(lane)
            except Unavailable as error:
                log.warning("lane %s waits: %s", lane, error)
                await asyncio.sleep(_DISK_RETRY_S)
            except Exception:
                self.counters["failures"] += 1
                log.exception("lane %s failed", lane)
                await asyncio.sleep(_DISK_RETRY_S)

    async def _step(self, lane: Lane) -> None:
        wake = self._wakes[lane]
        wake.clear()
        sender = self._senders[lane]
        now = self._clock.monotonic()
        if lane in self._trims:
            gate = self._gate(lane, now)
            flight = await self._spool.trim(lane, refill=sender.online and gate <= 0)
            self._trims.discard(lane)
            self._took(lane, sender, flight)
            return
        match sender.poll(now):
            case "fill":
                gate = self._gate(lane, now)
                if gate > 0:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(gate):
                            await self._hurry.wait()
                if lane == "live":
                    self._hurry.clear()  # before the fill: what hurries after it began is not in it
                flight = await self._spool.fill(lane)
                self._took(lane, sender, flight)
                if flight is None and not sender.inflight:
                    await wake.wait()
            case "send":
                if not self._send_batch(lane, sender):
                    await asyncio.sleep(_FULL_RETRY_S)
            case None:
                wait = sender.wait_s(now)
                # asyncio.wait_for would swallow a cancellation that meets the event.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait or None):
                        await wake.wait()

    def _gate(self, lane: Lane, now: float) -> float:
        """Seconds until the lane ``live`` may be flushed again."""
        if lane != "live" or self._hurry.is_set():
            return 0.0
        return self._filled_at + self._flush_s - now

    def _took(self, lane: Lane, sender: LaneSender, flight: Flight | None) -> None:
        if flight is None:
            return
        if sender is self._senders[lane]:
            sender.filled(flight.seq)
        self.counters["batches"] += 1
        if lane == "live":
            self._filled_at = self._clock.monotonic()

    def _send_batch(self, lane: Lane, sender: LaneSender) -> bool:
        flight = self._spool.flights.get(lane)
        send = self._send
        if flight is None or send is None:
            return False
        priority = priority_of(Type.BATCH, STREAM_OF_LANE[lane])
        if not all(send(frame, priority) for frame in batch_frames(lane, flight.seq, flight.body)):
            return False
        if sender.attempts:
            self.counters["resent"] += 1
        self.counters["sent"] += 1
        sender.sent(self._clock.monotonic())
        return True
