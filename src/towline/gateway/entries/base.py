# SPDX-License-Identifier: Apache-2.0
"""What an entry is, and what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from towline.gateway.connections import Connection
    from towline.gateway.entries.buffer import Buffer
    from towline.gateway.rawconnection import RawConnection


ENTRY_FAILURES = (Exception, SystemExit, KeyboardInterrupt, asyncio.CancelledError)
"""What a callback may raise and the node outlives."""


def is_cancelled(error: BaseException) -> bool:
    """Whether the running task itself was cancelled, and ``error`` is not from something that the callback waited for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


class Message(NamedTuple):
    """One whole message from a client. ``data`` is ``str`` for text and ``bytes`` for binary."""

    kind: Literal["text", "binary"]
    data: str | bytes


class Request(Protocol):
    """The upgrade request as the WebSocket library keeps it."""

    @property
    def method(self) -> bytes: ...
    @property
    def path(self) -> bytes: ...
    @property
    def version(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


class Handshake:
    """The request that opened a connection. What is asked for is made from it when asked: most connections live long."""

    __slots__ = ("_request", "remote_addr")

    def __init__(self, request: Request, remote_addr: str) -> None:
        self._request = request
        self.remote_addr = remote_addr
        """``IP:port`` of the socket's peer."""

    @property
    def method(self) -> str:
        return self._request.method.decode("ascii", "replace")

    @property
    def target(self) -> str:
        """Path and query, as sent."""
        return self._request.path.decode("utf-8", "replace")

    @property
    def protocol(self) -> str:
        """``HTTP/1.1``."""
        return self._request.version.decode("ascii", "replace")

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def host(self) -> str:
        return self._request.headers.get("Host", "")

    @property
    def headers(self) -> dict[str, str]:
        """Canonical names (``User-Agent``), the first value of a repeated one (spec connmix §7)."""
        found: dict[str, str] = {}
        for name, value in self._request.headers.items():
            found.setdefault("-".join(word.capitalize() for word in name.split("-")), value)
        return found


class Entry(Protocol):
    """Handles one listener's connections.

    Callbacks of one connection never overlap and come in order; those of different connections run independently. A
    callback may return an awaitable: the connection's next message waits for it, other connections do not. What a
    callback raises is logged with traceback and counted; the message is dropped and the connection stays.
    """

    @property
    def name(self) -> str:
        """For logs: the file or the built-in's name."""
        ...

    def on_handshake(self, conn: Connection, handshake: Handshake) -> Awaitable[None] | None:
        """The client is connected. ``conn.close()`` refuses it."""
        ...

    def on_message(self, conn: Connection, message: Message) -> Awaitable[None] | None:
        """A message from the client."""
        ...

    def on_close(self, conn: Connection, error: str | None) -> Awaitable[None] | None:
        """The client is gone, after its last message. ``error`` is None after a normal close, else the cause."""
        ...


class RawEntry(Protocol):
    """Handles the connections of a raw TCP port, and is their protocol (spec connmix §4.4).

    Order and waiting are as for :class:`Entry`. What ``protocol_*`` raises is logged and counted, and the connection
    closes with cause ``failed``: what follows could not be understood.
    """

    @property
    def name(self) -> str:
        """For logs: the file or the built-in's name."""
        ...

    def on_connect(self, conn: RawConnection) -> Awaitable[None] | None:
        """The client is connected. ``conn.close()`` refuses it."""
        ...

    def protocol_input(self, conn: RawConnection, buffer: Buffer) -> Awaitable[int] | int:
        """Look at what was received: the length of the packet at its beginning, 0 when there is none yet, -1 to
        disconnect. A length that is not all there yet is waited for."""
        ...

    def protocol_decode(self, conn: RawConnection, data: bytes) -> Any:
        """One packet as a message for ``on_message``, of any type; None drops it. May be awaitable."""
        ...

    def protocol_encode(self, conn: RawConnection, data: bytes) -> bytes | None:
        """What to write when ``data`` is sent or published to this client by the mesh or the push API. Anything but some
        bytes fails that one delivery."""
        ...

    def on_message(self, conn: RawConnection, message: Any) -> Awaitable[None] | None:
        """What ``protocol_decode`` returned."""
        ...

    def on_close(self, conn: RawConnection, error: str | None) -> Awaitable[None] | None:
        """The client is gone. ``error`` is None after a normal close, else the cause."""
        ...


@runtime_checkable
class ClosingEntry(Protocol):
    """An entry that holds more than connections, and is closed with its port."""

    async def close(self) -> None:
        """End it all; no callback comes any more."""
        ...
