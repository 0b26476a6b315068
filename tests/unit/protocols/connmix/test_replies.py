# SPDX-License-Identifier: Apache-2.0
"""Replies and events: exact bytes, because that is what exists out there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towline.protocols.connmix import replies
from towline.protocols.connmix.codes import WORDS, ApiError, Code, invalid


def test_exact_shapes() -> None:
    assert replies.HTTP_DONE == b'{"E":null,"r":{"s":true}}'
    assert replies.http_counts(9, 0) == b'{"E":null,"r":{"s":9,"f":0}}'
    assert replies.http_error(invalid("why")) == b'{"E":{"c":101,"m":"invalid argument: why"}}'
    assert replies.done(b"12345") == b'{"E":null,"r":{"s":true},"i":12345}'
    assert replies.counts(9, 1, b'"x"') == b'{"E":null,"r":{"s":9,"f":1},"i":"x"}'
    assert replies.error(ApiError(Code.SEND_FAILED, "why"), b"7") == b'{"E":{"c":401,"m":"failed to send: why"},"i":7}'
    assert replies.error(invalid("why")) == b'{"E":{"c":101,"m":"invalid argument: why"},"i":null}'


def test_messages_begin_with_the_documented_words() -> None:
    assert {int(code): words for code, words in WORDS.items()} == {
        101: "invalid argument",
        201: "consumption failed",
        202: "repeated consumption",
        203: "failed to cancel consumption",
        204: "failed to acknowledge",
        301: "execution failed",
        401: "failed to send",
        403: "forbidden",
    }
    assert ApiError(Code.REPEATED_CONSUMPTION, "this socket").message == "repeated consumption: this socket"
    assert ApiError(Code.REPEATED_CONSUMPTION, "").message == "repeated consumption"


def test_the_event_of_a_client_frame_is_the_documented_one() -> None:
    data = replies.event_data(replies.frame_data("text", b"json str"))
    assert replies.pop_event(1, "1463819408261513216", "topic1", data) == (
        b'{"e":"queue.pop","p":{"n":1,"c":"1463819408261513216","t":"topic1",'
        b'"d":{"frame":{"type":"text","data":"json str","finish":true}}},"id":null}'
    )
    assert replies.frame_data("binary", b"\x00")["frame"]["data"] == "AA=="


@pytest.mark.parametrize(
    ("pushed", "text"),
    [
        ({"a": 1}, b'{"a":1}'),
        ([1, 2], b"[1,2]"),
        ('{"a":1}', b'{"a":1}'),
        (" [1, 2]", b" [1, 2]"),
        ("{not json", b'"{not json"'),
        (r'{"a":"\ud800"}', b'{"a":"\\ufffd"}'),
        ("plain", b'"plain"'),
        ("5", b'"5"'),
        (5, b"5"),
        (True, b"true"),
        (b"\xff", '"\ufffd"'.encode()),
        (b'{"a":1}', b'{"a":1}'),
    ],
)
def test_what_a_script_pushes(pushed: Any, text: bytes) -> None:
    assert replies.event_data(pushed) == text


def test_nothing_cannot_be_pushed() -> None:
    with pytest.raises(TypeError):
        replies.event_data(None)
    with pytest.raises(TypeError):
        replies.event_data(object())


@given(reason=st.text(), code=st.sampled_from(Code), topic=st.text(), pushed=st.text())
@settings(max_examples=60, deadline=None)
def test_whatever_is_said_is_json(reason: str, code: Code, topic: str, pushed: str) -> None:
    answer = json.loads(replies.error(ApiError(code, reason), b"1"))
    assert list(answer) == ["E", "i"]
    assert answer["E"]["c"] == code
    event = json.loads(replies.pop_event(3, "1", topic, replies.event_data(pushed)))
    assert list(event) == ["e", "p", "id"]
    assert event["p"]["t"] == topic


def test_durable_events_and_dead_letters() -> None:
    event = replies.durable_event(1, "15", "t", b'{"x":1}', "42", 3)
    assert event == b'{"e":"queue.pop","p":{"n":1,"c":"15","t":"t","d":{"x":1},"a":"42","r":3},"id":null}'
    dead = replies.dead_letter('t"', "nack", 5, b"[1]")
    assert dead == b'{"topic":"t\\"","reason":"nack","deliveries":5,"data":[1]}'
