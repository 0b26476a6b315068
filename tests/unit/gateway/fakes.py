# SPDX-License-Identifier: Apache-2.0
"""Connections without sockets, a loop that turns when told, and a bus of two nodes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

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

    def __init__(self, limit: int = 1024 * 1024) -> None:
        self.turns = Turns()
        self.slow: list[Connection] = []
        self.outbox = Outbox(self.turns.call_soon, limit, self._on_slow)
        self.realm = Realm(self.outbox, Channels())

    def _on_slow(self, connection: Connection) -> None:
        self.slow.append(connection)
        connection.close(3001, "too slow")

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
        socket.on_held = lambda: self.outbox.behind.__setitem__(connection, None)
        self.realm.connections[connection.id] = connection
        connection.subscribe(*channels)
        return connection, socket

    def publish(self, channel: str, frame: bytes) -> tuple[int, int]:
        found = self.realm.channels.get(channel)
        return (0, 0) if found is None else self.outbox.publish(found, frame)

    def turn(self) -> None:
        self.turns.turn()
