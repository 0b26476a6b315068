# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.protocols.connmix import inspect as wire
from towline.protocols.connmix.clientid import client_id, issued_ms, node_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INT = st.integers(0, 2**63 - 1)
COUNTS = st.dictionaries(TEXT, INT, max_size=3)
CLIENT = st.builds(
    wire.Client, id=TEXT, listener=INT, remote_addr=TEXT, since_us=INT, channels=INT, waiting=st.integers(0, 2**31)
)
QUESTIONS = st.one_of(
    st.builds(wire.AskStatus),
    st.builds(wire.AskChannels, search=TEXT, limit=INT, names=st.lists(TEXT, max_size=3)),
    st.builds(wire.AskTopics, search=TEXT, limit=INT),
    st.builds(wire.AskClients, search=TEXT, channel=TEXT, after=TEXT, limit=INT),
    st.builds(wire.AskClient, client_id=TEXT),
    st.builds(wire.DoSend, client_id=TEXT, data=st.binary(), binary=st.booleans()),
    st.builds(wire.DoPublish, channel=TEXT, data=st.binary(), binary=st.booleans()),
    st.builds(wire.DoDisconnect, client_id=TEXT, code=INT, reason=TEXT),
)
ANSWERS = st.one_of(
    st.builds(
        wire.Status,
        number=INT,
        counters=COUNTS,
        listeners=st.lists(
            st.builds(wire.Listener, number=INT, listen=TEXT, closed=COUNTS, refused=COUNTS), max_size=2
        ),
    ),
    st.builds(wire.Channels, channels=st.lists(st.builds(wire.Channel, TEXT, INT), max_size=3), matching=INT),
    st.builds(wire.Clients, clients=st.lists(CLIENT, max_size=2), more=st.booleans()),
    st.builds(
        wire.ClientDetails,
        client=CLIENT,
        context=st.binary(),
        omitted=st.lists(TEXT, max_size=2),
        channels=st.lists(TEXT, max_size=2),
        **dict.fromkeys(("listen", "entry", "protocol", "path", "user_agent"), TEXT),
        channel_count=INT,
        behind=st.booleans(),
    ),
)


@given(QUESTIONS)
def test_questions_come_back_as_they_were(question: wire.Question) -> None:
    assert wire.decode_question(wire.encode(question)) == question


@given(ANSWERS)
def test_answers_come_back_as_they_were(answer: msgspec.Struct) -> None:
    assert wire.decode_answer(wire.encode(answer), type(answer)) == answer


@given(st.binary(max_size=200))
def test_anything_else_is_refused(payload: bytes) -> None:
    for decode in (wire.decode_question, lambda data: wire.decode_answer(data, wire.Status)):
        try:
            decode(payload)
        except wire.InspectFormatError:
            pass


@pytest.mark.parametrize("payload", [b"", b"\x02\x81\xa3ask\xa6status", b"\x01\x81\xa3ask\xa3fly", b"\x01status"])
def test_wrong_questions(payload: bytes) -> None:
    with pytest.raises(wire.InspectFormatError):
        wire.decode_question(payload)


def test_releases_next_to_each_other_understand_each_other() -> None:
    newer = b"\x01" + msgspec.msgpack.encode({"ask": "channels", "search": "x", "colour": "red"})
    assert wire.decode_question(newer) == wire.AskChannels(search="x")
    older = b"\x01" + msgspec.msgpack.encode({"number": 3, "clients": 2})
    assert wire.decode_answer(older, wire.Status) == wire.Status(number=3, clients=2)


def test_a_lone_surrogate_does_not_stop_an_answer() -> None:
    assert wire.clean("a\ud800b") == "a?b"
    assert wire.encode(wire.Channel(wire.clean("\udfff"), 1))


@given(st.integers(1_288_834_974_657, 2**41), st.integers(0, 1023), st.integers(0, 4095))
def test_an_id_says_its_node_and_time(ms: int, number: int, sequence: int) -> None:
    made = client_id(ms, number, sequence)
    assert (issued_ms(made), node_of(made)) == (ms, number)
