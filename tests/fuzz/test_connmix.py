# SPDX-License-Identifier: Apache-2.0
"""Nothing that comes in makes the connmix parsers raise anything but their own errors."""

from __future__ import annotations

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from towline.protocols.connmix import inspect, mesh, replies
from towline.protocols.connmix.codes import ApiError
from towline.protocols.connmix.requests import parse_envelope, parse_http_publish, parse_http_send, parse_request

LIMIT = 4096
METHODS = [b"mesh.send", b"mesh.publish", b"queue.pop", b"queue.unpop", b"queue.ack", b"queue.nack", b"conn.call"]


def fuzz_one(data: bytes) -> None:
    """Requests by HTTP and WebSocket: a request, or ApiError. The answer is JSON either way."""
    for parse in (parse_http_send, parse_http_publish):
        try:
            parse(data, LIMIT)
        except ApiError as error:
            json.loads(replies.http_error(error))
    number = b"null"
    try:
        unparsed = parse_envelope(data)
        number = unparsed.id
        parse_request(unparsed, LIMIT)
    except ApiError as error:
        json.loads(replies.error(error, number))
    for method in METHODS:
        try:
            parse_request(parse_envelope(b'{"m":"%b","p":%b,"i":1}' % (method, data)), LIMIT)
        except ApiError as error:
            json.loads(replies.error(error, b"1"))
    try:
        mesh.decode(data)
    except mesh.MeshFormatError:
        pass
    try:
        inspect.decode_question(data)
    except inspect.InspectFormatError:
        pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("cdtfampinw") | st.text(max_size=3), inner)
    ),
    max_leaves=12,
)


@given(data=st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=250, deadline=None)
@example(b'{"m":"queue.pop","p":["a",{"t":["b"]}]}')
@example(b"\x01\x01\x94\x01\xa1c\xc4\x00\xc3")
@example(b"[" * 5000)
def test_fuzz_connmix(data: bytes) -> None:
    fuzz_one(data)
