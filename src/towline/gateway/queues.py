# SPDX-License-Identifier: Apache-2.0
"""Topics in a node's memory (spec connmix §3): what entries push, each message to exactly one consumer, at most once.

A topic is made by its first push or consumer and dropped when it is empty and nobody consumes it. While a message waits
no local consumer is ready; a consumer that becomes ready takes what waits, one topic after the other. A push never waits:
on a full topic it is an error. Nothing here knows sockets: a consumer says whether it is ready
(:class:`towline.gateway.leases.Consumer`), which is how far its own outbox bounds it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from towline.errors import Conflict, InvalidInput, Unavailable
from towline.gateway.durable import Acked, DurableTopics, not_durable
from towline.gateway.leases import Consumer
from towline.protocols.connmix.replies import event_data, pop_event
from towline.protocols.connmix.requests import MAX_NAME_BYTES
from towline.store.base.topics import TopicFull

if TYPE_CHECKING:
    from towline.gateway.queuesettings import QueueSettings

ITEM_OVERHEAD = 256
"""What a waiting message is reckoned to take besides its data, in bytes."""


QueueFull = TopicFull
"""A push or a new consumer found no room: ``queue.full``, ``queue.bytes``, ``queue.topics`` or ``queue.busy``."""


class Item(NamedTuple):
    """One message that waits. ``order`` counts pushes of this node; ``data`` is JSON text."""

    order: int
    node: int
    client_id: str
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data) + ITEM_OVERHEAD


class Elsewhere(Protocol):
    """The consumers of other nodes (:class:`towline.gateway.queuemesh.QueueMesh`)."""

    def waiting(self, topic: Topic) -> None:
        """Messages wait in a topic that has no consumer here."""
        ...

    def wanted(self, topic: Topic) -> None:
        """A consumer here is ready, and nothing waits."""
        ...

    def deserted(self, topic: Topic) -> None:
        """The last consumer here is gone."""
        ...


class Topic:
    """One topic. ``away`` counts messages that another node has been offered and has not answered for."""

    __slots__ = ("away", "consumers", "items", "name", "ready")

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: deque[Item] = deque()
        self.away = 0
        self.consumers: dict[Consumer, None] = {}
        self.ready: OrderedDict[Consumer, None] = OrderedDict()
        """Consumers that take more now, the one that waited longest first."""


class QueueCounters:
    """What happened since the node started."""

    __slots__ = ("delivered", "discarded", "handed", "lost", "pushed", "refused", "returned", "taken")

    def __init__(self) -> None:
        self.pushed = 0
        self.delivered = 0
        """given to a consumer of this node, whatever node the message waited on"""
        self.refused: Counter[str] = Counter()
        """pushes and consumers refused, by reason"""
        self.handed = 0
        """taken by a consumer of another node"""
        self.taken = 0
        """of those: what waited on another node"""
        self.returned = 0
        """offered to another node, which could not take it"""
        self.lost = 0
        """offered to another node that died or did not answer"""
        self.discarded = 0
        """still waiting when the node stopped"""


class Queues:
    """All topics of a node.

    :param max_item_bytes: longest data of a message as JSON; what the mesh can carry
    :param number: the node's number now, −1 while it has none
    """

    def __init__(self, settings: QueueSettings, max_item_bytes: int, number: Callable[[], int]) -> None:
        self._settings = settings
        self._max_item_bytes = max_item_bytes
        self._number = number
        self._node = -1
        self._order = 0
        self._consumers: dict[Consumer, deque[Topic]] = {}
        self.topics: dict[str, Topic] = {}
        self.bytes = 0
        """Of all messages that wait or are away, as :attr:`Item.size` reckons."""
        self.counters = QueueCounters()
        self.elsewhere: Elsewhere | None = None
        self.durable: DurableTopics | None = None
        self._over = False

    # -- producers

    def push(self, topic: str, data: object, client_id: str = "") -> int:
        """Queue one message and say how many wait in the topic now (0: a consumer has it already). Never waits.

        A text that holds a JSON object or array is embedded as it is; any other text is a JSON string; other values are
        encoded as JSON. All refusals are counted: QueueFull ``queue.full``, ``queue.bytes``, ``queue.topics``; InvalidInput
        ``queue.topic``, ``queue.data``, ``queue.too_long``, ``queue.durable`` (needs :meth:`put`); Conflict
        ``queue.not_started``; Unavailable ``queue.draining``.
        """
        text = self._checked(topic, data)
        number = self._number()
        if number >= 0:
            self._node = number  # kept while a lost number is leased anew
        elif self._node < 0:
            self.counters.refused["not_started"] += 1
            raise Conflict("queue.not_started", "the node is not started yet: it has no number to put into the event")
        found = self.topics.get(topic)
        if found is None:
            found = self._open_memory(topic)
        self._order += 1
        item = Item(self._order, self._node, client_id, text)
        if found.ready:
            self.counters.pushed += 1
            self._deliver(found, item)
            return 0
        self._check_room(found, item)
        self.counters.pushed += 1
        self.bytes += item.size
        found.items.append(item)
        if not found.consumers and self.elsewhere is not None:
            self.elsewhere.waiting(found)
        return len(found.items)

    def put(self, topic: str, data: object, client_id: str = "") -> int | Awaitable[int]:
        """As :meth:`push` for a topic in memory; for a durable one what is awaited until the message is safe, with how many
        the topic holds then. Also Unavailable ``store.*``, ``topics.*``: at once or when awaited."""
        durable = self.durable
        if durable is None or not isinstance(topic, str) or topic not in durable:
            return self.push(topic, data, client_id)
        return durable.push(topic, self._checked(topic, data), client_id)

    def _checked(self, topic: str, data: object) -> bytes:
        refused = self.counters.refused
        if self._over:
            refused["draining"] += 1
            raise Unavailable("queue.draining", "the node is going down")
        if not isinstance(topic, str) or not topic or not _fits(topic):
            refused["topic"] += 1
            raise InvalidInput("queue.topic", f"a topic is a text of 1 to {MAX_NAME_BYTES} bytes")
        try:
            text = event_data(data)
        except (TypeError, ValueError, RecursionError) as error:
            refused["data"] += 1
            raise InvalidInput("queue.data", f"the data cannot be said in JSON: {error}") from None
        if len(text) > self._max_item_bytes:
            refused["too_long"] += 1
            raise InvalidInput("queue.too_long", f"the data has {len(text)} bytes; the limit is {self._max_item_bytes}")
        return text

    def _check_room(self, topic: Topic, item: Item) -> None:
        settings = self._settings
        if len(topic.items) + topic.away >= settings.topic_size:
            self.counters.refused["full"] += 1
            raise QueueFull(
                "queue.full", f"queue is full: the topic {_short(topic.name)} holds {settings.topic_size} messages"
            )
        if self.bytes + item.size > settings.max_bytes:
            self.counters.refused["bytes"] += 1
            self._drop_unused(topic)
            raise QueueFull(
                "queue.bytes", f"queue is full: all topics of this node hold {settings.max_bytes} bytes at most"
            )

    def _open_memory(self, name: str) -> Topic:
        if self.durable is not None and name in self.durable:
            self.counters.refused["durable"] += 1
            raise not_durable(name)
        return self._open(name)

    def _open(self, name: str) -> Topic:
        if len(self.topics) >= self._settings.max_topics:
            self.counters.refused["topics"] += 1
            raise QueueFull(
                "queue.topics",
                f"queue is full: there are {self._settings.max_topics} topics already, no room for {_short(name)}",
            )
        topic = self.topics[name] = Topic(name)
        return topic

    # -- consumers

    def pop(self, consumer: Consumer, topics: tuple[str, ...], prefetch: int = 0) -> None:
        """Become a consumer of topics, of all or none. The first message comes after :meth:`ready`.

        Conflict ``queue.consuming`` when it is one already; QueueFull ``queue.topics``.
        """
        if consumer in self._consumers:
            raise Conflict("queue.consuming", "this socket consumes already; queue.unpop ends that")
        durable = self.durable
        kept = [name for name in topics if name in durable] if durable is not None else []
        if kept:
            topics = tuple(name for name in topics if name not in kept)
        room = self._settings.max_topics - len(self.topics)
        new = sum(1 for name in topics if name not in self.topics)
        if new > room:
            self.counters.refused["consumer"] += 1
            raise QueueFull(
                "queue.topics",
                f"{new} new topics; there is room for {max(0, room)}, because the limit is {self._settings.max_topics}",
            )
        if kept and durable is not None:
            durable.pop(consumer, kept, prefetch)
        mine = self._consumers[consumer] = deque(self.topics.get(name) or self._open(name) for name in topics)
        for topic in mine:
            topic.consumers[consumer] = None

    def unpop(self, consumer: Consumer) -> bool:
        """Stop consuming. False when it was no consumer."""
        mine = self._consumers.pop(consumer, None)
        if mine is None:
            return False
        if self.durable is not None:
            self.durable.unpop(consumer)
        for topic in mine:
            topic.consumers.pop(consumer, None)
            topic.ready.pop(consumer, None)
        for topic in mine:
            if not topic.consumers and self.elsewhere is not None:
                self.elsewhere.deserted(topic)
                if topic.items:
                    self.elsewhere.waiting(topic)
            self._drop_unused(topic)
        return True

    def ack(self, consumer: Consumer, tokens: Sequence[str], then: Acked) -> None:
        """Messages of durable topics were dealt with. As :meth:`DurableTopics.ack`."""
        if self.durable is None:
            then(0, len(tokens), None)
        else:
            self.durable.ack(consumer, tokens, then)

    def nack(self, consumer: Consumer, tokens: Sequence[str], delay_s: float) -> tuple[int, int]:
        """Messages of durable topics could not be dealt with. As :meth:`DurableTopics.nack`."""
        return (0, len(tokens)) if self.durable is None else self.durable.nack(consumer, tokens, delay_s)

    def ready(self, consumer: Consumer) -> None:
        """A consumer takes (more) messages now: it gets what waits, from one topic after the other."""
        mine = self._consumers.get(consumer)
        if mine is None or not consumer.ready:
            return
        if self.durable is not None:
            # First: what they may have without an ack is bounded, so the topics in memory get their turn.
            self.durable.ready(consumer)
            if not consumer.ready:
                return
        for topic in mine:
            topic.ready[consumer] = None
        empty = 0
        while empty < len(mine):
            topic = mine[0]
            mine.rotate(-1)
            if topic.items:
                empty = 0
                item = topic.items.popleft()
                self.bytes -= item.size
                self._deliver(topic, item)
                if not consumer.ready:
                    return
            else:
                empty += 1
        if self.elsewhere is not None:
            for topic in list(mine):
                self.elsewhere.wanted(topic)

    def _deliver(self, topic: Topic, item: Item) -> None:
        consumer = next(iter(topic.ready))
        topic.ready.move_to_end(consumer)
        self.counters.delivered += 1
        consumer.deliver(pop_event(item.node, item.client_id, topic.name, item.data))
        if not consumer.ready:
            for one in self._consumers.get(consumer, ()):
                one.ready.pop(consumer, None)

    # -- the mesh

    def hand_out(self, topic: Topic) -> Item:
        """The next message, offered to another node. It counts as waiting until :meth:`settle` or :meth:`give_back`."""
        topic.away += 1
        return topic.items.popleft()

    def settle(self, topic: Topic, item: Item, *, lost: bool) -> None:
        """A message is gone: the other node took it, or died or was silent (then it is counted as lost)."""
        topic.away -= 1
        self.bytes -= item.size
        if lost:
            self.counters.lost += 1
        else:
            self.counters.handed += 1
        self._drop_unused(topic)

    def give_back(self, topic: Topic, item: Item) -> None:
        """The other node could not take a message: it waits again, in its old place."""
        topic.away -= 1
        self.counters.returned += 1
        items = topic.items
        younger = []
        while items and items[0].order < item.order:
            younger.append(items.popleft())
        items.appendleft(item)
        items.extendleft(reversed(younger))
        while items and topic.ready:
            item = items.popleft()
            self.bytes -= item.size
            self._deliver(topic, item)

    def take(self, name: str, item: Item) -> bool:
        """A message of another node, for a consumer here that is ready. False without one."""
        topic = self.topics.get(name)
        if topic is None or not topic.ready:
            return False
        self.counters.taken += 1
        self._deliver(topic, item)
        return True

    # -- figures

    @property
    def waiting(self) -> int:
        """Messages that wait in all topics."""
        return sum(len(topic.items) + topic.away for topic in self.topics.values())

    @property
    def moving(self) -> bool:
        """Whether messages wait that somebody may still take."""
        if self.durable is not None and self.durable.moving:
            return True
        return any(topic.away or (topic.items and topic.consumers) for topic in self.topics.values())

    @property
    def consumers(self) -> int:
        return len(self._consumers)

    def discard(self) -> int:
        """The node stops: forget what waits, and say how much it was. Pushes are refused from now on."""
        self._over = True
        left = sum(len(topic.items) for topic in self.topics.values())
        self.counters.discarded += left
        self.topics.clear()
        self._consumers.clear()
        self.bytes = 0
        return left

    def _drop_unused(self, topic: Topic) -> None:
        if not topic.items and not topic.away and not topic.consumers:
            self.topics.pop(topic.name, None)


def _fits(topic: str) -> bool:
    try:
        return len(topic.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:
        return False


def _short(name: str) -> str:
    return repr(name if len(name) <= 40 else name[:40] + "…")
