# SPDX-License-Identifier: Apache-2.0
"""Client ports: picows WebSockets, routed by path to an entry.

One :class:`ClientPort` is a port, one :class:`ClientListener` a client's socket. The listener turns frames into messages,
calls the entry one message at a time, and watches for silence.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from towline.errors import StartError, Unavailable
from towline.gateway.closecodes import ALL, BAD_TEXT, NO_NUMBER, NORMAL, PROTOCOL, SILENT, TOO_BIG
from towline.gateway.connections import Connection, Realm
from towline.gateway.entries.base import Entry, Handshake, Message
from towline.gateway.frames import pong_frame
from towline.gateway.settings import GatewaySettings
from towline.gateway.snowflake import Snowflakes

log = logging.getLogger("towline.gateway")

# A LoggerAdapter, because picows makes a child logger for each connection of a plain Logger. What clients do wrong is
# counted here and not logged.
_picows_log = logging.getLogger("towline.gateway.picows")
_picows_log.setLevel(logging.CRITICAL)
_quiet: logging.LoggerAdapter[logging.Logger] = logging.LoggerAdapter(_picows_log, {})

CLOSE_WAIT_S = 5.0
"""How long a client has to answer a close frame, or to take what is queued before it."""

MAX_WAITING_MESSAGES = 16
"""Messages that wait for a busy callback before reading pauses."""

READ_BUFFER = 1024
"""picows' first read buffer of a connection; it grows with what a client sends."""

_CAUSES = {code.code: code.cause for code in ALL}

Route = Callable[[WSUpgradeRequest], WSListener]


class PortCounters:
    """What happened on a port since it opened."""

    __slots__ = ("accepted", "closed", "entry_errors", "messages", "refused")

    def __init__(self) -> None:
        self.accepted = 0
        self.messages = 0
        self.entry_errors = 0
        self.refused: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()


class ClientPort:
    """One listening port: clients on ``path`` for ``entry``, and other routes such as the agents' link.

    :param entry: None for a port that serves only its other routes
    """

    def __init__(
        self,
        realm: Realm,
        ids: Snowflakes,
        settings: GatewaySettings,
        *,
        path: str = "/",
        entry: Entry | None = None,
        routes: Mapping[str, Route] | None = None,
    ) -> None:
        self.realm = realm
        self.ids = ids
        self.settings = settings
        self.path = path.encode()
        self.entry = entry
        self.routes = {route.encode(): make for route, make in (routes or {}).items()}
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()
        self.clients: dict[ClientListener, None] = {}
        self.counters = PortCounters()
        self.draining = False
        self.address: tuple[str, int] = ("", 0)
        self._server: asyncio.Server | None = None
        self._tick_s = min(1.0, settings.read_timeout_s / 4)
        self._timer: asyncio.TimerHandle | None = None
        self._last_report = -1e9
        self._unreported = 0

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen. StartError when the address cannot be had."""
        try:
            self._server = await ws_create_server(
                self._accept,
                host,
                port,
                backlog=4096,
                ssl=tls,
                logger_name=_quiet,
                websocket_handshake_timeout=self.settings.handshake_timeout_s,
                enable_auto_pong=False,
                max_frame_size=max(self.settings.max_message_bytes, 64 * 1024),
                read_buffer_init_size=READ_BUFFER,
            )
        except OSError as error:
            raise StartError(
                "gateway.listen", f"cannot listen on {host}:{port}: {error.strerror or error}", where="gateway"
            ) from None
        for one in self._server.sockets:
            if self.settings.send_buffer_bytes:
                # Accepted sockets inherit it. The kernel doubles the figure for its own book-keeping.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.settings.send_buffer_bytes // 2)
            self.address = one.getsockname()[:2]
        self._timer = self.loop.call_later(self._tick_s, self._tick)

    def stop_listening(self) -> None:
        """Take no new connections."""
        self.draining = True
        if self._server is not None:
            self._server.close()

    def abort_all(self) -> None:
        """Cut what is still connected."""
        for client in list(self.clients):
            client.abort()
        if self._timer is not None:
            self._timer.cancel()

    # -- upgrade

    def _accept(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener | None:
        path = request.path.partition(b"?")[0]
        make = self.routes.get(path)
        if make is None and (path != self.path or self.entry is None):
            self.counters.refused["unknown_path"] += 1
            return None
        if self.draining or not self.ids.ready:
            self.counters.refused["draining" if self.draining else "no_number"] += 1
            return _unavailable(b"the node is going down\n" if self.draining else b"the node is not ready\n")
        # A browser may send "keep-alive, Upgrade", which picows does not take for an upgrade.
        connection = request.headers.get("Connection", "")
        if "upgrade" in (word.strip() for word in connection.lower().split(",")):
            request.headers["Connection"] = "upgrade"
        return make(request) if make is not None else ClientListener(self)

    # -- care

    def _tick(self) -> None:
        self.now = self.loop.time()
        self._timer = self.loop.call_later(self._tick_s, self._tick)
        oldest = self.now - self.settings.read_timeout_s
        for client in [one for one in self.clients if one.last_seen < oldest]:
            client.silent()

    def report(self, error: BaseException, connection: Connection | None, callback: str) -> None:
        """An entry raised. Logged with traceback, at most once a second; counted always."""
        self.counters.entry_errors += 1
        if self.now - self._last_report < 1.0:
            self._unreported += 1
            return
        self._last_report = self.now
        log.error(
            "entry failed",
            exc_info=error,
            extra={
                "entry": self.entry.name if self.entry else "",
                "callback": callback,
                "client_id": connection.id if connection else "",
                "unreported": self._unreported,
            },
        )
        self._unreported = 0


def _unavailable(body: bytes) -> WSUpgradeResponseWithListener:
    response = WSUpgradeResponse.create_error_response(503, body, {"Retry-After": "1"})
    return WSUpgradeResponseWithListener(response, None)


class _Closed:
    """Stands behind the last message in the queue of a busy connection."""

    __slots__ = ("error",)

    def __init__(self, error: str | None) -> None:
        self.error = error


class ClientListener(WSListener):
    """One client's socket."""

    __slots__ = (
        "_busy", "_cause", "_conn", "_entry", "_fragments", "_port", "_transport", "_waiting", "last_seen",
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
        # pause_writing() then comes as soon as the transport holds anything back, which is what "behind" means.
        raw.set_write_buffer_limits(high=0)
        connection = self._conn = Connection(
            client_id,
            port.realm,
            Handshake(transport.request, peer_address(raw)),
            getattr(raw, "write_nocheck", raw.write),
            raw.get_write_buffer_size,
            self._disconnect,
        )
        port.realm.connections[client_id] = connection
        port.clients[self] = None
        port.counters.accepted += 1
        self.last_seen = port.now
        try:
            result = self._entry.on_handshake(connection, connection.handshake)
        except Exception as error:
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
        port.clients.pop(self, None)
        cause = self._cause or _cause(transport)
        connection.detach()
        port.counters.closed[cause] += 1
        error = None if cause == NORMAL.cause else cause
        if self._busy is not None:
            self._queue().append(_Closed(error))
        else:
            self._closed(error)

    def pause_writing(self) -> None:
        connection = getattr(self, "_conn", None)
        if connection is not None and not connection.closing:
            self._port.realm.outbox.behind[connection] = None

    def resume_writing(self) -> None:
        connection = getattr(self, "_conn", None)
        if connection is not None:
            self._port.realm.outbox.behind.pop(connection, None)

    # -- frames

    def _other_frame(self, kind: WSMsgType, frame: WSFrame) -> None:
        if kind is WSMsgType.PING:
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
        except Exception as error:
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
                except Exception as error:
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
                        result = self._entry.on_message(self._conn, item)
                except Exception as error:
                    port.report(error, self._conn, callback)
        finally:
            self._busy = None
            self.last_seen = port.now

    def _closed(self, error: str | None) -> None:
        try:
            result = self._entry.on_close(self._conn, error)
        except Exception as problem:
            self._port.report(problem, self._conn, "on_close")
        else:
            if result is not None:
                self._run(result, "on_close")

    # -- closing

    def silent(self) -> None:
        """Nothing was heard for the read timeout. A busy entry is not the client's fault."""
        if self._busy is None:
            self._conn.close(SILENT.code, SILENT.reason)
        else:
            self.last_seen = self._port.now

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
            code = close_number(frame.get_close_code())
            self._cause = self._cause or (NORMAL.cause if code in (0, 1000, 1001) else f"client_{code}")
            self._port.realm.outbox.settle(self._conn)
            self._conn.detach()
            transport.send_close(picows_code(code or NORMAL.code))
        transport.disconnect()


def picows_code(code: int) -> Any:
    """picows takes any number where its annotations want its own enumeration."""
    return code


def close_number(code: Any) -> int:
    """The number behind what picows calls a close code."""
    return int(code)


def _cause(transport: WSTransport) -> str:
    """Why a connection that nobody closed here is gone."""
    handshake = transport.close_handshake
    if handshake is not None and handshake.sent is not None:
        return _CAUSES.get(close_number(handshake.sent.code), "failed")
    return "lost"


def peer_address(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    if not peer:
        return ""
    return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"


__all__ = ["ClientListener", "ClientPort", "PortCounters", "close_number", "peer_address", "picows_code"]
