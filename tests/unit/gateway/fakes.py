# SPDX-License-Identifier: Apache-2.0
"""Connections without sockets, a loop that turns when told, and a bus of two nodes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from towline.gateway.backlog import Bounds, Policy
from towline.gateway.channels import Channels
from towline.gateway.connections import Connection, Realm
from towline.gateway.entries.base import Handshake
from towline.gateway.outbox import Outbox

_ids = count(1)


class Turns:
    """``call_soon`` that keeps what it is given until :meth:`turn`."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[[], object]) -> None:
        self.waiting.append(callback)

    def turn(self) -> None:
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()


class Socket:
    """The transport of one connection: takes ``room`` bytes, then holds back the rest as a slow peer's would."""

    def __init__(self, room: int = 1 << 40) -> None:
        self.room = room
        self.writes: list[bytes] = []
        self.held = 0
        self.closed: tuple[int, str] | None = None
        self.on_held: Callable[[], None] = lambda: None
        self.on_free: Callable[[], None] = lambda: None
        self.broken = False

    def write(self, data: bytes) -> None:
        if self.broken:
            raise RuntimeError("broken")
        self.writes.append(data)
        taken = min(self.room, len(data))
        self.room -= taken
        if taken < len(data):
            self.held += len(data) - taken
            self.on_held()

    def take(self, size: int) -> None:
        """The peer reads: the transport writes what it held, and has room for the rest of ``size``."""
        taken = min(self.held, size)
        self.held -= taken
        self.room += size - taken
        if taken and not self.held:
            self.on_free()

    def disconnect(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    @property
    def data(self) -> bytes:
        return b"".join(self.writes)


class Request:
    def __init__(self, path: bytes = b"/chat?room=1", headers: dict[str, str] | None = None) -> None:
        self.method = b"GET"
        self.path = path
        self.version = b"HTTP/1.1"
        self.headers: dict[str, str] = headers or {}


class World:
    """A realm and what is connected to it."""

    def __init__(self, limit: int = 1024 * 1024, policy: Policy = "disconnect") -> None:
        self.turns = Turns()
        self.slow: list[Connection] = []
        self.stalled: list[Connection] = []
        self.bounds = Bounds(limit, policy, write_timeout_s=10)
        self.outbox = Outbox(self.turns.call_soon, self._on_slow, self._on_stalled)
        self.realm = Realm(self.outbox, Channels())

    def _on_slow(self, connection: Connection) -> None:
        self.slow.append(connection)
        connection.close(3001, "too slow")

    def _on_stalled(self, connection: Connection) -> None:
        self.stalled.append(connection)
        connection.close(3006, "takes nothing")

    def connect(self, *channels: str, room: int = 1 << 40) -> tuple[Connection, Socket]:
        socket = Socket(room)
        request: Any = Request()
        connection = Connection(
            str(next(_ids)),
            self.realm,
            Handshake(request, "127.0.0.1:5"),
            socket.write,
            lambda: socket.held,
            socket.disconnect,
        )
        socket.on_held = lambda: self.outbox.fell_behind(connection, self.bounds)
        socket.on_free = lambda: self.outbox.caught_up(connection)
        self.realm.connections[connection.id] = connection
        connection.subscribe(*channels)
        return connection, socket

    def publish(self, channel: str, frame: bytes) -> tuple[int, int]:
        found = self.realm.channels.get(channel)
        return (0, 0) if found is None else self.outbox.publish(found, frame)

    def turn(self) -> None:
        self.turns.turn()
