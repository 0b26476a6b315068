# SPDX-License-Identifier: Apache-2.0
"""Entries without a script: ``builtin:echo``, ``builtin:forward:TOPIC``, and on raw TCP ports ``builtin:lines:TOPIC`` too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, TypeVar

from towline.errors import InvalidInput, StartError, Unavailable
from towline.protocols.connmix.replies import frame_data
from towline.protocols.connmix.requests import MAX_NAME_BYTES

if TYPE_CHECKING:
    from towline.gateway.connections import Connection
    from towline.gateway.entries.base import Entry, Handshake, Message, RawEntry
    from towline.gateway.entries.buffer import Buffer
    from towline.gateway.rawconnection import RawConnection

E = TypeVar("E")

PREFIX = "builtin:"
FORWARD = "builtin:forward:"
LINES = "builtin:lines:"


class EchoEntry:
    """``builtin:echo``: every message goes back to its client. For trying out and for measuring."""

    name = "builtin:echo"

    def on_handshake(self, conn: Connection, handshake: Handshake) -> None:
        """Nothing to do."""

    def on_message(self, conn: Connection, message: Message) -> None:
        conn.send(message[1])

    def on_close(self, conn: Connection, error: str | None) -> None:
        """Nothing to do."""


class ForwardEntry:
    """``builtin:forward:TOPIC``: every message waits in a topic for back ends, as the documented
    ``{"frame": {"type", "data", "finish"}}``. What finds no room is dropped; the queues count it. A client's next message
    waits until a durable topic has the one before."""

    def __init__(self, topic: str) -> None:
        self.name = f"{FORWARD}{topic}"
        self._topic = topic

    def on_handshake(self, conn: Connection, handshake: Handshake) -> None:
        """Nothing to do."""

    def on_message(self, conn: Connection, message: Message) -> Awaitable[None] | None:
        kind, data = message
        return _forward(conn, self._topic, kind, data.encode() if isinstance(data, str) else data)

    def on_close(self, conn: Connection, error: str | None) -> None:
        """Nothing to do."""


class RawEchoEntry:
    """``builtin:echo`` on a raw TCP port: what comes goes back as it is, and so does what is sent to the client."""

    name = "builtin:echo"

    def on_connect(self, conn: RawConnection) -> None:
        """Nothing to do."""

    def protocol_input(self, conn: RawConnection, buffer: Buffer) -> int:
        return len(buffer)

    def protocol_decode(self, conn: RawConnection, data: bytes) -> bytes | None:
        return data

    def protocol_encode(self, conn: RawConnection, data: bytes) -> bytes:
        return data

    def on_message(self, conn: RawConnection, message: bytes) -> Awaitable[None] | None:
        conn.send(message)
        return None

    def on_close(self, conn: RawConnection, error: str | None) -> None:
        """Nothing to do."""


class RawForwardEntry(RawEchoEntry):
    """``builtin:forward:TOPIC`` on a raw TCP port: what comes waits in a topic piece by piece, as ``binary``. TCP keeps no
    message's bounds, so a piece is what arrived at once."""

    def __init__(self, topic: str) -> None:
        self.name = f"{FORWARD}{topic}"
        self._topic = topic

    def on_message(self, conn: RawConnection, message: bytes) -> Awaitable[None] | None:
        return _forward(conn, self._topic, "binary", message)


class LinesEntry(RawEchoEntry):
    """``builtin:lines:TOPIC``: every line, without its end, waits in a topic, as ``text`` if it is UTF-8, else ``binary``.
    Empty lines are passed over. What is sent to the client gets a line end."""

    def __init__(self, topic: str) -> None:
        self.name = f"{LINES}{topic}"
        self._topic = topic

    def protocol_input(self, conn: RawConnection, buffer: Buffer) -> int:
        return buffer.find(b"\n") + 1

    def protocol_decode(self, conn: RawConnection, data: bytes) -> bytes | None:
        return data.removesuffix(b"\n").removesuffix(b"\r") or None

    def protocol_encode(self, conn: RawConnection, data: bytes) -> bytes:
        return data + b"\n"

    def on_message(self, conn: RawConnection, message: bytes) -> Awaitable[None] | None:
        try:
            message.decode()
        except UnicodeDecodeError:
            return _forward(conn, self._topic, "binary", message)
        return _forward(conn, self._topic, "text", message)


def _forward(conn: Connection, topic: str, kind: Literal["text", "binary"], data: bytes) -> Awaitable[None] | None:
    queues, client_id = conn.queue
    try:
        stored = queues.put(topic, frame_data(kind, data), client_id)
    except (Unavailable, InvalidInput):
        return None
    return None if isinstance(stored, int) else _kept(stored)


async def _kept(stored: Awaitable[int]) -> None:
    try:
        await stored
    except Unavailable:
        pass


def builtin_entry(setting: str, where: str) -> Entry:
    """The built-in that a WebSocket port's setting names. StartError when there is no such."""
    plain: dict[str, Callable[[], Entry]] = {"echo": EchoEntry}
    with_topic: dict[str, Callable[[str], Entry]] = {FORWARD: ForwardEntry}
    return _make(setting, where, plain, with_topic)


def builtin_raw_entry(setting: str, where: str) -> RawEntry:
    """The built-in that a raw TCP port's setting names. StartError when there is no such."""
    plain: dict[str, Callable[[], RawEntry]] = {"echo": RawEchoEntry}
    with_topic: dict[str, Callable[[str], RawEntry]] = {FORWARD: RawForwardEntry, LINES: LinesEntry}
    return _make(setting, where, plain, with_topic)


def _make(setting: str, where: str, plain: dict[str, Callable[[], E]], with_topic: dict[str, Callable[[str], E]]) -> E:
    for prefix, make in with_topic.items():
        if setting.startswith(prefix):
            topic = setting.removeprefix(prefix)
            if not 0 < len(topic.encode()) <= MAX_NAME_BYTES:
                raise StartError("gateway.entry", f"{prefix} needs a topic of 1 to {MAX_NAME_BYTES} bytes", where=where)
            return make(topic)
    found = plain.get(setting.removeprefix(PREFIX))
    if found is None:
        known = ", ".join([*(PREFIX + name for name in plain), *(f"{prefix}TOPIC" for prefix in with_topic)])
        raise StartError("gateway.entry", f"no built-in {setting!r}; there are {known}", where=where)
    return found()
