# SPDX-License-Identifier: Apache-2.0
"""Durable topics of a node: between the store that keeps their messages and the sockets that consume them.

At least once (our extension to connmix, docs/protocols/connmix.md). For each topic with a consumer here one task fetches as
many messages as consumers have room for; :mod:`towline.gateway.leases` says who gets them. What is not acked is
released, or after its last delivery buried in the dead-letter topic.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from towline.errors import InvalidInput, StartError, TowlineError, Unavailable
from towline.gateway.leases import Consumer, LeasedTopic, Leases, Rule
from towline.protocols.connmix.replies import dead_letter
from towline.store.base.topics import Delivery, TopicFull, TopicSpec, TopicStore

if TYPE_CHECKING:
    from towline.gateway.queuesettings import QueueSettings, TopicSettings

log = logging.getLogger("towline.gateway")

FETCH_BYTES = 256 * 1024
"""What is fetched at once, unless a single message is longer."""

MAX_PENDING_BYTES = 64 * 1024 * 1024
"""What may be on its way to the store; a push past that is an error."""

RETRY_S = 1.0
"""Pause after a fetch that failed."""

BURY_RETRY_S = 5.0
"""Pause after a dead letter that its topic did not take."""

EXTEND_S = 2.0
"""What is held for longer, because no consumer is ready, has its time in the store started anew."""

FINISH_S = 5.0
"""How long closing waits for the store to take what was begun."""

Acked = Callable[[int, int, TowlineError | None], None]
"""``(ended, unknown, error)``: how many tokens were good, how many were not, and why the store did not take the acks."""


def declared(settings: QueueSettings) -> tuple[list[TopicSpec], dict[str, Rule]]:
    """The durable topics of the settings, their dead-letter topics among them. StartError ``gateway.topics``."""
    found: dict[str, TopicSettings] = {}
    places: dict[str, str] = {}
    for number, one in enumerate(settings.topics):
        if one.durable:
            where = f"gateway.queue.topics[{number}]"
            if one.name in found:
                raise StartError("gateway.topics", f"the topic {one.name!r} is there twice", where=f"{where}.name")
            found[one.name] = one
            places[one.name] = where
    specs = [TopicSpec(one.name, one.max_messages, one.max_bytes, one.ack_s) for one in found.values()]
    rules: dict[str, Rule] = {}
    for one in found.values():
        auto = one.ack == "auto"
        dead = (one.dead_letter or f"{one.name}.dead") if one.max_deliveries and not auto else ""
        if dead == one.name:
            raise StartError(
                "gateway.topics",
                f"the topic {dead!r} cannot be its own dead-letter topic",
                where=f"{places[one.name]}.dead_letter",
            )
        rules[one.name] = Rule(one.ack_s, one.max_unacked, one.max_deliveries if dead else 0, dead, auto)
        if dead and dead not in found and dead not in rules:
            specs.append(TopicSpec(dead, one.max_messages, one.max_bytes, one.ack_s))
            rules[dead] = Rule(one.ack_s, one.max_unacked, 0, "")
    return specs, rules


class DurableCounters:
    """What happened since the node started."""

    __slots__ = (
        "acked",
        "dead",
        "delivered",
        "expired",
        "lost",
        "nacked",
        "pushed",
        "redelivered",
        "refused",
        "undead",
    )

    def __init__(self) -> None:
        self.pushed = 0
        """stored"""
        self.delivered = 0
        self.redelivered = 0
        """of those: not for the first time"""
        self.acked = 0
        self.nacked = 0
        self.expired = 0
        """not acked in time"""
        self.lost = 0
        """had by a consumer that went without an ack"""
        self.dead: Counter[str] = Counter()
        """moved to a dead-letter topic, by reason"""
        self.undead = 0
        """not moved, because that topic did not take them; they stay where they were"""
        self.refused: Counter[str] = Counter()
        """pushes and acks that failed, by reason"""


class DurableTopics:
    """The node's side of its durable topics.

    :param now: monotonic seconds
    :param number: the node's number now, −1 while it has none
    :param origin: as that of :class:`~towline.gateway.leases.Leases`
    """

    def __init__(
        self,
        store: TopicStore,
        rules: dict[str, Rule],
        now: Callable[[], float],
        number: Callable[[], int],
        origin: str = "",
    ) -> None:
        self._store = store
        self._now = now
        self._number = number
        self._node = -1
        self._leases = Leases(rules, origin)
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._wakes = {name: asyncio.Event() for name in rules}
        self._extended_at: dict[str, float] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._written: list[Delivery] = []
        self._pending_bytes = 0
        self._draining = False
        self.pending = 0
        """Pushes that are on their way to the store."""
        self.counters = DurableCounters()

    def __contains__(self, topic: object) -> bool:
        return topic in self._leases.topics

    # -- producers

    def push(self, topic: str, data: bytes, client_id: str) -> Awaitable[int]:
        """Store JSON text; done once it is safe, with how many messages the topic holds.

        TopicFull ``queue.full``, ``queue.bytes``, ``queue.busy``, at once or when awaited; Unavailable from the store.
        """
        number = self._number()
        if number >= 0:
            self._node = number
        if self._pending_bytes + len(data) > MAX_PENDING_BYTES:
            self.counters.refused["busy"] += 1
            raise TopicFull("queue.busy", f"queue is full: {MAX_PENDING_BYTES} bytes wait to be stored")
        try:
            stored = self._store.push(topic, self._node, client_id, data)
        except TowlineError as error:
            self.counters.refused[_reason(error)] += 1
            raise
        self.pending += 1
        self._pending_bytes += len(data)
        # Whoever waits may go; what was begun is finished and counted.
        return asyncio.shield(self._spawn(self._stored(stored, len(data))))

    async def _stored(self, stored: Awaitable[int], size: int) -> int:
        try:
            waiting = await stored
        except TowlineError as error:
            self.counters.refused[_reason(error)] += 1
            raise
        finally:
            self.pending -= 1
            self._pending_bytes -= size
        self.counters.pushed += 1
        return waiting

    # -- consumers

    def pop(self, consumer: Consumer, topics: Iterable[str], prefetch: int) -> None:
        """Become a consumer; the first message comes after :meth:`ready`."""
        if self._draining:
            raise Unavailable("queue.draining", "the node is going down")
        self._leases.join(consumer, topics, prefetch)

    def unpop(self, consumer: Consumer) -> None:
        """Stop consuming: what was not acked comes again, here or elsewhere."""
        lost, deserted = self._leases.leave(consumer)
        for topic in deserted:
            self._stop(topic)
        self.counters.lost += len(lost)
        self._give_back(lost, "lost")

    def ready(self, consumer: Consumer) -> None:
        """A consumer takes (more) messages now."""
        member = self._leases.members.get(consumer)
        if member is None or not consumer.ready:
            return
        self._leases.set_ready(member)
        for topic in member.topics:
            self._turn(topic)

    def ack(self, consumer: Consumer, tokens: Sequence[str], then: Acked) -> None:
        """Messages were dealt with; ``then`` is told once that is stored."""
        ended = self._leases.end(consumer, tokens)
        unknown = len(tokens) - len(ended)
        self._turn_all(ended)
        if not ended:
            then(0, unknown, None)
            return
        self._spawn(self._ack(ended, unknown, then))

    async def _ack(self, ended: Sequence[Delivery], unknown: int, then: Acked) -> None:
        try:
            await self._store.ack(ended)
        except TowlineError as error:
            self.counters.refused["ack"] += len(ended)
            self._store.release(ended, RETRY_S)
            then(0, unknown, error)
        else:
            self.counters.acked += len(ended)
            then(len(ended), unknown, None)

    def nack(self, consumer: Consumer, tokens: Sequence[str], delay_s: float) -> tuple[int, int]:
        """Messages could not be dealt with: they come again after ``delay_s``. How many tokens were good, and were not."""
        ended = self._leases.end(consumer, tokens)
        self.counters.nacked += len(ended)
        self._give_back(ended, "nack", delay_s)
        self._turn_all(ended)
        return len(ended), len(tokens) - len(ended)

    # -- fetching and handing out

    def _turn_all(self, ended: Iterable[Delivery]) -> None:
        for name in {one.topic for one in ended}:
            self._turn(self._leases.topics[name])

    def _turn(self, topic: LeasedTopic) -> None:
        """Hand out what is held; have more fetched when there is room."""
        if topic.held:
            self._hand_out(topic)
        if topic.ready and not topic.held and not self._draining:
            self._wakes[topic.name].set()
            if topic.name not in self._pumps:
                self._pumps[topic.name] = asyncio.get_running_loop().create_task(self._pump(topic))

    def _hand_out(self, topic: LeasedTopic) -> None:
        given = self._leases.hand_out(topic, self._now())
        self.counters.delivered += given.delivered
        self.counters.redelivered += given.again
        if given.written:
            if not self._written:
                # Behind the turn of the loop in which the sockets write.
                asyncio.get_running_loop().call_soon(self._ack_written)
            self._written += given.written

    def _ack_written(self) -> None:
        written, self._written = self._written, []
        self._spawn(self._ack(written, 0, _nobody))

    async def _pump(self, topic: LeasedTopic) -> None:
        wake = self._wakes[topic.name]
        while True:
            room = topic.room()
            if room <= 0:
                wake.clear()
                await wake.wait()
                continue
            try:
                fetched = await self._store.fetch(topic.name, room, FETCH_BYTES)
            except TowlineError as error:
                log.warning("a durable topic cannot be read", extra={"topic": topic.name, "reason": str(error)})
                await asyncio.sleep(RETRY_S)
                continue
            self._extended_at[topic.name] = self._now()
            self._take(topic, fetched)

    def _take(self, topic: LeasedTopic, fetched: list[Delivery]) -> None:
        limit = topic.rule.max_deliveries
        for delivery in fetched:
            if limit and delivery.deliveries > limit:
                # Its last consumer died with its node, or the dead-letter topic did not take it.
                self._spawn(self._bury(delivery, topic.rule.dead_letter, "lost"))
            else:
                topic.held.append(delivery)
        if not topic.members:
            self._store.release(topic.held)
            topic.held.clear()
        self._hand_out(topic)

    def _stop(self, topic: LeasedTopic) -> None:
        """Nobody consumes a topic any more."""
        pump = self._pumps.pop(topic.name, None)
        if pump is not None:
            pump.cancel()
        self._store.release(topic.held)
        topic.held.clear()

    # -- what was not acked

    def _give_back(self, deliveries: Iterable[Delivery], reason: str, delay_s: float = 0.0) -> None:
        again = []
        for delivery in deliveries:
            rule = self._leases.topics[delivery.topic].rule
            if rule.max_deliveries and delivery.deliveries >= rule.max_deliveries:
                self._spawn(self._bury(delivery, rule.dead_letter, reason))
            else:
                again.append(delivery)
        if again:
            self._store.release(again, delay_s)

    async def _bury(self, delivery: Delivery, target: str, reason: str) -> None:
        limit = self._leases.topics[delivery.topic].rule.max_deliveries
        data = dead_letter(delivery.topic, reason, min(delivery.deliveries, limit), delivery.data)
        try:
            await self._store.bury(delivery, target, data)
        except TowlineError as error:
            self.counters.undead += 1
            extra = {"topic": delivery.topic, "dead_letter": target, "reason": str(error)}
            log.warning("a dead letter was not taken; it stays in its topic", extra=extra)
            self._store.release([delivery], BURY_RETRY_S)
        else:
            self.counters.dead[reason] += 1

    def tick(self) -> None:
        """Called about every second: end leases whose time is over."""
        now = self._now()
        late = self._leases.expire(now)
        self.counters.expired += len(late)
        self._give_back(late, "timeout")
        self._turn_all(late)
        for topic in self._leases.topics.values():
            if topic.held and now - self._extended_at[topic.name] >= EXTEND_S:
                self._extended_at[topic.name] = now
                self._store.extend(topic.held)

    # -- figures, end

    def figures(self) -> list[tuple[str, int, int, int]]:
        """For each topic: name, messages it holds, bytes of them, messages that consumers of this node have."""
        return [
            (name, *self._store.depth(name), len(topic.leases) + len(topic.held))
            for name, topic in self._leases.topics.items()
        ]

    def consumers(self, name: str) -> int:
        """Sockets of this node that consume a topic."""
        return len(self._leases.topics[name].members)

    def store_counters(self) -> dict[str, int]:
        """What the store counts."""
        return self._store.counters()

    @property
    def moving(self) -> bool:
        """Whether pushes or acks are under way, or consumers have messages that they may still ack."""
        return bool(self.pending or self._tasks or self._written or self._leases.unacked)

    def drain(self) -> None:
        """The node stops: fetch nothing more, so that others can."""
        self._draining = True
        for topic in self._leases.topics.values():
            self._stop(topic)

    async def close(self) -> None:
        """Release what consumers had, finish what was begun. The store stays open."""
        self.drain()
        for consumer in list(self._leases.members):
            self.unpop(consumer)
        if self._written:
            self._ack_written()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=FINISH_S)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def not_durable(topic: str) -> InvalidInput:
    """What a push that does not wait says of a durable topic."""
    return InvalidInput("queue.durable", f"{topic[:40]!r} is a durable topic: use `await conn.queue.put(topic, data)`")


def _reason(error: TowlineError) -> str:
    return error.code.rpartition(".")[2]


def _nobody(ended: int, unknown: int, error: TowlineError | None) -> None:
    """Who acked is the node itself; a failure is counted, and the message comes again."""
