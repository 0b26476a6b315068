# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.protocols.link.frames import (
    LinkError,
    Priority,
    Type,
    decode_frame,
    encode_frame,
    frame_type,
    pong_for,
    priority_of,
)
from towline.protocols.link.limits import MAX_FRAME
from towline.protocols.link.messages import Ping, encode

numbers = st.integers(0, (1 << 32) - 1)


@given(st.integers(0, 127), numbers, numbers, st.dictionaries(st.text(max_size=5), st.binary(max_size=20)))
def test_a_header_survives_its_encoding(type: int, stream: int, seq: int, body: dict[str, bytes]) -> None:
    data = encode_frame(type, body, stream=stream, seq=seq)
    frame = decode_frame(data)
    assert (frame.type, frame.stream, frame.seq) == (type, stream, seq)
    assert msgspec.msgpack.decode(frame.body) == body
    assert frame_type(data) == type


def test_bytes_are_taken_as_a_body_that_is_encoded_already() -> None:
    assert encode_frame(Type.BATCH, b"\x81\xa1a\x01", stream=2, seq=7) == encode_frame(
        Type.BATCH, {"a": 1}, stream=2, seq=7
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x94",
        b"\xc1",
        b"{}",
        b"\x94\x01\x00",
        msgspec.msgpack.encode([1, 0, 0]),
        msgspec.msgpack.encode(["1", 0, 0, {}]),
        msgspec.msgpack.encode([-1, 0, 0, {}]),
        msgspec.msgpack.encode([128, 0, 0, {}]),
        msgspec.msgpack.encode([1, 1 << 32, 0, {}]),
        msgspec.msgpack.encode([1, 0, 1 << 63, {}]),
        b"\x94\x01\x00\x00" + b"\x91" * 5000,
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(LinkError) as caught:
        decode_frame(data)
    assert caught.value.code == "link.frame"


def test_a_frame_over_the_limit_names_both_sizes() -> None:
    with pytest.raises(LinkError, match=f"{MAX_FRAME + 1} bytes; the limit is {MAX_FRAME}") as caught:
        decode_frame(bytes(MAX_FRAME + 1))
    assert caught.value.code == "link.frame_size"


def test_a_pong_repeats_its_ping() -> None:
    pong = decode_frame(pong_for(encode(Ping(time_us=42))))
    assert pong.type == Type.PONG
    assert msgspec.msgpack.decode(pong.body) == {"time_us": 42}


@pytest.mark.parametrize("data", [b"", b"\x94", b"\x93\x01\x00\x00\x80", b"\x94\xcc\x80\x00\x80"])
def test_the_type_of_rubbish_is_minus_one(data: bytes) -> None:
    assert frame_type(data) == -1


def test_priorities_put_control_first_and_bulk_last() -> None:
    assert priority_of(Type.PING, 0) == Priority.CONTROL
    assert priority_of(Type.COMMAND, 1) == Priority.URGENT
    assert priority_of(Type.ACK, 3) == Priority.URGENT
    assert priority_of(Type.BATCH, 1) == Priority.URGENT
    assert priority_of(Type.BATCH, 2) == Priority.LIVE
    assert priority_of(Type.BATCH, 3) == Priority.BULK
    assert priority_of(Type.DATA, 16) == Priority.INTERACTIVE
    assert priority_of(Type.BATCH, 9) == Priority.BULK
