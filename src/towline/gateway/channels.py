# SPDX-License-Identifier: Apache-2.0
"""Channels of one node: who subscribed to which name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from towline.errors import InvalidInput
from towline.protocols.connmix.requests import MAX_NAME_BYTES

if TYPE_CHECKING:
    from towline.gateway.connections import Connection

Write = Callable[[bytes], None]

MAX_PER_CONNECTION = 1000
"""Channels that one connection may be subscribed to at once."""


class Channel:
    """A name and its subscribers on this node. Exists while it has a subscriber."""

    __slots__ = ("_writes", "behind", "members", "name", "pending", "raw_members")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[Connection, None] = {}
        """WebSocket clients: all get the same frame."""
        self.raw_members: dict[Connection, None] = {}
        """Clients of raw TCP ports: each gets what its own protocol makes of a message."""
        self.behind: dict[Connection, None] = {}
        """Members whose transports hold bytes back: the outbox looks after each of them."""
        self.pending = False
        """Whether the outbox holds frames for this channel in the present loop turn."""
        self._writes: tuple[Write, ...] | None = None

    @property
    def subscribers(self) -> int:
        return len(self.members) + len(self.raw_members)

    def add(self, connection: Connection) -> None:
        if connection.raw:
            self.raw_members[connection] = None
            return
        self.members[connection] = None
        self._writes = None

    def remove(self, connection: Connection) -> None:
        if connection.raw:
            self.raw_members.pop(connection, None)
            return
        self.members.pop(connection, None)
        self.behind.pop(connection, None)
        self._writes = None

    def falls_behind(self, connection: Connection) -> None:
        if not connection.raw:
            self.behind[connection] = None
            self._writes = None

    def caught_up(self, connection: Connection) -> None:
        self.behind.pop(connection, None)
        self._writes = None

    def quick(self) -> Iterable[Connection]:
        """The members that are not behind."""
        behind = self.behind
        return [member for member in self.members if member not in behind] if behind else self.members

    @property
    def writes(self) -> tuple[Write, ...]:
        """Transport writes of the members that are not behind, kept between changes: what a fan-out walks through."""
        if self._writes is None:
            self._writes = tuple(member.write for member in self.quick())
        return self._writes


class Channels:
    """All channels of a node."""

    def __init__(self) -> None:
        self._channels: dict[str, Channel] = {}

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._channels.values())

    def get(self, name: str) -> Channel | None:
        return self._channels.get(name)

    def join(self, name: str, connection: Connection) -> Channel:
        """Add a subscriber; the channel is made if need be."""
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel(name)
        channel.add(connection)
        return channel

    def leave(self, channel: Channel, connection: Connection) -> None:
        """Remove a subscriber; a channel without any is forgotten."""
        channel.remove(connection)
        if not channel.members and not channel.raw_members:
            self._channels.pop(channel.name, None)


def check_channel(name: object) -> str:
    """The name if a connection may subscribe to it; InvalidInput ``gateway.channel_name`` otherwise (spec connmix §4.2)."""
    if not isinstance(name, str):
        raise InvalidInput("gateway.channel_name", f"a channel's name must be text, not {type(name).__name__}")
    if not name:
        raise InvalidInput("gateway.channel_name", "a channel's name must not be empty")
    if name.split() != [name]:
        raise InvalidInput("gateway.channel_name", f"a channel's name must not contain spaces: {name[:40]!r}")
    if len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        raise InvalidInput("gateway.channel_name", f"a channel's name has at most {MAX_NAME_BYTES} bytes")
    return name
