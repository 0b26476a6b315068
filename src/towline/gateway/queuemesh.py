# SPDX-License-Identifier: Apache-2.0
"""Topics consumed from any node: a message that waits where nobody consumes goes to a node with a ready consumer.

A node tells all others which topics its consumers take (*wants*), at each change and again every :data:`REFRESH_S`, so
that what a short cut swallowed heals. A node with waiting messages and no consumer of its own *offers* them to a node that
wants them, at most :data:`WINDOW` unanswered. The other node gives an offer to a ready consumer at once, or refuses it; it
never keeps one. What is refused waits again in its old place. After a refusal the wish is over until a consumer is ready
again. It then has a new number, which tells later offers from those that were still under way, for these are refused as
well: the order of a topic holds for its consumer.

At most once: an offer that is not answered within :data:`ANSWER_S`, or whose node died, is lost and counted, because it
may have been delivered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, Protocol

from towline.gateway.queues import Item, Queues, Topic
from towline.protocols.connmix.mesh import Offer, QueueMessage, Taken, Wants, encode

WINDOW = 64
"""Offers to one node for one topic that may be unanswered."""

WINDOW_BYTES = 64 * 1024
"""Bytes of them, past which no further offer is made."""

ANSWER_S = 5.0
REFRESH_S = 5.0

NAMES = 100
"""Topics in one message: with names of 1 KiB it stays well under what the bus carries."""


class Sender(Protocol):
    """An endpoint of the bus, as far as it is used here."""

    def send(self, to: str, payload: bytes) -> bool: ...


class _Away(NamedTuple):
    topic: Topic
    item: Item
    under: int
    deadline: float


class _Lane:
    """Unanswered offers to one node for one topic, all under one number."""

    __slots__ = ("bytes", "count", "under")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self.under = 0


class _Peer:
    __slots__ = ("away", "lanes", "wants")

    def __init__(self) -> None:
        self.wants: dict[str, int] = {}
        self.away: dict[int, _Away] = {}
        self.lanes: dict[str, _Lane] = {}


class QueueMesh:
    """A node's side of it; :class:`towline.gateway.queues.Elsewhere` for its queues.

    :param now: monotonic seconds
    :param others: addresses of the other living nodes
    """

    def __init__(self, queues: Queues, now: Callable[[], float], others: Callable[[], list[str]]) -> None:
        self._queues = queues
        self._now = now
        self._others = others
        self._sender: Sender | None = None
        self._peers: OrderedDict[str, _Peer] = OrderedDict()
        """Nodes that want something; the one that was offered to longest ago first."""
        self._wants: dict[str, int] = {}
        self._number = 0
        self._seq = 0
        self._refresh_at = 0.0
        self.unreachable = 0
        """messages that the bus would not take"""
        self.late = 0
        """answers to offers that were given up"""
        queues.elsewhere = self

    # -- life

    def attach(self, sender: Sender | None) -> None:
        """The node is on the bus now, or leaves it: then what is away counts as lost."""
        self._sender = sender
        if sender is None:
            for address in list(self._peers):
                self.left(address)

    def joined(self, address: str) -> None:
        """Another node lives."""
        self._tell_all([address])

    def left(self, address: str) -> None:
        """Another node is gone."""
        peer = self._peers.pop(address, None)
        if peer is not None:
            for away in peer.away.values():
                self._queues.settle(away.topic, away.item, lost=True)

    def tick(self) -> None:
        """Called about every second: give up what was not answered, say again what is wanted, try again."""
        now = self._now()
        others = self._others()
        for address, peer in list(self._peers.items()):
            # Offers are in order of their deadlines.
            while peer.away:
                seq = next(iter(peer.away))
                if peer.away[seq].deadline > now:
                    break
                away = self._answered(peer, seq)
                self._queues.settle(away.topic, away.item, lost=True)
            if address not in others and not peer.away:
                del self._peers[address]
        if now >= self._refresh_at:
            self._refresh_at = now + REFRESH_S
            if others:
                self._tell_all(others)
        for topic in list(self._queues.topics.values()):
            self.waiting(topic)

    # -- what the queues tell

    def waiting(self, topic: Topic) -> None:
        queues = self._queues
        while topic.items and not topic.consumers and self._sender is not None:
            address = self._pick(topic.name)
            if address is None:
                return
            peer = self._peers[address]
            under = peer.wants[topic.name]
            item = queues.hand_out(topic)
            self._seq += 1
            offer = Offer(self._seq, under, topic.name, item.node, item.client_id, item.data)
            if not self._send(address, offer):
                queues.give_back(topic, item)
                return
            self._peers.move_to_end(address)
            peer.away[self._seq] = _Away(topic, item, under, self._now() + ANSWER_S)
            lane = peer.lanes.setdefault(topic.name, _Lane())
            lane.count += 1
            lane.bytes += item.size
            lane.under = under

    def wanted(self, topic: Topic) -> None:
        if topic.name not in self._wants:
            self._number += 1
            self._wants[topic.name] = self._number
            self._announce({topic.name: self._number})

    def deserted(self, topic: Topic) -> None:
        if self._wants.pop(topic.name, None) is not None:
            self._announce({topic.name: 0})

    # -- what other nodes tell

    def on_message(self, sender: str, message: QueueMessage) -> None:
        """A message of another node."""
        match message:
            case Offer():
                self._offered(sender, message)
            case Taken():
                self._told(sender, message)
            case Wants():
                peer = self._peers.setdefault(sender, _Peer())
                if message.whole:
                    peer.wants.clear()
                for name, number in message.topics.items():
                    if number > 0:
                        peer.wants[name] = number
                    else:
                        peer.wants.pop(name, None)
                for name in message.topics:
                    topic = self._queues.topics.get(name)
                    if topic is not None:
                        self.waiting(topic)
                if not peer.wants and not peer.away:
                    self._peers.pop(sender, None)

    def _offered(self, sender: str, offer: Offer) -> None:
        wanted = offer.under == self._wants.get(offer.topic)
        taken = wanted and self._queues.take(offer.topic, Item(0, offer.node, offer.client_id, offer.data))
        if wanted and not taken:
            # Other nodes learn it when they offer, or by the next refresh.
            del self._wants[offer.topic]
        self._send(sender, Taken(offer.seq, taken))

    def _told(self, sender: str, answer: Taken) -> None:
        peer = self._peers.get(sender)
        if peer is None or answer.seq not in peer.away:
            self.late += 1
            return
        away = self._answered(peer, answer.seq)
        name = away.topic.name
        if answer.taken:
            self._queues.settle(away.topic, away.item, lost=False)
        else:
            if peer.wants.get(name) == away.under:
                del peer.wants[name]
            self._queues.give_back(away.topic, away.item)
        self.waiting(away.topic)

    # -- inside

    def _pick(self, topic: str) -> str | None:
        """A node that wants a topic's messages and has room for another offer."""
        for address, peer in self._peers.items():
            under = peer.wants.get(topic)
            if under is None:
                continue
            lane = peer.lanes.get(topic)
            if lane is None or (lane.under == under and lane.count < WINDOW and lane.bytes < WINDOW_BYTES):
                return address
        return None

    def _answered(self, peer: _Peer, seq: int) -> _Away:
        away = peer.away.pop(seq)
        lane = peer.lanes[away.topic.name]
        lane.count -= 1
        lane.bytes -= away.item.size
        if not lane.count:
            del peer.lanes[away.topic.name]
        return away

    def _announce(self, topics: dict[str, int]) -> None:
        message = Wants(False, topics)
        for address in self._others():
            self._send(address, message)

    def _tell_all(self, addresses: list[str]) -> None:
        """Everything wanted, in as many messages as it takes; an empty one ends what was wanted before."""
        names = list(self._wants)
        for start in range(0, len(names) or 1, NAMES):
            message = Wants(start == 0, {name: self._wants[name] for name in names[start : start + NAMES]})
            for address in addresses:
                self._send(address, message)

    def _send(self, address: str, message: QueueMessage) -> bool:
        if self._sender is not None and self._sender.send(address, encode(message)):
            return True
        self.unreachable += 1
        return False
