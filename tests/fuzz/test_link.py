# SPDX-License-Identifier: Apache-2.0
"""Bytes from a stranger: every decoder of link v1 raises LinkError (or InvalidInput for the line) and nothing else."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.protocols.link.keys import Key, verify
from towline.errors import InvalidInput
from towline.protocols.link.enrolment import parse_line
from towline.protocols.link.frames import LinkError, Type, decode_frame, encode_frame, frame_type
from towline.protocols.link.handshake import AgentHandshake, HubHandshake
from towline.protocols.link.items import decode_batch, decode_item
from towline.protocols.link.lanes import LaneReceiver
from towline.protocols.link.messages import decode_body
from towline.protocols.link.relay import decode_relay

HUB = Key(1)


def _hub() -> HubHandshake:
    return HubHandshake(
        hub_id="h", hub_key=HUB.public, sign=HUB.sign, verify=verify, connection_id="1", nonce=bytes(32)
    )


def _agent() -> AgentHandshake:
    return AgentHandshake(
        device_id="d",
        workgroup="w",
        hub_id="h",
        hub_key=HUB.public,
        nonce=bytes(32),
        spool_id="s",
        sign=HUB.sign,
        verify=verify,
    )


def fuzz_one(data: bytes) -> None:
    """The only exceptions allowed are those caught here."""
    frame_type(data)
    for decode in (decode_item, decode_batch, decode_relay):
        try:
            decode(data)
        except LinkError:
            pass
    try:
        frame = decode_frame(data)
        decode_body(frame)
        if frame.type in (Type.BATCH, Type.BATCH_PART):
            LaneReceiver().receive(frame)
    except LinkError:
        pass
    try:
        hub = _hub()
        agent = _agent()
        agent.start()
        agent.receive(data)
    except LinkError:
        pass
    try:
        hub.receive(data)
        hub.receive(data)
    except LinkError:
        pass
    try:
        parse_line(data.decode(errors="replace"))
    except InvalidInput:
        pass


bodies = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), st.binary(max_size=40), st.text(max_size=9)
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["min", "max", "nonce", "device_id", "lane", "seq", "items", "spool_id", "part", "of", "data"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(st.binary(max_size=300))
@example(b"\x94\x01\x00\x00" + b"\x91" * 3000)
@example(b"wss://h:\xff/link/v1#a.b")
@settings(max_examples=200, deadline=None)
def test_random_bytes(data: bytes) -> None:
    fuzz_one(data)


@given(st.sampled_from(list(Type)), st.integers(0, 20), bodies)
@settings(max_examples=300, deadline=None)
def test_random_bodies(type: Type, stream: int, body: object) -> None:
    fuzz_one(encode_frame(type, body, stream=stream, seq=1))
