# SPDX-License-Identifier: Apache-2.0
"""Lanes as pure machines: at most one batch in flight, the same sequence until it is acknowledged.

The agent's :class:`LaneSender` says when to make, send and trim a batch. The hub's :class:`LaneReceiver` puts batches
together and checks them; :func:`judge` is the rule that the store applies inside the transaction.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from towline.protocols.link.frames import Frame, LinkError, Stream, Type, encode_frame
from towline.protocols.link.items import Batch, Lane, decode_batch
from towline.protocols.link.limits import MAX_BATCH, MAX_BATCH_FRAME, MAX_BATCH_PARTS, RESEND_S
from towline.protocols.link.messages import BatchPart, encode, expect

STREAM_OF_LANE: dict[str, int] = {
    "urgent": Stream.URGENT,
    "live": Stream.LIVE,
    "backlog": Stream.BACKLOG,
}
_LANE_OF_STREAM = {stream: lane for lane, stream in STREAM_OF_LANE.items()}


class SpoolRolledBack(LinkError):
    """The hub has acknowledged more than this spool ever numbered: the spool's file was restored from a copy."""


class LaneSender:
    """One lane of the agent's spool.

    Ask :meth:`poll` what to do: ``fill`` (take items, number them :attr:`next_seq`, commit, then
    :meth:`filled`) or
    ``send`` (send the batch in flight, then :meth:`sent`).

    :param last: the highest sequence ever given in this lane of this spool
    :param inflight: whether the batch ``last`` still waits for its acknowledgement
    :ivar attempts: how often the batch in flight was sent
    """

    def __init__(self, lane: Lane, *, last: int = 0, inflight: bool = False, resend_s: float = RESEND_S) -> None:
        self.lane = lane
        self.last = last
        self.inflight = inflight
        self.online = False
        self.attempts = 0
        self._resend_s = resend_s
        self._sent_at: float | None = None

    @property
    def next_seq(self) -> int:
        return self.last + 1

    def welcome(self, acked: int) -> bool:
        """The link is up and the hub has stored up to ``acked``. True: the batch in flight is to be trimmed.

        Raises :class:`SpoolRolledBack`; the spool then needs a new id.
        """
        if acked > self.last:
            raise SpoolRolledBack(
                "link.spool_rolled_back", f"lane {self.lane}: the hub has {acked}, this spool numbered only {self.last}"
            )
        self.online = True
        self._sent_at = None
        return self.ack(acked)

    def lost(self) -> None:
        """The link is down."""
        self.online = False
        self._sent_at = None

    def again(self) -> None:
        """The other side may have lost what was sent: the batch in flight is due at once."""
        self._sent_at = None

    def poll(self, now: float) -> Literal["fill", "send"] | None:
        """What to do now, if anything. ``now``: monotonic seconds."""
        if not self.online:
            return None
        if not self.inflight:
            return "fill"
        if self._sent_at is None or now - self._sent_at >= self._resend_s:
            return "send"
        return None

    def wait_s(self, now: float) -> float:
        """Seconds until the batch in flight is due again; 0 if something is due now or nothing is in flight."""
        if not self.online or not self.inflight or self._sent_at is None:
            return 0.0
        return max(0.0, self._sent_at + self._resend_s - now)

    def filled(self, seq: int) -> None:
        """A batch was numbered and committed."""
        assert seq == self.next_seq
        assert not self.inflight
        self.last = seq
        self.inflight = True
        self.attempts = 0
        self._sent_at = None

    def sent(self, now: float) -> None:
        """The batch in flight was handed to the link."""
        assert self.inflight
        self.attempts += 1
        self._sent_at = now

    def ack(self, seq: int) -> bool:
        """The hub acknowledged up to ``seq``. True: the batch in flight is to be trimmed; late or repeated
        ones are False.
        """
        if not self.inflight or seq < self.last:
            return False
        self.inflight = False
        self._sent_at = None
        return True


def batch_frames(lane: str, seq: int, body: bytes) -> list[bytes]:
    """A batch as frames: one BATCH, or BATCH_PARTs when its body is over 60 KiB."""
    stream = STREAM_OF_LANE[lane]
    if len(body) <= MAX_BATCH_FRAME:
        return [encode_frame(Type.BATCH, body, stream=stream, seq=seq)]
    if len(body) > MAX_BATCH:
        raise LinkError("link.batch_size", f"a batch of {len(body)} bytes; the limit is {MAX_BATCH}")
    pieces = [body[at : at + MAX_BATCH_FRAME] for at in range(0, len(body), MAX_BATCH_FRAME)]
    return [
        encode(BatchPart(part=index, of=len(pieces), data=piece), stream=stream, seq=seq)
        for index, piece in enumerate(pieces)
    ]


class Judgement(NamedTuple):
    """``fresh``: store it. ``gap``: sequences that never came before it, to be recorded."""

    fresh: bool
    gap: int


def judge(last: int, seq: int) -> Judgement:
    """What a batch with ``seq`` is where ``last`` was stored last. A duplicate is acknowledged and not
    stored.
    """
    if seq <= last:
        return Judgement(fresh=False, gap=0)
    return Judgement(fresh=True, gap=seq - last - 1)


class LaneReceiver:
    """Puts the batches of one link together. Make a new one for each connection and after RESYNC."""

    def __init__(self) -> None:
        self._parts: dict[int, tuple[int, int, list[bytes]]] = {}

    def receive(self, frame: Frame) -> Batch | None:
        """Take a BATCH or BATCH_PART frame; the batch once it is whole. LinkError: close the link."""
        lane = _LANE_OF_STREAM.get(frame.stream)
        if lane is None:
            raise LinkError("link.batch", f"a batch on stream {frame.stream}, which is no lane")
        body: bytes | None
        if frame.type == Type.BATCH:
            self._parts.pop(frame.stream, None)
            body = bytes(frame.body)
        else:
            body = self._join(frame, expect(frame, BatchPart))
        if body is None:
            return None
        batch = decode_batch(body)
        if batch.lane != lane or batch.seq != frame.seq:
            raise LinkError("link.batch", f"batch {batch.lane}/{batch.seq} came in a frame of {lane}/{frame.seq}")
        return batch

    def _join(self, frame: Frame, part: BatchPart) -> bytes | None:
        if not 2 <= part.of <= MAX_BATCH_PARTS or len(part.data) > MAX_BATCH_FRAME:
            raise LinkError("link.batch", f"a batch in {part.of} parts; the limit is {MAX_BATCH_PARTS}")
        if part.part == 0:
            self._parts[frame.stream] = (frame.seq, part.of, [part.data])
            return None
        seq, of, pieces = self._parts.get(frame.stream, (0, 0, []))
        if (seq, of, len(pieces)) != (frame.seq, part.of, part.part) or part.part >= part.of:
            raise LinkError("link.batch", f"part {part.part} of batch {frame.seq} came out of turn")
        pieces.append(part.data)
        if len(pieces) < of:
            return None
        del self._parts[frame.stream]
        return b"".join(pieces)
