# SPDX-License-Identifier: Apache-2.0
"""Serving the doors: uvicorn inside our own event loop, without its signals, its access log and its patience.

uvicorn alone lets a client take for ever over a request's head and lets a head grow without end; the protocol class
here limits both.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

from towline.api.asgi import ASGI, Edge
from towline.api.settings import DoorSettings
from towline.errors import StartError

MAX_HEAD_BYTES = 32 * 1024
"""Request line and headers together."""

MAX_FRAME_BYTES = 1024 * 1024
"""Largest WebSocket message a client may send."""

_BACKLOG = 512
_USER_TIMEOUT_MS = 60_000


class _Server(uvicorn.Server):
    """Signals belong to the process, not to one of its servers; and it need not wake ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # 0: the Date header is made anew
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._stopping.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _HeadTooLong(Exception):
    """Raised inside the parser's callbacks."""


_ERROR = b'{"error":{"code":"%b","message":"%b"}}'


def _protocol(head_timeout_s: float, counters: Counter[str]) -> type[HttpToolsProtocol]:
    class Patient(HttpToolsProtocol):
        """Closes a connection whose request head is too long or too slow."""

        _head_timer: asyncio.TimerHandle | None = None
        _in_head = True
        _head_bytes = 0
        """of the head that is being parsed"""
        _fed_bytes = 0
        """since that head began: the parser keeps an unfinished line for itself"""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._head_timer = self.loop.call_later(head_timeout_s, self._head_too_slow)

        def data_received(self, data: bytes) -> None:
            if self._in_head:
                self._fed_bytes += len(data)
            if self.transport.is_closing():
                return
            super().data_received(data)
            if self.transport.is_closing():
                return
            if self._in_head and self._fed_bytes > MAX_HEAD_BYTES:
                self._head_too_long()
            cycle = self.cycle
            if cycle is not None and cycle.response_complete and self.timeout_keep_alive_task is None:
                # The rest of a body that nobody reads: uvicorn would wait for its end without a limit.
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )

        def on_message_begin(self) -> None:
            self._in_head = True
            self._head_bytes = self._fed_bytes = 0
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(head_timeout_s, self._head_too_slow)
            super().on_message_begin()

        def on_url(self, url: bytes) -> None:
            self._count(len(url))
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._count(len(name) + len(value))
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._cancel_head_timer()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_head_timer()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self) -> None:
            self._cancel_head_timer()
            super().handle_websocket_upgrade()

        def send_400_response(self, msg: str) -> None:
            """uvicorn's parser gave up."""
            if self._head_bytes > MAX_HEAD_BYTES:
                self._head_too_long()
            else:
                counters["http.malformed"] += 1
                self._refuse(b"400 Bad Request", b"http.malformed", b"this is not an HTTP request")

        def _count(self, size: int) -> None:
            self._head_bytes += size
            if self._head_bytes > MAX_HEAD_BYTES:
                raise _HeadTooLong

        def _cancel_head_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _head_too_slow(self) -> None:
            self._head_timer = None
            counters["http.head_too_slow"] += 1
            self._refuse(b"408 Request Timeout", b"http.slow", b"the head of the request did not arrive in time")

        def _head_too_long(self) -> None:
            counters["http.head_too_long"] += 1
            text = b"the head of the request has more than %d bytes, the limit" % MAX_HEAD_BYTES
            self._refuse(b"431 Request Header Fields Too Large", b"http.head_too_long", text)

        def _refuse(self, status: bytes, code: bytes, message: bytes) -> None:
            self._cancel_head_timer()
            if not self.transport.is_closing():
                body = _ERROR % (code, message)
                head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close" % len(body)
                self.transport.write(b"HTTP/1.1 " + status + b"\r\n" + head + b"\r\n\r\n" + body)
                self.transport.close()

    return Patient


def _websocket(counters: Counter[str]) -> type[WebSocketsSansIOProtocol]:
    class Counting(WebSocketsSansIOProtocol):
        """Counts what breaks WebSocket, and keeps no fragments without content."""

        def handle_connect(self, event: Request) -> None:
            if not event.path.isascii():
                event.path = quote(event.path, safe="/?&=%", errors="surrogateescape")
            super().handle_connect(event)

        def handle_cont(self, event: Frame) -> None:
            if event.data or event.fin:
                super().handle_cont(event)

        def handle_ping(self) -> None:
            if self.transport.is_closing():
                return
            if self.transport.get_write_buffer_size() > MAX_FRAME_BYTES:  # pings, and reads no pongs
                counters["live.closed_slow"] += 1
                self.transport.abort()
                return
            super().handle_ping()

        def handle_parser_exception(self) -> None:
            counters["live.protocol_error"] += 1
            super().handle_parser_exception()

    return Counting


_CLIENTS_FAULT = ("Invalid HTTP request", "Unsupported upgrade", "Invalid UTF-8", "No supported WebSocket")


def _is_ours(record: logging.LogRecord) -> bool:
    """What clients do wrong is counted, and fills no log."""
    return not str(record.msg).startswith(_CLIENTS_FAULT)


class DoorServer:
    """Listens and serves ``asgi`` until closed."""

    def __init__(self, asgi: ASGI, settings: DoorSettings, counters: Counter[str] | None = None) -> None:
        self._asgi = asgi
        self._settings = settings
        self._counters: Counter[str] = Counter() if counters is None else counters
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._sockets: list[socket.socket] = []

    @property
    def port(self) -> int:
        """The port that was bound."""
        port: int = self._sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """How to reach it from this machine."""
        host = self._settings.listen
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
        return f"{'https' if self._settings.certificate else 'http'}://{host}:{self.port}"

    async def start(self) -> None:
        """Bind and serve. StartError names the setting or the port that is in the way."""
        settings = self._settings
        settings.check()
        options: dict[str, Any] = {}
        if settings.certificate:
            _check_certificate(settings)
            options = {"ssl_certfile": settings.certificate, "ssl_keyfile": settings.key}
        self._sockets = [bind(settings.listen, settings.port, "portal.port")]
        config = uvicorn.Config(
            self._asgi,
            http=_protocol(settings.request_timeout_s, self._counters),
            ws=_websocket(self._counters),
            ws_max_size=MAX_FRAME_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=None,  # socket.io has its own heartbeat
            lifespan="off",
            log_config=None,
            log_level="warning",  # its INFO lines carry query strings, and those carry tokens
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=2,
            limit_concurrency=settings.max_connections,
            **options,
        )
        logging.getLogger("uvicorn.error").addFilter(_is_ours)
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=self._sockets), name="door server")
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise StartError("portal.start", "the portal's server ended at once")
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        """Tell whoever waits, stop listening, let running requests end for 2 s, close everything."""
        if isinstance(self._asgi, Edge):
            await self._asgi.closing()
        if self._server is not None and self._task is not None:
            self._server.stop()
            await asyncio.wait([self._task])
            self._server = None
        for sock in self._sockets:
            sock.close()


def bind(host: str, port: int, where: str) -> socket.socket:
    """A bound TCP socket, or StartError in one line."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # accepted sockets inherit it: a peer that never reads is let go
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                "port.taken",
                f"port {port} on {host} is in use",
                where=where,
                hint="choose another, or stop what has it",
            ) from None
        raise StartError("port.bind", f"cannot listen on {host} port {port}: {error.strerror}", where=where) from None
    return sock


def _check_certificate(settings: DoorSettings) -> None:
    assert settings.certificate is not None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise StartError(
            "portal.certificate", f"cannot use the certificate: {error}", where="portal.certificate"
        ) from None
