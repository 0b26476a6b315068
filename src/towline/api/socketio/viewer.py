# SPDX-License-Identifier: Apache-2.0
"""One signed-in live connection: what it watches, what waits for it, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any, NamedTuple, cast

import engineio
from engineio import packet as engine_packet

from towline.api.socketio.guard import Guard
from towline.hub.actor import Actor
from towline.protocols.ardexa.events import FeedRequest

CLOSE_SLOW = 4013
"""Close code for a client that did not read fast enough; connect again."""

CLOSE_SIGNED_OUT = 4401
"""Close code for a client whose token has ended."""


CLOSE_ACCESS = 4403
"""Close code for a client whose user lost privileges; connect again with what is left."""


class Outbox(asyncio.Queue[Any]):
    """python-engineio's queue for one connection, knowing its size in bytes."""

    bytes_waiting: int

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self.bytes_waiting = 0

    def _put(self, item: Any) -> None:
        self.bytes_waiting += _size(item)
        super()._put(item)

    def _get(self) -> Any:
        item = super()._get()
        self.bytes_waiting -= _size(item)
        return item


def _size(item: Any) -> int:
    data = getattr(item, "data", None)
    return 16 + (len(data) if isinstance(data, str | bytes) else 0)


class EngineServer(engineio.AsyncServer):
    """python-engineio with outboxes that can be measured."""

    def create_queue(self, *args: Any, **kwargs: Any) -> Outbox:
        return Outbox(*args, **kwargs)


class Frame(NamedTuple):
    """An event, encoded once for any number of receivers."""

    packet: Any
    size: int


def frame(event: str, body: object) -> Frame:
    """``event`` with one argument, ready to send."""
    text = "2" + json.dumps([event, body], separators=(",", ":"), ensure_ascii=False)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # a lone surrogate, which JSON may spell and UTF-8 may not
        text = "2" + json.dumps([event, body], separators=(",", ":"))
        size = len(text)
    return Frame(cast(Any, engine_packet.Packet)(engine_packet.MESSAGE, text), size)


class Feed(NamedTuple):
    """One ``device:feed`` of a viewer."""

    feed_id: str
    request: FeedRequest


class Viewer:
    """One signed-in live connection."""

    def __init__(self, sid: str, socket: Any, guard: Guard, actor: Actor, limit: int, counters: Counter[str]) -> None:
        self.sid = sid
        self.actor = actor
        self.guard = guard
        self.watched: set[str] = set()
        self.feeds: dict[str, Feed] = {}
        self.requests: set[asyncio.Task[None]] = set()
        self.expiry: asyncio.TimerHandle | None = None
        self._socket = socket
        self._limit = limit
        self._counters = counters

    def emit(self, event: str, body: object) -> None:
        """An answer: never left out; the connection ends when it does not fit."""
        self.put(frame(event, body))

    def put(self, encoded: Frame, *, live: bool = False) -> None:
        """Queue an event. ``live`` data is left out (and counted) once the outbox is half full."""
        if self._socket.closed:
            return
        waiting = self._socket.queue.bytes_waiting
        if live and waiting + encoded.size > self._limit // 2 and waiting:
            self._counters["live.left_out_slow"] += 1
            return
        if waiting + encoded.size > self._limit and waiting:
            self._counters["live.closed_slow"] += 1
            self.guard.abort(CLOSE_SLOW)
            return
        self._socket.queue.put_nowait(encoded.packet)

    def quiet(self) -> bool:
        """Whether everything was sent that it has coming."""
        return self._socket.closed or not (self.requests or self._socket.queue.bytes_waiting or self.guard.sending)

    def over_limit(self) -> bool:
        """Whether more waits than may: acknowledgements count too."""
        waiting: int = self._socket.queue.bytes_waiting
        return waiting > self._limit
