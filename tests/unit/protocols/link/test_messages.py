# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec
import pytest

from towline.protocols.link.frames import LinkError, Type, decode_frame, encode_frame
from towline.protocols.link.messages import (
    TYPES,
    Body,
    Command,
    Data,
    Exec,
    Hello,
    Proof,
    Refused,
    Welcome,
    decode_body,
    encode,
    expect,
)

EXAMPLES: list[Body] = [
    Hello(min=1, max=1, nonce=bytes(32), facts={"os": "linux"}),
    Welcome(version=1, acked={"live": 3}, counter=9),
    Refused(code="hub_unavailable", message="no hub", retry_after_s=2.0),
    Command(command_id="c", app_guid="g", module="m", name="n", params=b'[{"name":"a","value":"b"}]'),
    Exec(exec_id="e", command="uptime"),
    Data(data=b"out", channel=2),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_survives_its_encoding(message: Body) -> None:
    frame = decode_frame(encode(message))
    assert frame.type == TYPES[type(message)]
    assert decode_body(frame) == message


def test_every_body_has_its_own_type() -> None:
    assert len(set(TYPES.values())) == len(TYPES)
    missing = set(Type) - set(TYPES.values())
    assert missing == {Type.BATCH, Type.PONG}


def test_commands_travel_on_the_urgent_stream() -> None:
    assert decode_frame(encode(EXAMPLES[3])).stream == 1


def test_unknown_members_are_ignored() -> None:
    frame = decode_frame(encode_frame(Type.PROOF, {"signature": b"s", "mood": "good"}))
    assert decode_body(frame) == Proof(signature=b"s")


def test_a_type_of_a_newer_version_has_no_body() -> None:
    assert decode_body(decode_frame(encode_frame(99, {}))) is None


def test_a_wrong_body_names_its_message() -> None:
    with pytest.raises(LinkError, match="HELLO") as caught:
        decode_body(decode_frame(encode_frame(Type.HELLO, {"min": "one"})))
    assert caught.value.code == "link.body"


def test_expect_says_what_came_instead() -> None:
    with pytest.raises(LinkError, match="WELCOME came where HELLO was due"):
        expect(decode_frame(encode(Welcome(version=1))), Hello)
    with pytest.raises(LinkError, match="type 99"):
        expect(decode_frame(encode_frame(99, {})), Hello)


def test_defaults_are_not_sent() -> None:
    assert msgspec.msgpack.decode(decode_frame(encode(Exec(exec_id="e", command="x"))).body) == {
        "exec_id": "e",
        "command": "x",
    }
