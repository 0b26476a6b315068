# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.errors import InvalidInput
from towline.protocols.link.enrolment import EnrolmentLine, format_line, parse_line

TOKEN = "abcdefghijklmnop_-1234"


@given(st.binary(min_size=32, max_size=32), st.none() | st.binary(min_size=32, max_size=32))
def test_a_line_survives_its_writing(pin: bytes, ca: bytes | None) -> None:
    line = format_line("wss://hub.example:6790/prefix", TOKEN, pin, ca)
    assert parse_line(f"  {line}\n") == EnrolmentLine("wss://hub.example:6790/prefix/link/v1", TOKEN, pin, ca)


def test_the_path_is_added_once() -> None:
    assert format_line("ws://[::1]:6790/link/v1", TOKEN, bytes(32)) == format_line("ws://[::1]:6790/", TOKEN, bytes(32))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "no '#'"),
        ("wss://h/link/v1", "no '#'"),
        ("http://h/link/v1#a.b", "address"),
        ("wss:///link/v1#a.b", "address"),
        ("wss://h:99999/link/v1#a.b", "address"),
        ("wss://h/other#a.b", "/link/v1"),
        ("wss://h o/link/v1#a.b", "space"),
        ("wss://h/a\r\nX: y/link/v1#a.b", "control"),
        ("wss://h/link/v1#abc", "2 or 3 parts"),
        ("wss://h/link/v1#short." + "A" * 43, "token"),
        (f"wss://h/link/v1#{TOKEN}.AAAA", "hub key"),
        (f"wss://h/link/v1#{TOKEN}." + "!" * 43, "hub key"),
        (f"wss://h/link/v1#{TOKEN}." + "A" * 43 + ".AAAA", "certificate"),
    ],
)
def test_a_wrong_line_says_which_part(line: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        parse_line(line)
    assert caught.value.code == "enrol.line"
    assert TOKEN not in str(caught.value)


def test_the_token_does_not_show_in_a_repr() -> None:
    assert TOKEN not in repr(EnrolmentLine("wss://h/link/v1", TOKEN, bytes(32)))
