# SPDX-License-Identifier: Apache-2.0
"""Octo frames: whatever comes in, a session answers with an event or an error reply and never raises."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.protocols.octo.samples import EPOCH, GUID, KEY, NOW, Harness, body, update
from towline.protocols.octo import ErrorReply, Guard, Limits, Name, OctoError, outgoing
from towline.protocols.octo.envelope import parse_envelope
from towline.protocols.octo.signature import sign, verify

GUARD = Guard(Limits(calls_per_hour=0))
SESSION = Harness(guard=GUARD)
SALT = b"0123456789abcdef"
ACK = body(commandId="x", commandSource="remote", commandState="ACKED", commandAcks=[{"name": "say_hello"}])
SEEDS = [
    outgoing.signed(Name.UPDATE, update(), KEY).encode(),
    outgoing.signed(Name.STATE, body(states=[{"name": "status", "value": "x"}]), KEY).encode(),
    outgoing.signed(Name.METRIC, body(metrics=[{"name": "load", "value": 1.5}]), KEY).encode(),
    outgoing.signed(Name.EVENT, body(events=[{"name": "login"}]), KEY).encode(),
    outgoing.signed(Name.COMMAND_ACK, ACK, KEY).encode(),
]


def fuzz_one(data: bytes) -> None:
    """Allowed out: nothing from a session; OctoError, with a documented reason, from the functions below it."""
    result = SESSION.take(data)
    if isinstance(result, ErrorReply):
        reply = json.loads(result.encode())
        assert reply["error"]["code"] in ("-320000", "-326000", "-327000")
        assert reply["id"] is None
        assert len(result.encode().encode()) <= 2048
    for function in (lambda: parse_envelope(data), lambda: verify(data, KEY), lambda: sign(data, KEY, SALT)):
        with suppress(OctoError):
            function()


def mutated(data: bytes, seed: int) -> bytes:
    """Cut, doubled, flipped, spliced."""
    rng = random.Random(seed)
    frame = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(frame) + 1)
        match rng.randrange(5):
            case 0:
                del frame[at:]
            case 1:
                frame[at:at] = bytes([rng.randrange(256)])
            case 2:
                del frame[at : at + rng.randint(1, 20)]
            case 3:
                frame[at:at] = rng.choice([b'"', b"{", b"]", b"\\", b"?authorization=", b"1e999999999", b"null"])
            case _:
                other = rng.choice(SEEDS)
                frame[at:] = other[rng.randrange(len(other)) :]
    return bytes(frame)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
@example(b"[" * 100_000)
@example(b'{"a":' * 20_000)
@example(b'{"jsonrpc":"2.0","method":"v2/notifyPluginState","params":{"v":"\\ud800"}}')
def test_any_bytes(data: bytes) -> None:
    fuzz_one(data)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 2**32))
def test_mutated_frames(data: bytes, seed: int) -> None:
    fuzz_one(mutated(data, seed))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_truncated_frames(data: bytes, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(data) - 1))
    result = SESSION.take(data[:cut])
    assert isinstance(result, ErrorReply)
    assert result.code == "-327000"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ["states", "metrics", "events", "alarms", "commandAcks", "commandId", "commandState", "modules", "epoch"]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(list(Name)),
    st.dictionaries(st.sampled_from(MEMBERS), json_values, max_size=4),
)
def test_well_signed_nonsense(name: Name, content: dict[str, Any]) -> None:
    params = {"appGUID": GUID, "moduleName": "main", "epoch": str(EPOCH), **content}
    text = json.dumps({"jsonrpc": "2.0", "method": f"v2/{name.value}", "params": params})
    fuzz_one(sign(text.encode("utf-8", "surrogatepass"), KEY, SALT))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_one_member_of_a_registration_replaced(draw: st.DataObject) -> None:
    tree = update()
    node: Any = tree
    while True:
        key = draw.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        inner = node[key]
        if isinstance(inner, dict | list) and inner and draw.draw(st.booleans()):
            node = inner
            continue
        node[key] = draw.draw(json_values)
        break
    if isinstance(tree.get("appGUID"), str):
        result = Harness(guard=GUARD, registered=False)
        result.now = NOW
        text = json.dumps({"jsonrpc": "2.0", "method": "v2/notifyPluginUpdate", "params": tree})
        result.take(sign(text.encode(), KEY, SALT))
