# SPDX-License-Identifier: Apache-2.0
"""The push API's HTTP side: an asyncio Protocol on httptools, because this is a hot path.

One :class:`PushProtocol` is a connection. It reads requests (pipelined too), hands them to :class:`PushService`, and
writes answers in the order of the requests, joined where several are ready. Limits: size of head and body, time for a
request to arrive, idle time, requests under way, connections.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import httptools

from towline.gateway.access import Access, Denied, Grant
from towline.gateway.httpslot import HeadSlot, Slot
from towline.gateway.httptypes import HttpCounters, Request, Service
from towline.gateway.httpwire import CONTINUE, Answer, plain_error

if TYPE_CHECKING:
    from towline.gateway.settings import GatewaySettings

MAX_UNDER_WAY = 128
"""Pipelined requests of one connection that may wait for their answers before reading pauses."""

LINGER_S = 2.0
"""How long what a refused peer is still sending is read and thrown away."""

_WANTED = frozenset(
    {b"host", b"origin", b"authorization", b"expect", b"upgrade", b"connection", b"content-length", b"transfer-encoding",
     b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-protocol", b"sec-websocket-extensions"}
)  # fmt: skip


class PushServer:
    """What all connections of the push API share, and the watch over slow and idle ones."""

    def __init__(self, settings: GatewaySettings, access: Access, service: Service) -> None:
        self.settings = settings
        self.access = access
        self.service = service
        self.loop = asyncio.get_running_loop()
        self.protocols: dict[PushProtocol, None] = {}
        self.counters = HttpCounters()
        self.draining = False
        self._tick()

    def make(self) -> asyncio.Protocol:
        """The protocol factory for ``create_server``."""
        return PushProtocol(self)

    def close(self) -> None:
        """Answer what is under way, close the idle, take nothing new."""
        self.draining = True
        self._timer.cancel()
        for protocol in list(self.protocols):
            protocol.drain()

    def _tick(self) -> None:
        self.now = self.loop.time()
        tick_s = min(1.0, self.settings.api_request_s / 4, self.settings.api_keepalive_s / 4)
        self._timer = self.loop.call_later(tick_s, self._tick)
        for protocol in list(self.protocols):
            protocol.check_time(self.now)


class PushProtocol(asyncio.Protocol):
    """One connection to the push API."""

    __slots__ = (
        "_again", "_body", "_body_bytes", "_closing", "_ending", "_feeding", "_head_bytes", "_headers", "_in_head", "_keep",
        "_lingers", "_local_ip", "_out", "_parser", "_partial", "_paused", "_remote_ip", "_server", "_slots", "_started",
        "_touched", "_transport", "_upgrade", "_url",
    )  # fmt: skip

    def __init__(self, server: PushServer) -> None:
        self._server = server
        self._transport: asyncio.Transport
        self._parser: Any = httptools.HttpRequestParser(self)
        self._slots: deque[Slot] = deque()
        self._out: list[bytes] = []
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._body_bytes = self._head_bytes = self._partial = 0
        self._in_head = False
        self._started = 0.0
        self._touched = server.now
        self._feeding = False
        self._closing = False
        self._paused = False
        self._keep = True
        self._ending = False
        self._remote_ip = ""
        self._local_ip = ""
        self._upgrade: Request | None = None
        self._again = b""
        self._lingers = 0.0

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        server = self._server
        server.counters.connections += 1
        peer = transport.get_extra_info("peername")
        self._remote_ip = peer[0] if peer else ""
        own = transport.get_extra_info("sockname")
        self._local_ip = own[0].removeprefix("::ffff:") if own else ""
        if server.draining or len(server.protocols) >= server.settings.api_connections:
            server.counters.refused["too_many"] += 1
            self._transport.write(plain_error(503, "http.too_many", "too many connections to the push API").closing())
            self._transport.close()
            self._closing = True
            return
        server.protocols[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.protocols.pop(self, None)
        self._closing = True
        self._slots.clear()
        self._parser = None

    def data_received(self, data: bytes) -> None:
        if self._closing or self._ending:
            return
        server = self._server
        self._touched = server.now
        if self._in_head:
            # The parser keeps an unfinished line for itself: what it was fed since the message began bounds it. A
            # message that begins in this read starts the count anew.
            self._partial += len(data)
        self._feeding = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._feeding = False
            self._take_over(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _HeadTooLong):
                self._refuse_head()
            elif self._keep and not self._ending:
                server.counters.refused["bad_request"] += 1
                self._final(plain_error(400, "http.bad_request", f"not an HTTP request: {error}"))
        finally:
            self._feeding = False
        if self._in_head and self._partial > server.settings.api_header_bytes:
            self._refuse_head()
        self._write_ready()

    def pause_writing(self) -> None:
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        if not self._closing:
            self._resume_reading()

    def eof_received(self) -> bool:
        # Answers under way still go out to a client that has finished sending.
        self._keep = False
        return bool(self._slots) and not self._closing

    # -- httptools

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._body = []
        self._body_bytes = self._head_bytes = self._partial = 0
        self._in_head = True
        self._started = self._server.now

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        lower = name.lower()
        if lower == b"content-length":
            self._body_bytes = int(value)  # the parser takes digits only; counted anew as it comes
        if lower in _WANTED:
            # One header twice is a list (RFC 9110 §5.3); of Host or Origin that is none which is allowed.
            known = self._headers.get(lower)
            self._headers[lower] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._head_bytes + len(self._url) > self._server.settings.api_header_bytes:
            raise _HeadTooLong
        declared, self._body_bytes = self._body_bytes, 0
        if declared > self._server.settings.api_body_bytes:
            self._refuse_body()
            return
        headers = self._headers
        if b"expect" in headers and headers[b"expect"].lower() == b"100-continue" and not self._slots and not self._out:
            self._transport.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        limit = self._server.settings.api_body_bytes
        if self._body_bytes <= limit:
            self._body.append(body)
        else:
            self._refuse_body()

    def on_message_complete(self) -> None:
        self._started = 0.0
        if self._closing or self._ending:
            return
        server = self._server
        server.counters.requests += 1
        path, query = self._url, ""
        if b"?" in path:
            path, _, raw = path.partition(b"?")
            query = raw.decode("latin-1")
        headers = self._headers
        parser = self._parser
        upgrade = b"upgrade" in headers and parser.should_upgrade()
        if upgrade and headers[b"upgrade"].lower() != b"websocket":
            self._not_upgraded(parser.get_method())
            return
        if not upgrade and not parser.should_keep_alive():
            self._keep = False
        origin = ""
        grant: Grant | Denied | None = None
        if b"origin" in headers:
            origin = headers[b"origin"].decode("latin-1")
        else:
            grant = server.access.known_hosts.get(headers.get(b"host", b""))
        if grant is None:
            grant = server.access.check(headers, query if upgrade else "", self._remote_ip, parser.get_method())
        method = parser.get_method()
        slot = HeadSlot(self) if method == b"HEAD" else Slot(self)
        self._slots.append(slot)
        if isinstance(grant, Denied):
            server.counters.refused[grant.code.removeprefix("http.")] += 1
            slot(plain_error(*grant))
            return
        body = self._body
        request = Request(
            method,
            path,
            query,
            headers,
            body[0] if len(body) == 1 else b"".join(body),
            grant,
            origin,
            upgrade,
            self._remote_ip,
            self._local_ip,
        )
        if upgrade:
            self._slots.pop()
            self._upgrade = request
            return
        server.service.handle(request, slot)
        if len(self._slots) == MAX_UNDER_WAY:
            self._transport.pause_reading()

    # -- answers

    def answered(self) -> None:
        """An answer is there; those at the front go out."""
        slots, out = self._slots, self._out
        under_way = len(slots)
        while slots and slots[0].answer is not None:
            answer = slots.popleft().answer
            assert answer is not None
            last = not self._keep and not slots
            out.append(answer.closing() if last else answer.encoded())
        if not self._feeding:
            self._write_ready()
            if under_way >= MAX_UNDER_WAY > len(slots) and not self._paused and not self._closing:
                self._resume_reading()

    def refused(self, status: int) -> None:
        """Count an answer of 400 or more."""
        self._server.counters.answers[status] += 1

    def _write_ready(self) -> None:
        out = self._out
        if out:
            self._touched = self._server.now
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
            self._out = []
        if self._slots or self._closing:
            return
        if self._ending:
            self._hang_up()
        elif (not self._keep or self._server.draining) and not self._started:
            self._closing = True
            self._transport.close()

    def _resume_reading(self) -> None:
        if len(self._slots) < MAX_UNDER_WAY:
            self._transport.resume_reading()

    # -- ends

    def _refuse_body(self) -> None:
        if not self._ending:
            self._body = []
            self._server.counters.refused["body_too_long"] += 1
            limit = self._server.settings.api_body_bytes
            self._final(plain_error(413, "http.body_too_long", f"the body has more than {limit} bytes, the limit"))

    def _refuse_head(self) -> None:
        if not self._ending:
            self._server.counters.refused["head_too_long"] += 1
            limit = self._server.settings.api_header_bytes
            self._final(plain_error(431, "http.head_too_long", f"the head has more than {limit} bytes, the limit"))

    def _final(self, answer: Answer) -> None:
        """Answer what cannot be read on from, behind the answers under way, and hang up."""
        self._ending = True
        self._keep = False
        self._started = 0.0
        slot = Slot(self)
        self._slots.append(slot)
        slot(answer)

    def _hang_up(self) -> None:
        """Close after a refusal. What the peer is still sending is thrown away for a while: closing a socket with unread
        bytes in it would reset the connection, and the answer could be lost on the way."""
        self._closing = True
        self._lingers = self._server.loop.time() + LINGER_S
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _take_over(self, early: bytes) -> None:
        request, self._upgrade = self._upgrade, None
        if request is None:
            # Refused, or to be read again.
            self._write_ready()
            if not self._closing and not self._ending:
                again, self._again = self._again, b""
                self._parser = httptools.HttpRequestParser(self)
                if again or early:
                    self.data_received(again + early)
            return
        if self._slots:
            self._final(plain_error(400, "http.bad_request", "an upgrade has to wait for the answers before it"))
            return
        self._write_ready()
        self._server.protocols.pop(self, None)
        self._closing = True
        taken = self._server.service.upgrade(request, self._transport, early)
        if isinstance(taken, Answer):
            self.refused(taken.status)
            self._transport.write(taken.closing())
            self._transport.close()

    def _not_upgraded(self, method: bytes) -> None:
        """An upgrade to something else (Java offers h2c with any request) may be passed over, but the parser stops before
        the body: the request is read once more, without the offer."""
        lines = [b"%b %b HTTP/1.1" % (method, self._url)]
        lines += [b"%b: %b" % item for item in self._headers.items() if item[0] not in (b"upgrade", b"connection")]
        self._again = b"\r\n".join(lines) + b"\r\n\r\n"

    def check_time(self, now: float) -> None:
        """Called every tick: is this connection too slow, or idle for too long?"""
        settings = self._server.settings
        if self._lingers and now > self._lingers:
            self._transport.abort()
        if self._slots or self._closing:
            return
        if self._started:
            if now - self._started > settings.api_request_s:
                self._server.counters.refused["slow"] += 1
                self._final(
                    plain_error(408, "http.slow", f"the request did not arrive within {settings.api_request_s} s")
                )
        elif now - self._touched > settings.api_keepalive_s:
            self._closing = True
            self._transport.close()

    def drain(self) -> None:
        """The server closes: an idle connection now, a busy one after its answers."""
        self._keep = False
        if self._lingers:
            self._transport.abort()
        elif not self._slots and not self._started and not self._closing:
            self._closing = True
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()


class _HeadTooLong(Exception):
    """Raised inside the parser's callbacks."""
