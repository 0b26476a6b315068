# SPDX-License-Identifier: Apache-2.0
"""Outgoing frames of a node, joined: what one connection gets within one turn of the event loop is one write.

Order holds for each connection. Two kinds of waiting frames make that cheap. ``pending`` of a connection holds what was
sent to it alone. *Runs* hold what was published: consecutive publishes to one channel make one run, whose bytes are
joined once for all subscribers. Runs are always younger than any ``pending``; a frame for one connection that comes after
a run first turns the runs into ``pending`` of their subscribers. Clients of raw TCP ports are in no run: each message is
encoded for each of them.

Bounds: a turn is flushed early at :data:`FLUSH_BYTES`, so a connection whose transport takes everything never holds more
than that. Only connections that are *behind* (their transport has bytes left over) are checked for each frame; a frame
that would pass the limit is refused and the connection is handed to ``on_slow``. What is taken back because of a turn's
other traffic is at most :data:`FLUSH_BYTES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from towline.gateway.channels import Channel
    from towline.gateway.connections import Connection

FLUSH_BYTES = 64 * 1024


class CallSoon(Protocol):
    """``loop.call_soon``, as far as it is used here."""

    def __call__(self, callback: Callable[[], object], /) -> Any: ...


class OutboxCounters:
    """Frames since the node started."""

    __slots__ = ("flushes", "frames", "frames_raw", "refused", "refused_raw", "slow", "writes_failed")

    def __init__(self) -> None:
        self.frames = 0
        """accepted for a WebSocket connection"""
        self.frames_raw = 0
        """accepted for a connection of a raw TCP port"""
        self.refused = 0
        """refused because a connection was too far behind or closing"""
        self.refused_raw = 0
        """the same on raw TCP ports, and what their protocol could not encode"""
        self.slow = 0
        """connections given up as too slow"""
        self.flushes = 0
        self.writes_failed = 0
        """writes that raised, which only a broken transport does"""


class _Run:
    __slots__ = ("channel", "frames")

    def __init__(self, channel: Channel, frame: bytes) -> None:
        self.channel = channel
        self.frames = [frame]


class Outbox:
    """The outgoing side of all connections of a node.

    :param call_soon: the event loop's
    :param limit: bytes that may wait for one connection
    :param on_slow: told of a connection over the limit, after its frame was refused; it closes the connection
    """

    def __init__(self, call_soon: CallSoon, limit: int, on_slow: Callable[[Connection], None]) -> None:
        self._call_soon = call_soon
        self._limit = limit
        self._on_slow = on_slow
        self._dirty: list[Connection] = []
        self._dirty_raw: list[Connection] = []
        self._runs: list[_Run] = []
        self._turn_bytes = 0
        self._scheduled = False
        self.behind: dict[Connection, None] = {}
        self.counters = OutboxCounters()

    def send(self, connection: Connection, frame: bytes) -> bool:
        """Queue a frame for one connection. False when it was refused."""
        if connection.closing:
            self._refused(connection)
            return False
        if self._runs and not connection.raw:
            self._settle_runs()
        size = len(frame)
        if connection in self.behind and not self._fits(connection, size):
            return False
        pending = connection.pending
        if not pending:
            (self._dirty_raw if connection.raw else self._dirty).append(connection)
            if not self._scheduled:
                self._scheduled = True
                self._call_soon(self.flush)
        pending.append(frame)
        if connection.raw:
            self.counters.frames_raw += 1
        else:
            self.counters.frames += 1
        connection.pending_bytes += size
        if connection.pending_bytes > FLUSH_BYTES:
            self._write_pending(connection)
        return True

    def publish(self, channel: Channel, frame: bytes) -> tuple[int, int]:
        """Queue a frame for every subscriber: how many outboxes accepted and how many refused it."""
        failed = 0
        size = len(frame)
        if self.behind:
            members = channel.members
            for connection in [one for one in self.behind if one in members]:
                if not self._fits(connection, size):
                    failed += 1
        accepted = len(channel.members)
        if not accepted:
            return 0, failed
        self.counters.frames += accepted
        runs = self._runs
        if runs and runs[-1].channel is channel:
            runs[-1].frames.append(frame)
        else:
            runs.append(_Run(channel, frame))
            channel.pending = True
            if not self._scheduled:
                self._scheduled = True
                self._call_soon(self.flush)
        self._turn_bytes += size
        if self._turn_bytes > FLUSH_BYTES:
            self._flush_all()
        return accepted, failed

    def flush(self) -> None:
        """Write what waits. Runs once after a turn of the loop in which something was queued."""
        self._scheduled = False
        self._flush_all()

    def settle(self, connection: Connection) -> None:
        """Write what waits for a connection now: before it closes, or before its subscriptions change."""
        for channel in connection.channels.values():
            if channel.pending:
                self._flush_all()
                return
        if connection.pending:
            self._write_pending(connection)

    def settle_channel(self, channel: Channel | None) -> None:
        """Write what waits for a channel now: before its members change."""
        if channel is not None and channel.pending:
            self._flush_all()

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        connection.pending.clear()
        connection.pending_bytes = 0
        self.behind.pop(connection, None)

    # -- inside

    def _fits(self, connection: Connection, size: int) -> bool:
        waiting = connection.queued() + connection.pending_bytes + self._turn_bytes
        if waiting + size <= self._limit:
            return True
        self._refused(connection)
        self.counters.slow += 1
        self._on_slow(connection)
        return False

    def _refused(self, connection: Connection) -> None:
        if connection.raw:
            self.counters.refused_raw += 1
        else:
            self.counters.refused += 1

    def _flush_all(self) -> None:
        if self._dirty_raw:  # never part of a run, so apart from what decides the speed of a fan-out
            raw, self._dirty_raw = self._dirty_raw, []
            for connection in raw:
                if connection.pending:
                    self._write_pending(connection)
        runs, dirty = self._runs, self._dirty
        if runs and len(runs) == 1 and not dirty:
            # The case that decides the speed of a fan-out: one channel, one joined write to each subscriber.
            run = runs[0]
            self._clear_runs()
            frames = run.frames
            self._write_each(run.channel.writes, frames[0] if len(frames) == 1 else b"".join(frames))
        else:
            if runs:
                self._settle_runs()
            self._dirty = []
            for connection in dirty:
                if connection.pending:
                    self._write_pending(connection)
        self.counters.flushes += 1

    def _write_each(self, writes: tuple[Callable[[bytes], None], ...], data: bytes) -> None:
        rest = iter(writes)
        while True:
            try:
                for write in rest:
                    write(data)
            except Exception:
                # One broken transport; the iterator goes on behind it, and its connection is closing anyway.
                self.counters.writes_failed += 1
            else:
                return

    def _settle_runs(self) -> None:
        """Turn runs into pending frames of their subscribers, in order."""
        runs = self._runs
        dirty = self._dirty
        for run in runs:
            frames = run.frames
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            size = len(data)
            for connection in run.channel.members:
                pending = connection.pending
                if not pending:
                    dirty.append(connection)
                pending.append(data)
                connection.pending_bytes += size
        self._clear_runs()

    def _clear_runs(self) -> None:
        for run in self._runs:
            run.channel.pending = False
        self._runs = []
        self._turn_bytes = 0

    def _write_pending(self, connection: Connection) -> None:
        pending = connection.pending
        data = pending[0] if len(pending) == 1 else b"".join(pending)
        pending.clear()
        connection.pending_bytes = 0
        try:
            connection.write(data)
        except Exception:
            self.counters.writes_failed += 1
