# SPDX-License-Identifier: Apache-2.0
"""Each function of ``mix``."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import until
from tests.unit.gateway.lua.scripts import ASK, Script, ask
from towline.gateway.connections import execute_call
from towline.gateway.entries.lua import LuaEntry, ScriptError
from towline.gateway.entries.options import ScriptOptions
from towline.gateway.queues import Queues
from towline.gateway.queuesettings import QueueSettings


def queues() -> Queues:
    """Topics that take five messages."""
    return Queues(QueueSettings(topic_size=5), 1000, lambda: 1)


@pytest.fixture
async def script(tmp_path: Path) -> Script:
    return Script(tmp_path, ASK, options={"path": "/chat", "greeting": "hello"}, queue=queues())


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ('mix.base64_encode("a\\255b")', ["Yf9i"]),
        ('mix.base64_decode("Yf9i") == "a\\255b"', [True]),
        ('mix.base64_decode("aGk=")', ["hi"]),
        ('mix.md5("a")', ["0cc175b9c0f1b6a831c399e269772661"]),
        ('mix.sha1("a")', ["86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"]),
        ('#mix.md5_bin("a"), #mix.sha1_bin("a")', [16, 20]),
        ('mix.str_split("@user", "@")', [["", "user"]]),
        ('mix.str_split("", "@")', [[""]]),
        ('mix.str_split("a.b..c", ".")', [["a", "b", "", "c"]]),
        ("mix.bytes_tostring({104, 105})", ["hi"]),
        ('mix.php_unpack("Nlen/a*body", mix.php_pack("Na*", 5, "hello"))', [{"len": 5, "body": "hello"}]),
        ('mix.parse_str("a=1&b=x%20y+z&a=2")', [{"a": "1", "b": "x y z"}]),
        ('mix.parse_str("http://h/p?a=1").query', [{"a": "1"}]),
        ('mix.url_parse("ws://u:p@h:80/p%20q?x=1#f").host', ["h:80"]),
        ('mix.server.option("greeting"), mix.server.option("path"), mix.server.option("none")', ["hello", "/chat", "(nil)"]),
        ("mix.log(mix.DEBUG, 'x')", [False]),
        ("mix.socket.tcp()", ["(nil)", "this listener speaks WebSocket: use mix.websocket()"]),
        ('mix.queue.push("t", nil)', ["(nil)", "mix.queue.push: there is no data"]),
        ('mix.redis.connection("none")', ["(nil)", "no Redis named 'none' is configured (gateway.redis)"]),
        ('mix.http.request("GET", "ftp://x/")', ["(nil)", "'ftp://x/' is not http:// or https://"]),
        ('mix.http.request("GET", "http://h/", {timeout = "x"})', [
            "(nil)", 'the timeout must be a number of seconds or a duration such as "1m30s"']),
        *[(f'mix.http.request("GET", "http://h/", {{timeout = {number}}})', [
            "(nil)", "the timeout must be a finite number of seconds"]) for number in ("math.huge", "0/0")],
        ("mix.json_encode({0/0})", ["(nil)", "a number that is not finite has no JSON"]),
        ('mix.queue.push("t", {math.huge})', ["(nil)", "a number that is not finite has no JSON"]),
    ],
)  # fmt: skip
async def test_values(script: Script, expression: str, values: list[Any]) -> None:
    assert ask(script, expression) == values


async def test_parse_url(script: Script) -> None:
    (found,) = ask(script, 'mix.parse_url("HTTP://bob:pw@h.example:80/a%2Fb%20c?x=1&y=&x=2#fr%20ag")')
    assert found == {
        "scheme": "http", "opaque": "", "user": "bob:pw", "host": "h.example:80", "path": "/a/b c",
        "raw_path": "/a%2Fb%20c", "force_query": False, "raw_query": "x=1&y=&x=2", "fragment": "fr ag",
        "raw_fragment": "", "query": {"x": "1", "y": ""},
    }  # fmt: skip
    assert ask(script, 'mix.parse_url("/chat?token=T").query.token') == ["T"]
    assert ask(script, 'mix.parse_url("mailto:a@b").opaque') == ["a@b"]
    for url, field, value in (
        ("/a%41b", "raw_path", "/a%41b"), ("/a b", "raw_path", "/a b"), ("/a%20b/c;d@e", "raw_path", ""),
        ("/a!b", "raw_path", "/a!b"), ("#a%2Fb", "raw_fragment", "a%2Fb"), ("#a/b!", "raw_fragment", ""),
        ("///p", "path", "///p"), ("http:///p", "path", "/p"), ("/1:b", "path", "/1:b"), ("?a:b", "raw_query", "a:b"),
    ):  # fmt: skip
        assert ask(script, f'mix.parse_url("{url}").{field}') == [value], url
    for bad in ("1:b/c", "1http://x", "http://h/%zz", "http://h:port/", ":x", "http://a b/", "http://[::1/", "x\\1"):
        assert ask(script, f'mix.parse_url("{bad}")')[0] == "(nil)"


@pytest.mark.parametrize(
    "expression",
    [
        'mix.base64_decode("*")', "mix.base64_decode({})", 'mix.php_pack("N")', 'mix.php_unpack("N", "a")',
        "mix.json_decode({})", "mix.json_decode('{')", "mix.json_encode(print)", "mix.log('LOUD', 'x')",
        "mix.php_pack(nil)", "mix.parse_url(nil)", "mix.http.request()", "mix.http.request('GET', 'http://h', 5)",
        "mix.queue.push()", "mix.queue.push('t', print)", "pcall(mix.md5, {})[1] or nil, 'told'",
    ],
)  # fmt: skip
async def test_problems_are_second_results(script: Script, expression: str) -> None:
    if expression.startswith("pcall"):
        assert "mix.md5: the argument must be a text" in ask(script, "pcall(mix.md5, {})")[1]
        for item in ("0/0", "math.huge", "256"):
            assert "item 2 is not 0 to 255" in ask(script, f"pcall(mix.bytes_tostring, {{1, {item}}})")[1]
        return
    first, problem = ask(script, expression)
    assert first == "(nil)"
    assert isinstance(problem, str)


async def test_the_connection(tmp_path: Path) -> None:
    script = Script(tmp_path, ASK + "c = mix.websocket function on_handshake(id, h, s) server, headers = s, h end")
    conn = script.conn
    assert ask(script, "c():client_id(), c():remote_addr()") == [conn.id, "127.0.0.1:5"]
    assert ask(script, "server.Method .. server.RequestUri .. server.ServerProtocol .. server.RemoteAddr") == [
        "GET/chat?room=1HTTP/1.1127.0.0.1:5"
    ]
    assert ask(script, "c():set_context({a = 1, b = {x = {1, 2}}, d = 'ü'}), c():set_context({b = {y = 1.5}})") == [
        "(nil)"]  # fmt: skip
    assert conn.context() == {"a": 1, "b": {"y": 1.5}, "d": "ü"}
    assert ask(script, "c():context()") == [{"a": 1, "b": {"y": 1.5}, "d": "ü"}]
    assert ask(script, "c():set_context_value('a', nil), c():context_value('a'), c():context_value('d')") == [
        "(nil)", "(nil)", "ü"]  # fmt: skip
    assert execute_call(conn, "set_context_value", ["n", 2**70]) == ""
    assert ask(script, "c():context_value('n') > 2^69") == [True]
    assert ask(script, "c():subscribe('x', 'y'), c():unsubscribe('y', 'z')") == ["(nil)", "(nil)"]
    assert list(conn.channels) == ["x"]
    assert "spaces" in ask(script, "c():subscribe('ok', 'not ok')")[0]
    assert "must be text" in ask(script, "c():subscribe(5)")[0]
    assert list(conn.channels) == ["x"]
    assert "not UTF-8" in ask(script, "c():send('\\255')")[0]
    assert "type" in ask(script, "c():send('x', 'blob')")[0]
    assert "takes a text" in ask(script, "c():send({})")[0]
    assert ask(script, "c():set_context({f = print})") == ["(nil)", "a function cannot be kept"]
    assert ask(script, "c():set_context_value('f', print)") == ["(nil)", "a function cannot be kept"]
    script.send("c():send('\\255', 'binary')")
    assert script.heard()[0] == b"\xff"
    script.send("c():close()")
    assert script.socket.closed == (1000, "")
    assert script.entry.on_close(conn, None) is None
    assert script.entry._shared.connections == {}


async def test_mesh_and_queue(tmp_path: Path) -> None:
    queue = queues()
    script = Script(tmp_path, ASK, queue=queue)
    other, socket = script.connect()
    other.subscribe("news")
    assert ask(script, "mix.mesh.publish('news', 'hi')") == [1, 0]
    assert ask(script, "mix.mesh.publish('none', 'hi')") == [0, 0]
    assert ask(script, f"mix.mesh.send('{other.id}', 'you')") == ["(nil)"]
    assert "not connected" in ask(script, "mix.mesh.send('1234567', 'you')")[0]
    assert ask(script, "mix.mesh.publish('news', ('x'):rep(300000))")[2] == "300000 bytes; the limit is 245760"
    assert script.heard(socket) == [b"hi", b"you"]
    pushes = ["{b = 1, a = {}}", "'{\"x\": 1}'", "'text'", "5", "'{no'"]
    for number, data in enumerate(pushes, 1):
        assert ask(script, f"mix.queue.push('t', {data})") == [number]
    assert ask(script, "mix.queue.push('t', 1)")[1].startswith("queue is full")
    assert "limit is 1000" in ask(script, "mix.queue.push('u', ('x'):rep(2000))")[1]
    items = queue.topics["t"].items
    assert [item.data for item in items] == [b'{"a":[],"b":1}', b'{"x": 1}', b'"text"', b"5", b'"{no"']
    assert items[0].client_id == script.conn.id


async def test_a_push_before_the_node_has_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    number = -1
    queue = Queues(QueueSettings(), 1000, lambda: number)
    script = Script(tmp_path, ASK + "print(mix.queue.push('t', 'loading'))", queue=queue)
    told = "nil\tthe node is not started yet: it has no number to put into the event\n"
    assert capsys.readouterr().out == told
    assert not queue.topics
    assert queue.counters.refused == {"not_started": 1}
    number = 7
    script.entry._load()
    assert capsys.readouterr().out == "1\n"
    assert [(item.node, item.client_id) for item in queue.topics["t"].items] == [(7, "")]


async def test_no_queue(tmp_path: Path) -> None:
    assert ask(Script(tmp_path, ASK), "mix.queue.push('t', 1)") == ["(nil)", "queue is not configured"]


WAITING = """
function on_message(msg)
  local conn = mix.websocket()
  local value
  if msg.data == "wrapped" then
    value = coroutine.wrap(function()
      local ok, v = pcall(function() return conn:wait_context_value("uid") end)
      return v
    end)()
  elseif msg.data == "sort" then
    table.sort({2, 1}, function() return conn:wait_context_value("uid") end)
  else
    value = conn:wait_context_value("uid")
  end
  conn:send("uid " .. tostring(value) .. " " .. mix.websocket():client_id())
end
"""


@pytest.mark.parametrize("how", ["plain", "wrapped"])
async def test_waiting_suspends_one_client(tmp_path: Path, how: str) -> None:
    script = Script(tmp_path, WAITING)
    conn, socket = script.connect()
    waiting = script.send(how)
    assert waiting is not None
    task = asyncio.ensure_future(waiting)
    execute_call(conn, "set_context_value", ["uid", 7])
    assert script.send("x", conn) is None
    assert script.heard(socket) == [f"uid 7 {conn.id}".encode()]
    assert script.heard() == []
    await asyncio.sleep(0)
    execute_call(script.conn, "set_context", [{"uid": 0}])
    await task
    assert script.heard() == [f"uid 0 {script.conn.id}".encode()]


async def test_waiting_ends_with_the_connection_or_its_task(tmp_path: Path) -> None:
    script = Script(tmp_path, WAITING)
    waiting = script.send("plain")
    assert waiting is not None
    task = asyncio.ensure_future(waiting)
    await asyncio.sleep(0)
    script.conn.close()
    await task
    conn, _ = script.connect()
    cut = script.send("plain", conn)
    assert cut is not None
    task = asyncio.ensure_future(cut)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ScriptError, match="attempt to yield across C-call boundary"):
        script.send("sort", script.connect()[0])


async def test_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    script = Script(tmp_path, ASK)
    assert ask(script, "mix.log(mix.WARN, 'careful'), mix.log(mix.DEBUG, 'quiet')") == [True, False]
    assert [(one.levelname, one.message) for one in caplog.records] == [("WARNING", "careful")]


async def test_reload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "part.lua").write_text("return 'one'")
    path = tmp_path / "entry.lua"
    script = Script(
        tmp_path,
        "local part = require('part') function on_message(msg) local c = mix.websocket() "
        "if msg.data == 'wait' then c:wait_context_value('go') end c:send(part) end",
        reload_s=0.1,
    )
    waiting = script.send("wait")
    assert waiting is not None
    task = asyncio.ensure_future(waiting)
    (tmp_path / "part.lua").write_text("return 'two two'")
    await until(lambda: script.entry.reloads == 1)
    script.send("x")
    assert script.heard() == [b"two two"]
    good = path.read_text()
    path.write_text("function on_message( end")
    await until(lambda: script.entry.reload_failures == 1)
    script.send("x")
    assert script.heard() == [b"two two"]
    await asyncio.sleep(0.15)
    assert script.entry.reload_failures == 1
    path.write_text(good.replace("c:send(part)", "c:send('new ' .. part)"))
    await until(lambda: script.entry.reloads == 2)
    script.send("x")
    script.conn.set_context_value("go", True)
    await task
    assert script.heard() == [b"new two two", b"one"]
    assert "changed script not taken, the old one goes on" in caplog.text
    await script.entry.close()


async def test_a_touched_file_is_no_change_and_0_is_never(tmp_path: Path) -> None:
    script = Script(tmp_path, ASK, reload_s=0)
    path = tmp_path / "entry.lua"
    path.touch()
    assert script.entry.reload() is False
    assert script.entry._timer is None
    path.write_text(path.read_text() + "\n")
    assert script.entry.reload() is True
    path.unlink()
    assert script.entry.reload() is False


async def test_on_connect_alone_is_taken(tmp_path: Path) -> None:
    script = Script(tmp_path, ASK, reload_s=0)
    path = tmp_path / "old.lua"
    path.write_text(
        "function on_connect(id, headers) mix.websocket():send(id .. type(headers)) end "
        "function on_message(msg) end function on_close(id, err) end"
    )
    LuaEntry(path, ScriptOptions(reload_s=0)).on_handshake(script.conn, script.conn.handshake)
    assert script.heard() == [f"{script.conn.id}table".encode()]


async def test_an_argument_named_conn_is_the_connection_wherever_it_stands(tmp_path: Path) -> None:
    script = Script(
        tmp_path,
        'function on_handshake(conn, headers) conn:send("hello " .. type(headers)) end '
        'function on_message(conn, msg) conn:send("got " .. msg.data) end function on_close(conn) end',
    )
    assert script.heard() == [b"hello table"]
    script.send("x")
    assert script.heard() == [b"got x"]
