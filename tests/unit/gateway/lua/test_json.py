# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.gateway.lua.scripts import Script

SOURCE = """
function on_message(msg)
  local value, problem = mix.json_decode(msg.data)
  if problem then mix.websocket():send("!" .. problem) return end
  local text, wrong = mix.json_encode(value)
  mix.websocket():send(text or "!" .. wrong)
end
"""

texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def normal(value: Any) -> Any:
    """What a Lua table makes of it: an empty object is an empty array."""
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()} or []
    if isinstance(value, list):
        return [normal(item) for item in value]
    return value


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Script:
    return Script(tmp_path_factory.mktemp("json"), SOURCE)


def through(script: Script, text: str | bytes) -> str:
    script.send(text)
    (answer,) = script.heard()
    return answer.decode()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(value=values, ascii=st.booleans())
def test_values_come_back(script: Script, value: Any, ascii: bool) -> None:
    assert json.loads(through(script, json.dumps(value, ensure_ascii=ascii))) == normal(value)


def reference(text: str) -> bool:
    def constant(name: str) -> None:
        raise ValueError(name)

    def number(digits: str) -> float:
        if math.isinf(float(digits)):
            raise ValueError(digits)
        return float(digits)

    try:
        json.loads(text, parse_constant=constant, parse_float=number, parse_int=number)
    except ValueError:
        return False
    return True


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(text=st.text('{}[]":,\\u0123eE+-. truefalsn/\n\x01é', max_size=12))
def test_only_json_is_taken(script: Script, text: str) -> None:
    answer = through(script, text)
    assert answer.startswith("!") is not reference(text), answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('{"b":1,"a":[]}', '{"a":[],"b":1}'),
        ("{}", "[]"),
        ("[1,2,3]", "[1,2,3]"),
        ('{"1":1,"2":2}', '{"1":1,"2":2}'),
        ("[1,null,3]", '{"1":1,"3":3}'),
        ('{"a":null}', "[]"),
        ("null", "null"),
        ("1e3", "1000"),
        ("1627581697287520263", "1627581697287520256"),
        (
            "[1700000000000000,-9007199254740992,1e20,1e21]",
            "[1700000000000000,-9007199254740992,100000000000000000000,1e+21]",
        ),
        ("0.1", "0.1"),
        (r'"\ud83d\ude00 \ud83d \u0000"', '"😀 \ufffd \\u0000"'),
        ('{"a":1,"a":2}', '{"a":2}'),
        ("[" * 201 + "]" * 201, "!invalid JSON at byte 201: nested deeper than 200"),
        ("[1,]", "!invalid JSON at byte 4: a value was expected"),
        ("", "!invalid JSON at byte 1: a value was expected"),
        ("1 2", "!invalid JSON at byte 3: something behind the value"),
    ],
)
def test_forms(script: Script, text: str, answer: str) -> None:
    assert through(script, text) == answer


def test_what_has_no_json(tmp_path: Path) -> None:
    script = Script(
        tmp_path,
        """
        function on_message(msg)
          local loop = {} loop[1] = loop
          for _, value in ipairs({{print}, {[true] = 1}, {0 / 0}, {1 / 0}, loop}) do
            local text, problem = mix.json_encode(value)
            mix.websocket():send(tostring(text) .. ": " .. problem)
          end
          mix.websocket():send(mix.json_encode("bad \\255 utf-8"))
        end
        """,
    )
    script.send("x")
    assert [text.decode() for text in script.heard()] == [
        "nil: a function has no JSON",
        "nil: a boolean cannot be a key in JSON",
        "nil: a number that is not finite has no JSON",
        "nil: a number that is not finite has no JSON",
        "nil: nested deeper than 200 tables, or in a circle",
        '"bad \ufffd utf-8"',
    ]
