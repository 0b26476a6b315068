# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towline.errors import InvalidInput
from towline.hub import peers
from towline.protocols.link.messages import Exec

ALL: list[peers.PeerMessage] = [
    peers.Verify(),
    peers.Kick("d", "device.revoked", "gone"),
    peers.Dispatch("d"),
    peers.Relay("main", "", b"frame"),
    peers.ExecStart("main", "d", Exec(exec_id="e", command="id")),
    peers.ExecStop("e", "timeout"),
    peers.ExecOutput("e", 2, b"x"),
    peers.ExecEnd("e", -1, "timeout", "too long"),
]


@pytest.mark.parametrize("message", ALL, ids=lambda one: type(one).__name__)
def test_round_trip(message: peers.PeerMessage) -> None:
    payload = peers.encode(message)
    assert peers.is_peer(payload)
    assert peers.decode(payload) == message


def test_every_kind_is_tried_here() -> None:
    assert {type(message) for message in ALL} == set(peers.PeerMessage.__args__)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=50))
def test_only_invalid_input_comes_out(payload: bytes) -> None:
    for data in (payload, b"\x81" + payload):
        try:
            peers.decode(data)
        except InvalidInput:
            continue
