# SPDX-License-Identifier: Apache-2.0
"""Bytes from the bus: a peer is trusted, yet its rubbish ends in a Refusal and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from towline.bus import envelope


def fuzz_one(data: bytes) -> None:
    """Allowed: Refusal."""
    try:
        kind, sender, correlation, payload = envelope.decode(data)
        assert envelope.encode(kind, sender, correlation, payload) == data
        if kind == envelope.BEAT:
            envelope.unpack_beat(payload)
        elif kind == envelope.ERROR:
            envelope.unpack_failure(payload)
    except envelope.Refusal:
        pass


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    fuzz_one(data)


@given(st.integers(envelope.SEND, envelope.BYE), st.binary(max_size=400))
def test_any_payload(kind: int, payload: bytes) -> None:
    fuzz_one(envelope.encode(kind, "hub-1", 1, payload))
