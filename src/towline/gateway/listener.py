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

from picows import (
    WSListener,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)

from towline.gateway.acceptor import Acceptor
from towline.gateway.clientsocket import ClientListener
from towline.gateway.connections import Connection, Realm
from towline.gateway.entries.base import ClosingEntry, Entry, RawEntry
from towline.gateway.portsettings import PortSettings, bounds_of
from towline.gateway.snowflake import Snowflakes
from towline.gateway.wsglue import open_port

log = logging.getLogger("towline.gateway")

Route = Callable[[WSUpgradeRequest], WSListener]


class Client(Protocol):
    """A connected client, as its port looks after it."""

    last_seen: float

    def silent(self) -> None:
        """Nothing was heard for the read timeout."""
        ...

    def abort(self) -> None:
        """Cut the connection."""
        ...


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
    :param number: its place among the node's ports
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
    ) -> None:
        self.realm = realm
        self.ids = ids
        self.settings = settings
        self.bounds = bounds_of(settings)
        self.number = number
        self.path = settings.path.encode()
        self.entry = entry
        self.handler: Entry | RawEntry | None = entry
        """The entry, of whichever kind the port's is."""
        self.routes = {route.encode(): make for route, make in (routes or {}).items()}
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()
        self.clients: dict[Client, None] = {}
        self.counters = PortCounters()
        self.draining = False
        self.address: tuple[str, int] = ("", 0)
        self._server: asyncio.Server | Acceptor | None = None
        self._tick_s = min(1.0, settings.read_timeout_s / 4)
        self._timer: asyncio.TimerHandle | None = None
        self._last_report = -1e9
        self._unreported = 0

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen. OSError when the address cannot be had."""
        server = await open_port(
            self._accept,
            self._unfinished,
            host,
            port,
            tls=tls,
            handshake_s=self.settings.handshake_timeout_s,
            max_frame=max(self.settings.max_message_bytes, 64 * 1024),
        )
        self._listens(server)

    def _listens(self, server: asyncio.Server | Acceptor) -> None:
        self._server = server
        for one in server.sockets:
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

    async def close_entry(self) -> None:
        """The entry ends what it holds besides connections: a Lua script's file watch, its Redis connections."""
        if isinstance(self.handler, ClosingEntry):
            await self.handler.close()

    # -- upgrade

    def _accept(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener | None:
        path = request.path.partition(b"?")[0]
        make = self.routes.get(path)
        if make is None and (path != self.path or self.entry is None):
            self.counters.refused["unknown_path"] += 1
            return None
        if (reason := self.refusal()) is not None:
            self.counters.refused[reason] += 1
            return _unavailable(b"the node is going down\n" if self.draining else b"the node is not ready\n")
        # A browser may send "keep-alive, Upgrade", which picows does not take for an upgrade.
        connection = request.headers.get("Connection", "")
        if "upgrade" in (word.strip() for word in connection.lower().split(",")):
            request.headers["Connection"] = "upgrade"
        return make(request) if make is not None else ClientListener(self)

    def refusal(self) -> str | None:
        """Why no client can be taken just now."""
        if self.draining:
            return "draining"
        return None if self.ids.ready else "no_number"

    def _unfinished(self, reason: str) -> None:
        self.counters.refused[reason] += 1

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
                "entry": self.handler.name if self.handler else "",
                "callback": callback,
                "client_id": connection.id if connection else "",
                "unreported": self._unreported,
            },
        )
        self._unreported = 0


def _unavailable(body: bytes) -> WSUpgradeResponseWithListener:
    response = WSUpgradeResponse.create_error_response(503, body, {"Retry-After": "1"})
    return WSUpgradeResponseWithListener(response, None)
