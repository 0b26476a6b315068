# SPDX-License-Identifier: Apache-2.0
"""``mix.http`` against a server of our own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.gateway.lua.scripts import Script
from towline.gateway.entries.lua.httpcalls import MAX_BODY_BYTES, check_address, seconds

SCRIPT = """
function on_message(msg)
  local asked = mix.json_decode(msg.data)
  local answer, problem = mix.http.request(asked.method or "GET", asked.url, asked.options)
  if answer and #answer.body > 1000 then answer.body = #answer.body end
  mix.websocket():send(mix.json_encode(answer or {problem = problem}))
end
"""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split("\r\n")[0].split(" ")
        size = next(
            (int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length")), 0
        )
        body = await reader.readexactly(size)
        if target.startswith("/slow"):
            await asyncio.sleep(30)
        more, status = "", 200
        answer = json.dumps({"method": method, "target": target, "head": head, "body": body.decode("latin-1")}).encode()
        if target.startswith("/hop"):
            status, more = (
                302,
                f"Location: /hop{int(target[4:]) - 1}\r\n" if target != "/hop0" else "Location: /end\r\n",
            )
        if target == "/metadata":
            status, more = 302, "Location: http://169.254.169.254/latest\r\n"
        if target == "/large":
            answer = b"x" * (MAX_BODY_BYTES + 1)
        if target == "/full":
            answer = b"x" * MAX_BODY_BYTES
        more += "Set-Cookie: sid=1; Path=/\r\nX-Two: a\r\nX-Two: b\r\n"
        writer.write(
            f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {len(answer)}\r\n{more}\r\n".encode()
        )
        writer.write(answer)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[str]:
    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
    running.close()


@pytest.fixture
async def script(tmp_path: Path) -> AsyncIterator[Script]:
    script = Script(tmp_path, SCRIPT)
    yield script
    await script.entry.close()


async def call(script: Script, url: str, method: str = "GET", **options: Any) -> Any:
    waiting = script.send(json.dumps({"method": method, "url": url, "options": options}))
    if waiting is not None:
        await waiting
    (answer,) = script.heard()
    return json.loads(answer)


async def test_a_request(script: Script, server: str) -> None:
    answer = await call(
        script, server + "/a?x=1", "post", query="y=2", body="body ü", headers={"x-own": "v", "User-Agent": "me"},
        cookies={"c": "1"}, auth={"username": "u", "password": "p"}, timeout=5,
    )  # fmt: skip
    seen = json.loads(answer["body"])
    assert (answer["status_code"], answer["url"]) == (200, server + "/a?y=2")
    assert answer["headers"]["X-Two"] == "a"
    assert answer["cookies"] == {"sid": "1"}
    assert answer["body_size"] == len(answer["body"])
    assert (seen["method"], seen["target"], seen["body"].encode("latin-1").decode()) == ("POST", "/a?y=2", "body ü")
    head = seen["head"].lower()
    assert "x-own: v" in head
    assert "user-agent: me" in head
    assert "cookie: c=1" in head
    assert "authorization: basic dtpw" in head
    again = await call(script, server + "/b", auth={"user": "u", "pass": "p"})
    assert "sid" not in json.loads(again["body"])["head"]


async def test_what_is_not_ascii_goes_as_utf8(script: Script, server: str) -> None:
    answer = await call(script, server + "/", query="名=中 &a=%20b", headers={"X-N": "中"}, cookies={"a": "中"})
    seen = json.loads(answer["body"])
    assert seen["target"] == "/?%E5%90%8D=%E4%B8%AD%20&a=%20b"
    head = seen["head"].encode("latin-1").decode()
    assert "x-n: 中" in head.lower()
    assert "cookie: a=中" in head.lower()
    assert "header" in (await call(script, server, headers={"名": "x"}))["problem"]


async def test_redirects_and_limits(script: Script, server: str) -> None:
    assert (await call(script, server + "/hop8"))["url"] == server + "/end"
    assert "redirects" in (await call(script, server + "/hop20"))["problem"]
    assert "longer than 8388608 bytes" in (await call(script, server + "/large"))["problem"]
    assert (await call(script, server + "/full"))["body"] == MAX_BODY_BYTES
    assert "within 0.1 s" in (await call(script, server + "/slow", timeout="100ms"))["problem"]
    assert "metadata" in (await call(script, server + "/metadata"))["problem"]
    assert "metadata" in (await call(script, "http://169.254.169.254/"))["problem"]
    assert "problem" in await call(script, "http://127.0.0.1:1/")
    assert "header" in (await call(script, server, headers={"a": "b\r\nc: d"}))["problem"]


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1%eth0", "fd00:ec2::254", "100.100.100.200", "::ffff:169.254.169.254"]
)
def test_metadata_addresses(address: str) -> None:
    with pytest.raises(ValueError, match="may not reach"):
        check_address(address)


def test_others_may_be_reached() -> None:
    assert [check_address(one) for one in ("127.0.0.1", "10.0.0.1", "::1")] == ["127.0.0.1", "10.0.0.1", "::1"]


def test_durations() -> None:
    assert [seconds(one) for one in (5, 1.9, "1h", "1m30s", "100ms", "9999h")] == [5, 1, 3600, 90, 0.1, 3600]
    for bad in (0, -1, "", "5", "x", True, None):
        with pytest.raises(ValueError, match="timeout"):
            seconds(bad)
