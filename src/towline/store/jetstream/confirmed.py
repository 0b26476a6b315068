# SPDX-License-Identifier: Apache-2.0
"""Requests that the server confirms, sent again until it does: through cuts, restarts and elections of a leader.

What is sent more than once must be harmless: a push carries an id that the server knows again for two minutes, an ack is
the same twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from towline.errors import TowlineError, Unavailable

log = logging.getLogger("towline.store")

FAILURES: Final = (OSError, nats.errors.Error, asyncio.TimeoutError)

WAIT_S: Final = 20.0
"""So long a request may stay without a confirmation. The loss of a leader of three took 7 s; a restart takes as long."""

RESEND_S: Final = 2.0
"""A request without an answer is sent again."""

REFUSED_RESEND_S: Final = 0.25
"""So is one that nobody was there to take: no leader yet, or no such stream."""

TICK_S: Final = 0.1

NOT_NOW: Final = 503
"""Status and error code of what may succeed later."""


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, error: _Error) -> None:
        super().__init__(error.description)
        self.description = error.description
        self.err_code = error.err_code


class _Request:
    __slots__ = ("again_at", "deadline", "future", "headers", "payload", "reason", "subject")

    def __init__(
        self,
        subject: str,
        payload: bytes,
        headers: dict[str, str] | None,
        future: asyncio.Future[bytes],
        deadline: float,
    ) -> None:
        self.subject = subject
        self.payload = payload
        self.headers = headers
        self.future = future
        self.deadline = deadline
        self.again_at = float("inf")
        self.reason = "no answer"


class Confirmed:
    """:param now: monotonic seconds"""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._client: Client | None = None
        self._inbox = ""
        self._requests: dict[int, _Request] = {}
        self._number = 0
        self._out: deque[int | tuple[str, bytes, str]] = deque()
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.counters = dict.fromkeys(("requests", "sent_again", "unconfirmed", "untold"), 0)

    # -- the connection

    async def connected(self, client: Client) -> None:
        """A new connection: hear its answers."""
        inbox = client.new_inbox()
        await client.subscribe(inbox + ".*", cb=self._answered)
        self._inbox = inbox

    def up(self, client: Client) -> None:
        """It may send: first what is not confirmed, in order."""
        self._client = client
        self._out = deque(self._requests)
        self.counters["sent_again"] += len(self._out)
        self._wake.set()
        self._writer = self._loop.create_task(self._write(client))

    def down(self) -> None:
        """The connection is gone."""
        self._client = None
        self._out.clear()
        if self._writer is not None:
            self._writer.cancel()
            self._writer = None

    # -- requests

    def request(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> asyncio.Future[bytes]:
        """The answer's data. Refused; Unavailable ``topics.unconfirmed``, ``store.closed``."""
        if self._closed:
            raise Unavailable("store.closed", "the durable topics are closed")
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._number += 1
        request = _Request(subject, payload, headers, future, self._now() + WAIT_S)
        self._requests[self._number] = request
        self.counters["requests"] += 1
        if self._client is not None:
            self._out.append(self._number)
            self._wake.set()
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_S, self._tick)
        return future

    def tell(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Send without waiting for anything; lost when the connection is cut."""
        if self._client is None:
            self.counters["untold"] += 1
        else:
            self._out.append((subject, payload, reply))
            self._wake.set()

    async def _write(self, client: Client) -> None:
        out = self._out
        while True:
            if not out:
                self._wake.clear()
                await self._wake.wait()
                continue
            item = out.popleft()
            try:
                if isinstance(item, tuple):
                    await client.publish(item[0], item[1], reply=item[2])
                elif (request := self._requests.get(item)) is not None:
                    request.again_at = self._now() + RESEND_S
                    await client.publish(
                        request.subject, request.payload, reply=f"{self._inbox}.{item}", headers=request.headers
                    )
            except FAILURES:  # the connection ends; what was not confirmed goes to the next one
                await asyncio.sleep(0)

    async def _answered(self, message: Msg) -> None:
        number = int(message.subject.rpartition(".")[2])
        request = self._requests.get(number)
        if request is None:
            return  # confirmed before
        if message.headers and message.headers.get("Status") == str(NOT_NOW):
            request.again_at = self._now() + REFUSED_RESEND_S
            request.reason = "JetStream does not answer"
            return
        data = message.data
        if b'"error"' in data:
            error = _decode(data).error
            if error is not None:
                if error.code == NOT_NOW and not _final(error.description):
                    request.again_at = self._now() + REFUSED_RESEND_S
                    request.reason = error.description
                else:
                    self._end(number, Refused(error))
                return
        del self._requests[number]
        if not request.future.done():
            request.future.set_result(data)

    def _end(self, number: int, error: Exception) -> None:
        request = self._requests.pop(number)
        if not request.future.done():
            request.future.set_exception(error)

    def _tick(self) -> None:
        self._timer = None
        now = self._now()
        for number, request in list(self._requests.items()):
            if request.deadline <= now:
                self.counters["unconfirmed"] += 1
                self._end(number, unconfirmed(request.reason))
            elif request.again_at <= now and self._client is not None:
                request.again_at = now + RESEND_S
                self.counters["sent_again"] += 1
                self._out.append(number)
                self._wake.set()
        if self._requests:
            self._timer = self._loop.call_later(TICK_S, self._tick)

    async def close(self, seconds: float) -> None:
        """Wait a while for what is not confirmed, then give it up."""
        self._closed = True
        waiting = [request.future for request in self._requests.values() if not request.future.done()]
        if waiting and self._client is not None:
            await asyncio.wait(waiting, timeout=seconds)
        for number in list(self._requests):
            self._end(number, unconfirmed("the node stopped"))
        if self._timer is not None:
            self._timer.cancel()
        if self._client is not None:
            while self._out and self._client is not None:
                await asyncio.sleep(0.001)
        self.down()


def _final(description: str) -> bool:
    """What comes with 503 although waiting does not help: a full stream, a full disk."""
    return "maximum" in description or "insufficient" in description


def unconfirmed(reason: str) -> TowlineError:
    """It is not known whether a request was carried out."""
    return Unavailable(
        "topics.unconfirmed", f"JetStream did not confirm it in {WAIT_S:g} s ({reason}); it may have been stored"
    )
