# SPDX-License-Identifier: Apache-2.0
"""The same clients for plain scripts, without ``async``.

::

    from towline.client.sync import Consumer, PushClient

    with PushClient("http://127.0.0.1:6789") as push:
        print(push.publish("news", "hello").sent)

    with Consumer("orders") as consumer:
        for event in consumer:
            print(event.client_id, event.data)

Each client runs the asynchronous one on an event loop in a thread of its own. They may be used from several threads; Ctrl-C
interrupts what waits.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, TypeVar

from towline.client.consumer import Consumer as AsyncConsumer
from towline.client.event import Event
from towline.client.push import Counts, Kind, PushError
from towline.client.push import PushClient as AsyncPushClient
from towline.errors import Unavailable

__all__ = ["Consumer", "Counts", "Event", "PushClient", "PushError"]

T = TypeVar("T")

TAKE = 100
"""Messages fetched from the loop's thread at once."""


class _Thread:
    """An event loop in a thread."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``. An interrupt (Ctrl-C) cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def soon(self, work: Callable[[], None]) -> None:
        """Do it there, and do not wait."""
        self._loop.call_soon_threadsafe(work)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)


class PushClient:
    """As :class:`towline.client.PushClient`, with the same parameters; calls return when the node has answered."""

    def __init__(self, url: str = "http://127.0.0.1:6789", **options: Any) -> None:
        self._make: Callable[[], AsyncPushClient] = lambda: AsyncPushClient(url, **options)
        self._thread: _Thread | None = None
        self._client: AsyncPushClient

    def open(self) -> PushClient:
        """Begin to connect; a call waits until it is connected. ``with`` does it too."""
        if self._thread is None:
            thread = _Thread("towline-push")
            try:
                self._client = thread.run(_entered(self._make))
            except BaseException:
                thread.close()
                raise
            self._thread = thread
        return self

    def close(self) -> None:
        """Close the socket and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                thread.run(self._client.close())
            finally:
                thread.close()

    def __enter__(self) -> PushClient:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def publish(self, channel: str, data: str | bytes, kind: Kind | None = None) -> Counts:
        """Send to every subscriber of ``channel``."""
        thread = self._opened()
        return thread.run(self._client.publish(channel, data, kind))

    def send(self, client_id: str, data: str | bytes, kind: Kind | None = None) -> None:
        """Send to one client. PushError ``push.401`` when it is not connected or cannot take it."""
        thread = self._opened()
        thread.run(self._client.send(client_id, data, kind))

    def call(self, client_id: str, function: str, *arguments: Any) -> None:
        """``set_context``, ``set_context_value``, ``subscribe`` or ``unsubscribe`` on a client's connection."""
        thread = self._opened()
        thread.run(self._client.call(client_id, function, *arguments))

    def _opened(self) -> _Thread:
        if self._thread is None:
            raise Unavailable("push.closed", "the push client is closed; use it as `with PushClient(...)`")
        return self._thread


class Consumer:
    """As :class:`towline.client.Consumer`, with the same parameters; an iterator over messages.

    A message of a durable topic is acked when the thread that got it asks for the next one, or leaves the ``with`` without an
    exception; with ``auto_ack=False`` by :meth:`ack`.
    """

    def __init__(self, *topics: str, auto_ack: bool = True, **options: Any) -> None:
        self._make: Callable[[], AsyncConsumer] = lambda: AsyncConsumer(*topics, **options)
        self._auto_ack = auto_ack
        self._local = threading.local()
        self._thread: _Thread | None = None
        self._consumer: AsyncConsumer
        self._events: deque[Event] = deque()
        self._closed = False

    def open(self) -> Consumer:
        """Begin to consume. ``with`` does it too."""
        if self._thread is None:
            thread = _Thread("towline-consumer")
            try:
                self._consumer = thread.run(_entered(self._make))
            except BaseException:
                thread.close()
                raise
            self._thread = thread
            self._closed = False
        return self

    def close(self) -> None:
        """Stop consuming and end the thread. The iterator gives what is here already, and ends."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._closed = True
            try:
                thread.run(self._consumer.close())
            finally:
                thread.close()
            self._events.extend(self._consumer.take(sys.maxsize))

    def __enter__(self) -> Consumer:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._done_with_current()
        self.close()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        """The next message, however long that takes; PushError when the node refuses for good."""
        event = self.get()
        if event is None:
            raise StopIteration
        return event

    def get(self, timeout: float | None = None) -> Event | None:
        """The next message; None when none comes within ``timeout`` seconds, or the consumer is closed."""
        self._done_with_current()
        while True:
            while not self._events:
                thread = self._thread
                if thread is None:
                    if self._closed:
                        return None
                    raise Unavailable("push.closed", "the consumer is not open; use it as `with Consumer(...)`")
                taken = thread.run(_within(self._consumer, timeout))
                if not taken:
                    return None
                self._events.extend(taken)
            event = self._events.popleft()
            if not event.stale:
                break
        if self._auto_ack:
            self._local.current = event
        return event

    def ack(self, event: Event) -> bool:
        """It was dealt with. As :meth:`towline.client.Event.ack`."""
        return self._opened().run(event.ack())

    def nack(self, event: Event, delay_s: float = 0.0) -> bool:
        """It could not be dealt with. As :meth:`towline.client.Event.nack`."""
        return self._opened().run(event.nack(delay_s))

    def _done_with_current(self) -> None:
        event: Event | None = getattr(self._local, "current", None)
        self._local.current = None
        if event is not None and event.receipt is not None and self._thread is not None:
            self._thread.soon(event.ack_soon)

    def _opened(self) -> _Thread:
        if self._thread is None:
            raise Unavailable("push.closed", "the consumer is not open; use it as `with Consumer(...)`")
        return self._thread


async def _entered(make: Callable[[], Any]) -> Any:
    # Made on the loop that it will live on.
    return await make().__aenter__()


async def _within(consumer: AsyncConsumer, timeout: float | None) -> list[Event]:
    # Waiting is cancelled, taking is not: no message is lost to a timeout.
    waiting = asyncio.ensure_future(consumer.wait())
    try:
        await asyncio.wait((waiting,), timeout=timeout)
        if waiting.done():
            waiting.result()
    finally:
        waiting.cancel()
    return consumer.take(TAKE)
