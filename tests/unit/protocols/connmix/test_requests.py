# SPDX-License-Identifier: Apache-2.0
"""Requests of the connmix API (spec connmix §2, §3, §8)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towline.protocols.connmix.codes import ApiError, Code
from towline.protocols.connmix.requests import (
    MAX_NAME_BYTES,
    ConnCall,
    MeshPublish,
    MeshSend,
    QueueAck,
    QueueNack,
    QueuePop,
    QueueUnpop,
    Request,
    parse_envelope,
    parse_http_publish,
    parse_http_send,
    parse_request,
)

LIMIT = 1000


def parse(request: Any) -> Request:
    return parse_request(parse_envelope(json.dumps(request).encode()), LIMIT)


def refused(request: Any) -> str:
    with pytest.raises(ApiError) as caught:
        parse(request)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message.startswith("invalid argument: ")
    return caught.value.reason


def test_http_send() -> None:
    assert parse_http_send(b'{"c":"1463786910324359168","d":"data"}', LIMIT) == MeshSend(
        "1463786910324359168", b"data", "text"
    )
    assert parse_http_send(b'{"c":1463786910324359168,"d":"AAE=","t":"binary"}', LIMIT) == MeshSend(
        "1463786910324359168", b"\x00\x01", "binary"
    )
    assert parse_http_send(b'{"c":"1","d":"","t":"text","more":1}', LIMIT).data == b""


def test_http_publish() -> None:
    assert parse_http_publish('{"c":"ä","d":"é"}'.encode(), LIMIT) == MeshPublish("ä", "é".encode(), "text")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "body is empty"),
        (b"{", "body is not JSON"),
        (b"\xff\xfe", "body is not JSON"),
        (b"null", "expected `object`"),
        (b'[{"c":"1","d":"x"}]', "expected `object`, got `array`"),
        (b'{"d":"x"}', "missing `c`"),
        (b'{"c":"1"}', "missing `d`"),
        (b'{"c":null,"d":"x"}', "at `$.c`"),
        (b'{"c":1.5,"d":"x"}', "at `$.c`"),
        (b'{"c":true,"d":"x"}', "at `$.c`"),
        (b'{"c":["1"],"d":"x"}', "at `$.c`"),
        (b'{"c":"","d":"x"}', "`c` is empty"),
        (b'{"c":"1","d":5}', "at `$.d`"),
        (b'{"c":"1","d":{}}', "at `$.d`"),
        (b'{"c":"1","d":"x","t":"json"}', "`t` must be text or binary, not 'json'"),
        (b'{"c":"1","d":"x","t":null}', "at `$.t`"),
        (b'{"c":"1","d":"#","t":"binary"}', "`d` is not base64"),
        (b'{"c":"1","d":"AAE","t":"binary"}', "`d` is not base64"),
        (b'{"c":"1","d":"\xc3\x28"}', "UTF-8"),
        (b'{"c":"1","d":"' + b"x" * 1001 + b'"}', "`d` has 1001 bytes, the limit is 1000"),
    ],
)
def test_http_bodies_that_are_refused(body: bytes, reason: str) -> None:
    for parser in (parse_http_send, parse_http_publish):
        with pytest.raises(ApiError) as caught:
            parser(body, LIMIT)
        assert caught.value.code is Code.INVALID_ARGUMENT
        if not (parser is parse_http_publish and reason == "`c` is empty"):
            assert reason in caught.value.reason


def test_halves_of_a_surrogate_pair_are_replaced() -> None:
    body = rb'{"c":"1","d":"\ud83d\ude00 \u00e9 \ud800 \\ud800"}'
    assert parse_http_send(body, LIMIT).data.decode() == "😀 é \ufffd \\ud800"
    envelope = parse_envelope(b'{"m":"mesh.send","p":' + body + rb',"i":"9\udc00"}')
    assert json.loads(envelope.id) == "9\ufffd"
    assert parse_request(envelope, LIMIT) == MeshSend("1", "😀 é \ufffd \\ud800".encode(), "text")
    for bad in (rb'{"c":"1","d":"\uD80"}', rb'{"c":"1","d":"\UD800"}'):
        with pytest.raises(ApiError):
            parse_http_send(bad, LIMIT)


def test_base64_may_have_line_breaks() -> None:
    assert parse_http_send(rb'{"c":"1","d":"AA\r\nE=\n","t":"binary"}', LIMIT).data == b"\x00\x01"


def test_a_channel_name_has_bounds() -> None:
    for name in ("", "x" * (MAX_NAME_BYTES + 1), "é" * (MAX_NAME_BYTES // 2 + 1)):
        refused({"m": "mesh.publish", "p": {"c": name, "d": ""}, "i": 1})
    assert parse({"m": "mesh.publish", "p": {"c": "é" * (MAX_NAME_BYTES // 2), "d": ""}})


@pytest.mark.parametrize(
    ("envelope", "echo"),
    [
        ({"m": "x", "i": 12345}, b"12345"),
        ({"m": "x", "id": 12345}, b"12345"),
        ({"m": "x", "i": 1, "id": 2}, b"1"),
        ({"m": "x", "i": "abc"}, b'"abc"'),
        ({"m": "x", "i": True}, b"true"),
        ({"m": "x", "i": None}, b"null"),
        ({"m": "x"}, b"null"),
    ],
)
def test_the_id_is_echoed_as_it_came(envelope: Any, echo: bytes) -> None:
    assert parse_envelope(json.dumps(envelope).encode()).id == echo


def test_an_id_keeps_its_digits() -> None:
    text = b'{"m":"x","p":{}, "i" : 123456789012345678901234567890.50 }'
    assert parse_envelope(text).id == b"123456789012345678901234567890.50"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"1", b'"x"', b"null", b"\xff", b'{"m":"x","i":[1]}', b'{"i":{}}'])
def test_envelopes_that_cannot_be_read(text: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parse_envelope(text)
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_an_id_that_is_not_utf8_is_not_echoed() -> None:
    with pytest.raises(ApiError):
        parse_envelope(b'{"m":"x","i":"\xff"}')


def test_deep_nesting_is_refused() -> None:
    deep = b'{"m":"conn.call","p":{"c":"1","f":"set_context","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
    with pytest.raises(ApiError):
        parse_request(parse_envelope(deep), LIMIT)


@pytest.mark.parametrize("params", [{"t": ["a", "b"]}, ["a", "b"], [{"t": ["a", "b"]}], {"t": ["a", "b", "a"]}])
def test_queue_pop_shapes(params: Any) -> None:
    assert parse({"m": "queue.pop", "p": params, "i": 1}) == QueuePop(("a", "b"))


BAD_POPS: list[Any] = [{}, {"t": []}, {"t": "a"}, {"t": [1]}, {"t": [""]}, {"t": None}, [], [1], ["a", 1], [{}], None]
BAD_POPS += [[{"t": ["a"]}, {"t": ["b"]}], ["a", {"t": ["b"]}], "a", 5]


@pytest.mark.parametrize("params", BAD_POPS)
def test_queue_pop_shapes_that_are_refused(params: Any) -> None:
    refused({"m": "queue.pop", "p": params, "i": 1})


def test_queue_pop_may_bound_what_is_unacked() -> None:
    assert parse({"m": "queue.pop", "p": {"t": ["a"], "n": 7}, "i": 1}) == QueuePop(("a",), 7)
    assert parse({"m": "queue.pop", "p": [{"t": ["a"], "n": 7}], "i": 1}) == QueuePop(("a",), 7)
    for bad in (-1, 10_001, "1", 1.5):
        refused({"m": "queue.pop", "p": {"t": ["a"], "n": bad}, "i": 1})


def test_acks() -> None:
    assert parse({"m": "queue.ack", "p": {"a": ["1", "2"]}, "i": 1}) == QueueAck(("1", "2"))
    assert parse({"m": "queue.ack", "p": [{"a": ["1"]}], "i": 1}) == QueueAck(("1",))
    assert parse({"m": "queue.nack", "p": {"a": ["1"]}, "i": 1}) == QueueNack(("1",), 0.0)
    assert parse({"m": "queue.nack", "p": {"a": ["1"], "w": 2.5}, "i": 1}) == QueueNack(("1",), 2.5)
    bad: list[Any] = [{}, {"a": []}, {"a": [1]}, {"a": "1"}, ["1"], 1, None]
    for params in bad:
        for method in ("queue.ack", "queue.nack"):
            refused({"m": method, "p": params, "i": 1})
    for delay in (-0.1, 86_401, "1"):
        refused({"m": "queue.nack", "p": {"a": ["1"], "w": delay}, "i": 1})


def test_queue_unpop() -> None:
    anything: list[Any] = [{}, [], None]
    for params in anything:
        assert parse({"m": "queue.unpop", "p": params}) == QueueUnpop()
    assert parse({"m": "queue.unpop"}) == QueueUnpop()


def test_conn_call() -> None:
    call = {"c": "5", "f": "set_context_value", "a": ["user_id", 10000]}
    assert parse({"m": "conn.call", "p": call}) == ConnCall("5", "set_context_value", ["user_id", 10000])
    assert parse({"m": "conn.call", "p": [call]}) == ConnCall("5", "set_context_value", ["user_id", 10000])
    for missing in call:
        reason = refused({"m": "conn.call", "p": {key: value for key, value in call.items() if key != missing}})
        assert f"missing `{missing}`" in reason
    assert "$.a" in refused({"m": "conn.call", "p": {**call, "a": {}}})


def test_generation_1_5_arrays() -> None:
    assert parse({"m": "mesh.send", "p": [{"c": 5, "d": "x"}]}) == MeshSend("5", b"x", "text")
    assert "exactly one element, not 2" in refused({"m": "mesh.send", "p": [{"c": "5", "d": "x"}] * 2})
    assert "exactly one element, not 0" in refused({"m": "mesh.publish", "p": []})


def test_methods() -> None:
    assert "unknown method 'server.ping'" in refused({"m": "server.ping", "p": {}})
    assert "name of a method" in refused({"m": 5, "p": {}})
    assert "name of a method" in refused({"p": {}})
    assert "`p` is missing" in refused({"m": "mesh.send"})


@given(data=st.binary(max_size=200), text=st.text(max_size=100), channel=st.text(min_size=1, max_size=50))
@settings(max_examples=80, deadline=None)
def test_what_a_client_encodes_is_what_arrives(data: bytes, text: str, channel: str) -> None:
    body = json.dumps({"c": channel, "d": base64.b64encode(data).decode(), "t": "binary"}).encode()
    assert parse_http_publish(body, LIMIT) == MeshPublish(channel, data, "binary")
    body = json.dumps({"c": channel, "d": text}, ensure_ascii=False).encode()
    assert parse_http_publish(body, LIMIT) == MeshPublish(channel, text.encode(), "text")
