# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towline.protocols.link.frames import LinkError, Priority, decode_frame
from towline.protocols.link.limits import MAX_DATA
from towline.protocols.link.messages import Credit, Data, expect
from towline.protocols.link.streams import Outbox, StreamReceiver, StreamSender


@given(st.lists(st.binary(max_size=40_000), max_size=12), st.integers(1, 70_000))
@settings(max_examples=50, deadline=None)
def test_every_byte_arrives_in_order_within_the_credit(chunks: list[bytes], credit: int) -> None:
    sender, receiver = StreamSender(16, credit), StreamReceiver(16, credit)
    got = bytearray()
    for chunk in chunks:
        sender.write(chunk)
    while frames := sender.frames():
        for raw in frames:
            frame = decode_frame(raw)
            data = expect(frame, Data)
            assert len(data.data) <= MAX_DATA
            got += data.data
            grant = receiver.take(data, frame.seq)
            if grant is not None:
                sender.grant(expect(decode_frame(grant), Credit).amount)
    assert bytes(got) == b"".join(chunks)
    assert sender.waiting == 0


def test_without_credit_nothing_goes() -> None:
    sender = StreamSender(20, 0)
    sender.write(b"abc", 2)
    assert sender.frames() == []
    assert sender.waiting == 3
    sender.grant(2)
    (frame,) = sender.frames()
    assert expect(decode_frame(frame), Data) == Data(data=b"ab", channel=2)


@pytest.mark.parametrize("amount", [0, -1, 1 << 40])
def test_a_credit_must_make_sense(amount: int) -> None:
    with pytest.raises(LinkError):
        StreamSender(16).grant(amount)


def test_a_fixed_stream_is_no_dynamic_one() -> None:
    with pytest.raises(LinkError):
        StreamSender(3)


def test_a_receiver_refuses_disorder_and_excess() -> None:
    with pytest.raises(LinkError, match="DATA 1 came where 0 was due"):
        StreamReceiver(16).take(Data(data=b""), 1)
    with pytest.raises(LinkError, match="5 bytes with credit for 4"):
        StreamReceiver(16, 4).take(Data(data=b"12345"), 0)


@given(st.lists(st.sampled_from(list(Priority)), max_size=40))
def test_strict_priority_and_order_within_a_class(classes: list[Priority]) -> None:
    outbox = Outbox()
    for index, priority in enumerate(classes):
        assert outbox.put(priority, bytes((priority, index)))
    popped = []
    while frame := outbox.pop():
        popped.append((frame[0], frame[1]))
    assert popped == sorted((int(priority), index) for index, priority in enumerate(classes))
    assert outbox.waiting() == 0


def test_a_full_class_refuses_and_counts_without_touching_others() -> None:
    outbox = Outbox(dict.fromkeys(Priority, 4))
    assert outbox.put(Priority.BULK, b"1234")
    assert not outbox.put(Priority.BULK, b"5")
    assert outbox.put(Priority.CONTROL, b"c")
    assert outbox.refused[Priority.BULK] == 1
    assert outbox.waiting(Priority.BULK) == 4
    assert outbox.waiting() == 5
    outbox.clear()
    assert outbox.pop() is None
    assert outbox.put(Priority.BULK, b"1234")
