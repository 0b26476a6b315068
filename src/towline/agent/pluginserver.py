# SPDX-License-Identifier: Apache-2.0
"""The plugin port: WebSocket over TLS on loopback. One :class:`PluginConnection` for each plugin, each with its own
task.

Whatever one connection does, the others are not kept waiting: frames queue for each one apart and reading pauses when
its queue is full; what it does not read is bounded, then it is closed; frames are worked on one at a time with the
loop free in between.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Protocol

from picows import (
    WSAutoPingStrategy,
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows.picows import WSProtocol  # type: ignore[attr-defined]

from towline.errors import StartError
from towline.protocols.octo.guard import Guard
from towline.protocols.octo.session import Session

log = logging.getLogger("towline.agent.plugins")

# A LoggerAdapter, because picows makes a child logger for each connection of a plain Logger. What plugins do wrong is
# counted and not logged.
_log = logging.getLogger("towline.agent.picows")
_log.setLevel(logging.CRITICAL)
_QUIET: logging.LoggerAdapter[logging.Logger] = logging.LoggerAdapter(_log, {})

HOSTS = ("127.0.0.1", "::1")
OUTBOX_BYTES = 1_048_576
"""What a plugin may leave unread before it is closed."""
INBOX_FRAMES = 64
INBOX_BYTES = 2 * 1_048_576
HANDSHAKE_S = 10.0
REGISTER_S = 300.0
"""A connection that never registers is closed after this; the plugin dials again and registers."""
CLOSE_REPLACED = 4000
CLOSE_REVOKED = 4001
CLOSE_SLOW = 4002
CLOSE_UNREGISTERED = 4003


_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})


def close_answer(frame: WSFrame) -> int:
    """The code that answers a close frame; 0 when its code is one that may not be sent (RFC 6455 §7.4)."""
    if not frame.payload_size:
        return 1000
    code: int = int.from_bytes(frame.get_payload_as_bytes()[:2], "big")
    return code if code in _CLOSE_CODES or 3000 <= code < 5000 else 0


class Core(Protocol):
    """What is done with the frames."""

    async def frame(self, connection: PluginConnection, data: bytes, *, binary: bool) -> None:
        """One message, in the order received."""
        ...

    def gone(self, connection: PluginConnection, cause: str) -> None:
        """The connection ended."""
        ...


class PluginConnection(WSListener):  # type: ignore[misc,unused-ignore]
    """One plugin.

    :ivar session: the octo session
    :ivar cause: why it ended: ``closed_by_plugin``, ``replaced``, ``revoked``, ``slow``, ``unregistered``,
    ``agent_stopped``
    """

    def __init__(self, server: PluginServer, guard: Guard) -> None:
        self.session = Session(guard)
        self.cause = "closed_by_plugin"
        self.was_open = False
        self._server = server
        self._max_message = guard.limits.max_frame_bytes
        self._transport: WSTransport | None = None
        self._inbox: deque[tuple[bytes, bool]] = deque()
        self._inbox_bytes = 0
        self._paused = False
        self._more = asyncio.Event()
        self._partial: bytearray | None = None  # a message in fragments
        self._partial_binary = False
        self._task: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    # -- picows ------------------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self.was_open = True
        transport.underlying_transport.set_write_buffer_limits(high=64 * 1024)
        self._server.opened(self)
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._work())
        self._deadline = loop.call_later(REGISTER_S, self._register_or_go)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._broken("reserved bits are set")
        elif kind == WSMsgType.CLOSE:
            code = close_answer(frame)
            if code:
                transport.send_close(code, frame.get_close_message())  # type: ignore[arg-type]
                transport.disconnect()
            else:
                self._broken("no such close code")
        elif kind == WSMsgType.PING:
            if not self._too_slow(transport, 0):
                transport.send_pong(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CONTINUATION:
            self._fragment(frame)
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY):
            if self._partial is not None:
                self._broken("a message within a message")
            elif frame.fin:
                self._take(frame.get_payload_as_bytes(), kind == WSMsgType.BINARY)
            else:
                self._partial = bytearray(frame.get_payload_as_memoryview())
                self._partial_binary = kind == WSMsgType.BINARY

    def _fragment(self, frame: WSFrame) -> None:
        if self._partial is None:
            self._broken("a continuation of nothing")
            return
        self._partial += frame.get_payload_as_memoryview()
        if len(self._partial) > self._max_message:
            self._partial = None
            self._server.counters["oversize"] += 1
            self._close(WSCloseCode.MESSAGE_TOO_BIG.value, f"a message over {self._max_message} bytes")
        elif frame.fin:
            data, self._partial = bytes(self._partial), None
            self._take(data, self._partial_binary)

    def _broken(self, reason: str) -> None:
        """The plugin broke WebSocket."""
        self._server.counters["protocol_error"] += 1
        self._close(WSCloseCode.PROTOCOL_ERROR.value, reason)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport = None
        if self._deadline is not None:
            self._deadline.cancel()
        self._more.set()  # the task ends once it has worked on what came before the end

    # -- ours --------------------------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        return self._transport is not None

    def send(self, text: str) -> bool:
        """Write a message. False if the connection is gone or reads too slowly, which closes it."""
        transport = self._transport
        if transport is None:
            return False
        data = text.encode()
        try:
            if self._too_slow(transport, len(data)):
                return False
            transport.send(WSMsgType.TEXT, data)
        except Exception as error:  # picows raises several kinds once a transport is closing
            log.debug("cannot write to a plugin: %s", error)
            return False
        return True

    def _too_slow(self, transport: WSTransport, more: int) -> bool:
        """Whether it leaves so much unread that ``more`` bytes do not fit, which ends it."""
        if transport.underlying_transport.get_write_buffer_size() + more <= OUTBOX_BYTES:
            return False
        if self.cause != "slow":
            self._server.counters["slow"] += 1
            self.close(CLOSE_SLOW, "slow", "you read too slowly", abort=True)
        return True

    def close(self, code: int, cause: str, reason: str, *, abort: bool = False) -> None:
        """End the connection. ``abort``: without waiting for what is unread."""
        self.cause = cause
        if abort and self._transport is not None:
            self._transport.underlying_transport.abort()
            return
        self._close(code, reason)

    def registered(self) -> None:
        """It said who it is."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self, code: int, reason: str) -> None:
        transport = self._transport
        if transport is None:
            return
        try:
            transport.send_close(code, reason.encode())  # type: ignore[arg-type]
            transport.disconnect()
        except Exception:
            transport.underlying_transport.abort()

    def _register_or_go(self) -> None:
        self._deadline = None
        self._server.counters["unregistered"] += 1
        self.close(CLOSE_UNREGISTERED, "unregistered", f"no registration within {REGISTER_S:.0f} s")

    def _take(self, data: bytes, binary: bool) -> None:
        self._inbox.append((data, binary))
        self._inbox_bytes += len(data)
        self._more.set()
        if not self._paused and (len(self._inbox) >= INBOX_FRAMES or self._inbox_bytes >= INBOX_BYTES):
            self._pause(True)

    def _pause(self, pause: bool) -> None:
        if self._transport is None:
            return
        self._paused = pause
        transport = self._transport.underlying_transport
        if pause:
            self._server.counters["paused"] += 1
            transport.pause_reading()
        else:
            transport.resume_reading()

    def abandon(self) -> None:
        """Forget what was not worked on yet."""
        self._inbox.clear()
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        try:
            await self._work_on_frames()
        finally:
            self._server.closed(self)

    async def _work_on_frames(self) -> None:
        while True:
            while not self._inbox:
                if self._transport is None:
                    return
                self._more.clear()
                await self._more.wait()
            data, binary = self._inbox.popleft()
            self._inbox_bytes -= len(data)
            try:
                await self._server.core.frame(self, data, binary=binary)
            except Exception:
                self._server.counters["failures"] += 1
                log.exception("a plugin's frame could not be handled")
            if self._paused and len(self._inbox) < INBOX_FRAMES // 2 and self._inbox_bytes < INBOX_BYTES // 2:
                self._pause(False)
            await asyncio.sleep(0)


class _Protocol(WSProtocol):  # type: ignore[misc,unused-ignore]
    """picows' protocol, counting what never became a WebSocket, of which picows does not tell."""

    __slots__ = ("counters",)
    counters: Counter[str]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.counters["tls"] += 1
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not getattr(self.listener, "was_open", False):
            self.counters["handshake"] += 1


class PluginServer:
    """The listeners.

    :ivar port: the port in use, once started
    :ivar counters: ``tcp`` and ``tls`` connections, of those that failed as WebSocket ``handshake`` or ``refused``,
    ``connections``; ``protocol_error``, ``slow``, ``oversize``, ``paused``, ``unregistered``, ``failures``
    """

    def __init__(self, core: Core, guard: Guard, *, max_connections: int) -> None:
        self.core = core
        self.port = 0
        self.counters: Counter[str] = Counter()
        self.connections: set[PluginConnection] = set()
        self._guard = guard
        self._max_connections = max_connections
        self._servers: list[asyncio.Server] = []

    async def start(self, port: int, context: ssl.SSLContext) -> None:
        """Listen on 127.0.0.1 and, where the machine has it, ::1. StartError ``agent.plugin_port``."""
        logging.getLogger("picows").setLevel(logging.ERROR)  # it speaks at each connection
        for host in HOSTS:
            try:
                server = await self._listen(host, self.port or port, context)
            except OSError as error:
                if host != HOSTS[0] and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    log.info("no IPv6 on loopback: plugins reach 127.0.0.1 only")
                    continue
                await self.stop()
                raise StartError(
                    "agent.plugin_port",
                    f"cannot listen for plugins on port {self.port or port} of {host}: {error.strerror or error}",
                    hint="another agent may be running; --plugin-port takes another port",
                ) from None
            self._servers.append(server)
            self.port = server.sockets[0].getsockname()[1]

    async def _listen(self, host: str, port: int, context: ssl.SSLContext) -> asyncio.Server:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((host, port))
            # uvloop's own transport: the one that picows would take forgets, with TLS, what was read already when reading
            # resumes.
            loop = asyncio.get_running_loop()
            return await loop.create_server(
                self._protocol, sock=listener, ssl=context, ssl_handshake_timeout=HANDSHAKE_S, backlog=64
            )
        except BaseException:
            listener.close()
            raise

    def _protocol(self) -> asyncio.BaseProtocol:
        """For each TCP connection, before its TLS handshake."""
        self.counters["tcp"] += 1
        # In order: host and port, path, client side, make, logger, disconnect on exception, handshake timeout; automatic
        # pings on, idle, reply, strategy, automatic pong; frame size, further headers, first buffer.
        pings = (False, 10, 10, WSAutoPingStrategy.PING_WHEN_IDLE, False)
        frame_bytes = self._guard.limits.max_frame_bytes
        protocol: Any = _Protocol(
            None, None, False, self._accept, _QUIET, True, HANDSHAKE_S, *pings, frame_bytes, None, 4096
        )
        protocol.counters = self.counters
        return protocol  # type: ignore[no-any-return]

    def _accept(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
        if len(self.connections) >= self._max_connections:
            self.counters["refused"] += 1
            text = f"{self._max_connections} plugin connections are open already\n"
            return WSUpgradeResponseWithListener(
                WSUpgradeResponse.create_error_response(503, text.encode()),
                None,
            )
        return PluginConnection(self, self._guard)

    def opened(self, connection: PluginConnection) -> None:
        self.counters["connections"] += 1
        self.connections.add(connection)

    def closed(self, connection: PluginConnection) -> None:
        self.connections.discard(connection)
        self.core.gone(connection, connection.cause)

    async def stop(self) -> None:
        """Close the listeners and all connections."""
        for server in self._servers:
            server.close()
        self._servers = []
        for connection in list(self.connections):
            connection.close(WSCloseCode.GOING_AWAY.value, "agent_stopped", "the agent stops")
        await _until(lambda: not self.connections, 0.3)
        for connection in list(self.connections):
            connection.close(WSCloseCode.GOING_AWAY.value, "agent_stopped", "", abort=True)
            connection.abandon()
        await _until(lambda: not self.connections, 0.2)


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not condition() and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.01)
