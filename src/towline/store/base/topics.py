# SPDX-License-Identifier: Apache-2.0
"""Durable topics: messages of clients that wait for back ends, kept through restarts.

At least once. A message is in the store from the moment its push is done until its ack is done. Between, whoever fetched it
owns it; it comes again after :meth:`TopicStore.release`, and when its owner dies: at once where the store lives in the
owner's process (SQLite), after the topic's ``ack_s`` and :data:`ACK_SLACK_S` where it is shared (JetStream).

Messages come in the order in which they were stored, except that one that comes again passes newer ones.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Final, NamedTuple, Protocol

from towline.errors import Unavailable

ACK_SLACK_S: Final = 5.0
"""How much longer than its own time an owner is given before a shared store gives its messages to another."""

OVERHEAD: Final = 256
"""What a message is reckoned to take besides its data, in bytes."""


class TopicFull(Unavailable):
    """A topic holds as many messages (``queue.full``) or bytes (``queue.bytes``) as it may."""


class TopicSpec(NamedTuple):
    """A topic as it is declared."""

    name: str
    max_messages: int
    max_bytes: int
    """of all messages, :data:`OVERHEAD` added for each"""
    ack_s: float


class Delivery(NamedTuple):
    """A message that was fetched. ``ref`` is the store's own name for it; ``data`` is JSON text."""

    topic: str
    ref: str | int
    node: int
    client_id: str
    deliveries: int
    """How often it was fetched, this time included."""
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data) + OVERHEAD


class Depth(NamedTuple):
    """What a topic holds, fetched messages included."""

    messages: int
    bytes: int


class TopicStore(Protocol):
    """The declared topics of one node or mesh. A topic that was not declared is a KeyError.

    Errors besides those a method names: Unavailable ``store.closed``, ``store.full`` (disk) and ``store.write_failed``
    (nothing was changed), ``topics.unconfirmed`` (it is not known whether it was).
    """

    def push(self, topic: str, node: int, client_id: str, data: bytes) -> Awaitable[int]:
        """Store a message. Done once it is safe, with the number of messages that the topic holds then. Pushes to one
        topic are stored in the order of their calls. TopicFull, at once or when awaited."""
        ...

    async def fetch(self, topic: str, count: int, max_bytes: int) -> list[Delivery]:
        """Own up to ``count`` messages, at least one: waits until there is one. Stops after the message that passes
        ``max_bytes``. One call at a time for a topic; a cancelled call owns nothing."""
        ...

    def ack(self, deliveries: Sequence[Delivery]) -> Awaitable[None]:
        """Messages were dealt with: done once they will not come again."""
        ...

    def release(self, deliveries: Sequence[Delivery], delay_s: float = 0.0) -> None:
        """Disown messages: they can be fetched again after ``delay_s``, whatever the network does at the latest after the
        topic's ``ack_s`` and :data:`ACK_SLACK_S`."""
        ...

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """The owner still has them; a shared store starts their time anew."""
        ...

    async def bury(self, delivery: Delivery, target: str, data: bytes) -> None:
        """Ack a message and store ``data`` in another topic in its stead, with its node and client. TopicFull: nothing
        was changed. A shared store may leave both when it fails in between, never neither."""
        ...

    def depth(self, topic: str) -> Depth:
        """As far as this node knows now."""
        ...

    def counters(self) -> dict[str, int]:
        """Since the store was opened; names differ by implementation."""
        ...

    async def close(self) -> None:
        """Finish what was begun, then close. What is owned can be fetched by others."""
        ...
