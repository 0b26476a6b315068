# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from towline.protocols.link.frames import LinkError, Type, decode_frame, encode_frame
from towline.protocols.link.items import CommandStep, Record, encode_batch, encode_item
from towline.protocols.link.lanes import LaneReceiver, LaneSender, SpoolRolledBack, batch_frames, judge
from towline.protocols.link.limits import MAX_BATCH, MAX_BATCH_FRAME, MAX_FRAME
from towline.protocols.link.messages import BatchPart, encode


class Lane(RuleBasedStateMachine):
    """An agent's lane against a hub, over a link that loses frames, cuts, and delivers acks late."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.sender = LaneSender("live")
        self.made: list[int] = []
        self.wire: list[int] = []
        self.acks: list[int] = []
        self.stored: list[int] = []
        self.trimmed = 0

    def trim(self, done: bool) -> None:
        if done:
            self.trimmed = self.sender.last

    @rule(seconds=st.sampled_from([0.1, 1.0, 15.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def act(self) -> None:
        what = self.sender.poll(self.now)
        if what == "fill":
            self.made.append(self.sender.next_seq)
            self.sender.filled(self.sender.next_seq)
        elif what == "send":
            self.wire.append(self.sender.last)
            self.sender.sent(self.now)

    @precondition(lambda self: self.wire)
    @rule(lose=st.booleans())
    def deliver(self, lose: bool) -> None:
        seq = self.wire.pop(0)
        if lose:
            return
        last = self.stored[-1] if self.stored else 0
        verdict = judge(last, seq)
        assert verdict.gap == 0
        if verdict.fresh:
            self.stored.append(seq)
        self.acks.append(self.stored[-1])

    @precondition(lambda self: self.acks)
    @rule(lose=st.booleans())
    def acknowledge(self, lose: bool) -> None:
        seq = self.acks.pop(0)
        if not lose:
            self.trim(self.sender.ack(seq))

    @rule()
    def cut(self) -> None:
        self.sender.lost()
        self.wire.clear()
        self.acks.clear()

    @precondition(lambda self: not self.sender.online)
    @rule()
    def connect(self) -> None:
        self.trim(self.sender.welcome(self.stored[-1] if self.stored else 0))

    @rule()
    def restart_the_agent(self) -> None:
        self.cut()
        self.sender = LaneSender("live", last=self.sender.last, inflight=self.sender.inflight)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        assert self.stored == list(range(1, len(self.stored) + 1))
        assert self.trimmed <= len(self.stored)
        assert self.made == list(range(1, len(self.made) + 1))


TestLane = Lane.TestCase
TestLane.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_batch_goes_again_after_fifteen_seconds() -> None:
    lane = LaneSender("urgent")
    assert lane.poll(0.0) is None
    lane.welcome(0)
    assert lane.poll(0.0) == "fill"
    lane.filled(1)
    assert lane.poll(0.0) == "send"
    lane.sent(0.0)
    assert lane.poll(14.9) is None
    assert lane.wait_s(10.0) == 5.0
    assert lane.poll(15.0) == "send"
    assert not lane.ack(0)
    assert lane.ack(1)
    assert not lane.ack(1)
    assert lane.wait_s(20.0) == 0.0


def test_welcome_says_what_arrived_before_the_cut() -> None:
    lane = LaneSender("live", last=8, inflight=True)
    assert lane.welcome(8)
    assert lane.poll(0.0) == "fill"
    again = LaneSender("live", last=8, inflight=True)
    assert not again.welcome(7)
    assert again.poll(0.0) == "send"


def test_a_hub_that_knows_more_than_the_spool_means_a_restored_copy() -> None:
    with pytest.raises(SpoolRolledBack, match="the hub has 9, this spool numbered only 8"):
        LaneSender("live", last=8).welcome(9)


def test_judging() -> None:
    assert judge(5, 5) == (False, 0)
    assert judge(5, 4) == (False, 0)
    assert judge(5, 6) == (True, 0)
    assert judge(5, 9) == (True, 3)


def body_of(size: int, seq: int = 3) -> bytes:
    item = encode_item(Record("log", "t", "s", 1, {"text": "x" * size}))
    return encode_batch("spool", "live", seq, [item], {})


@given(st.integers(1, MAX_BATCH - 200))
@settings(max_examples=25, deadline=None)
def test_a_batch_of_any_size_arrives_whole(size: int) -> None:
    frames = batch_frames("live", 3, body_of(size))
    assert all(len(frame) <= MAX_FRAME for frame in frames)
    receiver = LaneReceiver()
    batches = [batch for batch in (receiver.receive(decode_frame(frame)) for frame in frames) if batch]
    assert len(batches) == 1
    assert isinstance(batches[0].items[0], Record)
    assert batches[0].items[0].fields["text"] == "x" * size


def test_a_batch_over_the_limit_is_not_sent() -> None:
    with pytest.raises(LinkError) as caught:
        batch_frames("live", 3, body_of(MAX_BATCH))
    assert caught.value.code == "link.batch_size"


def test_a_resend_in_the_middle_starts_the_batch_anew() -> None:
    frames = [decode_frame(frame) for frame in batch_frames("live", 3, body_of(3 * MAX_BATCH_FRAME))]
    receiver = LaneReceiver()
    assert receiver.receive(frames[0]) is None
    assert receiver.receive(frames[1]) is None
    assert [receiver.receive(frame) is not None for frame in frames] == [False, False, False, True]


@pytest.mark.parametrize(
    "frame",
    [
        encode(BatchPart(part=1, of=2, data=b"x"), stream=2, seq=1),
        encode(BatchPart(part=0, of=1, data=b"x"), stream=2, seq=1),
        encode(BatchPart(part=0, of=99, data=b"x"), stream=2, seq=1),
        encode(BatchPart(part=0, of=2, data=b"x"), stream=0, seq=1),
        encode_frame(Type.BATCH, encode_batch("s", "live", 1, [], {}), stream=1, seq=1),
        encode_frame(Type.BATCH, encode_batch("s", "live", 1, [], {}), stream=2, seq=2),
        encode_frame(Type.BATCH, {}, stream=2, seq=2),
    ],
)
def test_parts_out_of_turn_and_wrong_lanes_are_refused(frame: bytes) -> None:
    with pytest.raises(LinkError):
        LaneReceiver().receive(decode_frame(frame))


def test_an_empty_batch_may_carry_only_drops() -> None:
    body = encode_batch("s", "urgent", 1, [encode_item(CommandStep("c", "acked", 1))], {"metric": 4})
    (frame,) = batch_frames("urgent", 1, body)
    batch = LaneReceiver().receive(decode_frame(frame))
    assert batch is not None
    assert batch.dropped == {"metric": 4}
