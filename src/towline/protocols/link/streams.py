# SPDX-License-Identifier: Apache-2.0
"""Dynamic streams and what waits to be sent: credit in bytes, and an outbox of strict priority. Pure."""

from __future__ import annotations

from collections import deque
from typing import ClassVar, Literal

from towline.protocols.link.frames import LinkError, Priority
from towline.protocols.link.limits import FIRST_STREAM, MAX_DATA, STREAM_CREDIT
from towline.protocols.link.messages import Credit, Data, encode

Channel = Literal[0, 1, 2]


class StreamSender:
    """The sending side of a stream: keeps what the credit does not cover yet.

    The writer stops reading its source while :attr:`waiting` is over its own bound; nothing is dropped here.
    """

    def __init__(self, stream: int, credit: int = STREAM_CREDIT) -> None:
        if stream < FIRST_STREAM:
            raise LinkError("link.stream", f"stream {stream} is not a dynamic one (from {FIRST_STREAM})")
        self.stream = stream
        self.credit = max(0, credit)
        self.waiting = 0
        self._queue: deque[tuple[Channel, bytes]] = deque()
        self._seq = 0

    def write(self, data: bytes, channel: Channel = 1) -> None:
        if data:
            self._queue.append((channel, data))
            self.waiting += len(data)

    def grant(self, amount: int) -> None:
        """A CREDIT came; LinkError ``link.stream`` if it is not positive."""
        if not 0 < amount <= 1 << 30:
            raise LinkError("link.stream", f"a credit of {amount} bytes")
        self.credit += amount

    def frames(self) -> list[bytes]:
        """DATA frames that the credit covers now."""
        out: list[bytes] = []
        while self._queue and self.credit > 0:
            channel, data = self._queue.popleft()
            room = min(self.credit, MAX_DATA)
            if len(data) > room:
                self._queue.appendleft((channel, data[room:]))
                data = data[:room]
            self.credit -= len(data)
            self.waiting -= len(data)
            out.append(encode(Data(data=data, channel=channel), stream=self.stream, seq=self._seq))
            self._seq += 1
        return out


class StreamReceiver:
    """The receiving side: checks credit and order, and says when to grant more."""

    def __init__(self, stream: int, credit: int = STREAM_CREDIT) -> None:
        self.stream = stream
        self._window = credit
        self._left = credit
        self._seq = 0
        self._used = 0

    def take(self, data: Data, seq: int) -> bytes | None:
        """Account for a DATA frame; returns the CREDIT frame to send, once half of the window is used."""
        if seq != self._seq:
            raise LinkError("link.stream", f"stream {self.stream}: DATA {seq} came where {self._seq} was due")
        if len(data.data) > self._left:
            raise LinkError("link.stream", f"stream {self.stream}: {len(data.data)} bytes with credit for {self._left}")
        self._seq += 1
        self._left -= len(data.data)
        self._used += len(data.data)
        if self._used * 2 < self._window:
            return None
        amount, self._used = self._used, 0
        self._left += amount
        return encode(Credit(amount=amount), stream=self.stream)


class Outbox:
    """Frames waiting for one link. Bounded for each class; a frame that does not fit is refused and counted."""

    DEFAULT_LIMITS: ClassVar[dict[Priority, int]] = {
        Priority.CONTROL: 256 * 1024,
        Priority.URGENT: 1024 * 1024,
        Priority.LIVE: 512 * 1024,
        Priority.INTERACTIVE: 4 * 1024 * 1024,
        Priority.BULK: 512 * 1024,
    }

    def __init__(self, limits: dict[Priority, int] | None = None) -> None:
        self._limits = limits or self.DEFAULT_LIMITS
        self._queues: dict[Priority, deque[bytes]] = {priority: deque() for priority in Priority}
        self._bytes = dict.fromkeys(Priority, 0)
        self.refused = dict.fromkeys(Priority, 0)
        self._frames = 0

    def __len__(self) -> int:
        return self._frames

    def put(self, priority: Priority, frame: bytes) -> bool:
        """Queue a frame; False if its class is full."""
        if self._bytes[priority] + len(frame) > self._limits[priority]:
            self.refused[priority] += 1
            return False
        self._queues[priority].append(frame)
        self._bytes[priority] += len(frame)
        self._frames += 1
        return True

    def pop(self) -> bytes | None:
        """The next frame: the oldest of the most urgent class."""
        for priority, queue in self._queues.items():
            if queue:
                frame = queue.popleft()
                self._bytes[priority] -= len(frame)
                self._frames -= 1
                return frame
        return None

    def waiting(self, priority: Priority | None = None) -> int:
        """Bytes that wait, of one class or of all."""
        return sum(self._bytes.values()) if priority is None else self._bytes[priority]

    def clear(self) -> None:
        for queue in self._queues.values():
            queue.clear()
        self._frames = 0
        self._bytes = dict.fromkeys(Priority, 0)
