# SPDX-License-Identifier: Apache-2.0
"""The machine: 5.1 semantics, what scripts do not have, limits, modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.gateway.lua.scripts import ASK, Script, ask, entry_of
from towline.errors import StartError
from towline.gateway.entries import load_entry
from towline.gateway.entries.lua import LuaEntry, ScriptError


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path, ASK)


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ('"user:" .. 1001', ["user:1001"]),
        ('string.format("%d", 1001)', ["1001"]),
        ('math.mod(7, 3), string.gfind("ab", ".")()', [1, "a"]),
        ("tostring(2^53)", ["9.007199254741e+15"]),
        ("1e15 .. ''", ["1e+15"]),
        ("0.1 .. ''", ["0.1"]),
        ("7 / 2 .. ''", ["3.5"]),
        ('mix.json_decode("[1001, 1.5]")[1] .. ""', ["1001"]),
        ("table.getn({1, 2, 3})", [3]),
        ("unpack({1, 2, 3})", [1, 2, 3]),
        ("_VERSION", ["Lua 5.1"]),
        ('require("bit").band(255, 15)', [15]),
        ('require "bit" == bit', [True]),
        ('("x"):rep(3)', ["xxx"]),
        ("select('#', pcall(error))", [2]),
        ("math.floor(3.7)", [3]),
        ("type(os.time())", ["number"]),
        ("select(2, pcall(error, {1}))[1]", [1]),
        ("coroutine.wrap(function() coroutine.yield(5) end)()", [5]),
        ("setfenv(loadstring('return a'), {a = 1})()", [1]),
    ],
)
def test_lua_is_5_1(script: Script, expression: str, values: list[object]) -> None:
    assert ask(script, expression) == values


@pytest.mark.parametrize(
    "name",
    [
        "io.open", "io.popen", "os.execute", "os.getenv", "os.exit", "os.remove", "dofile", "loadfile", "python",
        "package.loadlib", "package.preload", "debug.sethook", "debug.getregistry", "debug.getupvalue", "jit", "ffi",
        "newproxy", "string.dump", 'getmetatable("").__index.dump', "getfenv(0).python", "getfenv(print).io.open",
        "getfenv(mix.json_encode).debug.getinfo", "_G.python", 'loadstring("\\27LJ")', "package.loaded.io",
        "package.loaded.ffi", "package.loaded.jit",
    ],
)  # fmt: skip
def test_scripts_do_not_have(script: Script, name: str) -> None:
    assert ask(script, name)[0] == "(nil)"


@pytest.mark.parametrize("name", ["ffi", "jit", "..secret", "os.", "io", "/etc/passwd", "a\\0b", ""])
def test_modules_come_from_the_folder_only(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.lua").write_text("return 1")
    (tmp_path / "in").mkdir()
    script = Script(tmp_path / "in", ASK)
    assert ask(script, f'pcall(require, "{name}")')[0] is False


def test_require(tmp_path: Path) -> None:
    (tmp_path / "protocols").mkdir()
    (tmp_path / "pack").mkdir()
    (tmp_path / "protocols" / "text.lua").write_text("local M = {} M.name = ... return M")
    (tmp_path / "pack" / "init.lua").write_text(
        'module("pack", package.seeall) function three() return tonumber("3") end'
    )
    (tmp_path / "plain.lua").write_text("shared = 5")
    (tmp_path / "a.lua").write_text('return require "b"')
    (tmp_path / "b.lua").write_text('return require "a"')
    (tmp_path / "wrong.lua").write_text("x = = 1")
    script = Script(tmp_path, ASK)
    assert ask(script, 'require("protocols.text") == require("protocols/text")') == [True]
    assert ask(script, 'require("protocols/text").name') == ["protocols.text"]
    assert ask(script, 'require("plain"), shared') == [True, 5]
    assert ask(script, 'require("pack") and pack.three()') == [3]
    assert "while it loads" in ask(script, 'pcall(require, "a")')[1]
    assert "wrong.lua:1:" in ask(script, 'pcall(require, "wrong")')[1]
    assert "not found" in ask(script, 'pcall(require, "none")')[1]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("x = = 1", "entry.lua:1:"),
        ("\n\nerror('at load')", "entry.lua:3: at load"),
        ("while true do end", "stopped: it ran for longer than"),
        ("on_close = 5", "on_close is not a function"),
        ("mix.websocket():send('x')", "entry.lua:1: attempt to index"),
        ("local s = 'x' while true do s = s .. s end", "not enough memory"),
        ("\x1bLJ", "compiled Lua is not taken"),
        ("coroutine.yield()", "outside of a coroutine"),
        ("require('none')", "entry.lua:1: module 'none' not found"),
    ],
)
def test_scripts_that_do_not_load(tmp_path: Path, source: str, what: str) -> None:
    with pytest.raises(StartError) as caught:
        entry_of(tmp_path, source)
    assert caught.value.code == "gateway.entry"
    assert what in caught.value.message


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["on_message", "on_close"], "on_handshake"),
        (["on_handshake", "on_close"], "on_message"),
        (["on_connect", "on_message"], "on_close"),
    ],
)
def test_required_functions(tmp_path: Path, names: list[str], missing: str) -> None:
    path = tmp_path / "e.lua"
    path.write_text("\n".join(f"function {name}() end" for name in names))
    with pytest.raises(StartError, match=f"no function {missing}"):
        LuaEntry(path)
    with pytest.raises(StartError):
        load_entry(str(tmp_path / "none.lua"))


LOOPS = {
    "plain": "while true do end",
    "pcall": "while true do pcall(function() while true do end end) end",
    "deep pcall": "local function f() while true do pcall(f) end end f()",
    "coroutine": "coroutine.wrap(function() while true do end end)()",
    "coroutines": "while true do pcall(coroutine.wrap(function() while true do end end)) end",
    "handler": "while true do xpcall(function() while true do end end, function() while true do end end) end",
    "metatable": "local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end}) "
    "while true do pcall(function() return t[1] end) end",
    "require": "while true do pcall(require, 'nothing') end",
    "json": "local t = {} t[1] = t while true do mix.json_encode(t) end",
    "sort": "while true do pcall(table.sort, {3, 2, 1}, function() while true do end end) end",
    "gsub": "while true do pcall(string.gsub, 'aaa', '.', function() while true do end end) end",
    "tostring": "while true do pcall(tostring, setmetatable({}, {__tostring = function() while true do end end})) end",
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_an_endless_loop_is_stopped(tmp_path: Path, loop: str) -> None:
    script = Script(
        tmp_path, f"function on_message(msg) if msg.data == 'loop' then {loop} end mix.websocket():send('ok') end",
        callback_ms=20,
    )  # fmt: skip
    for _ in range(2):
        with pytest.raises(ScriptError, match="stopped: it ran for longer than 20 ms"):
            script.send("loop")
        script.send("x")
        assert script.heard() == [b"ok"]


HOGS = {
    "text": "local s = 'x' while true do s = s .. s end",
    "rep": "return ('x'):rep(1e9)",
    "table": "local t = {} for i = 1, 1e9 do t[i] = i end",
    "pcall": "local t = {} for i = 1, 1e9 do pcall(function() t[i] = ('x'):rep(1e6) .. i end) end",
    "tables": "local t while true do t = {t} end",
    "json": "local t = {} while true do t[#t + 1] = mix.json_decode('[[[[1]]]]') end",
    "base64": "local s = 'xxx' while true do s = s .. mix.base64_encode(s) end",
    "context": "local t, c = {}, mix.websocket() while true do t[#t + 1] = ('x'):rep(1e6) .. #t "
    "c:set_context_value('a', t[#t]) t[#t + 1] = {c:context_value('a')} end",
}


@pytest.mark.parametrize("hog", HOGS.values(), ids=HOGS)
def test_memory_is_limited(tmp_path: Path, hog: str) -> None:
    script = Script(
        tmp_path, f"function on_message(msg) if msg.data == 'hog' then {hog} end mix.websocket():send('ok') end",
        memory_bytes=8 * 1024 * 1024, callback_ms=2000,
    )  # fmt: skip
    for _ in range(2):
        with pytest.raises(ScriptError):
            script.send("hog")
        assert (script.entry._vm.runtime.get_memory_used() or 0) <= 25 * 1024 * 1024
        script.send("x")
        assert script.heard()[-1:] == [b"ok"]


def test_a_script_that_keeps_its_memory_full_is_started_anew(tmp_path: Path) -> None:
    script = Script(
        tmp_path,
        "kept = {} function on_message(msg) kept[#kept + 1] = msg.data mix.websocket():send('' .. #kept) end",
        memory_bytes=4 * 1024 * 1024,
    )
    for number in range(40):
        script.send("x" * 200_000 + str(number))
    assert script.entry.restarts >= 1
    counts = [int(text) for text in script.heard()]
    assert counts[0] == 1
    assert max(counts) < 25
    assert script.entry.events == {"reloaded": 0, "not_reloaded": 0, "restarted": script.entry.restarts}


def test_one_message_that_is_too_large_does_not_restart_the_script(tmp_path: Path) -> None:
    script = Script(tmp_path, "", memory_bytes=4 * 1024 * 1024)
    with pytest.raises(ScriptError, match="memory limit"):
        script.send("x" * 5_000_000)
    assert script.entry.restarts == 0


def test_errors_say_where(tmp_path: Path) -> None:
    (tmp_path / "part.lua").write_text("return function(x)\n  return x.y.z\nend")
    script = Script(
        tmp_path,
        "local part = require('part')\nfunction on_message(msg)\n  if msg.data == 't' then error({}) end\n"
        "  local v = part({})\n  return v\nend",
    )
    with pytest.raises(ScriptError) as caught:
        script.send("x")
    text = str(caught.value)
    assert text.startswith("part.lua:2: attempt to index field 'y'")
    assert "entry.lua:4: in function <entry.lua:2>" in text
    assert "driver" not in text
    with pytest.raises(ScriptError, match="an error that is a table"):
        script.send("t")


def test_a_trusted_script_is_compiled(tmp_path: Path) -> None:
    script = Script(tmp_path, ASK, trusted=True)
    assert ask(script, "1 + 1") == [2]
    with pytest.raises(ScriptError):
        script.send("error('x')")
    assert ask(script, "jit") == ["(nil)"]


def test_print_goes_to_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Script(tmp_path, "print('a', 1, nil, 1.5) io.write('b', 2, '\\n')")
    assert capsys.readouterr().out == "a\t1\tnil\t1.5\nb2\n"
