# SPDX-License-Identifier: Apache-2.0
"""The JSON-RPC envelope of one frame, and where its method value stands in the bytes.

Signatures cover exact bytes, so the signature's place is found by walking the text's top level, never by
searching it: a value anywhere may contain the same characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from towline.protocols.octo.errors import OctoError, Reason

AUTHORIZATION = b"?authorization="

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_COLON = re.compile(rb"[ \t\r\n]*:")
_METHOD = re.compile(r"(v[0-9]+)/([A-Za-z]+)")


class Name(StrEnum):
    """Every method, without its version."""

    UPDATE = "notifyPluginUpdate"
    STATE = "notifyPluginState"
    METRIC = "notifyPluginMetric"
    EVENT = "notifyPluginEvent"
    ALERT = "notifyPluginAlert"
    COMMAND = "notifyPluginCommand"
    COMMAND_ACK = "notifyPluginCommandAck"
    ALARM_UPDATE = "notifyPluginAlarmUpdate"
    CONFIG_UPDATE = "notifyPluginConfigUpdate"
    LOCAL_COMMAND = "notifyPluginLocalCommand"
    AGENT_EVENT = "notifyAgentEvent"


_NAMES = frozenset(name.value for name in Name)

FROM_PLUGIN = frozenset(
    {Name.UPDATE, Name.STATE, Name.METRIC, Name.EVENT, Name.ALERT, Name.COMMAND_ACK, Name.LOCAL_COMMAND}
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A frame that is one JSON-RPC 2.0 notification.

    :ivar version: ``v1`` or ``v2``
    :ivar name: the method
    :ivar params: the decoded ``params`` object; numbers with a fraction are :class:`~decimal.Decimal`
    :ivar authorization: the argon2 string, None when the method carries none
    :ivar unsigned: the exact bytes without ``?authorization=…``
    """

    version: str
    name: Name
    params: dict[str, Any]
    authorization: str | None
    unsigned: bytes


def decode_tree(data: bytes) -> Any:
    """Any JSON text as Python objects.

    :raises OctoError: ``parse``: not UTF-8, not JSON, or nested too deeply
    """
    try:
        data.decode()
    except UnicodeDecodeError as exc:
        raise OctoError(Reason.PARSE, f"not UTF-8 (byte {exc.start})") from None
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError) as exc:
        raise OctoError(Reason.PARSE, _why_not_json(data, str(exc))) from None
    except ArithmeticError:  # an exponent that not even a decimal can hold
        raise OctoError(Reason.PARSE, "not JSON that we read: a number is out of range") from None
    except RecursionError:
        raise OctoError(Reason.PARSE, "not JSON that we read: nested too deeply") from None


def _why_not_json(data: bytes, problem: str) -> str:
    # The library says of half a character that the input was cut off, whatever follows it.
    if ("truncated" in problem or "surrogate" in problem) and _LONE_SURROGATE.search(data):
        return "not JSON that we read: half a character (a lone surrogate)"
    if "out of range" in problem:
        return "not JSON that we read: a number is out of range"
    return f"not JSON: {problem}"


def locate_method(frame: bytes) -> tuple[int, int]:
    """Start and end of the top-level ``method`` string's inside, between its quotes.

    ``frame`` must be a valid JSON object. A repeated top-level key is refused, since two readers may
    disagree on which one counts.

    :raises OctoError: ``envelope``
    """
    depth = 0
    key: str | None = None
    seen: set[str] = set()
    found: tuple[int, int] | None = None
    for token in _TOKEN.finditer(frame):
        first = frame[token.start()]
        if first in b"{[":
            depth += 1
        elif first in b"}]":
            depth -= 1
        elif depth == 1:
            if _COLON.match(frame, token.end()):
                key = str(decode_tree(token.group()))
                if key in seen:
                    raise OctoError(Reason.ENVELOPE, f"the key {key!r} occurs twice", where="$")
                seen.add(key)
            elif key == "method":
                found = (token.start() + 1, token.end() - 1)
    if found is None:
        raise OctoError(Reason.ENVELOPE, "method must be a string", where="$.method")
    return found


def split_authorization(frame: bytes) -> tuple[bytes, str | None]:
    """The exact bytes without ``?authorization=…`` in the method, and that string (None when there is none).

    ``frame`` must be a valid JSON object.

    :raises OctoError: ``envelope``: no method; ``signature``: two authorizations
    """
    start, end = locate_method(frame)
    raw = frame[start:end]
    count = raw.count(AUTHORIZATION)
    if count == 0:
        return frame, None
    if count > 1:
        raise OctoError(Reason.SIGNATURE, "?authorization= occurs twice", where="$.method")
    at = start + raw.index(AUTHORIZATION)
    value = frame[at + len(AUTHORIZATION) : end]
    return frame[:at] + frame[end:], str(decode_tree(b'"' + value + b'"'))


def parse_envelope(frame: bytes) -> Envelope:
    """One text frame's envelope.

    :raises OctoError: ``parse``, ``batch``, ``envelope``, ``method``, ``signature``
    """
    tree = decode_tree(frame)
    if isinstance(tree, list):
        raise OctoError(Reason.BATCH, "JSON-RPC batch is not supported: send one message a frame", where="$")
    if not isinstance(tree, dict):
        raise OctoError(Reason.ENVELOPE, "a message is a JSON object", where="$")
    if tree.get("jsonrpc") != "2.0":
        raise OctoError(Reason.ENVELOPE, 'jsonrpc must be "2.0"', where="$.jsonrpc")
    unsigned, authorization = split_authorization(frame)
    method = str(tree["method"]).partition("?authorization=")[0]
    version, name = parse_method(method)
    params = tree.get("params")
    if not isinstance(params, dict):
        raise OctoError(Reason.ENVELOPE, "params must be an object", where="$.params")
    if b"\\u0000" in frame:
        _refuse_nul(params, "$.params")
    return Envelope(version, name, params, authorization, unsigned)


def parse_method(method: str) -> tuple[str, Name]:
    """``v2/notifyPluginState`` as its two parts.

    :raises OctoError: ``method``
    """
    match = _METHOD.fullmatch(method)
    if match is None or match[1] not in ("v1", "v2") or match[2] not in _NAMES:
        raise OctoError(Reason.METHOD, f"unknown method {method[:80]!r}", where="$.method")
    return match[1], Name(match[2])


def _refuse_nul(params: dict[str, Any], path: str) -> None:
    # Databases refuse U+0000 in text; refusing it here keeps one plugin from spoiling a whole batch.
    # No recursion: the reader nests deeper than Python calls.
    waiting: list[tuple[Any, str]] = [(params, path)]
    while waiting:
        node, at = waiting.pop()
        if isinstance(node, str):
            if "\0" in node:
                raise OctoError(Reason.SCHEMA, "text must not contain U+0000", where=at)
        elif isinstance(node, dict):
            waiting.extend((key, at) for key in node)
            waiting.extend((value, f"{at}.{key}") for key, value in node.items())
        elif isinstance(node, list):
            waiting.extend((value, f"{at}[{index}]") for index, value in enumerate(node))
