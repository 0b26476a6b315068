# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.live_packets import fuzz_one

KEYS = st.sampled_from(["deviceId", "cmd", "requestId", "table", "source", "field", "feedId", "_placeholder", "num"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
@example(b"42[]")
@example(b'451-["x"]')
@example(b"40/a?b,{}")
@example(b'423-["x"]')
@example('42\u0663["x"]'.encode())
def test_bytes(data: bytes) -> None:
    fuzz_one(data)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["40", "41", "42", "427", "451-", "452-9", "43", "40/x,", "42/x,"]),
    st.lists(VALUES, max_size=3) | VALUES,
)
def test_shaped(head: str, body: object) -> None:
    fuzz_one((head + json.dumps(body)).encode())


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=12), st.lists(VALUES, max_size=3))
def test_events(name: str, args: list[object]) -> None:
    fuzz_one(("42" + json.dumps([name, *args])).encode())
    fuzz_one(("452-" + json.dumps([name, *args])).encode())
