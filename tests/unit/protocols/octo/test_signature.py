# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.protocols.octo.samples import KEY
from towline.protocols.octo import signature
from towline.protocols.octo.envelope import split_authorization
from towline.protocols.octo.errors import OctoError, Reason

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "octo-signatures.json").read_text())["cases"]
SALT = b"0123456789abcdef"
TEXT = (
    '{"jsonrpc":"2.0","method":"v2/notifyPluginState","params":{"appGUID":"a8e873a1-e5df-43a2-928a-745ff9c94dfb",'
    '"epoch":"1664250407","moduleName":"plugin-hello","states":[{"name":"receive_hello","value":"Hello Buzz"}]}}'
)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_vectors(case: dict[str, Any]) -> None:
    text = case["text"].encode()
    if case["valid"]:
        signature.verify(text, case["access_key"])
        unsigned, found = split_authorization(text)
        assert found is not None
        assert found == case["authorization"]
        salt = base64.b64decode(found.split("$")[4] + "==")
        assert signature.sign(unsigned, case["access_key"], salt) == text
    else:
        with pytest.raises(OctoError) as caught:
            signature.verify(text, case["access_key"])
        assert caught.value.reason is Reason.SIGNATURE
        assert caught.value.where == "$.method"


def test_worked_example() -> None:
    expected = "$argon2id$v=19$m=64,t=16,p=8$MDEyMzQ1Njc4OWFiY2RlZg$L6py45Vneqsx3JqK/kyHUQ"
    assert signature.authorization(TEXT.encode(), KEY, SALT) == expected
    signed = signature.sign(TEXT.encode(), KEY, SALT)
    assert f'"v2/notifyPluginState?authorization={expected}"'.encode() in signed
    assert len(signed) - len(TEXT) == 89


def test_the_place_is_the_method_and_no_other() -> None:
    # The same characters stand in a value before and after, and in a nested method.
    trap = "?authorization=$argon2id$v=19$m=64,t=16,p=8$AAAA$BBBB"
    tree = {
        "first": f"v2/x{trap}",
        "params": {"method": f"v2/notifyPluginState{trap}", "v": f'"method":"v2/x{trap}"'},
        "method": "v2/notifyPluginState",
        "z": trap,
    }
    text = json.dumps(tree).encode()
    signed = signature.sign(text, KEY, SALT)
    signature.verify(signed, KEY)
    assert split_authorization(signed)[0] == text


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        (b"{", Reason.PARSE, "not JSON"),
        (b'{"jsonrpc":"2.0"}', Reason.ENVELOPE, "method must be a string"),
        (b'{"method":5}', Reason.ENVELOPE, "method must be a string"),
        (b'{"method":"a","m\\u0065thod":"b"}', Reason.ENVELOPE, "occurs twice"),
        (b'{"method":"v2/x?authorization=y"}', Reason.SIGNATURE, "signed already"),
    ],
)
def test_what_cannot_be_signed(text: bytes, reason: Reason, says: str) -> None:
    with pytest.raises(OctoError, match=says) as caught:
        signature.sign(text, KEY, SALT)
    assert caught.value.reason is reason


def test_two_authorizations_are_refused() -> None:
    signed = signature.sign(TEXT.encode(), KEY, SALT).decode()
    doubled = signed.replace("?authorization=", "?authorization=x?authorization=", 1)
    with pytest.raises(OctoError, match="occurs twice"):
        signature.verify(doubled.encode(), KEY)


def test_another_spelling_of_the_same_authorization_is_refused() -> None:
    # 16 bytes leave four spare bits in the last base64 digit; a replay could change them.
    signed = signature.sign(TEXT.encode(), KEY, SALT).decode()
    assert "ZWY" not in signed
    respelled = signed.replace("MDEyMzQ1Njc4OWFiY2RlZg$", "MDEyMzQ1Njc4OWFiY2RlZh$")
    assert respelled != signed
    with pytest.raises(OctoError, match="canonical"):
        signature.verify(respelled.encode(), KEY)


def test_an_escaped_slash_in_the_hash_is_read() -> None:
    signed = signature.sign(TEXT.encode(), KEY, SALT)
    head, _, tail = signed.partition(b"?authorization=")
    auth, rest = tail[:74], tail[74:]
    signature.verify(head + b"?authorization=" + auth.replace(b"/", b"\\/") + rest, KEY)


def test_a_batch_does_not_verify() -> None:
    with pytest.raises(OctoError, match="object"):
        signature.verify(b"[]", KEY)


def test_salts_are_printable_and_sixteen_bytes() -> None:
    salt = signature.make_salt(lambda count: bytes(range(count)))
    assert len(salt) == 16
    assert all(32 <= byte <= 126 for byte in salt)
    assert signature.make_salt() != signature.make_salt()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(
    before=st.dictionaries(st.text(max_size=8).filter(lambda key: key != "method"), json_values, max_size=3),
    after=st.dictionaries(st.text(max_size=8), json_values, max_size=3),
    indent=st.sampled_from([None, 1, 4]),
    ascii_only=st.booleans(),
    method=st.text(max_size=20).filter(lambda text: "?authorization=" not in text),
)
def test_any_text_signs_and_verifies_on_its_own_bytes(
    before: dict[str, Any], after: dict[str, Any], indent: int | None, ascii_only: bool, method: str
) -> None:
    tree = {**before, "method": method}
    tree.update((key, value) for key, value in after.items() if key not in tree)
    text = json.dumps(tree, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    signed = signature.sign(text, KEY, SALT)
    signature.verify(signed, KEY)
    assert split_authorization(signed)[0] == text
    with pytest.raises(OctoError):
        signature.verify(signed, KEY + "x")
    with pytest.raises(OctoError):
        signature.verify(signed.replace(b"}", b" }", 1) if signed.endswith(b"}") else signed, KEY)
