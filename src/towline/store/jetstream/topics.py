# SPDX-License-Identifier: Apache-2.0
"""The store of durable topics on JetStream."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from towline.clock import Clock
from towline.errors import TowlineError, Unavailable
from towline.store.base.topics import OVERHEAD, Delivery, Depth, TopicFull, TopicSpec
from towline.store.jetstream.confirmed import FAILURES, Confirmed, Refused
from towline.store.jetstream.feed import FROM, Feed, sequence
from towline.store.jetstream.setup import CONSUMER, prepare_topic

log = logging.getLogger("towline.store")

LOOK_S: Final = 2.0
"""How often the server is asked what topics hold."""

CLOSE_S: Final = 5.0


class Topic:
    """One topic: its stream, and what is known of it here."""

    def __init__(self, spec: TopicSpec, realm: str, confirmed: Confirmed, now: Callable[[], float]) -> None:
        slug = _slug(spec.name)
        self.spec = spec
        self.stream = f"towline-{realm}-topic-{slug}"
        self.subject = f"towline.{realm}.topic.{slug}"
        pull = f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{CONSUMER}"
        self.feed = Feed(spec.name, pull, confirmed, now, spec.ack_s)
        self.messages = 0
        self.bytes = 0

    def change(self, messages: int, size: int) -> None:
        """As far as it is done here; what other nodes do is seen at the next look."""
        self.messages = max(0, self.messages + messages)
        self.bytes = max(0, self.bytes + size)


class JetStreamTopics:
    """Fulfils :class:`towline.store.base.topics.TopicStore`.

    Whoever makes it gives it connections, one after the other: :meth:`connected` (before it is used), :meth:`up`,
    :meth:`down`. :meth:`start` is called once the first is up.

    :param realm: name of the mesh; stands in the names of streams and subjects
    :param replicas: copies of each stream
    """

    def __init__(self, specs: Sequence[TopicSpec], clock: Clock, *, realm: str, replicas: int = 1) -> None:
        self._clock = clock
        self._replicas = replicas
        self._loop = asyncio.get_running_loop()
        self._confirmed = Confirmed(clock.monotonic)
        self._topics = {spec.name: Topic(spec, realm, self._confirmed, clock.monotonic) for spec in specs}
        self._owned: dict[str | int, Delivery] = {}
        self._client: Client | None = None
        self._me = uuid.uuid4().hex[:16]
        self._pushes = 0
        self._looker: asyncio.Task[None] | None = None
        self._closed = False

    # -- the connection

    async def connected(self, client: Client) -> None:
        """A new connection, not in use yet."""
        await self._confirmed.connected(client)

    def up(self, client: Client) -> None:
        """It is in use from now on."""
        self._client = client
        self._confirmed.up(client)
        for topic in self._topics.values():
            topic.feed.more.set()

    def down(self) -> None:
        """It is gone."""
        self._client = None
        self._confirmed.down()

    async def start(self) -> None:
        """Make or check streams. StartError ``topics.no_jetstream``, ``topics.replicas``, ``topics.stream``."""
        client = self._client
        if client is None:
            raise Unavailable("bus.unreachable", "the bus is cut at present")
        for topic in self._topics.values():
            state = await prepare_topic(client, topic.spec, topic.stream, topic.subject, self._replicas)
            topic.messages, topic.bytes = state
        self._looker = self._loop.create_task(self._look())

    # -- in

    def push(self, topic: str, node: int, client_id: str, data: bytes) -> Awaitable[int]:
        """See :meth:`towline.store.base.topics.TopicStore.push`. Also Unavailable ``topics.unconfirmed``."""
        found = self._topics[topic]
        self._pushes += 1
        return self._stored(found, self._publish(found, f"{self._me}-{self._pushes}", node, client_id, data), data)

    def _publish(self, topic: Topic, number: str, node: int, client_id: str, data: bytes) -> asyncio.Future[bytes]:
        headers = {"Nats-Msg-Id": number, FROM: f"{node} {client_id}"}
        return self._confirmed.request(topic.subject, data, headers)

    def _stored(self, topic: Topic, answer: asyncio.Future[bytes], data: bytes) -> asyncio.Future[int]:
        done: asyncio.Future[int] = self._loop.create_future()
        answer.add_done_callback(partial(self._confirm, topic, len(data) + OVERHEAD, done))
        return done

    def _confirm(self, topic: Topic, size: int, done: asyncio.Future[int], answer: asyncio.Future[bytes]) -> None:
        error = answer.exception()
        if error is None:
            topic.change(1, size)
        if done.done():
            return
        if error is None:
            done.set_result(topic.messages)
        else:
            done.set_exception(_as_ours(error, topic.spec))

    # -- out

    async def fetch(self, topic: str, count: int, max_bytes: int) -> list[Delivery]:
        """See :meth:`towline.store.base.topics.TopicStore.fetch`."""
        feed = self._topics[topic].feed
        try:
            while True:
                self._check_open()
                if fetched := feed.take(count, max_bytes):
                    for one in fetched:
                        self._owned[one.ref] = one
                    return fetched
                await feed.wait(self._client, count, max_bytes)
        except BaseException:
            feed.stop()
            raise

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See :meth:`towline.store.base.topics.TopicStore.ack`."""
        self._check_open()
        answers = [self._confirmed.request(str(one.ref), b"+ACK") for one in deliveries]
        for one, answer in zip(deliveries, answers, strict=True):
            answer.add_done_callback(partial(self._acked, one))
        results = await asyncio.gather(*answers, return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        if failed:
            raise _as_ours(failed[0], self._topics[deliveries[0].topic].spec)

    def _acked(self, delivery: Delivery, answer: asyncio.Future[bytes]) -> None:
        if not answer.cancelled() and answer.exception() is None and self._owned.pop(delivery.ref, None) is not None:
            self._topics[delivery.topic].change(-1, -delivery.size)

    def release(self, deliveries: Sequence[Delivery], delay_s: float = 0.0) -> None:
        """See :meth:`towline.store.base.topics.TopicStore.release`."""
        word = b'-NAK {"delay":%d}' % round(delay_s * 1_000_000_000) if delay_s else b"-NAK"
        for one in deliveries:
            if self._owned.pop(one.ref, None) is not None:
                self._confirmed.tell(str(one.ref), word)

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """See :meth:`towline.store.base.topics.TopicStore.extend`."""
        for one in deliveries:
            self._confirmed.tell(str(one.ref), b"+WPI")

    async def bury(self, delivery: Delivery, target: str, data: bytes) -> None:
        """See :meth:`towline.store.base.topics.TopicStore.bury`. Stored there first; once for each message, while the server
        remembers it."""
        self._check_open()
        topic, found = self._topics[delivery.topic], self._topics[target]
        number = f"{topic.stream}-{sequence(str(delivery.ref))}"
        await self._stored(found, self._publish(found, number, delivery.node, delivery.client_id, data), data)
        await self.ack([delivery])

    # -- care

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("store.closed", "the durable topics are closed")

    async def _look(self) -> None:
        """Ask now and then what topics hold; make again what is gone."""
        while True:
            await asyncio.sleep(LOOK_S)
            for topic in self._topics.values():
                client = self._client
                if client is None:
                    break
                try:
                    try:
                        info = await client.jetstream(timeout=2).stream_info(topic.stream)
                    except nats.js.errors.NotFoundError:
                        log.error(
                            "the stream of a durable topic is gone; it is made anew", extra={"stream": topic.stream}
                        )
                        await prepare_topic(client, topic.spec, topic.stream, topic.subject, self._replicas)
                        continue
                    topic.messages, topic.bytes = info.state.messages, info.state.bytes
                    if not info.state.consumer_count:
                        await prepare_topic(client, topic.spec, topic.stream, topic.subject, self._replicas)
                except (*FAILURES, nats.js.errors.Error, TowlineError) as error:
                    log.debug("a topic's state is not known", extra={"topic": topic.spec.name, "reason": repr(error)})

    def depth(self, topic: str) -> Depth:
        """See :meth:`towline.store.base.topics.TopicStore.depth`: of the last look, and what was done here since."""
        found = self._topics[topic]
        return Depth(found.messages, found.bytes)

    def counters(self) -> dict[str, int]:
        """``requests``, ``sent_again``, ``unconfirmed``, ``untold`` (releases that a cut swallowed)."""
        return dict(self._confirmed.counters)

    async def close(self) -> None:
        """Wait a while for confirmations, disown what is owned."""
        if self._closed:
            return
        self._closed = True
        # More than once: a request of the client library that is answered just then swallows a cancellation.
        while self._looker is not None and not self._looker.done():
            self._looker.cancel()
            await asyncio.wait([self._looker], timeout=0.1)
        self.release(list(self._owned.values()))
        for topic in self._topics.values():
            topic.feed.stop()
            topic.feed.more.set()
        for topic in self._topics.values():
            await topic.feed.stopped()
        await self._confirmed.close(CLOSE_S)
        self._client = None


def _slug(name: str) -> str:
    """A token for names of streams and subjects. Not every name is one as it stands."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        return name
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)[:40]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _as_ours(error: Any, spec: TopicSpec) -> TowlineError:
    if isinstance(error, TowlineError):
        return error
    if isinstance(error, Refused):
        if "maximum messages" in error.description:
            return TopicFull("queue.full", f"queue is full: the topic {spec.name!r} holds {spec.max_messages} messages")
        if "maximum bytes" in error.description:
            return TopicFull("queue.bytes", f"queue is full: the topic {spec.name!r} holds {spec.max_bytes} bytes")
        if "insufficient" in error.description or "storage" in error.description:
            return Unavailable("store.full", f"nothing was stored: {error.description}")
    return Unavailable("store.write_failed", f"nothing was stored: {error}")
