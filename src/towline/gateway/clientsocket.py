# SPDX-License-Identifier: Apache-2.0
"""One client's socket: frames become messages, and the entry gets them one at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import TYPE_CHECKING, ClassVar

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from towline.errors import Unavailable
from towline.gateway.closecodes import ALL, BAD_TEXT, NO_NUMBER, NORMAL, PROTOCOL, SILENT, TOO_BIG
from towline.gateway.connections import Connection
from towline.gateway.entries.base import ENTRY_FAILURES, Handshake, Message, is_cancelled
from towline.gateway.frames import PING, pong_frame
from towline.gateway.wsglue import CLOSE_WAIT_S, answer_code, close_number, peer_address, picows_code

if TYPE_CHECKING:
    from towline.gateway.listener import ClientPort

MAX_WAITING_MESSAGES = 16
"""Messages that wait for a busy callback before reading pauses."""

_CAUSES = {code.code: code.cause for code in ALL}


class _Closed:
    """Stands behind the last message in the queue of a busy connection."""

    __slots__ = ("error",)

    def __init__(self, error: str | None) -> None:
        self.error = error


class ClientListener(WSListener):
    """One client's socket."""

    paced: ClassVar[bool] = False
    """Whether messages that waited are held back once more, by :meth:`pace`."""

    __slots__ = (
        "_busy", "_cause", "_conn", "_entry", "_fragments", "_port", "_transport", "_waiting", "last_seen",
        "read_timeout_s", "slot",
    )  # fmt: skip

    def __init__(self, port: ClientPort) -> None:
        assert port.entry is not None
        self._port = port
        self._entry = port.entry
        self._conn: Connection
        self._transport: WSTransport
        self._fragments: tuple[bool, bytearray] | None = None
        self._waiting: deque[Message | _Closed] | None = None
        self._busy: asyncio.Task[None] | None = None
        self._cause: str | None = None
        self.last_seen = port.now
        self.read_timeout_s = port.settings.read_timeout_s
        self.slot = -1

    # -- picows

    def on_ws_connected(self, transport: WSTransport) -> None:
        port = self._port
        self._transport = transport
        raw = transport.underlying_transport
        try:
            client_id = port.ids.next()
        except Unavailable:
            port.counters.refused["no_number"] += 1
            transport.send_close(picows_code(NO_NUMBER.code), NO_NUMBER.reason)
            transport.disconnect()
            return
        # pause_writing() then comes as soon as the transport holds anything back, which is what "behind" means. (With a
        # limit of 0 a TLS transport would say so when it holds nothing.)
        raw.set_write_buffer_limits(high=1, low=0)
        connection = self._conn = Connection(
            client_id,
            port.realm,
            Handshake(transport.request, peer_address(raw)),
            getattr(raw, "write_nocheck", raw.write),
            raw.get_write_buffer_size,
            self._disconnect,
            port.number,
        )
        port.realm.connections[client_id] = connection
        port.counters.accepted += 1
        self.last_seen = port.now
        port.entered(self)
        try:
            result = self._entry.on_handshake(connection, connection.handshake)
        except ENTRY_FAILURES as error:
            port.report(error, connection, "on_handshake")
        else:
            if result is not None:
                self._run(result, "on_handshake")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        port = self._port
        self.last_seen = port.now
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._fail(PROTOCOL.code, "reserved bits are set")
        elif (kind is WSMsgType.TEXT or kind is WSMsgType.BINARY) and frame.fin and self._fragments is None:
            if frame.payload_size > port.settings.max_message_bytes:
                self._fail(TOO_BIG.code, f"{TOO_BIG.reason}: the limit is {port.settings.max_message_bytes} bytes")
            elif kind is WSMsgType.TEXT:
                try:
                    self._deliver(Message("text", frame.get_payload_as_utf8_text()))
                except UnicodeDecodeError:
                    self._fail(BAD_TEXT.code, BAD_TEXT.reason)
            else:
                self._deliver(Message("binary", frame.get_payload_as_bytes()))
        else:
            self._other_frame(kind, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        connection = getattr(self, "_conn", None)
        if connection is None:
            return
        port = self._port
        port.left(self)
        cause = self._cause or _cause(transport)
        connection.detach()
        port.counters.closed[cause] += 1
        error = None if cause == NORMAL.cause else cause
        if self._busy is not None:
            self._queue().append(_Closed(error))
        else:
            self._closed(error)
        if self._busy is not None:
            port.finishing(self._busy)

    def pause_writing(self) -> None:
        connection = getattr(self, "_conn", None)
        if connection is not None:
            port = self._port
            port.realm.outbox.fell_behind(connection, port.bounds)

    def resume_writing(self) -> None:
        connection = getattr(self, "_conn", None)
        if connection is not None:
            self._port.realm.outbox.caught_up(connection)

    # -- frames

    def _other_frame(self, kind: WSMsgType, frame: WSFrame) -> None:
        if kind is WSMsgType.PING:
            self._port.counters.pings["answered"] += 1
            self._port.realm.outbox.send(self._conn, pong_frame(frame.get_payload_as_bytes()))
        elif kind is WSMsgType.PONG:
            pass
        elif kind is WSMsgType.CLOSE:
            self._peer_closes(frame)
        else:
            self._fragment(kind, frame)

    def _fragment(self, kind: WSMsgType, frame: WSFrame) -> None:
        if (kind is WSMsgType.CONTINUATION) is (self._fragments is None):
            self._fail(PROTOCOL.code, "a fragment is out of order")
            return
        if self._fragments is None:
            self._fragments = (kind is WSMsgType.BINARY, bytearray())
        binary, data = self._fragments
        data += frame.get_payload_as_memoryview()
        limit = self._port.settings.max_message_bytes
        if len(data) > limit:
            self._fragments = None
            self._fail(TOO_BIG.code, f"{TOO_BIG.reason}: the limit is {limit} bytes")
        elif frame.fin:
            self._fragments = None
            if binary:
                self._deliver(Message("binary", bytes(data)))
                return
            try:
                text = data.decode()
            except UnicodeDecodeError:
                self._fail(BAD_TEXT.code, BAD_TEXT.reason)
                return
            self._deliver(Message("text", text))

    # -- the entry, one message at a time

    def _deliver(self, message: Message) -> None:
        connection = self._conn
        if connection.closing:
            return
        self._port.counters.messages += 1
        if self._busy is not None:
            waiting = self._queue()
            waiting.append(message)
            if len(waiting) == MAX_WAITING_MESSAGES:
                self._transport.underlying_transport.pause_reading()
            return
        try:
            result = self._entry.on_message(connection, message)
        except ENTRY_FAILURES as error:
            self._port.report(error, connection, "on_message")
        else:
            if result is not None:
                self._run(result, "on_message")

    def _queue(self) -> deque[Message | _Closed]:
        if self._waiting is None:
            self._waiting = deque()
        return self._waiting

    def _run(self, first: Awaitable[None], callback: str) -> None:
        self._busy = self._port.loop.create_task(self._work(first, callback))

    async def _work(self, first: Awaitable[None], callback: str) -> None:
        """Finish an async callback, then what queued up behind it."""
        port = self._port
        try:
            result: Awaitable[None] | None = first
            while True:
                try:
                    if result is not None:
                        await result
                except ENTRY_FAILURES as error:
                    if is_cancelled(error):
                        raise
                    port.report(error, self._conn, callback)
                if not self._waiting:
                    break
                item = self._waiting.popleft()
                if len(self._waiting) == MAX_WAITING_MESSAGES // 2 and not self._conn.closing:
                    self._transport.underlying_transport.resume_reading()
                result = None
                try:
                    if isinstance(item, _Closed):
                        callback = "on_close"
                        result = self._entry.on_close(self._conn, item.error)
                    else:
                        callback = "on_message"
                        if self.paced:
                            await self.pace()
                        result = self._entry.on_message(self._conn, item)
                except ENTRY_FAILURES as error:
                    port.report(error, self._conn, callback)
        finally:
            self._busy = None
            self.last_seen = port.now

    def _closed(self, error: str | None) -> None:
        try:
            result = self._entry.on_close(self._conn, error)
        except ENTRY_FAILURES as problem:
            self._port.report(problem, self._conn, "on_close")
        else:
            if result is not None:
                self._run(result, "on_close")

    # -- closing

    def due(self, now: float) -> float:
        """When to look at this client again."""
        settings = self._port.settings
        end = self.last_seen + self.read_timeout_s
        if self._conn.closing or now >= end:
            return now + self.read_timeout_s
        if not settings.ping_s:
            return end
        ping = self.last_seen + settings.ping_s
        return min(end, ping if ping > now else now + settings.ping_s)

    def look(self, now: float) -> None:
        """Close a client from which nothing was heard for the read timeout, ping one that is idle. A busy entry is not the
        client's fault."""
        connection = self._conn
        if connection.closing:
            return
        port = self._port
        settings = port.settings
        if self._busy is not None:
            self.last_seen = now
        elif now - self.last_seen >= self.read_timeout_s:
            connection.close(SILENT.code, SILENT.reason)
        elif settings.ping_s and now - self.last_seen >= settings.ping_s:
            port.counters.pings["sent"] += 1
            port.realm.outbox.send(connection, PING)

    async def pace(self) -> None:
        """Wait until one more message may be handled."""

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.disconnect(graceful=False)
        if self._busy is not None:
            self._busy.cancel()

    def _fail(self, code: int, reason: str) -> None:
        self._conn.close(code, reason)

    def _disconnect(self, code: int, reason: str) -> None:
        """The connection's side of a close: the frame goes behind what was written, then the client has a while."""
        self._cause = self._cause or _CAUSES.get(code, "entry")
        transport = self._transport
        transport.send_close(picows_code(code), reason.encode()[:120].decode("utf-8", "ignore"))
        self._port.loop.call_later(CLOSE_WAIT_S, transport.disconnect, False)

    def _peer_closes(self, frame: WSFrame) -> None:
        transport = self._transport
        if not transport.is_close_frame_sent:
            code = answer_code(frame)
            if not code:
                self._fail(PROTOCOL.code, "no such close code")
                return
            self._cause = self._cause or (NORMAL.cause if code in (1000, 1001) else "closed_by_client")
            self._port.realm.outbox.settle(self._conn)
            self._conn.detach()
            transport.send_close(picows_code(code))
        transport.disconnect()


def _cause(transport: WSTransport) -> str:
    """Why a connection that nobody closed here is gone."""
    handshake = transport.close_handshake
    if handshake is not None and handshake.sent is not None:
        return _CAUSES.get(close_number(handshake.sent.code), "failed")
    return "lost"
