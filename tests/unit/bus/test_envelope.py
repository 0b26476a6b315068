# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.bus import envelope
from towline.bus.envelope import Beat, Failure, Refusal

senders = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=255)
kinds = st.integers(envelope.SEND, envelope.BYE)
numbers = st.integers(0, 2**64 - 1)


@given(kinds, senders, numbers, st.binary(max_size=2000))
def test_what_was_encoded_comes_back(kind: int, sender: str, correlation: int, payload: bytes) -> None:
    data = envelope.encode(kind, sender, correlation, payload)
    assert envelope.decode(data) == (kind, sender, correlation, payload)
    assert len(data) <= len(payload) + envelope.OVERHEAD


@given(kinds, senders, numbers, st.integers(0, 300))
def test_a_part_of_an_envelope_is_refused(kind: int, sender: str, correlation: int, cut: int) -> None:
    data = envelope.encode(kind, sender, correlation, b"")
    with pytest.raises(Refusal):
        envelope.decode(data[: min(cut, len(data) - 1)])


def test_the_bytes_are_fixed() -> None:
    data = envelope.encode(envelope.CALL, "hub-1", 7, b"body")
    assert data == b"\x01\x02\x00\x00\x00\x00\x00\x00\x00\x07\x05hub-1body"


@pytest.mark.parametrize("version", [0, 2, 255])
def test_other_versions_are_told_apart_from_rubbish(version: int) -> None:
    data = bytearray(envelope.encode(envelope.SEND, "hub-1", 0, b""))
    data[0] = version
    with pytest.raises(Refusal) as caught:
        envelope.decode(bytes(data))
    assert caught.value.code == "bus.version_refused"


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\x01\x00" + bytes(9), b"\x01\x08" + bytes(8) + b"\x01a", b"\x01\x01" + bytes(8) + b"\x01\xff"],
    ids=["empty", "short", "kind 0", "kind 8", "not ASCII"],
)
def test_rubbish_is_refused(data: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        envelope.decode(data)
    assert caught.value.code == "bus.malformed"


@given(st.builds(Beat, st.text(), st.integers(-1, 1023), st.integers(0, 2**62), st.dictionaries(st.text(), st.text())))
def test_beats_come_back(beat: Beat) -> None:
    assert envelope.unpack_beat(envelope.pack(beat)) == beat


@given(st.builds(Failure, st.text(), st.text()))
def test_failures_come_back(failure: Failure) -> None:
    assert envelope.unpack_failure(envelope.pack(failure)) == failure


def test_fields_of_a_newer_release_are_ignored() -> None:
    import msgspec

    body = msgspec.msgpack.encode({"kind": "hub", "number": -1, "started_us": 1, "info": {}, "colour": "red"})
    assert envelope.unpack_beat(body) == Beat("hub", -1, 1, {})
