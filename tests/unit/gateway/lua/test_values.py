# SPDX-License-Identifier: Apache-2.0
"""Values that go into a context and come back, from Lua and from back ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lupa.luajit21 as lua
import pytest

from tests.unit.gateway.lua.scripts import ASK, Script, ask
from towline.gateway.connections import execute_call
from towline.gateway.entries.lua.values import to_lua

KEEP = "local function keep(v) local c = mix.websocket() c:set_context_value('v', v) return c:context_value('v') end "


def kept(script: Script, value: str, look: str) -> Any:
    """Parts of a value that was set and read again."""
    return ask(script, f"(function() {KEEP} local r = keep({value}) return {look} end)()")


@pytest.mark.parametrize(
    ("value", "look", "found"),
    [
        ("{[1001] = 'a', [7] = 'b'}", "r[1001], r[7], r['1001']", ["a", "b", "(nil)"]),
        ("{1, 2, nil, 4}", "r[1], r[2], r[3], r[4]", [1, 2, "(nil)", 4]),
        ("{x = {[2] = 'two'}}", "r.x[2], r.x['2']", ["two", "(nil)"]),
        ("{[1.5] = 'a', [-1] = 'b', [2^53] = 'c', [2^63] = 'd'}", "r[1.5], r[-1], r[2^53], r[2^63]", list("abcd")),
        ("{[1] = 'number', ['1'] = 'text'}", "r[1], r['1']", ["number", "text"]),
        ("{['\\255'] = 'a', ['\\254'] = 'b'}", "r['\\255'], r['\\254']", ["a", "b"]),
        ("{1, 2, 3, n = 3}", "#r, r.n, r[3]", [3, 3, 3]),
        ("{}", "type(r), next(r)", ["table", "(nil)"]),
    ],
)
def test_a_table_comes_back_as_it_was(tmp_path: Path, value: str, look: str, found: list[Any]) -> None:
    assert kept(Script(tmp_path, ASK), value, look) == found


@pytest.mark.parametrize(
    ("value", "kind"),
    [("{[true] = 1}", "boolean"), ("{[{}] = 1}", "table"), ("{a = {[print] = 1}}", "function")],
)
def test_other_keys_are_refused(tmp_path: Path, value: str, kind: str) -> None:
    script = Script(tmp_path, ASK)
    problem = f"a {kind} cannot be a key of a table that is kept; texts and numbers can"
    assert ask(script, f"mix.websocket():set_context_value('v', {value})") == ["(nil)", problem]
    assert ask(script, f"mix.websocket():set_context({{v = {value}}})") == ["(nil)", problem]
    assert script.conn.context() == {}


def test_keys_of_the_context_itself_are_texts(tmp_path: Path) -> None:
    """Back ends give them in JSON; ``context_value(7)`` asks for the same as ``context_value("7")``."""
    script = Script(tmp_path, ASK)
    script.send("mix.websocket():set_context({[7] = {[8] = 'x'}}), mix.websocket():set_context({'first'})")
    assert script.conn.context() == {"7": {8: "x"}, "1": "first"}
    script.heard()
    assert ask(script, "mix.websocket():context()['7'][8], mix.websocket():context_value(1)") == ["x", "first"]


def test_what_back_ends_set_has_the_keys_of_json(tmp_path: Path) -> None:
    script = Script(tmp_path, ASK)
    assert execute_call(script.conn, "set_context_value", ["v", {"1001": "a", "list": [1, None, 3]}]) == ""
    look = "v['1001'], v[1001], v.list[1], v.list[2], v.list[3]"
    assert ask(script, f"(function() local v = mix.websocket():context_value('v') return {look} end)()") == [
        "a", "(nil)", 1, "(nil)", 3]  # fmt: skip


def test_json_makes_texts_of_keys(tmp_path: Path) -> None:
    script = Script(tmp_path, ASK)
    script.send("mix.websocket():set_context_value('v', {[1001] = 'a', [7] = {[1.5] = 'b'}})")
    script.heard()
    assert ask(script, "mix.json_encode(mix.websocket():context())") == ['{"v":{"1001":"a","7":{"1.5":"b"}}}']


@pytest.mark.parametrize(
    "value", [10**400, [10**400], object(), {"a": {1, 2}}], ids=["huge", "in_list", "object", "set"]
)
def test_what_lua_has_not_is_a_sentence(value: Any) -> None:
    runtime = lua.LuaRuntime(encoding=None)
    with pytest.raises(ValueError, match=r"beyond the range of a double|has no form in Lua"):
        to_lua(runtime, value)
