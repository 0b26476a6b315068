# SPDX-License-Identifier: Apache-2.0
"""Replies and events of the connmix API (spec connmix §2–3): compact JSON, keys in the documented order E, r, i."""

from __future__ import annotations

import base64
import re
from typing import Any

import msgspec

from towline.protocols.connmix.codes import ApiError
from towline.protocols.connmix.requests import UNREADABLE, Kind, replace_lone_surrogates

_encode = msgspec.json.encode

_SURROGATE = re.compile("[\ud800-\udfff]")

HTTP_DONE = b'{"E":null,"r":{"s":true}}'


def http_counts(sent: int, failed: int) -> bytes:
    """The body that answers ``POST /v1/mesh/publish``."""
    return b'{"E":null,"r":{"s":%d,"f":%d}}' % (sent, failed)


def http_error(error: ApiError) -> bytes:
    """The body that answers a request by HTTP that failed; there is no ``r``."""
    return b'{"E":{"c":%d,"m":%b}}' % (error.code, _encode(error.message))


def done(number: bytes) -> bytes:
    """``{"E":null,"r":{"s":true},"i":…}``; ``number`` is the JSON text of the request's id."""
    return b'{"E":null,"r":{"s":true},"i":%b}' % number


def counts(sent: int, failed: int, number: bytes) -> bytes:
    """The answer to ``mesh.publish`` by WebSocket."""
    return b'{"E":null,"r":{"s":%d,"f":%d},"i":%b}' % (sent, failed, number)


def error(problem: ApiError, number: bytes = b"null") -> bytes:
    """``{"E":{"c":…,"m":…},"i":…}``."""
    return b'{"E":{"c":%d,"m":%b},"i":%b}' % (problem.code, _encode(problem.message), number)


def pop_event(node: int, client_id: str, topic: str, data: bytes) -> bytes:
    """One message for a consumer. ``data`` is JSON text as :func:`event_data` gives it; ``"id":null``, no ``i``."""
    return b'{"e":"queue.pop","p":{"n":%d,"c":%b,"t":%b,"d":%b},"id":null}' % (
        node,
        _encode(client_id),
        _encode(topic),
        data,
    )


def durable_event(node: int, client_id: str, topic: str, data: bytes, token: str, deliveries: int) -> bytes:
    """One message of a durable topic (our extension): ``a`` is what ``queue.ack`` names, ``r`` how often it was delivered."""
    return b'{"e":"queue.pop","p":{"n":%d,"c":%b,"t":%b,"d":%b,"a":"%b","r":%d},"id":null}' % (
        node,
        _encode(client_id),
        _encode(topic),
        data,
        token.encode(),
        deliveries,
    )


def dead_letter(topic: str, reason: str, deliveries: int, data: bytes) -> bytes:
    """The data of a message in a dead-letter topic, as JSON text (our extension)."""
    return b'{"topic":%b,"reason":%b,"deliveries":%d,"data":%b}' % (_encode(topic), _encode(reason), deliveries, data)


def event_data(value: Any) -> bytes:
    """What a script pushed, as the JSON text of ``d``.

    A string that holds a JSON object or array is embedded as it is; any other string is a JSON string; bytes are taken
    as UTF-8 with U+FFFD for what is not (spec connmix §3). TypeError for what JSON cannot say.
    """
    if isinstance(value, (bytes, bytearray)):
        value = bytes(value).decode("utf-8", "replace")
    if isinstance(value, str):
        value = _SURROGATE.sub("\ufffd", value)
        if value.lstrip(" \t\r\n")[:1] in ("{", "["):
            for text in (value.encode(), replace_lone_surrogates(value.encode())):
                try:
                    msgspec.json.decode(text)
                except UNREADABLE:
                    continue
                return text
    elif value is None:
        raise TypeError("nothing to push: the data is null")
    try:
        encoded: bytes = _encode(value)
    except UnicodeEncodeError:
        encoded = _encode(_legal(value))
    return encoded


def _legal(value: Any) -> Any:
    """Texts inside with U+FFFD for what is no character."""
    match value:
        case str():
            return _SURROGATE.sub("\ufffd", value)
        case dict():
            return {_legal(key): _legal(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_legal(inner) for inner in value]
        case _:
            return value


def frame_data(kind: Kind, payload: bytes) -> dict[str, Any]:
    """The documented event data of one client frame: ``{"frame": {"type", "data", "finish"}}``, binary as base64."""
    text = payload.decode("utf-8", "replace") if kind == "text" else base64.b64encode(payload).decode("ascii")
    return {"frame": {"type": kind, "data": text, "finish": True}}
