# SPDX-License-Identifier: Apache-2.0
"""What an endpoint does on every bus: match replies with calls, serve calls, keep the receiver's errors to itself."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Literal

from towline.bus import envelope
from towline.bus.base import MAX_PAYLOAD, BusCallError, BusTimeout, BusUnreachable, Kind, Member, Receiver
from towline.clock import Clock
from towline.errors import InvalidInput, TowlineError

log = logging.getLogger("towline.bus")

MAX_QUEUED = 100_000
"""Messages that may wait in one queue."""

MAX_QUEUED_BYTES = 64 * 1024 * 1024
"""Bytes of payload that may wait in one queue."""

COUNTERS = (
    "sent",
    "received",
    "calls_sent",
    "calls_received",
    "events_sent",
    "events_received",
    "dropped_full",
    "dropped_unreachable",
    "dropped_cut",
    "dropped_incoming",
    "timeouts",
    "late_replies",
    "receiver_errors",
    "version_refused",
    "malformed",
    "number_lost",
)


class LocalEndpoint(ABC):
    """The half of an endpoint that does not know how bytes travel. Lives on one event loop."""

    def __init__(self, clock: Clock, kind: Kind, receiver: Receiver, info: dict[str, str] | None) -> None:
        self.kind = kind
        self.info = dict(info or {})
        self.started_us = clock.now_us()
        self.count = dict.fromkeys(COUNTERS, 0)
        self.closed = False
        self._clock = clock
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._address = f"{kind}-{self.started_us // 1000:x}-{secrets.token_hex(8)}"
        self._correlations = itertools.count(1)
        self._calls: dict[int, tuple[str, asyncio.Future[bytes]]] = {}
        self._serving: set[asyncio.Future[None]] = set()

    @property
    def address(self) -> str:
        return self._address

    @property
    @abstractmethod
    def number(self) -> int: ...

    @abstractmethod
    def reachable(self, to: str) -> bool:
        """Whether ``to`` is a living member and the bus is not cut."""

    @abstractmethod
    def post(self, to: str, kind: int, correlation: int, payload: bytes) -> bool:
        """Queue for ``to``'s inbox; False and counted when it is certainly not going to arrive."""

    def me(self) -> Member:
        return Member(self._address, self.kind, self.number, self.started_us, self.info)

    def counters(self) -> dict[str, int]:
        return dict(self.count)

    # Out

    def send(self, to: str, payload: bytes) -> bool:
        check(payload)
        if not self.reachable(to):
            self.count["dropped_unreachable"] += 1
            return False
        if not self.post(to, envelope.SEND, 0, payload):
            return False
        self.count["sent"] += 1
        return True

    async def call(self, to: str, payload: bytes, timeout: float) -> bytes:
        check(payload)
        if not self.reachable(to):
            self.count["dropped_unreachable"] += 1
            raise BusUnreachable("bus.unreachable", f"{to} is not a living member of the bus")
        correlation = next(self._correlations)
        reply: asyncio.Future[bytes] = self._loop.create_future()
        self._calls[correlation] = (to, reply)
        try:
            if not self.post(to, envelope.CALL, correlation, payload):
                raise BusUnreachable("bus.full", f"too much is waiting on the way to {to}")
            self.count["calls_sent"] += 1
            async with asyncio.timeout(timeout):
                return await reply
        except TimeoutError:
            self.count["timeouts"] += 1
            raise BusTimeout("bus.timeout", f"{to} did not reply within {timeout:g} s") from None
        finally:
            self._calls.pop(correlation, None)

    # In

    def deliver(self, kind: int, sender: str, correlation: int, payload: bytes) -> None:
        """Hand one message to the receiver or to the call that waits for it. Never raises."""
        if kind == envelope.SEND:
            self.count["received"] += 1
            try:
                self._receiver.on_message(sender, payload)
            except Exception:
                self._failed("on_message", sender)
        elif kind == envelope.CALL:
            self.count["calls_received"] += 1
            self._serve(sender, correlation, payload)
        elif kind in (envelope.REPLY, envelope.ERROR):
            self._settle(kind, sender, correlation, payload)
        elif kind == envelope.EVENT:
            self.count["events_received"] += 1
            try:
                self._receiver.on_event(sender, payload)
            except Exception:
                self._failed("on_event", sender)

    def joined(self, member: Member) -> None:
        try:
            self._receiver.on_joined(member)
        except Exception:
            self._failed("on_joined", member.address)

    def left(self, member: Member, cause: Literal["closed", "silent"]) -> None:
        """Tell the receiver, and end the calls that ``member`` can no longer answer."""
        for to, reply in list(self._calls.values()):
            if to == member.address and not reply.done():
                reply.set_exception(BusTimeout("bus.left", f"{to} left the bus before it replied"))
        try:
            self._receiver.on_left(member, cause)
        except Exception:
            self._failed("on_left", member.address)

    def stop(self) -> None:
        """No more deliveries; own calls end, calls being served are cancelled."""
        self.closed = True
        for _, reply in self._calls.values():
            if not reply.done():
                reply.set_exception(BusTimeout("bus.closed", "the bus endpoint was closed before the reply came"))
        for task in self._serving - {asyncio.current_task()}:
            task.cancel()

    async def stopped(self) -> None:
        """Wait until cancelled calls have ended."""
        if others := self._serving - {asyncio.current_task()}:
            await asyncio.wait(others)

    def _settle(self, kind: int, sender: str, correlation: int, payload: bytes) -> None:
        to, reply = self._calls.get(correlation, ("", None))
        if reply is None or reply.done() or to != sender:
            self.count["late_replies"] += 1
        elif kind == envelope.REPLY:
            reply.set_result(payload)
        else:
            try:
                failure = envelope.unpack_failure(payload)
            except envelope.Refusal:
                self.count["malformed"] += 1
                failure = envelope.Failure("internal", "the callee failed in a way that cannot be read")
            reply.set_exception(BusCallError(failure.code, failure.message))

    def _serve(self, sender: str, correlation: int, payload: bytes) -> None:
        try:
            answer = self._receiver.on_call(sender, payload)
        except Exception as error:
            self._refuse(sender, correlation, error)
            return
        if isinstance(answer, bytes):
            self._answer(sender, correlation, answer)
            return
        task = asyncio.ensure_future(self._finish(sender, correlation, answer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _finish(self, sender: str, correlation: int, answer: Awaitable[bytes]) -> None:
        try:
            payload = await answer
        except Exception as error:
            self._refuse(sender, correlation, error)
        else:
            self._answer(sender, correlation, payload)

    def _answer(self, sender: str, correlation: int, payload: bytes) -> None:
        try:
            check(payload)
        except (TowlineError, TypeError) as error:
            self._refuse(sender, correlation, error)
        else:
            self.post(sender, envelope.REPLY, correlation, payload)

    def _refuse(self, sender: str, correlation: int, error: Exception) -> None:
        if isinstance(error, TowlineError):
            failure = envelope.Failure(error.code, str(error)[:4000])
        else:
            self.count["receiver_errors"] += 1
            log.error("a call failed", exc_info=error, extra={"endpoint": self._address, "sender": sender})
            failure = envelope.Failure("internal", "an internal error at the callee, see its log")
        self.post(sender, envelope.ERROR, correlation, envelope.pack(failure))

    def _failed(self, method: str, sender: str) -> None:
        self.count["receiver_errors"] += 1
        log.exception("%s raised", method, extra={"endpoint": self._address, "sender": sender})


def check(payload: bytes) -> None:
    """Payloads are bytes, at most MAX_PAYLOAD: TypeError, InvalidInput."""
    if not isinstance(payload, bytes):
        raise TypeError(f"a payload is bytes, not {type(payload).__name__}")
    if len(payload) > MAX_PAYLOAD:
        raise InvalidInput("bus.payload_too_large", f"a payload of {len(payload)} bytes, at most {MAX_PAYLOAD} go")
