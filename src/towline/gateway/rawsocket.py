# SPDX-License-Identifier: Apache-2.0
"""One raw TCP client: its entry's protocol cuts bytes into packets, and handles these one at a time (spec connmix §4.4).

What a callback returns may be awaitable; then nothing else of this client runs until it is done, and its socket is not
read once ``READ_AHEAD`` bytes wait. So that a callback which waits and one which does not share their code, the order
of callbacks is written as a generator that yields what is to be awaited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any, cast

from towline.errors import Unavailable
from towline.gateway.closecodes import ALL, FAILED, NORMAL, PROTOCOL, SILENT, TOO_BIG
from towline.gateway.entries.base import ENTRY_FAILURES, is_cancelled
from towline.gateway.entries.buffer import Buffer
from towline.gateway.rated import pace, rate_of
from towline.gateway.rawconnection import RawConnection
from towline.gateway.rawlimits import LINGER_S, PACKET_HEAD, PATIENCE_S, READ_AHEAD, TURN_PACKETS, WINDOW
from towline.gateway.wsglue import CLOSE_WAIT_S, peer_address

if TYPE_CHECKING:
    from towline.gateway.rawport import RawPort

_CAUSES = {code.code: code.cause for code in ALL}

Steps = Generator[Awaitable[Any], Any, None]


class RawClient(asyncio.Protocol):
    """One client's socket."""

    __slots__ = (
        "_address", "_buffer", "_busy", "_cause", "_conn", "_entry", "_eof", "_fresh", "_lost", "_need", "_patience",
        "_paused", "_port", "_rate", "_transport", "_wake_at", "last_seen", "read_timeout_s", "slot",
    )  # fmt: skip

    def __init__(self, port: RawPort) -> None:
        self._port = port
        self._entry = port.raw_entry
        self._conn: RawConnection
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._need = 0
        """Length of the packet whose beginning is there, once the protocol has told it."""
        self._wake_at = 0
        """The buffer's length at which to look at it again."""
        self._busy: asyncio.Task[None] | None = None
        self._fresh = False
        self._paused = False
        self._eof = False
        self._lost: tuple[str | None] | None = None
        self._cause: str | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._address = ""
        """What the connection counts for, of those that one address may have."""
        self._rate = rate_of(port)
        self.last_seen = port.now
        self.read_timeout_s = port.settings.read_timeout_s
        self.slot = -1

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        port = self._port
        self._transport = cast("asyncio.Transport", transport)  # aiofastnet's is one by its methods only
        if (reason := port.refusal()) is not None:
            self._refuse(reason)
            return
        try:
            client_id = port.ids.next()
        except Unavailable:
            self._refuse("no_number")
            return
        peer = transport.get_extra_info("peername")
        self._address = port.admission.address(peer[0] if peer else "")
        if reason := port.admission.enter(self._address):
            self._refuse(reason)
            return
        self._transport.set_write_buffer_limits(high=1, low=0)  # as in clientsocket.py
        connection = self._conn = RawConnection(
            client_id,
            port.realm,
            peer_address(transport),
            getattr(transport, "write_nocheck", self._transport.write),
            self._transport.get_write_buffer_size,
            self._disconnect,
            self,
            port.number,
        )
        port.realm.connections[client_id] = connection
        port.counters.accepted += 1
        self.last_seen = port.now
        port.entered(self)
        self._start(self._callback("on_connect"))

    def _refuse(self, reason: str) -> None:
        self._port.counters.refused[reason] += 1
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self.last_seen = self._port.now
        connection = getattr(self, "_conn", None)
        if connection is None or connection.closing:
            return
        if self._rate is not None:
            self._rate.came(len(data))
        buffer = self._buffer
        buffer += data
        if self._busy is not None:
            self._fresh = True
            if len(buffer) >= READ_AHEAD and not self._paused:
                self._paused = True
                self._transport.pause_reading()
        elif len(buffer) >= self._wake_at:
            self._start(self._packets())

    def eof_received(self) -> bool | None:
        """The client sends no more. What it sent is handled, and answered if it still reads."""
        connection = getattr(self, "_conn", None)
        if connection is None or connection.closing:
            return False
        self._eof = True
        if self._busy is None:
            self._start(self._packets())
        else:
            self._fresh = True
        return self._port.settings.certificate is None  # TLS ends in both directions at once

    def connection_lost(self, exc: Exception | None) -> None:
        connection = getattr(self, "_conn", None)
        if connection is None:
            return
        port = self._port
        port.left(self)
        port.admission.leave(self._address)
        self._be_patient(None)
        cause = self._cause or "lost"
        connection.detach()
        port.counters.closed[cause] += 1
        error = None if cause == NORMAL.cause else cause
        if self._busy is not None:
            self._lost = (error,)
        else:
            self._start(self._callback("on_close", error))
        if self._busy is not None:
            port.finishing(self._busy)

    def pause_writing(self) -> None:
        connection = getattr(self, "_conn", None)
        if connection is not None:
            self._port.realm.outbox.fell_behind(connection, self._port.bounds)

    def resume_writing(self) -> None:
        connection = getattr(self, "_conn", None)
        if connection is not None:
            self._port.realm.outbox.caught_up(connection)

    # -- what the connection asks (towline.gateway.rawconnection.RawPeer)

    def clear_buffer(self) -> None:
        self._buffer = bytearray()
        self._need = self._wake_at = 0

    def encode(self, data: bytes) -> bytes | None:
        port = self._port
        if port.realm.encoding or self._conn.closing:
            return None  # a protocol_encode that sends would never end
        port.realm.encoding = True
        try:
            encoded = self._entry.protocol_encode(self._conn, data)
        except ENTRY_FAILURES as error:
            self._broken(error, "protocol_encode")
            return None
        finally:
            port.realm.encoding = False
        return encoded if encoded and isinstance(encoded, bytes) else None

    # -- the entry's callbacks, one after the other

    def _start(self, steps: Steps) -> None:
        try:
            first = next(steps)
        except StopIteration:
            if self._eof:
                self._ended()
        else:
            self._busy = self._port.loop.create_task(self._work(steps, first))

    async def _work(self, steps: Steps, awaitable: Awaitable[Any]) -> None:
        while True:
            try:
                while True:
                    try:
                        value = await awaitable
                    except ENTRY_FAILURES as error:
                        if is_cancelled(error):
                            raise
                        awaitable = steps.throw(error)
                    else:
                        awaitable = steps.send(value)
            except StopIteration:
                pass
            except BaseException:
                self._busy = None
                raise
            self.last_seen = self._port.now
            following = self._following()
            if following is None:
                break
            steps, awaitable = following
        self._busy = None
        if self._eof:
            self._ended()

    def _following(self) -> tuple[Steps, Awaitable[Any]] | None:
        """What came up while callbacks were busy, up to the next thing to wait for."""
        if self._paused and not self._conn.closing:
            self._paused = False
            self._transport.resume_reading()
        while True:
            if self._lost is not None:
                steps, self._lost = self._callback("on_close", self._lost[0]), None
            elif self._fresh and not self._conn.closing:
                steps = self._packets()
            else:
                return None
            for awaitable in steps:
                return steps, awaitable

    def _callback(self, name: str, *arguments: object) -> Steps:
        """``on_connect`` or ``on_close``."""
        try:
            result = getattr(self._entry, name)(self._conn, *arguments)
            if result is not None:
                yield result
        except ENTRY_FAILURES as error:
            self._port.report(error, self._conn, name)

    def _packets(self) -> Steps:
        """Cut the buffer into packets, and handle each, until more bytes are needed."""
        connection, entry, port = self._conn, self._entry, self._port
        self._be_patient(None)
        self._fresh = False
        self._wake_at = 0
        done = 0
        while not connection.closing:
            size = yield from self._packet_size()
            if not size:
                return
            if self._rate is not None:
                yield from pace(port, connection, self._rate)
                if connection.closing:
                    return
            packet = bytes(self._buffer[:size])
            del self._buffer[:size]
            port.counters.messages += 1
            try:
                message = entry.protocol_decode(connection, packet)
                if hasattr(type(message), "__await__"):
                    message = yield message
            except ENTRY_FAILURES as error:
                self._broken(error, "protocol_decode")
                return
            if message is not None:
                try:
                    result = entry.on_message(connection, message)
                    if result is not None:
                        yield result
                except ENTRY_FAILURES as error:
                    port.report(error, connection, "on_message")
            done += 1
            if not done % TURN_PACKETS:
                yield asyncio.sleep(0)

    def _packet_size(self) -> Generator[Awaitable[Any], Any, int]:
        """The length of the packet at the buffer's beginning, 0 when it is not there or the connection is to end."""
        limit = self._port.settings.max_message_bytes + PACKET_HEAD
        window = WINDOW
        while not self._conn.closing:
            buffer, size = self._buffer, len(self._buffer)
            if self._need:
                if size < self._need:
                    self._wake_at = self._need
                    return 0
                found, self._need = self._need, 0
                return found
            if not size:
                return 0
            shown = min(size, window)
            try:
                answer: Any = self._entry.protocol_input(self._conn, Buffer(buffer, shown))
                if hasattr(type(answer), "__await__"):
                    answer = yield answer
                if type(answer) is not int or answer < -1:
                    raise TypeError(f"protocol_input must return a length, 0 or -1, not {answer!r:.40}")
            except ENTRY_FAILURES as error:
                self._broken(error, "protocol_input")
                return 0
            if answer < 0:
                self._conn.close(PROTOCOL.code, "the protocol refuses what came")
                return 0
            if answer == 0:
                if self._buffer is not buffer or len(buffer) > size:
                    self._fresh = False  # cleared meanwhile, or more came
                elif shown < size:
                    window *= 4
                elif size > limit:
                    self._conn.close(TOO_BIG.code, TOO_BIG.reason)
                else:
                    if size > WINDOW:
                        self._need_more(size)
                    return 0
            elif answer > limit:
                self._conn.close(TOO_BIG.code, TOO_BIG.reason)
            elif self._buffer is not buffer:
                pass  # it was cleared: there is no such packet any more
            elif answer <= len(buffer):
                return answer
            else:
                self._need = answer  # the protocol knows its packet's length before it is all there
        return 0

    def _need_more(self, size: int) -> None:
        """Look again when a large unfinished packet has grown noticeably, or after a moment."""
        self._wake_at = size + size // 32
        self._be_patient(self._port.loop.call_later(PATIENCE_S, self._look_again))

    def _look_again(self) -> None:
        self._patience = None
        if self._busy is None and not self._conn.closing:
            self._start(self._packets())

    def _be_patient(self, timer: asyncio.TimerHandle | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = timer

    # -- closing

    def due(self, now: float) -> float:
        """When to look at this client again."""
        end = self.last_seen + self.read_timeout_s
        return now + self.read_timeout_s if self._conn.closing or now >= end else end

    def look(self, now: float) -> None:
        """Close a client from which nothing was heard for the read timeout. A busy entry is not the client's fault."""
        if self._busy is not None:
            self.last_seen = now
        elif now - self.last_seen >= self.read_timeout_s:
            self._conn.close(SILENT.code, SILENT.reason)

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()
        if self._busy is not None:
            self._busy.cancel()

    def _broken(self, error: BaseException, callback: str) -> None:
        """The protocol itself failed: nothing that follows could be understood."""
        self._port.report(error, self._conn, callback)
        self._conn.close(FAILED.code, FAILED.reason)

    def _ended(self) -> None:
        """The client sends no more, and all that it sent has been handled."""
        if not self._conn.closing:
            self._cause = self._cause or ("lost" if self._buffer else NORMAL.cause)
            self._conn.close()

    def _disconnect(self, code: int, reason: str) -> None:
        """The connection's side of a close: what was written goes out, then the client has a while to end its side."""
        self._cause = self._cause or _CAUSES.get(code, "entry")
        self._be_patient(None)
        self._buffer = bytearray()
        transport = self._transport
        if self._paused:
            self._paused = False
            transport.resume_reading()
        if self._eof or not transport.can_write_eof():
            self._hang_up()
        else:
            transport.write_eof()
            self._be_patient(self._port.loop.call_later(LINGER_S, self._hang_up))

    def _hang_up(self) -> None:
        self._be_patient(self._port.loop.call_later(CLOSE_WAIT_S, self._transport.abort))
        self._transport.close()
