# SPDX-License-Identifier: Apache-2.0
"""Client ports: picows WebSockets, routed by path to an entry.

One :class:`ClientPort` is a port; it accepts upgrades, watches for silence, and logs what entries raise.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec
from picows import (
    WSListener,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)

from towline.gateway.acceptor import Acceptor
from towline.gateway.admission import TOO_MANY, TOO_MANY_FROM_ADDRESS, Admission, Network
from towline.gateway.connections import Connection, Realm
from towline.gateway.entries.base import ClosingEntry, Entry, RawEntry
from towline.gateway.portsettings import PortSettings, bounds_of
from towline.gateway.rated import listener_class
from towline.gateway.snowflake import Snowflakes
from towline.gateway.wheel import Wheel
from towline.gateway.wsglue import Visit, open_port

log = logging.getLogger("towline.gateway")

MAX_UNFINISHED = 8192
"""Connections of one port that have not yet sent their whole request; more are cut at once."""

_REFUSALS = {
    "draining": (503, 1, b"the node is going down\n"),
    "no_number": (503, 1, b"the node is not ready\n"),
    "version": (426, 0, b"this port speaks version 13 of the WebSocket protocol\n"),
    TOO_MANY: (503, 5, b"this port has as many connections as it may have\n"),
    TOO_MANY_FROM_ADDRESS: (429, 5, b"too many connections from this address\n"),
}
"""HTTP status, seconds to wait, and the text."""

Route = Callable[[WSUpgradeRequest], WSListener]


class Client(Protocol):
    """A connected client, as its port looks after it."""

    last_seen: float
    read_timeout_s: float
    slot: int

    def due(self, now: float) -> float:
        """When to look at it again."""
        ...

    def look(self, now: float) -> None:
        """Close it if nothing was heard for the read timeout; ping it if it is idle and can be pinged."""
        ...

    def abort(self) -> None:
        """Cut the connection."""
        ...


class PortCounters:
    """What happened on a port since it opened."""

    __slots__ = ("accepted", "closed", "entry_errors", "held", "messages", "pings", "refused")

    def __init__(self) -> None:
        self.accepted = 0
        self.messages = 0
        self.entry_errors = 0
        self.held = 0
        """messages that came faster than the port's rate and had to wait"""
        self.pings: Counter[str] = Counter()
        """``answered``, ``passed_over`` (faster than the rate), ``sent``"""
        self.refused: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()


class ClientPort:
    """One listening port: clients on ``path`` for ``entry``, and other routes such as the agents' link.

    :param entry: None for a port that serves only its other routes
    :param number: its place among the node's ports
    :param trusted: proxies that say truly for which address they speak
    """

    def __init__(
        self,
        realm: Realm,
        ids: Snowflakes,
        settings: PortSettings,
        *,
        entry: Entry | None = None,
        routes: Mapping[str, Route] | None = None,
        number: int = 0,
        trusted: tuple[Network, ...] = (),
    ) -> None:
        self.realm = realm
        self.ids = ids
        self.settings = settings
        self.bounds = bounds_of(settings)
        self.admission = Admission(settings.max_connections, settings.max_per_address, trusted)
        self._make = listener_class(settings)
        self.number = number
        self.path = settings.path.encode()
        self.entry = entry
        self.handler: Entry | RawEntry | None = entry
        """The entry, of whichever kind the port's is."""
        self.routes = {route.encode(): make for route, make in (routes or {}).items()}
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()
        self.clients: dict[Client, None] = {}
        self._finishing: set[asyncio.Task[None]] = set()
        self.counters = PortCounters()
        self.draining = False
        self.address: tuple[str, int] = ("", 0)
        self._server: asyncio.Server | Acceptor | None = None
        self._tick_s = min(1.0, settings.read_timeout_s / 4, settings.ping_s / 4 or 1.0)
        self._wheel: Wheel[Client] = Wheel(self._tick_s, self.now)
        self._unfinished = 0
        self._timer: asyncio.TimerHandle | None = None
        self._last_report = -1e9
        self._unreported = 0

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen. OSError when the address cannot be had."""
        server = await open_port(
            self,
            host,
            port,
            tls=tls,
            handshake_s=self.settings.handshake_timeout_s,
            max_frame=max(self.settings.max_message_bytes, 64 * 1024),
        )
        self._listens(server)

    def _listens(self, server: asyncio.Server | Acceptor) -> None:
        self._server = server
        self._bound_send_buffers()
        for one in server.sockets:
            self.address = one.getsockname()[:2]
        self._timer = self.loop.call_later(self._tick_s, self._tick)

    def _bound_send_buffers(self) -> None:
        assert self._server is not None
        for one in self._server.sockets:
            if self.settings.send_buffer_bytes:
                # Accepted sockets inherit it. The kernel doubles the figure for its own book-keeping.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.settings.send_buffer_bytes // 2)

    def reconfigure(self, settings: PortSettings) -> None:
        """Time-outs and send buffer of connections that begin from now on; the write timeout counts for all that fall
        behind from now on."""
        before = self.settings
        self.settings = msgspec.structs.replace(
            before,
            read_timeout_s=settings.read_timeout_s,
            write_timeout_s=settings.write_timeout_s,
            send_buffer_bytes=settings.send_buffer_bytes,
        )
        self.bounds = bounds_of(self.settings)
        if before.send_buffer_bytes != settings.send_buffer_bytes and not self.draining:
            self._bound_send_buffers()

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

    async def close_entry(self) -> None:
        """The entry ends what it holds besides connections: a Lua script's file watch, its Redis connections."""
        if isinstance(self.handler, ClosingEntry):
            await self.handler.close()

    # -- before a connection is a WebSocket (towline.gateway.wsglue.Gate)

    def begins(self) -> bool:
        if self._unfinished >= MAX_UNFINISHED:
            self.counters.refused["unfinished"] += 1
            return False
        self._unfinished += 1
        return True

    def accept(self, request: WSUpgradeRequest, visit: Visit) -> WSListener | WSUpgradeResponseWithListener | None:
        path = request.path.partition(b"?")[0]
        peer, visit.peer = visit.peer, ""
        self._unfinished -= 1
        make = self.routes.get(path)
        if make is None and (path != self.path or self.entry is None):
            self.counters.refused["unknown_path"] += 1
            return None
        reason = "version" if request.headers.get("Sec-WebSocket-Version", "13") != "13" else self.refusal()
        if reason is not None:
            return self._refuse(reason)
        if make is None:
            headers = request.headers
            visit.address = self.admission.address(
                peer, headers.get("X-Forwarded-For", ""), headers.get("X-Real-IP", "")
            )
            if reason := self.admission.enter(visit.address):
                return self._refuse(reason)
            visit.admitted = True
        # A browser may send "keep-alive, Upgrade", which picows does not take for an upgrade.
        connection = request.headers.get("Connection", "").lower()
        if connection != "upgrade" and "upgrade" in (word.strip() for word in connection.split(",")):
            request.headers["Connection"] = "upgrade"
        return make(request) if make is not None else self._make(self)

    def exhausted(self) -> None:
        self.counters.refused["no_files"] += 1

    def refusal(self) -> str | None:
        """Why no client can be taken just now."""
        if self.draining:
            return "draining"
        return None if self.ids.ready else "no_number"

    def ends(self, visit: Visit, unfinished: str) -> None:
        if unfinished:
            self.counters.refused[unfinished] += 1
        if unfinished == "handshake":
            self._unfinished -= 1
        if visit.admitted:
            self.admission.leave(visit.address)

    def _refuse(self, reason: str) -> WSUpgradeResponseWithListener:
        self.counters.refused[reason] += 1
        status, retry_s, body = _REFUSALS[reason]
        headers = {
            "Connection": "close",
            **({"Retry-After": str(retry_s)} if retry_s else {"Sec-WebSocket-Version": "13"}),
        }
        response = WSUpgradeResponse.create_error_response(status, body, headers)
        return WSUpgradeResponseWithListener(response, None)

    # -- care

    def entered(self, client: Client) -> None:
        """A client is connected."""
        self.clients[client] = None
        self._wheel.add(client, client.due(self.now))

    def left(self, client: Client) -> None:
        """A client is gone."""
        self.clients.pop(client, None)
        self._wheel.remove(client)

    def finishing(self, task: asyncio.Task[None]) -> None:
        """A client is gone; its callbacks, the last of which is ``on_close``, are not done yet."""
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    @property
    def busy(self) -> bool:
        """Whether there are clients, or callbacks of some that have gone."""
        return bool(self.clients or self._finishing)

    def _tick(self) -> None:
        self.now = now = self.loop.time()
        self._timer = self.loop.call_later(self._tick_s, self._tick)
        for client in self._wheel.due(now):
            client.look(now)
            self._wheel.add(client, client.due(now))

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
                "entry": self.handler.name if self.handler else "",
                "callback": callback,
                "client_id": connection.id if connection else "",
                "unreported": self._unreported,
            },
        )
        self._unreported = 0
