# SPDX-License-Identifier: Apache-2.0
"""Small things about picows that every listener needs."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any, Protocol

from picows import WSAutoPingStrategy, WSFrame, WSUpgradeRequest
from picows.picows import WSProtocol  # type: ignore[attr-defined]

from towline.gateway.acceptor import Acceptor, listen

# A LoggerAdapter, because picows makes a child logger for each connection of a plain Logger. What clients do wrong is
# counted and not logged.
_log = logging.getLogger("towline.gateway.picows")
_log.setLevel(logging.CRITICAL)
QUIET: logging.LoggerAdapter[logging.Logger] = logging.LoggerAdapter(_log, {})

CLOSE_WAIT_S = 5.0
"""How long a peer has to answer a close frame, or to take what is queued before it."""

_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})

READ_BUFFER = 1024
"""picows' first read buffer of a connection; it grows with what the peer sends."""


class Gate(Protocol):
    """What a port does with connections before they are WebSockets."""

    def begins(self) -> bool:
        """A connection was accepted. False cuts it at once."""
        ...

    def accept(self, request: WSUpgradeRequest, visit: Visit) -> Any:
        """A request came: a listener with an attribute ``_transport``, a response, or None for 404."""
        ...

    def exhausted(self) -> None:
        """For a while nothing can be accepted: there are no file descriptors, or no memory, left."""
        ...

    def ends(self, visit: Visit, unfinished: str) -> None:
        """The connection is gone. ``unfinished``: it never became a WebSocket: ``handshake`` when no whole request came,
        ``not_websocket`` when it asked for something else, empty otherwise."""
        ...


class Visit:
    """One connection of a port, before it is a client's and after."""

    __slots__ = ("address", "admitted", "gate", "peer", "refused")

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.peer = ""
        """IP address of the socket's peer; emptied with the request, to hold less."""
        self.address = ""
        self.admitted = False
        self.refused = False

    def accept(self, request: WSUpgradeRequest) -> Any:
        return self.gate.accept(request, self)


class _Protocol(WSProtocol):  # type: ignore[misc,unused-ignore]
    """picows' protocol, telling of connections before and after they are WebSockets."""

    __slots__ = ("visit",)
    visit: Visit

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        visit = self.visit
        visit.peer = peer[0] if peer else ""
        if not visit.gate.begins():
            visit.refused = True
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        visit = self.visit
        unfinished = ""
        if visit.refused:
            pass
        elif self.transport.request is None:
            unfinished = "handshake"
        elif self.listener is not None and getattr(self.listener, "_transport", None) is None:
            unfinished = "not_websocket"
        visit.gate.ends(visit, unfinished)


async def open_port(
    gate: Gate,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None,
    handshake_s: float,
    max_frame: int,
) -> asyncio.Server | Acceptor:
    """Listen, as picows' ``ws_create_server`` does, with a gate."""

    def factory() -> asyncio.BaseProtocol:
        # In order: host and port, path, client side, make, logger, disconnect on exception, handshake timeout; automatic
        # pings on, idle, reply, strategy, automatic pong; frame size, further headers, first buffer.
        pings = (False, 10, 10, WSAutoPingStrategy.PING_WHEN_IDLE, False)
        visit = Visit(gate)
        protocol: Any = _Protocol(
            None, None, False, visit.accept, QUIET, True, handshake_s, *pings, max_frame, None, READ_BUFFER
        )
        protocol.visit = visit
        return protocol  # type: ignore[no-any-return]

    return await listen(factory, gate.exhausted, host, port, tls, handshake_s)


def picows_code(code: int) -> Any:
    """picows takes any number where its annotations want its own enumeration."""
    return code


def close_number(code: Any) -> int:
    """The number behind what picows calls a close code."""
    return int(code)


def answer_code(frame: WSFrame) -> int:
    """The code that answers a peer's close frame; 0 when its code is one that may not be sent (RFC 6455 §7.4)."""
    if not frame.payload_size:
        return 1000
    code = close_number(frame.get_close_code())
    return code if code in _CLOSE_CODES or 3000 <= code < 5000 else 0


def peer_address(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    if not peer:
        return ""
    return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
