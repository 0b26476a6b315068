# SPDX-License-Identifier: Apache-2.0
"""Messages from clients of the gateway to a back end: topics, consumed at every node (spec connmix §3).

Topics in memory are delivered at most once: what the node had written when a connection was lost does not come again. Durable
topics (our extension) are delivered at least once: what was not acked comes again. Messages of one topic and node come in
order. A worker that is slower than its clients leaves the rest in the nodes' topics, where others can take it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgspec
import picows

from towline.client import nodes
from towline.client.acks import AckingListener
from towline.client.event import Event, Receipt
from towline.client.keepalive import keep_alive
from towline.client.push import FIRST_DELAY_S, LAST_DELAY_S, LOST_EARLY, PushError, quiet, refusal, socket_url
from towline.errors import TowlineError, Unavailable

log = logging.getLogger("towline.client")

FATAL = frozenset({101, 403})
"""Answers to ``queue.pop`` that trying again will not change."""


class _Params(msgspec.Struct):
    n: int = -1
    c: str = ""
    t: str = ""
    d: Any = None
    a: str | None = None
    r: int = 1


class _Frame(msgspec.Struct):
    e: str | None = None
    p: _Params | None = None
    E: dict[str, Any] | None = None
    r: dict[str, Any] | None = None
    i: int | None = None


_decode = msgspec.json.Decoder(_Frame).decode


class Consumer:
    """Consumes topics, as an async iterator::

        async with Consumer("orders") as consumer:
            async for event in consumer:
                print(event.client_id, event.data)

    It stays connected to the node of ``url`` and, as ``/v1/nodes`` lists them, to all others; lost connections are opened
    again with backoff and jitter. The iterator ends when the consumer is closed; it raises PushError when the node of
    ``url`` refuses it for good (101, 403, an HTTP status of 400 to 499).

    A message of a durable topic is acked when the loop asks for the next one, or leaves the ``async with`` without an
    exception: its body is done with it. One whose body raised comes again. With ``auto_ack=False`` only
    :meth:`Event.ack` acks, in any order, from any task. Acks that came too late are counted in :attr:`late`.

    :param url: ``http://host:6789`` or ``ws://…`` of any node; user and password may stand in it
    :param every_node: False: stay with the one node, which passes on what waits elsewhere without a consumer
    :param buffer: messages held here before reading pauses
    :param prefetch: messages of a durable topic that a node may give without an ack; the last of them should be acked within
        the topic's ``ack_s``. 0: what the topic allows
    :param ping_s: how often to say that a socket lives; a node that answers three times nothing is given up
    :param nodes_s: how often to ask for the nodes
    """

    def __init__(
        self,
        *topics: str,
        url: str = "http://127.0.0.1:6789",
        username: str = "",
        password: str = "",
        every_node: bool = True,
        buffer: int = 1000,
        prefetch: int = 16,
        auto_ack: bool = True,
        ping_s: float = 20.0,
        nodes_s: float = 30.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._topics = list(topics)
        self._seed, self._headers = socket_url(url, username, password)
        self._every_node = every_node
        self._limit = buffer
        self._prefetch = prefetch
        self._auto_ack = auto_ack
        self._current: Event | None = None
        self._ping_s = ping_s
        self._nodes_s = nodes_s
        self._jitter = jitter
        self._events: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._sockets: dict[str, asyncio.Task[None]] = {}
        self._listeners: set[_Listener] = set()
        self._watch: asyncio.Task[None] | None = None
        self._reading: set[picows.WSTransport] = set()
        self._paused = False
        self._problem: TowlineError | None = None
        self._closed = False
        self.consuming: set[str] = set()
        """Addresses of the nodes that it consumes at now."""
        self.reconnects = 0
        self.late = 0
        """Acks that came too late, or that the node did not take: these messages come again."""

    async def __aenter__(self) -> Consumer:
        self._open(self._seed)
        if self._every_node:
            self._watch = asyncio.get_running_loop().create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._done_with_current()
        await self.close()

    async def close(self) -> None:
        """Stop consuming. Messages of topics in memory that are here already can still be read from the iterator; those of
        durable topics come again elsewhere."""
        self._closed = True
        self._current = None
        await asyncio.gather(*[listener.flushed() for listener in list(self._listeners)])
        tasks = [*self._sockets.values(), *([self._watch] if self._watch else [])]
        self._sockets.clear()
        self._watch = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._arrived.set()

    def __aiter__(self) -> Consumer:
        return self

    async def __anext__(self) -> Event:
        self._done_with_current()
        if not await self.wait():
            raise StopAsyncIteration
        event = self._pop()
        if event.receipt is not None and self._auto_ack:
            self._current = event
        return event

    async def wait(self) -> bool:
        """True as soon as a message is here, False once the consumer is closed and none is left."""
        while not self._events:
            if self._problem is not None:
                raise self._problem
            if self._closed:
                return False
            if not self._sockets:
                raise Unavailable("push.closed", "the consumer is not open; use it as `async with Consumer(...)`")
            self._arrived.clear()
            await self._arrived.wait()
        return True

    def take(self, most: int) -> list[Event]:
        """Messages that are here already, ``most`` at most. The caller acks them."""
        return [self._pop() for _ in range(min(most, len(self._events)))]

    def _pop(self) -> Event:
        event = self._events.popleft()
        if self._paused and len(self._events) <= self._limit // 2:
            self._paused = False
            for transport in self._reading:
                transport.underlying_transport.resume_reading()
        return event

    def _done_with_current(self) -> None:
        current, self._current = self._current, None
        if current is not None:
            current.ack_soon()

    # -- the nodes

    async def _follow(self) -> None:
        """Keep a socket to every node that the mesh has."""
        async with nodes.client(self._headers) as client:
            while True:
                listed = await nodes.learn(client, self._seed)
                if listed is not None:
                    wanted = set(nodes.others(self._seed, listed))
                    for url in wanted - self._sockets.keys():
                        self._open(url)
                    for url in self._sockets.keys() - wanted - {self._seed}:
                        self._sockets.pop(url).cancel()
                await asyncio.sleep(self._nodes_s * (0.75 + self._jitter() / 2))

    def _open(self, url: str) -> None:
        self._sockets[url] = asyncio.get_running_loop().create_task(self._stay(url))

    # -- one socket

    async def _stay(self, url: str) -> None:
        delay = FIRST_DELAY_S
        while True:
            listener = _Listener(self, url)
            try:
                transport, connected = await picows.ws_connect(
                    lambda listener=listener: listener,
                    url,
                    extra_headers=self._headers,
                    logger_name=quiet,
                    max_frame_size=16 * 1024 * 1024,
                    websocket_handshake_timeout=10.0,
                )
                if connected is None:
                    raise ConnectionError(LOST_EARLY)
            except (OSError, picows.WSError, TimeoutError) as error:
                problem = refusal(error)
                if problem is not None and url == self._seed:
                    self._fail(problem)
                    return
                log.info("push API not reachable", extra={"url": url, "reason": str(error), "retry_in_s": delay})
            else:
                await self._use(transport, url, listener)
                self.reconnects += 1
                if listener.consumed:
                    delay = FIRST_DELAY_S
                if self._problem is not None and url == self._seed:
                    return
            await asyncio.sleep(delay * (0.5 + self._jitter()))
            delay = min(delay * 2, LAST_DELAY_S)

    async def _use(self, transport: picows.WSTransport, url: str, listener: _Listener) -> None:
        """Consume until the socket is gone; ping now and then."""
        pop = {"m": "queue.pop", "p": {"t": self._topics, "n": self._prefetch}, "i": 1}
        transport.send(picows.WSMsgType.TEXT, msgspec.json.encode(pop))
        listener.transport = transport
        self._listeners.add(listener)
        self._reading.add(transport)
        if self._paused:
            transport.underlying_transport.pause_reading()
        try:
            # While reading pauses, the node's answers wait too.
            await keep_alive(transport, self._ping_s, lambda: listener.something_came() or self._paused)
        finally:
            self._reading.discard(transport)
            self._listeners.discard(listener)
            listener.lost()
            # What the node gives to others now is not for us any more.
            self._events = deque(
                one for one in self._events if one.receipt is None or one.receipt.socket is not listener
            )
            self.consuming.discard(url)
            transport.disconnect(graceful=False)

    def received(self, listener: _Listener, text: bytes) -> None:
        """An event, or the answer to an ack."""
        frame = _decode(text)
        if frame.e != "queue.pop" or frame.p is None:
            if frame.i is not None:
                listener.answered(frame.i, frame.E, frame.r or {})
            return
        event = frame.p
        receipt = None if event.a is None else Receipt(listener, event.a)
        self._events.append(Event(event.n, event.c, event.t, event.d, event.r, receipt))
        self._arrived.set()
        if len(self._events) >= self._limit and not self._paused:
            self._paused = True
            for transport in self._reading:
                transport.underlying_transport.pause_reading()

    def answered(self, url: str, text: bytes) -> bool:
        """The answer to ``queue.pop``: whether this socket consumes now."""
        refused = _decode(text).E
        if refused is None:
            self.consuming.add(url)
            return True
        code, message = refused.get("c"), str(refused.get("m"))
        if code in FATAL and url == self._seed:
            self._fail(PushError(f"push.{code}", message))
        log.warning("the node gives no messages", extra={"url": url, "reason": message})
        return False

    def _fail(self, problem: TowlineError) -> None:
        self._problem = problem
        self._arrived.set()


class _Listener(AckingListener):
    def __init__(self, consumer: Consumer, url: str) -> None:
        super().__init__(consumer)
        self._consumer = consumer
        self._url = url
        self.consumed = False
        self._heard = False

    def something_came(self) -> bool:
        """Whether it did since this was asked last."""
        heard, self._heard = self._heard, False
        return heard

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        self._heard = True
        if frame.msg_type is picows.WSMsgType.TEXT:
            text = frame.get_payload_as_bytes()
            if text == b"pong":
                return
            try:
                if self.consumed:
                    self._consumer.received(self, text)
                    return
                # The answer comes before the first event.
                self.consumed = self._consumer.answered(self._url, text)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                log.warning("an event cannot be read", extra={"url": self._url, "reason": str(error)})
            if not self.consumed:
                transport.disconnect()
        elif frame.msg_type is picows.WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
