# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from decimal import Decimal

import pytest

from towline.protocols.octo.envelope import Name, decode_tree, parse_envelope, parse_method
from towline.protocols.octo.errors import OctoError, Reason

GOOD = b'{"jsonrpc":"2.0","method":"v2/notifyPluginState?authorization=abc","params":{"a":1.50},"id":7}'


def test_a_frame_in_parts() -> None:
    envelope = parse_envelope(GOOD)
    assert (envelope.version, envelope.name) == ("v2", Name.STATE)
    assert envelope.params == {"a": Decimal("1.50")}
    assert envelope.authorization == "abc"
    assert envelope.unsigned == GOOD.replace(b"?authorization=abc", b"")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", Reason.PARSE),
        (b"nonsense", Reason.PARSE),
        (b"\xff\xfe", Reason.PARSE),
        (b'{"a":"\xff"}', Reason.PARSE),
        (b'{"a":1}{', Reason.PARSE),
        (b"[" * 50_000, Reason.PARSE),
        (GOOD.replace(b"1.50", b"1e99999999999999999999"), Reason.PARSE),
        (GOOD.replace(b"1.50", b"9" * 5000), Reason.PARSE),
        (GOOD.replace(b"1.50", b"[" * 900 + b'"\\u0000"' + b"]" * 900), Reason.SCHEMA),
        (b"[]", Reason.BATCH),
        (b"[" + GOOD + b"]", Reason.BATCH),
        (b"5", Reason.ENVELOPE),
        (b'"text"', Reason.ENVELOPE),
        (b"null", Reason.ENVELOPE),
        (b"{}", Reason.ENVELOPE),
        (GOOD.replace(b'"2.0"', b'"1.0"'), Reason.ENVELOPE),
        (GOOD.replace(b'"2.0"', b"2.0"), Reason.ENVELOPE),
        (GOOD.replace(b"params", b"param"), Reason.ENVELOPE),
        (GOOD.replace(b'{"a":1.50}', b"[]"), Reason.ENVELOPE),
        (GOOD.replace(b"notifyPluginState", b"notifyPluginMetrics"), Reason.METHOD),
        (GOOD.replace(b"v2/", b"v3/"), Reason.METHOD),
        (GOOD.replace(b"v2/", b"v2/ "), Reason.METHOD),
        (GOOD.replace(b"abc", b"abc?authorization=x"), Reason.SIGNATURE),
        (GOOD.replace(b"1.50", b'"a\\u0000b"'), Reason.SCHEMA),
        (GOOD.replace(b"1.50", b'[{"a\\u0000":1}]'), Reason.SCHEMA),
    ],
)
def test_what_is_no_envelope(frame: bytes, reason: Reason) -> None:
    with pytest.raises(OctoError) as caught:
        parse_envelope(frame)
    assert caught.value.reason is reason


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert parse_envelope(GOOD.replace(b"1.50", b'"\\\\u0000"')).params == {"a": "\\u0000"}


@pytest.mark.parametrize("name", list(Name))
def test_every_method_is_known(name: Name) -> None:
    assert parse_method(f"v2/{name.value}") == ("v2", name)


def test_a_trailing_newline_is_no_method() -> None:
    with pytest.raises(OctoError):
        parse_method("v2/notifyPluginState\n")


def test_lone_surrogates_are_a_parse_error() -> None:
    with pytest.raises(OctoError):
        decode_tree(b'"\\ud800"')


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b'"\\ud800"', "half a character"),
        (b'"\\ud800x"', "half a character"),
        (b'"\\udc00"', "half a character"),
        (b"1e99999999999999999999", "a number is out of range"),
        (b"9" * 5000, "a number is out of range"),
        (b'"abc', "truncated"),
        (b'"\\ud83d\\ude00', "truncated"),
    ],
)
def test_what_is_no_json_says_why(value: bytes, words: str) -> None:
    with pytest.raises(OctoError, match=words):
        parse_envelope(GOOD.partition(b"1.50")[0] + value)
