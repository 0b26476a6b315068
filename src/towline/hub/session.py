# SPDX-License-Identifier: Apache-2.0
"""One agent's link as the hub keeps it, and the codes with which a hub closes links."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, Protocol, TypeAlias

from towline.hub.core import Core
from towline.protocols.link import messages as m
from towline.protocols.link.handshake import HubHandshake
from towline.protocols.link.lanes import LaneReceiver
from towline.protocols.link.limits import FIRST_STREAM, MAX_STREAMS

Work: TypeAlias = Callable[[], Awaitable[object]]

CLOSE_NORMAL: Final = 1000
"""An enrolment is done; the agent signs in on a new connection."""
CLOSE_REPLACED: Final = 3100
"""A newer link of the same device is there."""
CLOSE_UNKNOWN: Final = 3101
"""The hub does not know this link (any more): sign in again."""
CLOSE_RETRY: Final = 3102
"""The hub could not serve the link now: come back later."""
CLOSE_REFUSED: Final = 3510
"""Unknown or revoked device, wrong key, void token: a person has to do something."""
CLOSE_PROTOCOL: Final = 3511
"""The agent broke the link protocol."""


class Stream(Protocol):
    """Who listens on a dynamic stream."""

    def on_data(self, data: m.Data, seq: int) -> bytes | None:
        """The CREDIT frame to send, if any. LinkError: the agent broke the stream's rules."""
        ...

    def on_end(self, end: m.End) -> None:
        """The agent closed the stream."""
        ...

    def on_lost(self, cause: str) -> None:
        """The link is gone."""
        ...


class Session:
    """One link. ``device_id`` and ``workgroup`` are set once it is signed in.

    ``state``: ``handshake`` → ``signed_in`` → ``closing`` (a Close is on its way to the node; nothing more is heard).
    """

    def __init__(self, conn: str, node: str, remote: str, handshake: HubHandshake | None) -> None:
        self.conn = conn
        self.node = node
        self.remote = remote
        self.handshake = handshake
        self.state: Literal["handshake", "signed_in", "closing"] = "handshake"
        self.device_id = ""
        self.workgroup = ""
        self.spool_id = ""
        self.public_key = b""
        """The device's key that this link was signed in with; empty on a link taken over from another hub."""
        self.key_changed = False
        self.key_asked = False
        """A change is under way."""
        self.signed_in_at = 0.0
        self.lanes = LaneReceiver()
        self.in_flight: dict[str, int] = {}
        self.asks = 0
        self.bad_batches = 0
        self.streams: dict[int, Stream] = {}
        self._next_stream = FIRST_STREAM
        self._tail: asyncio.Task[Any] | None = None

    @property
    def busy(self) -> bool:
        """Whether something given to :meth:`then` still runs."""
        return self._tail is not None and not self._tail.done()

    def then(self, core: Core, work: Work, name: str) -> None:
        """Run ``work`` after what was given before."""
        self._tail = core.spawn(self._after(self._tail, work), name)

    @staticmethod
    async def _after(before: asyncio.Task[Any] | None, work: Work) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        await work()

    def landed(self, lane: str) -> None:
        """A batch of the lane is no longer in flight."""
        self.in_flight[lane] -= 1

    def open_stream(self, stream: Stream) -> int | None:
        """A fresh dynamic stream's number; None when too many are open."""
        if len(self.streams) >= MAX_STREAMS:
            return None
        number = self._next_stream
        self._next_stream += 1
        self.streams[number] = stream
        return number

    def lose_streams(self, cause: str) -> None:
        """Tell whoever listens on a stream that the link is gone."""
        streams, self.streams = list(self.streams.values()), {}
        for stream in streams:
            stream.on_lost(cause)
