# SPDX-License-Identifier: Apache-2.0
"""Listening sockets of a port. Without TLS their connections go straight into aiofastnet's transports.

aiofastnet's own server makes a task and a future for each connection, takes thousands of connections in one turn of the
loop, and does not get over a process that has run out of file descriptors.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable

from aiofastnet.selector_transport import SelectorSocketTransport  # type: ignore[import-not-found,unused-ignore]

log = logging.getLogger("towline.gateway")

BACKLOG = 4096
"""Connections that the kernel keeps for us until they are accepted."""

ACCEPTS_A_TURN = 64
"""So many are accepted before others have their turn."""

RETRY_S = 1.0
"""How long none are accepted once the process or the system is out of file descriptors or memory."""

_NO_FAMILY = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """An ``asyncio.Server`` as far as a port needs one.

    :param make: a protocol for each connection
    :param exhausted: told each time that accepting pauses because there are no file descriptors, or no memory, left
    """

    def __init__(
        self, make: Callable[[], asyncio.BaseProtocol], exhausted: Callable[[], None], sockets: list[socket.socket]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._make = make
        self._exhausted = exhausted
        self._sockets = sockets
        for one in sockets:
            one.setblocking(False)
            one.listen(BACKLOG)
            self._watch(one)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets, none after :meth:`close`."""
        return tuple(self._sockets)

    def close(self) -> None:
        """Accept no more. Connections that were accepted stay."""
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            self._loop.remove_reader(one)
            one.close()

    def _watch(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_A_TURN):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(listening, error)
                    return
                continue  # that connection is gone already: accept(2) passes its network errors on
            try:
                SelectorSocketTransport(self._loop, accepted, self._make())
            except Exception:
                accepted.close()
                raise

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        self._exhausted()
        self._loop.remove_reader(listening)
        self._loop.call_later(RETRY_S, self._watch, listening)
        log.error("no connections are accepted for a while", extra={"reason": error.strerror, "retry_in_s": RETRY_S})


async def listen(
    make: Callable[[], asyncio.BaseProtocol],
    exhausted: Callable[[], None],
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    handshake_s: float,
) -> asyncio.Server | Acceptor:
    """Listen, with TLS or without. OSError when the address cannot be had."""
    # aiofastnet's transport is a tenth cheaper a write than uvloop's (docs/reference/performance.md), but with TLS it
    # forgets what was read already when reading resumes.
    if tls is not None:
        loop = asyncio.get_running_loop()
        return await loop.create_server(make, host, port, ssl=tls, ssl_handshake_timeout=handshake_s, backlog=BACKLOG)
    return Acceptor(make, exhausted, await bind(host, port))


async def bind(host: str, port: int) -> list[socket.socket]:
    """A bound socket for each address of ``host``. OSError when one cannot be had."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            sockets.append(_bound(family, kind, protocol, address))
        except OSError as error:
            if error.errno not in _NO_FAMILY:
                for one in sockets:
                    one.close()
                raise
            missing = error  # "localhost" names ::1 also where there is no IPv6
    if not sockets:
        raise missing or OSError(errno.EADDRNOTAVAIL, f"{host!r} has no address")
    return sockets


def _bound(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    one = socket.socket(family, kind, protocol)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
    except OSError:
        one.close()
        raise
    return one
