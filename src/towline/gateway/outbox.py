# SPDX-License-Identifier: Apache-2.0
"""Outgoing frames of a node, joined: what one connection gets within one turn of the event loop is one write.

Order holds for each connection. Two kinds of waiting frames make that cheap. ``pending`` of a connection holds what was
sent to it alone. *Runs* hold what was published: consecutive publishes to one channel make one run, whose bytes are
joined once for all subscribers. Runs are always younger than any ``pending``; a frame for one connection that comes after
a run first turns the runs into ``pending`` of their subscribers. Clients of raw TCP ports are in no run: what they get is
encoded for each of them.

Bounds: a turn is flushed early at :data:`FLUSH_BYTES`, so a connection whose transport takes everything never holds more
than that. A connection whose transport has bytes left over is *behind*: it is left out of the runs, and its frames are
checked one by one and kept in a :class:`Backlog`, which is written as fast as the socket takes it. What happens to a frame
that would pass the limit is the policy of the connection's :class:`Bounds`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from towline.gateway.backlog import CHUNK_BYTES, Backlog, Bounds

if TYPE_CHECKING:
    from towline.gateway.channels import Channel
    from towline.gateway.connections import Connection

FLUSH_BYTES = CHUNK_BYTES


class CallSoon(Protocol):
    """``loop.call_soon``, as far as it is used here."""

    def __call__(self, callback: Callable[[], object], /) -> Any: ...


class OutboxCounters:
    """Frames since the node started."""

    __slots__ = (
        "abandoned", "dropped_newest", "dropped_oldest", "flushes", "frames", "frames_raw", "refused",
        "refused_raw", "slow", "stalled", "writes_failed",
    )  # fmt: skip

    def __init__(self) -> None:
        self.frames = 0
        """accepted for a WebSocket connection"""
        self.frames_raw = 0
        """accepted for a connection of a raw TCP port"""
        self.refused = 0
        """refused because a connection was too far behind or closing"""
        self.refused_raw = 0
        """the same on raw TCP ports, and what their protocol could not encode"""
        self.dropped_newest = 0
        """of those: dropped by the policy ``drop_newest``"""
        self.dropped_oldest = 0
        """accepted, then dropped for a newer one by the policy ``drop_oldest``"""
        self.abandoned = 0
        """accepted, then gone with their connection before its transport had them"""
        self.slow = 0
        """connections given up as too slow"""
        self.stalled = 0
        """connections given up because their socket took nothing for the write timeout"""
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
    :param on_slow: told of a connection over its limit, after its frame was refused; it closes the connection
    :param on_stalled: told of a connection whose socket took nothing for the write timeout; it closes the connection
    """

    def __init__(
        self,
        call_soon: CallSoon,
        on_slow: Callable[[Connection], None],
        on_stalled: Callable[[Connection], None],
    ) -> None:
        self._call_soon = call_soon
        self._on_slow = on_slow
        self._on_stalled = on_stalled
        self._dirty: list[Connection] = []
        self._dirty_raw: list[Connection] = []
        self._runs: list[_Run] = []
        self._turn_bytes = 0
        self._scheduled = False
        self.behind: dict[Connection, Backlog] = {}
        self.counters = OutboxCounters()

    def send(self, connection: Connection, frame: bytes) -> bool:
        """Queue a frame for one connection. False when it was refused."""
        if connection.closing:
            self._count_refused(connection)
            return False
        if connection in self.behind:
            if self._keep(connection, frame):
                return True
            self._give_up([connection])
            return False
        if self._runs and not connection.raw:
            self._settle_runs()
        size = len(frame)
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
        accepted = len(channel.members)
        if channel.behind:
            return self._publish_with_behind(channel, frame)
        if accepted:
            self._publish(channel, frame, accepted)
        return accepted, 0

    def _publish(self, channel: Channel, frame: bytes, accepted: int) -> None:
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
        self._turn_bytes += len(frame)
        if self._turn_bytes > FLUSH_BYTES:
            self._flush_all()

    def _publish_with_behind(self, channel: Channel, frame: bytes) -> tuple[int, int]:
        behind = channel.behind
        failed = [connection for connection in behind if not self._keep(connection, frame)]
        accepted = len(behind) - len(failed)
        quick = len(channel.members) - len(behind)
        # Only now may anything be written or closed: both can change who is behind.
        if quick:
            self._publish(channel, frame, quick)
        if failed:
            self._give_up(failed)
        return accepted + quick, len(failed)

    def flush(self) -> None:
        """Write what waits. Runs once after a turn of the loop in which something was queued."""
        self._scheduled = False
        self._flush_all()

    def settle(self, connection: Connection) -> None:
        """Write what waits for a connection now: before it closes, or before its subscriptions change."""
        self._settle_channels(connection)
        backlog = self.behind.get(connection)
        if backlog is not None:
            while backlog.frames:
                self._write(connection, backlog.take())
        elif connection.pending:
            self._write_pending(connection)

    def settle_channel(self, channel: Channel | None) -> None:
        """Write what waits for a channel now: before its members change."""
        if channel is not None and channel.pending:
            self._flush_all()

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        connection.pending.clear()
        connection.pending_bytes = 0
        backlog = self.behind.pop(connection, None)
        if backlog is not None:
            self.counters.abandoned += len(backlog.frames)

    # -- connections that are behind

    def fell_behind(self, connection: Connection, bounds: Bounds) -> None:
        """The transport of a connection holds bytes back (its ``pause_writing``)."""
        if connection.closing or connection in self.behind:
            return
        self._settle_channels(connection)
        backlog = self.behind[connection] = Backlog(bounds)
        for frame in connection.pending:
            backlog.add(frame)
        connection.pending.clear()
        connection.pending_bytes = 0
        for channel in connection.channels.values():
            channel.falls_behind(connection)

    def caught_up(self, connection: Connection) -> None:
        """The transport of a connection has written all it held (its ``resume_writing``)."""
        backlog = self.behind.get(connection)
        if backlog is None:
            return
        # A run of this turn is older than none of the backlog, and must not reach the connection a second time.
        self._settle_channels(connection)
        backlog.moved()
        while backlog.frames:
            self._write(connection, backlog.take())
            if connection.queued():
                return
        del self.behind[connection]
        for channel in connection.channels.values():
            channel.caught_up(connection)

    def joined(self, connection: Connection, channel: Channel) -> None:
        """A connection subscribed."""
        if connection in self.behind:
            channel.falls_behind(connection)

    def waiting(self, connection: Connection) -> int:
        """Bytes that wait for a connection in this process."""
        backlog = self.behind.get(connection)
        return connection.queued() + connection.pending_bytes + (backlog.bytes if backlog else 0)

    def watch(self, now: float) -> None:
        """Give up connections whose sockets take nothing. Called every second or so, with the loop's time."""
        stalled = [one for one, backlog in self.behind.items() if backlog.stalled(one.queued(), now)]
        for connection in stalled:
            self.counters.stalled += 1
            self._abandon(connection)
            self._on_stalled(connection)

    def _keep(self, connection: Connection, frame: bytes) -> bool:
        """Put a frame into a backlog, making room as the policy says. False when it was refused."""
        backlog = self.behind[connection]
        size = len(frame)
        held = connection.queued()
        counters = self.counters
        if not backlog.fits(size, held):
            if backlog.bounds.policy == "drop_oldest":
                counters.dropped_oldest += backlog.make_room(size, held)
            if not backlog.fits(size, held):
                self._count_refused(connection)
                if backlog.bounds.policy != "disconnect":
                    counters.dropped_newest += 1
                return False
        backlog.add(frame)
        if connection.raw:
            self.counters.frames_raw += 1
        else:
            self.counters.frames += 1
        return True

    def _give_up(self, connections: list[Connection]) -> None:
        """A frame of these was refused: those whose policy says so are closed."""
        for connection in connections:
            backlog = self.behind.get(connection)
            if backlog is not None and backlog.bounds.policy == "disconnect":
                self.counters.slow += 1
                self._abandon(connection)
                self._on_slow(connection)

    def _abandon(self, connection: Connection) -> None:
        """Drop a backlog: who did not read it before will not read it all in the time that a close has, and the memory of
        many such clients at once is worth more."""
        backlog = self.behind[connection]
        self.counters.abandoned += len(backlog.frames)
        backlog.frames.clear()
        backlog.bytes = 0

    def _settle_channels(self, connection: Connection) -> None:
        for channel in connection.channels.values():
            if channel.pending:
                self._flush_all()
                return

    # -- inside

    def _count_refused(self, connection: Connection) -> None:
        if connection.raw:
            self.counters.refused_raw += 1
        else:
            self.counters.refused += 1

    def _flush_all(self) -> None:
        if self._dirty_raw:  # apart, so that they do not keep a turn from being one run
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
            for connection in run.channel.quick():
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
        self._write(connection, data)

    def _write(self, connection: Connection, data: bytes) -> None:
        try:
            connection.write(data)
        except Exception:
            self.counters.writes_failed += 1
