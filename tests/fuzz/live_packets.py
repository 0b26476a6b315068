# SPDX-License-Identifier: Apache-2.0
"""Frames of the live door: whatever the check lets through, python-socketio and our parsers must take."""

from __future__ import annotations

from socketio.packet import Packet

from towline.api.socketio.packets import PacketCheck, Verdict
from towline.protocols.ardexa import events


def fuzz_one(data: bytes) -> None:
    """The check itself raises nothing; what it passes decodes; our parsers raise BadRequest only."""
    check = PacketCheck()
    text = data.decode("utf-8", "replace")
    if check.text(text) is not Verdict.GOOD or not text.startswith("4"):
        return
    packet = Packet(encoded_packet=text[1:])  # type: ignore[no-untyped-call]
    while packet.attachment_count > len(packet.attachments):
        assert check.binary(b"x") is Verdict.GOOD
        packet.add_attachment(b"x")  # type: ignore[no-untyped-call]
    assert check.binary(b"x") is Verdict.MALFORMED
    if packet.packet_type not in (2, 5):
        return
    name, *args = packet.data
    assert isinstance(name, str)
    for parse in (events.parse_cmd, events.parse_feed, events.parse_feed_stop, events.parse_device):
        try:
            parse(args)
        except events.BadRequest:  # the one way to refuse
            pass
