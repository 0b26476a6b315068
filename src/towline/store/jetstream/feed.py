# SPDX-License-Identifier: Apache-2.0
"""Messages of one topic, asked for in batches (JetStream's pull requests). One request at a time is open.

A message that arrives is ours. What arrives after the fetch was given up is disowned at once; the server is told first that
nobody listens any more, so that it sends no more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from towline.store.base.topics import Delivery
from towline.store.jetstream.confirmed import FAILURES, Confirmed

EXPIRES_S: Final = 5.0
"""So long a pull request stays open at the server."""

PAUSE_S: Final = 0.25
"""Pause after a pull request that the server could not serve."""

RENEW_S: Final = 1.0
"""What lay here for longer has its time at the server started anew when it is taken."""

MAX_MESSAGE: Final = 512 * 1024
"""A pull request that is bounded by less would not be given a longer message."""

FROM: Final = "Towline-From"
"""Header of a message: the number of its node, a space, its client's id."""

_encode = msgspec.json.Encoder().encode


class Feed:
    """:param fresh_s: what was not taken for so long is disowned, before the server does it by itself"""

    def __init__(
        self, topic: str, pull_subject: str, confirmed: Confirmed, now: Callable[[], float], fresh_s: float
    ) -> None:
        self._topic = topic
        self._pull_subject = pull_subject
        self._confirmed = confirmed
        self._now = now
        self._fresh_s = fresh_s
        self._buffer: deque[tuple[float, Delivery]] = deque()
        self._client: Client | None = None
        self._subscription: Subscription | None = None
        self._inbox = ""
        self._number = 0
        self._asked = 0
        self._until = 0.0
        self._pause = 0.0
        self._goodbyes: set[asyncio.Task[None]] = set()
        self.more = asyncio.Event()
        """Set when there may be something to do for who waits."""

    def take(self, count: int, max_bytes: int) -> list[Delivery]:
        """What has arrived, bounded."""
        found: list[Delivery] = []
        size = 0
        now = self._now()
        while self._buffer and len(found) < count and size < max_bytes:
            at, delivery = self._buffer.popleft()
            if now - at > self._fresh_s:
                self._disown(delivery)
                continue
            if now - at > RENEW_S:
                self._confirmed.tell(str(delivery.ref), b"+WPI")  # its owner has the whole time
            found.append(delivery)
            size += len(delivery.data)
        return found

    async def wait(self, client: Client | None, count: int, max_bytes: int) -> None:
        """Ask for messages unless that was done; until something arrives or a while has passed."""
        now = self._now()
        if client is not None:
            if self._client is not client:
                await self._subscribe(client)
            if (self._asked <= 0 and now >= self._pause) or now >= self._until:
                self._ask(count, max_bytes)
        self.more.clear()
        if self._buffer:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE_S if client is None or self._asked <= 0 else self._until - now):
                await self.more.wait()

    async def _subscribe(self, client: Client) -> None:
        inbox = client.new_inbox()

        async def arrived(message: Msg) -> None:
            self._arrived(inbox, message)

        try:
            subscription = await client.subscribe(inbox + ".*", cb=arrived)
        except FAILURES:
            return  # the link brings another connection
        self._client, self._subscription, self._inbox, self._asked = client, subscription, inbox, 0

    def _ask(self, count: int, max_bytes: int) -> None:
        self._number += 1
        self._asked = count
        self._until = self._now() + EXPIRES_S + 0.5
        request = {
            "batch": count,
            "max_bytes": max(max_bytes, MAX_MESSAGE),
            "expires": round(EXPIRES_S * 1_000_000_000),
        }
        self._confirmed.tell(self._pull_subject, _encode(request), f"{self._inbox}.{self._number}")

    def _arrived(self, inbox: str, message: Msg) -> None:
        """On a subscription. A message has its own subject, a status that of the request."""
        headers = message.headers or {}
        if "Status" in headers:
            # The end of a request: nothing came in time, or its bounds were met, or there is no leader just now.
            if message.subject == f"{self._inbox}.{self._number}":
                self._asked = 0
                ended = headers["Status"] == "408" or headers.get("Description") == "Batch Completed"
                self._pause = 0.0 if ended else self._now() + PAUSE_S
                self.more.set()
            return
        delivery = self._delivery(message, headers)
        if self._subscription is None or inbox != self._inbox:
            self._disown(delivery)
            return
        self._asked -= 1
        self._buffer.append((self._now(), delivery))
        self.more.set()

    def _delivery(self, message: Msg, headers: dict[str, str]) -> Delivery:
        node, _, client_id = headers.get(FROM, "-1 ").partition(" ")
        return Delivery(self._topic, message.reply, int(node), client_id, _deliveries(message.reply), message.data)

    def _disown(self, delivery: Delivery) -> None:
        self._confirmed.tell(str(delivery.ref), b"-NAK")

    def stop(self) -> None:
        """Nobody waits for messages any more."""
        for _, delivery in self._buffer:
            self._disown(delivery)
        self._buffer.clear()
        client, subscription = self._client, self._subscription
        self._client, self._subscription = None, None
        if client is not None and subscription is not None:
            task = asyncio.get_running_loop().create_task(_end(client, subscription))
            self._goodbyes.add(task)
            task.add_done_callback(self._goodbyes.discard)

    async def stopped(self) -> None:
        """The server has heard that nobody waits."""
        if self._goodbyes:
            await asyncio.wait(self._goodbyes)


async def _end(client: Client, subscription: Subscription) -> None:
    """Tell the server first, and still hear what was on its way."""
    with contextlib.suppress(*FAILURES):
        await client._send_unsubscribe(subscription._id)
        await client.flush(timeout=2)
        while subscription.pending_msgs:
            await asyncio.sleep(0.001)
        await subscription.unsubscribe()


def _deliveries(ack_subject: str) -> int:
    """``$JS.ACK.<stream>.<consumer>.<deliveries>.…``, or with domain and account before the stream."""
    parts = ack_subject.split(".")
    return int(parts[4] if len(parts) == 9 else parts[6])


def sequence(ack_subject: str) -> str:
    """The number of the message in its stream."""
    parts = ack_subject.split(".")
    return parts[5] if len(parts) == 9 else parts[7]
