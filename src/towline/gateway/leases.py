# SPDX-License-Identifier: Apache-2.0
"""Who has which message of a durable topic, until when: the rules, without store, clock or tasks.

A message that was fetched is *held* until a consumer is ready for it, then *leased* to that consumer under a token. A lease
ends with an ack or a nack of the same consumer, with its time, or with the consumer. A consumer has at most its limit of
leases in a topic; consumers that are ready take turns.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from itertools import count
from typing import NamedTuple, Protocol

from towline.errors import Conflict
from towline.protocols.connmix.replies import durable_event, pop_event
from towline.store.base.topics import Delivery

BATCH = 256
"""Messages that are fetched at once, at most."""


class Consumer(Protocol):
    """Who takes messages: a socket of the push API."""

    @property
    def ready(self) -> bool:
        """Whether it takes another message now. When that becomes true again it calls ``Queues.ready``."""
        ...

    def deliver(self, event: bytes) -> None:
        """Take one event, complete JSON. Must not call back into the queues."""
        ...


class Rule(NamedTuple):
    """How a topic is delivered. ``dead_letter`` is empty for one that is delivered for ever."""

    ack_s: float
    max_unacked: int
    max_deliveries: int
    dead_letter: str
    auto: bool = False


class Lease(NamedTuple):
    """A message that a consumer has."""

    token: str
    member: Member
    delivery: Delivery
    deadline: float


class Member:
    """A consumer. ``limit`` is its own bound of leases in one topic, 0 without one."""

    __slots__ = ("consumer", "leases", "limit", "topics", "unacked")

    def __init__(self, consumer: Consumer, topics: Sequence[LeasedTopic], limit: int) -> None:
        self.consumer = consumer
        self.topics = topics
        self.limit = limit
        self.leases: dict[str, Lease] = {}
        self.unacked = dict.fromkeys((topic.name for topic in topics), 0)


class LeasedTopic:
    """One topic."""

    __slots__ = ("held", "leases", "members", "name", "ready", "rule")

    def __init__(self, name: str, rule: Rule) -> None:
        self.name = name
        self.rule = rule
        self.members: dict[Consumer, Member] = {}
        self.ready: OrderedDict[Member, None] = OrderedDict()
        """Consumers that take more now, the one that waited longest first."""
        self.held: deque[Delivery] = deque()
        self.leases: OrderedDict[str, Lease] = OrderedDict()
        """In the order of their deadlines."""

    def room(self) -> int:
        """How many messages more can be given to consumers now."""
        free = 0
        for member in self.ready:
            free += self.free(member)
            if free >= BATCH + len(self.held):
                return BATCH
        return max(0, free - len(self.held))

    def free(self, member: Member) -> int:
        """Leases that a consumer has room for."""
        if self.rule.auto:
            return BATCH
        limit = self.rule.max_unacked
        if member.limit:
            limit = min(limit, member.limit)
        return limit - member.unacked[self.name]


class Given(NamedTuple):
    """What :meth:`Leases.hand_out` did: how many messages consumers got; of those ``written`` are gone already (auto)."""

    delivered: int
    again: int
    written: list[Delivery]


class Leases:
    """All durable topics of a node.

    :param origin: begins every token. Consumers keep tokens over a restart or a change of nodes, and one of another process
        must not name a message of this one.
    """

    def __init__(self, rules: dict[str, Rule], origin: str = "") -> None:
        self.topics = {name: LeasedTopic(name, rule) for name, rule in rules.items()}
        self.members: dict[Consumer, Member] = {}
        self._origin = origin
        self._tokens = count(1)

    # -- consumers

    def join(self, consumer: Consumer, names: Iterable[str], limit: int = 0) -> None:
        """Become a consumer; the first message comes after :meth:`set_ready`. Conflict ``queue.consuming``."""
        if consumer in self.members:
            raise Conflict("queue.consuming", "this socket consumes already; queue.unpop ends that")
        member = Member(consumer, [self.topics[name] for name in names], limit)
        self.members[consumer] = member
        for topic in member.topics:
            topic.members[consumer] = member

    def leave(self, consumer: Consumer) -> tuple[list[Delivery], list[LeasedTopic]]:
        """A consumer is gone: what it had, and the topics that nobody consumes any more."""
        member = self.members.pop(consumer, None)
        if member is None:
            return [], []
        deserted = []
        for topic in member.topics:
            del topic.members[consumer]
            topic.ready.pop(member, None)
            if not topic.members:
                deserted.append(topic)
        lost = []
        for lease in member.leases.values():
            del self.topics[lease.delivery.topic].leases[lease.token]
            lost.append(lease.delivery)
        member.leases = {}
        return lost, deserted

    def set_ready(self, member: Member) -> None:
        """A consumer takes (more) messages now."""
        for topic in member.topics:
            if member not in topic.ready and topic.free(member) > 0:
                topic.ready[member] = None

    # -- messages

    def hand_out(self, topic: LeasedTopic, now: float) -> Given:
        """Give what is held to consumers that are ready."""
        held, ready, rule = topic.held, topic.ready, topic.rule
        delivered = again = 0
        written: list[Delivery] = []
        while held and ready:
            member = next(iter(ready))
            if not member.consumer.ready:
                for one in member.topics:
                    one.ready.pop(member, None)
                continue
            delivery = held.popleft()
            delivered += 1
            again += delivery.deliveries > 1
            if rule.auto:
                written.append(delivery)
                event = pop_event(delivery.node, delivery.client_id, topic.name, delivery.data)
            else:
                event = self._lease(topic, member, delivery, now + rule.ack_s)
            if topic.free(member) > 0:
                ready.move_to_end(member)
            else:
                del ready[member]
            member.consumer.deliver(event)
        return Given(delivered, again, written)

    def _lease(self, topic: LeasedTopic, member: Member, delivery: Delivery, deadline: float) -> bytes:
        token = f"{self._origin}{next(self._tokens)}"
        topic.leases[token] = member.leases[token] = Lease(token, member, delivery, deadline)
        member.unacked[topic.name] += 1
        return durable_event(delivery.node, delivery.client_id, topic.name, delivery.data, token, delivery.deliveries)

    def end(self, consumer: Consumer, tokens: Iterable[str]) -> list[Delivery]:
        """A consumer acks or nacks: the messages that it had under these tokens. Others are passed over."""
        member = self.members.get(consumer)
        if member is None:
            return []
        ended = []
        for token in tokens:
            lease = member.leases.get(token)
            if lease is not None:
                self._end(lease)
                ended.append(lease.delivery)
        return ended

    def expire(self, now: float) -> list[Delivery]:
        """Messages whose lease is over."""
        late = []
        for topic in self.topics.values():
            while topic.leases:
                lease = next(iter(topic.leases.values()))
                if lease.deadline > now:
                    break
                self._end(lease)
                late.append(lease.delivery)
        return late

    def _end(self, lease: Lease) -> None:
        name = lease.delivery.topic
        topic, member = self.topics[name], lease.member
        del topic.leases[lease.token]
        del member.leases[lease.token]
        member.unacked[name] -= 1
        if member not in topic.ready and member.consumer.ready:
            topic.ready[member] = None

    # -- figures

    @property
    def unacked(self) -> int:
        return sum(len(topic.leases) for topic in self.topics.values())
