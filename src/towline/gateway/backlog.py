# SPDX-License-Identifier: Apache-2.0
"""What waits for a connection whose socket does not take everything, and how much of it may."""

from __future__ import annotations

from collections import deque
from typing import Literal, NamedTuple

Policy = Literal["disconnect", "drop_newest", "drop_oldest"]

CHUNK_BYTES = 64 * 1024
"""What is joined for one write while a connection catches up."""


class Bounds(NamedTuple):
    """How far behind a connection may be. One for each port.

    ``limit`` is in bytes; a connection whose socket takes nothing for ``write_timeout_s`` is given up.
    """

    limit: int
    policy: Policy = "disconnect"
    write_timeout_s: float = 10.0


class Backlog:
    """The frames of one connection that is behind, oldest first. They are shared with other connections, not copied."""

    __slots__ = ("_held", "_moved_at", "bounds", "bytes", "frames")

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.frames: deque[bytes] = deque()
        self.bytes = 0
        self._held = -1
        self._moved_at = 0.0

    def fits(self, size: int, held: int) -> bool:
        """Whether a frame of ``size`` bytes has room while the transport holds ``held`` bytes."""
        return held + self.bytes + size <= self.bounds.limit

    def add(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.bytes += len(frame)

    def make_room(self, size: int, held: int) -> int:
        """Drop the oldest frames until one of ``size`` bytes fits, if that can help: how many went."""
        dropped = 0
        if held + size <= self.bounds.limit:
            while self.frames and not self.fits(size, held):
                self.bytes -= len(self.frames.popleft())
                dropped += 1
        return dropped

    def take(self) -> bytes:
        """The next frames, joined, about :data:`CHUNK_BYTES` together; they are no longer in the backlog."""
        frames = self.frames
        taken = [frames.popleft()]
        size = len(taken[0])
        while frames and size < CHUNK_BYTES:
            size += len(frames[0])
            taken.append(frames.popleft())
        self.bytes -= size
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def moved(self) -> None:
        """The socket took something."""
        self._held = -1

    def stalled(self, held: int, now: float) -> bool:
        """Whether the socket took nothing for the write timeout. Asked now and then with what the transport holds: nothing
        is added to that while the connection is behind, so any change means that the socket took some of it."""
        if held != self._held:
            self._held = held
            self._moved_at = now
            return False
        return now - self._moved_at >= self.bounds.write_timeout_s
