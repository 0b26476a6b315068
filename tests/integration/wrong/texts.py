# SPDX-License-Identifier: Apache-2.0
"""Texts that are not JSON, and JSON that is no request: made from a valid object by a random harm."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

ODD_VALUES: tuple[str, ...] = (
    "null", "true", "false", "0", "-1", "1e400", "-0.0", "1e-400", "9" * 400, "18446744073709551616", "0.1", '""',
    '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\u202e"', '"' + "x" * 600 + '"', "[]", "{}", "[[]]", '[{"a":1}]',
    '{"":{}}', '{"a":1,"a":2}', '"\\u00e9\\u0301"', '"\U0001f600"', "[" * 40 + "]" * 40, "[null]", '"../../etc/passwd"',
    '"\\" OR 1=1 --"', '"${jndi:x}"',
)  # fmt: skip
"""JSON texts that are hardly ever what somebody expects."""

NOT_JSON: tuple[bytes, ...] = (
    b"", b" ", b"{", b"}", b"[", b'"', b"{]", b"nul", b"NaN", b"Infinity", b"-", b"01", b"1.", b".5", b"+1", b"'a'",
    b"{'a':1}", b"{a:1}", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{,"a":1}', b"[1,]", b'{"a" "b"}', b'{"a":1}}', b"[1]]",
    b'"\\x41"', b'"\\u12"', b'"\\ud800\\u00"', b'"\x01"', b'"\n"', b"\xff\xfe", b'"\xed\xa0\x80"', b'"\xc0\xaf"',
    b"\xef\xbb\xbf{}", b"\x00", b"{}\x00", b"// x\n{}", b"/**/{}", b'{"a":undefined}', b"<xml/>", b"a=1&b=2",
    b"\x80\x81\x82", b"%7B%7D", b"{\xc2\xa0}", b"[" * 5000, b'{"a":' * 3000, b"truefalse", b"{}{}", b"1 2",
)  # fmt: skip
"""Bytes that are no JSON text."""


def harm_text(text: bytes, random_: random.Random) -> bytes:
    """A valid JSON text of an object, damaged so that it is none any more."""
    while True:
        at = random_.randrange(len(text))
        kind = random_.randrange(5)
        if kind == 0:
            made = text[:at]
        elif kind == 1:
            made = text[:at] + bytes([random_.randrange(128)]) + text[at + 1 :]
        elif kind == 2:
            made = text[:at] + bytes([random_.choice(b'{}[]",:\\\x00')]) + text[at:]
        elif kind == 3:
            made = text + text[at:]
        else:
            made = text[:at] + text[at + random_.randrange(1, 4) :]
        try:
            json.loads(made.decode("utf-8"))
        except (ValueError, RecursionError):
            return made


def odd(random_: random.Random, besides: Callable[[Any], bool] = lambda _: False) -> str:
    """An odd value as JSON text, but none for which ``besides`` is true."""
    while True:
        text = random_.choice(ODD_VALUES)
        if not besides(json.loads(text)):
            return text


def with_member(text: str, member: str, value: str) -> str:
    """The JSON object ``text`` with one member replaced by the JSON text ``value``, in the same place."""
    parsed = json.loads(text)
    assert member in parsed, member
    members = [(key, value if key == member else json.dumps(each)) for key, each in parsed.items()]
    return "{" + ",".join(f"{json.dumps(key)}:{each}" for key, each in members) + "}"


def without_member(text: str, member: str) -> str:
    """The JSON object ``text`` without one member."""
    parsed = json.loads(text)
    del parsed[member]
    return json.dumps(parsed)


def nested(depth: int, random_: random.Random) -> bytes:
    """Valid JSON, very deep."""
    opening, closing = random_.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return opening * depth + b"1" + closing * depth
