# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from towline.protocols.link.frames import LinkError
from towline.protocols.link.limits import MAX_FRAME
from towline.protocols.link.relay import (
    ROSTER_PART,
    Accept,
    Close,
    Closed,
    Frame,
    Opened,
    Out,
    RelayMessage,
    Roster,
    RosterAsk,
    RosterEntry,
    decode_relay,
    encode_relay,
)

ENTRY = RosterEntry("1234567890123456789", "018f0000-0000-7000-8000-000000000000", "w" * 32, 1 << 40, 1 << 60)


@pytest.mark.parametrize(
    "message",
    [
        Opened("1", "[::1]:4", "/link/v1"),
        Frame("1", b"\x00"),
        Closed("1", "silent", "15 s"),
        Roster([ENTRY], 2, False),
        Out("1", b"x", 0),
        Accept("1", "d", "w", 4),
        Close("1", 4001, "replaced by a newer link", "replaced"),
        RosterAsk(),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_survives_its_encoding(message: RelayMessage) -> None:
    data = encode_relay(message)
    assert data[0] == 1
    assert decode_relay(data) == message


def test_a_full_roster_part_and_a_full_frame_fit_a_bus_message() -> None:
    assert len(encode_relay(Roster([ENTRY] * ROSTER_PART))) < 256 * 1024
    assert len(encode_relay(Frame("1234567890123456789", bytes(MAX_FRAME)))) < 256 * 1024


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x00\x91\xa1x", b"\x09\x91\xaaroster_ask", b"\x01\x91\xa1x", b"\x01\xc1"]
)
def test_what_is_no_relay_message_is_refused(data: bytes) -> None:
    with pytest.raises(LinkError) as caught:
        decode_relay(data)
    assert caught.value.code == "link.relay"
