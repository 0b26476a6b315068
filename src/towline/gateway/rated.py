# SPDX-License-Identifier: Apache-2.0
"""Clients of a port with a rate. A class of its own, so that ports without one pay nothing for it.

With the policy ``pause`` a message over the rate waits, those behind it too, and when :data:`MAX_WAITING_MESSAGES` wait
reading pauses: the sender feels a slow network. With ``close`` it is closed. Every frame counts: whole messages, and
fragments and pings as messages too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any, ClassVar

from picows import WSFrame, WSMsgType, WSTransport

from towline.gateway.clientsocket import ClientListener
from towline.gateway.closecodes import RATE
from towline.gateway.rates import Rate

if TYPE_CHECKING:
    from towline.gateway.connections import Connection
    from towline.gateway.entries.base import Message
    from towline.gateway.listener import ClientPort
    from towline.gateway.portsettings import PortSettings

LONGEST_SLEEP_S = 1.0
"""A client that is gone is noticed within this while it waits."""


def listener_class(settings: PortSettings) -> type[ClientListener]:
    """What serves a client of a port."""
    if not settings.messages_per_s and not settings.bytes_per_s:
        return ClientListener
    return ClosingListener if settings.rate_policy == "close" else PausingListener


def rate_of(port: ClientPort) -> Rate | None:
    """What one client of a port may send; None: whatever it likes."""
    settings = port.settings
    if not settings.messages_per_s and not settings.bytes_per_s:
        return None
    return _rate(port)


def _rate(port: ClientPort) -> Rate:
    settings = port.settings
    return Rate(settings.messages_per_s, settings.burst, settings.bytes_per_s, port.loop.time())


def pace(port: ClientPort, connection: Connection, rate: Rate) -> Generator[Awaitable[Any], Any, None]:
    """For a raw client: wait until one more packet may be handled, or close who sends faster, as the port's policy says."""
    wait = rate.wait(port.loop.time())
    if wait and port.settings.rate_policy == "close":
        connection.close(RATE.code, RATE.reason)
        return
    if wait:
        port.counters.held += 1
    while wait and not connection.closing:
        yield asyncio.sleep(min(wait, LONGEST_SLEEP_S))
        wait = rate.wait(port.loop.time())
    rate.handled()


class ClosingListener(ClientListener):
    """Over its rate a client is closed."""

    __slots__ = ("_rate",)

    def __init__(self, port: ClientPort) -> None:
        super().__init__(port)
        self._rate = _rate(port)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        rate = self._rate
        if frame.msg_type is not WSMsgType.CLOSE:
            if rate.wait(self._port.loop.time()):
                self._conn.close(RATE.code, RATE.reason)
                return
            rate.came(frame.payload_size)
            rate.handled()
        super().on_ws_frame(transport, frame)


class PausingListener(ClientListener):
    """Over its rate a client has to wait."""

    paced: ClassVar[bool] = True

    __slots__ = ("_rate",)

    def __init__(self, port: ClientPort) -> None:
        super().__init__(port)
        self._rate = _rate(port)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._rate.came(frame.payload_size)
        super().on_ws_frame(transport, frame)

    def _other_frame(self, kind: WSMsgType, frame: WSFrame) -> None:
        if kind is WSMsgType.PING and self._rate.wait(self._port.loop.time()):
            self._port.counters.pings["passed_over"] += 1
            return
        if kind is not WSMsgType.CLOSE and not (frame.fin and kind is WSMsgType.CONTINUATION):
            self._rate.handled()
        super()._other_frame(kind, frame)

    def _deliver(self, message: Message) -> None:
        if self._busy is None and not self._conn.closing:
            if self._rate.wait(self._port.loop.time()):
                self._port.counters.messages += 1
                self._run(self._paced(message), "on_message")
                return
            self._rate.handled()
        super()._deliver(message)

    async def _paced(self, message: Message) -> None:
        await self.pace()
        result = self._entry.on_message(self._conn, message)
        if result is not None:
            await result

    async def pace(self) -> None:
        rate, loop = self._rate, self._port.loop
        wait = rate.wait(loop.time())
        if wait:
            self._port.counters.held += 1
        while wait and not self._conn.closing:
            await asyncio.sleep(min(wait, LONGEST_SLEEP_S))
            wait = rate.wait(loop.time())
        rate.handled()
