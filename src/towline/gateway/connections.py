# SPDX-License-Identifier: Apache-2.0
"""A node's client connections: what entries see of a client, and the table that finds one by its id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from towline.errors import Conflict, InvalidInput
from towline.gateway.channels import MAX_PER_CONNECTION, Channel, Channels, check_channel
from towline.gateway.closecodes import NORMAL, SENDABLE
from towline.gateway.connectionqueue import ConnectionQueue
from towline.gateway.contextvalues import problem_of_call
from towline.gateway.frames import binary_frame, data_frame, text_frame
from towline.gateway.queues import Queues

if TYPE_CHECKING:
    from towline.gateway.entries.base import Handshake
    from towline.gateway.mesh import Mesh
    from towline.gateway.outbox import Outbox

Kind = Literal["text", "binary"]


class Realm:
    """What all client connections of one node share: their table, channels, outbox, mesh and topics."""

    def __init__(self, outbox: Outbox, channels: Channels) -> None:
        self.outbox = outbox
        self.channels = channels
        self.connections: dict[str, Connection] = {}
        self.encoding = False
        """Whether a raw port's ``protocol_encode`` runs at this moment."""
        self.mesh: Mesh
        self.queues: Queues


class Connection:
    """One client. Entries get it as ``conn``; its methods belong to the event loop's thread.

    Frames sent within one turn of the loop leave in one write, in order.
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_disconnect",
        "_realm",
        "_waiters",
        "channels",
        "closing",
        "handshake",
        "id",
        "listener",
        "pending",
        "pending_bytes",
        "queued",
        "write",
    )
    raw = False
    """Whether this is a :class:`~towline.gateway.rawconnection.RawConnection`: its messages are bytes without frames."""

    def __init__(
        self,
        id: str,
        realm: Realm,
        handshake: Handshake,
        write: Callable[[bytes], None],
        queued: Callable[[], int],
        disconnect: Callable[[int, str], None],
        listener: int = 0,
    ) -> None:
        self.id = id
        """client_id: a decimal string, unique in the mesh."""
        self.handshake = handshake
        """The request that opened the connection."""
        self.listener = listener
        """The number of the port that it came through."""
        self.channels: dict[str, Channel] = {}
        self.closing = False
        self.pending: list[bytes] = []
        self.pending_bytes = 0
        self.write = write
        self.queued = queued
        self._disconnect = disconnect
        self._realm = realm
        self._context: dict[str, Any] = {}
        self._waiters: dict[str, asyncio.Future[Any]] | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.remote_addr}>"

    # -- what an entry uses

    @property
    def mesh(self) -> Mesh:
        """Send and publish to clients of any node."""
        return self._realm.mesh

    @property
    def queue(self) -> ConnectionQueue:
        """Push messages to back ends, in this client's name."""
        return ConnectionQueue(self._realm.queues, self.id)

    @property
    def remote_addr(self) -> str:
        """``IP:port`` of the socket's peer; behind a proxy read the handshake's headers."""
        return self.handshake.remote_addr

    def send(self, data: str | bytes, kind: Kind | None = None) -> bool:
        """Queue a message for this client. ``str`` goes as text, ``bytes`` as binary unless ``kind`` says otherwise.

        False when it was refused: the connection is closing, or too far behind (it is then closed).
        """
        payload = data.encode() if isinstance(data, str) else data
        binary = kind == "binary" or (kind is None and not isinstance(data, str))
        return self._realm.outbox.send(self, binary_frame(payload) if binary else text_frame(payload))

    def subscribe(self, *names: str) -> None:
        """Subscribe to channels; repeating is harmless. InvalidInput for a bad name, and nothing is subscribed."""
        for name in names:
            check_channel(name)
        if self.closing:
            raise Conflict("gateway.closing", "the connection is closing")
        if len(self.channels.keys() | set(names)) > MAX_PER_CONNECTION:
            raise InvalidInput("gateway.channels", f"a connection has at most {MAX_PER_CONNECTION} channels")
        realm = self._realm
        for name in names:
            if name not in self.channels:
                realm.outbox.settle_channel(realm.channels.get(name))
                channel = self.channels[name] = realm.channels.join(name, self)
                realm.outbox.joined(self, channel)

    def unsubscribe(self, *names: str) -> None:
        """End subscriptions; a channel that is not subscribed is passed over."""
        for name in names:
            check_channel(name)
        for name in names:
            channel = self.channels.get(name)
            if channel is not None:
                self._realm.outbox.settle_channel(channel)
                self._realm.channels.leave(channel, self)
                del self.channels[name]

    def context(self) -> dict[str, Any]:
        """A copy of all context values."""
        return dict(self._context)

    def context_value(self, key: str) -> Any:
        """One context value, None without it."""
        return self._context.get(key)

    def set_context(self, values: dict[str, Any]) -> None:
        """Merge values into the context; None removes a key."""
        for key, value in values.items():
            self.set_context_value(key, value)

    def set_context_value(self, key: str, value: Any) -> None:
        """Set one value and wake who waits for it; None removes the key."""
        if value is None:
            self._context.pop(key, None)
            return
        self._context[key] = value
        waiter = self._waiters.pop(key, None) if self._waiters else None
        if waiter is not None and not waiter.done():
            waiter.set_result(value)

    async def wait_context_value(self, key: str) -> Any:
        """The value of ``key``, as soon as somebody sets it; None when the connection closes first.

        Called in a callback it holds back this client's further messages, and nobody else's.
        """
        if key in self._context or self.closing:
            return self._context.get(key)
        if self._waiters is None:
            self._waiters = {}
        waiter = self._waiters.get(key)
        if waiter is None:
            waiter = self._waiters[key] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(waiter)

    def close(self, code: int = NORMAL.code, reason: str = NORMAL.reason) -> None:
        """Close after what is queued. The first close decides; codes: docs/reference/close-codes.md."""
        if self.closing:
            return
        if code not in SENDABLE:
            raise InvalidInput(
                "gateway.close_code", f"a close code is 1000 to 1003, 1007 to 1014 or 3000 to 4999, not {code!r:.20}"
            )
        self._realm.outbox.settle(self)
        disconnect = self._disconnect
        self.detach()
        disconnect(code, reason)

    # -- what the node uses

    def deliver(self, data: bytes, binary: bool) -> bool:
        """Queue what was sent to this client through the mesh. False when it was refused."""
        return self._realm.outbox.send(self, data_frame(data, binary))

    def detach(self) -> None:
        """Take no further frames: leave channels and table, wake waiters."""
        if self.closing:
            return
        self.closing = True
        # It holds the socket's listener, which holds this: without the ring both are freed at once, not by a collection.
        self._disconnect = _is_closing
        realm = self._realm
        for channel in self.channels.values():
            realm.outbox.settle_channel(channel)
            realm.channels.leave(channel, self)
        self.channels = {}
        realm.outbox.forget(self)
        realm.connections.pop(self.id, None)
        for waiter in (self._waiters or {}).values():
            if not waiter.done():
                waiter.set_result(None)
        self._waiters = None


def _is_closing(code: int, reason: str) -> None:
    """What a connection that is closing already does when asked to."""


def execute_call(connection: Connection, function: str, arguments: list[Any]) -> str:
    """``conn.call`` on a connection of this node (spec connmix §3): the empty string, or what was wrong (301)."""
    if problem := problem_of_call(function, arguments):
        return problem
    try:
        match function, arguments:
            case "set_context", [dict(values)]:
                connection.set_context(values)
            case "set_context", _:
                return "set_context takes one object"
            case "set_context_value", [str(key), value]:
                connection.set_context_value(key, value)
            case "set_context_value", _:
                return "set_context_value takes a key and a value"
            case "subscribe", names:
                connection.subscribe(*names)
            case "unsubscribe", names:
                connection.unsubscribe(*names)
            case _:
                return (
                    f"no function {function[:40]!r}; there are set_context, set_context_value, subscribe, unsubscribe"
                )
    except (InvalidInput, Conflict) as error:
        return error.message
    return ""


def decode_arguments(text: bytes) -> list[Any]:
    """The JSON array of a call that came from another node."""
    decoded: list[Any] = msgspec.json.decode(text, type=list)
    return decoded
