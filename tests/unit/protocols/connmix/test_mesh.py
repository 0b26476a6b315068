# SPDX-License-Identifier: Apache-2.0
"""Messages between nodes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towline.protocols.connmix.mesh import (
    OVERHEAD,
    Call,
    Called,
    Counts,
    MeshFormatError,
    MeshMessage,
    Offer,
    Publish,
    Send,
    Taken,
    Wants,
    decode,
    encode,
    is_mesh,
)
from towline.protocols.connmix.requests import MAX_NAME_BYTES
from towline.protocols.link.relay import RosterAsk, encode_relay

SEQ = st.integers(0, 2**63)
MESSAGES: st.SearchStrategy[MeshMessage] = st.one_of(
    st.builds(Publish, SEQ, st.text(max_size=40), st.binary(max_size=100), st.booleans()),
    st.builds(Send, SEQ, st.text(max_size=20), st.binary(max_size=100), st.booleans()),
    st.builds(Counts, SEQ, SEQ, SEQ),
    st.builds(Call, SEQ, st.text(max_size=20), st.text(max_size=20), st.binary(max_size=100)),
    st.builds(Called, SEQ, st.text(max_size=40)),
    st.builds(Wants, st.booleans(), st.dictionaries(st.text(max_size=20), SEQ, max_size=5)),
    st.builds(Offer, SEQ, SEQ, st.text(max_size=20), SEQ, st.text(max_size=20), st.binary(max_size=100)),
    st.builds(Taken, SEQ, st.booleans()),
)


@given(message=MESSAGES)
@settings(max_examples=100, deadline=None)
def test_messages_survive(message: MeshMessage) -> None:
    payload = encode(message)
    assert is_mesh(payload)
    assert decode(payload) == message


def test_relay_messages_are_told_apart() -> None:
    assert not is_mesh(encode_relay(RosterAsk()))


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x02\x01\x90", b"\x01\x00\x90", b"\x01\x7f\x90", b"\x01\x01\x90"])
def test_what_is_not_understood(payload: bytes) -> None:
    with pytest.raises(MeshFormatError):
        decode(payload)


def test_overhead_is_a_bound() -> None:
    message = Publish(2**63, "x" * MAX_NAME_BYTES, b"d" * 200_000, True)
    assert len(encode(message)) - 200_000 <= OVERHEAD
    offer = Offer(2**63, 2**63, "x" * MAX_NAME_BYTES, 1023, "9" * 20, b"d" * 200_000)
    assert len(encode(offer)) - 200_000 <= OVERHEAD
