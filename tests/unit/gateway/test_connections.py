# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.gateway.fakes import Request, World
from towline.errors import Conflict, InvalidInput
from towline.gateway.channels import MAX_PER_CONNECTION
from towline.gateway.connections import execute_call
from towline.gateway.entries.base import Handshake


def test_text_and_binary() -> None:
    world = World()
    one, socket = world.connect()
    one.send("é")
    one.send(b"\x00")
    one.send(b"abc", "text")
    one.send("abc", "binary")
    world.turn()
    assert socket.data == b"\x81\x02\xc3\xa9" + b"\x82\x01\x00" + b"\x81\x03abc" + b"\x82\x03abc"


def test_subscriptions() -> None:
    world = World()
    one, _ = world.connect()
    one.subscribe("a", "b", "a")
    one.subscribe("a")
    assert set(one.channels) == {"a", "b"}
    assert len(world.realm.channels) == 2
    one.unsubscribe("a", "never")
    assert set(one.channels) == {"b"}
    one.close()
    assert len(world.realm.channels) == 0
    assert world.realm.connections == {}
    with pytest.raises(Conflict):
        one.subscribe("a")


@pytest.mark.parametrize("name", ["", "a b", "tab\t", " ", "nbsp\u00a0", "x" * 1025, 5, None])
def test_names_that_are_refused_subscribe_nothing(name: Any) -> None:
    world = World()
    one, _ = world.connect()
    with pytest.raises(InvalidInput) as caught:
        one.subscribe("fine", name)
    assert caught.value.code == "gateway.channel_name"
    assert not one.channels


def test_channels_of_one_connection_are_bounded() -> None:
    world = World()
    one, _ = world.connect(*(f"c{number}" for number in range(MAX_PER_CONNECTION)))
    one.subscribe("c0")
    with pytest.raises(InvalidInput):
        one.subscribe("one-more")


async def test_context_and_waiting_for_it() -> None:
    world = World()
    one, _ = world.connect()
    one.set_context({"a": 1, "b": 2})
    one.set_context({"b": None, "c": 0})
    assert one.context() == {"a": 1, "c": 0}
    assert await one.wait_context_value("a") == 1
    waiting = [asyncio.ensure_future(one.wait_context_value("uid")) for _ in range(2)]
    gone = asyncio.ensure_future(one.wait_context_value("never"))
    await asyncio.sleep(0)
    one.set_context({"uid": 0})
    assert await asyncio.gather(*waiting) == [0, 0]
    assert not gone.done()
    one.close()
    assert await gone is None
    assert await one.wait_context_value("never") is None


@pytest.mark.parametrize(
    ("function", "arguments", "problem"),
    [
        ("set_context", [{"x": 1}], ""),
        ("set_context", [], "set_context takes one object"),
        ("set_context", [[1]], "set_context takes one object"),
        ("set_context_value", ["x", None], ""),
        ("set_context_value", ["x"], "set_context_value takes a key and a value"),
        ("set_context_value", [1, 2], "set_context_value takes a key and a value"),
        ("set_context_value", ["big", 10**400], "the value of 'big' cannot be kept: an integer is beyond"),
        ("set_context", [{"deep": [[[]]]}], ""),
        ("subscribe", ["a", "b"], ""),
        ("subscribe", ["a b"], "must not contain spaces"),
        ("subscribe", [1], "must be text"),
        ("unsubscribe", ["a"], ""),
        ("close", [], "no function 'close'"),
        ("send", ["x"], "no function 'send'"),
    ],
)
def test_calls_from_outside(function: str, arguments: list[Any], problem: str) -> None:
    world = World()
    one, _ = world.connect()
    found = execute_call(one, function, arguments)
    assert (problem in found) if problem else (found == "")


def test_a_handshake_is_read_when_asked() -> None:
    request: Any = Request(b"/chat?a=1&b=2", {"user-agent": "x", "X-REAL-IP": "1.2.3.4", "Host": "h:1"})
    handshake = Handshake(request, "127.0.0.1:9")
    assert (handshake.method, handshake.target, handshake.protocol) == ("GET", "/chat?a=1&b=2", "HTTP/1.1")
    assert (handshake.path, handshake.query, handshake.host) == ("/chat", "a=1&b=2", "h:1")
    assert handshake.headers == {"User-Agent": "x", "X-Real-Ip": "1.2.3.4", "Host": "h:1"}
