# SPDX-License-Identifier: Apache-2.0
"""The Redis client: its protocol, and a real server where there is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import free_port
from tests.unit.gateway.lua.scripts import Script
from towline.gateway.entries.lua.redis import RedisClient, RedisError, encode_command, read_reply
from towline.gateway.settings import RedisSettings


async def reply(data: bytes) -> object:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await read_reply(reader)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"+OK\r\n", b"OK"),
        (b":-5\r\n", -5),
        (b"$3\r\na\0b\r\n", b"a\0b"),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"*3\r\n:1\r\n$1\r\nx\r\n*1\r\n-ERR no\r\n", [1, b"x", [b"ERR no"]]),
    ],
)
async def test_replies(data: bytes, value: object) -> None:
    assert await reply(data) == value


@pytest.mark.parametrize(
    "data",
    [b"-ERR x\r\n", b"!\r\n", b":x\r\n", b"$99999999999\r\n", b"*999999999\r\n", b"$1\r\nxyz", b"*1\r\n" * 20, b"\r\n"],
)
async def test_what_is_refused(data: bytes) -> None:
    with pytest.raises(RedisError):
        await reply(data)


@settings(max_examples=200, deadline=None)
@given(data=st.lists(st.sampled_from([b"*", b"$", b":", b"+", b"-", b"1", b"2", b"\r\n", b"x"]), max_size=12))
def test_nothing_but_known_errors(data: list[bytes]) -> None:
    async def run() -> None:
        try:
            await reply(b"".join(data))
        except (RedisError, asyncio.IncompleteReadError):
            pass

    asyncio.run(run())


def test_commands() -> None:
    assert encode_command([b"SET", b"k\r\n", b""]) == b"*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$0\r\n\r\n"


async def test_refused_and_unreachable() -> None:
    client = RedisClient(RedisSettings(addr=f"127.0.0.1:{free_port()}"))
    with pytest.raises(RedisError, match="SUBSCRIBE is not possible"):
        await client.command(b"subscribe", b"x")
    with pytest.raises(OSError):
        await client.command(b"PING")


needs_redis = pytest.mark.needs_redis


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[str]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", "pw",
        "--dir", str(tmp_path), stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            await writer.wait_closed()
            break
    yield f"127.0.0.1:{port}"
    process.terminate()
    await process.wait()


REDIS = """
function on_message(msg)
  local redis = mix.redis.connection("default")
  local out = {}
  local function note(...)
    local value, problem = redis:command(...)
    out[#out + 1] = problem or (value == nil and "(nil)") or value
  end
  if msg.data == "slow" then note("blpop", "never", 0.3) else
    note("set", "k", "v") note("get", "k") note("get", "none") note("incr", "n") note("rpush", "l", "a", 1, true)
    note("lrange", "l", 0, -1) note("nonsense") note("get", {})
  end
  mix.websocket():send(mix.json_encode(out))
end
"""


@needs_redis
async def test_a_real_server(tmp_path: Path, server: str) -> None:
    script = Script(tmp_path, REDIS, redis=(RedisSettings(addr=server, password="pw", db=1),))
    slow = script.send("slow")
    assert slow is not None
    waiting = asyncio.ensure_future(slow)
    conn, socket = script.connect()
    quick = script.send("x", conn)
    assert quick is not None
    await quick
    (answer,) = script.heard(socket)
    assert answer.startswith(b'["OK","v","(nil)",1,3,["a","1","1"],"redis: ERR unknown command')
    assert answer.endswith(b'"argument 2 of the command must be a text or a number"]')
    assert script.heard() == []
    await waiting
    assert script.heard() == [b'["(nil)"]']
    await script.entry.close()
