# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towline.gateway.entries.lua.phppack import pack, unpack


@pytest.mark.parametrize(
    ("form", "values", "packed"),
    [
        (b"Na*", [5, b"hello"], b"\0\0\0\5hello"),
        (b"nvc*", [0x1234, 0x5678, 65, 66], b"\x12\x34\x78\x56AB"),
        (b"A5a5Z5", [b"ab", b"ab", b"abcdefg"], b"ab   ab\0\0\0abcd\0"),
        (b"Z*A*a", [b"ab", b"cd", b"ef"], b"ab\0cde"),
        (b"H*", [b"deadbeef"], b"\xde\xad\xbe\xef"),
        (b"h*H3", [b"deadbeef", b"abc"], b"\xed\xda\xeb\xfe\xab\xc0"),
        (b"Cx2CX", [1, 2], b"\1\0\0"),
        (b"C@4C", [1, 2], b"\1\0\0\0\2"),
        (b"J", [1], b"\0\0\0\0\0\0\0\1"),
        (b"P", [-1], b"\xff" * 8),
        (b"C", [-1], b"\xff"),
        (b"C", [257], b"\1"),
        (b"N", [b"12abc"], b"\0\0\0\x0c"),
        (b"f", [1e300], struct.pack("<f", float("inf"))),
        (b"E", [1.5], struct.pack(">d", 1.5)),
        (b"", [], b""),
    ],
)
def test_pack(form: bytes, values: list[Any], packed: bytes) -> None:
    assert pack(form, values) == packed


@pytest.mark.parametrize(
    ("form", "data", "found"),
    [
        (b"Nlen/a*body", b"\0\0\0\5hello", {b"len": 5, b"body": b"hello"}),
        (b"C2a/nb", b"\1\2\3\4", {b"a1": 1, b"a2": 2, b"b": 0x0304}),
        (b"C*", b"\1\2\3", {1: 1, 2: 2, 3: 3}),
        (b"n", b"\1\2", {1: 258}),
        (b"A*x", b"ab \0\n", {b"x": b"ab"}),
        (b"Z*x", b"ab\0cd", {b"x": b"ab"}),
        (b"H*x", b"\xde\xad", {b"x": b"dead"}),
        (b"h3x", b"\xed\xda", {b"x": b"dea"}),
        (b"x2/Cx", b"\1\2\3", {b"x": 3}),
        (b"Ca/X/Cb/@0/Cc", b"\1", {b"a": 1, b"b": 1, b"c": 1}),
        (b"c1chars/nint", b"\x04\x00\xa0", {b"chars": 4, b"int": 160}),
        (b"c1/nint/", b"\x04\x00\xa0", {1: 4, b"int": 160}),
        (b"", b"abc", {}),
        (b"@/C", b"ab", {1: 98}),
        (b"C2/X*/Clast", b"ab", {1: 97, 2: 98, b"last": 98}),
        (b"Qq/Pp/Jj", b"\xff" * 24, {b"q": -1, b"p": -1, b"j": -1}),
    ],
)
def test_unpack(form: bytes, data: bytes, found: dict[Any, Any]) -> None:
    assert unpack(form, data) == found


@pytest.mark.parametrize(
    "call",
    [
        lambda: pack(b"?", []),
        lambda: pack(b"k", [1]),
        lambda: pack(b"N", []),
        lambda: pack(b"a", []),
        lambda: pack(b"H*", [b"xy"]),
        lambda: pack(b"H5", [b"ab"]),
        lambda: pack(b"X", []),
        lambda: pack(b"x999999999", []),
        lambda: pack(b"a999999999", [b"x"]),
        lambda: pack(b"a9999999999", [b"x"]),
        lambda: pack(b"N", [[1]]),
        lambda: unpack(b"N", b"abc"),
        lambda: unpack(b"a5", b"abc"),
        lambda: unpack(b"k", b"abc"),
        lambda: unpack(b"x4", b"abc"),
        lambda: unpack(b"@9", b"abc"),
    ],
)
def test_what_is_refused(call: Any) -> None:
    with pytest.raises(ValueError, match="pack"):
        call()


RANGES = {
    "c": (-128, 127), "C": (0, 255), "s": (-(2**15), 2**15 - 1), "S": (0, 2**16 - 1), "n": (0, 2**16 - 1),
    "v": (0, 2**16 - 1), "l": (-(2**31), 2**31 - 1), "N": (0, 2**32 - 1), "V": (0, 2**32 - 1),
    "q": (-(2**63), 2**63 - 1), "J": (-(2**63), 2**63 - 1), "P": (-(2**63), 2**63 - 1), "Q": (-(2**63), 2**63 - 1),
}  # fmt: skip
fields = st.sampled_from(sorted(RANGES)).flatmap(lambda code: st.tuples(st.just(code), st.integers(*RANGES[code])))


@settings(max_examples=200, deadline=None)
@given(numbers=st.lists(fields, min_size=1, max_size=8), tail=st.binary(max_size=20))
def test_what_is_packed_is_unpacked(numbers: list[tuple[str, int]], tail: bytes) -> None:
    packed = pack("".join(code for code, _ in numbers).encode() + b"a*", [*(value for _, value in numbers), tail])
    form = "/".join(f"{code}f{at}" for at, (code, _) in enumerate(numbers)) + "/a*tail"
    expected: dict[Any, Any] = {f"f{at}".encode(): value for at, (_, value) in enumerate(numbers)}
    assert unpack(form.encode(), packed) == {**expected, b"tail": tail}


@settings(max_examples=300, deadline=None)
@given(form=st.text("aAhHcCsSnviIlLNVqQJPfgGdeExXZ@0123456789*/ab_", max_size=12), data=st.binary(max_size=40))
def test_nothing_but_value_errors(form: str, data: bytes) -> None:
    for call in (lambda: unpack(form.encode(), data), lambda: pack(form.encode(), [data, 5, 1.5])):
        try:
            call()
        except ValueError:
            pass
