# SPDX-License-Identifier: Apache-2.0
"""Running commands, without a connection."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import until
from tests.unit.protocols.octo.samples import GUID, KEY, NOW, Harness
from towline.errors import Unavailable
from towline.protocols.octo import CommandAcked, Name
from towline.protocols.octo.limits import MAX_RESULT_DEPTH
from towline.sdk import Command as Declared
from towline.sdk import Credential, Plugin


def plugin_of(handler: Any, refuse: Any = None) -> Plugin:
    plugin = Plugin(Credential(app_guid=GUID, access_key=KEY), name="one", version="1.0.0")
    plugin.module(commands=[Declared("work", handler=handler, refuse=refuse)])
    return plugin


def answers(plugin: Plugin) -> list[tuple[str, Any]]:
    waiting = [item for item in plugin._connection.outbox._urgent if item.name is Name.COMMAND_ACK]
    return [(item.params["commandState"], item.params["commandAcks"][0].get("result")) for item in waiting]


def command(number: int = 0) -> dict[str, Any]:
    return {
        "appGUID": GUID,
        "epoch": "1700000000",
        "commandId": f"{number:040x}",
        "commandSource": "remote",
        "moduleName": "one",
        "commands": [{"name": "work", "params": []}],
    }


async def bad_text() -> dict[str, str]:
    return {"name": Path(b"caf\xe9".decode("utf-8", "surrogateescape")).name}


async def bad_error() -> None:
    raise FileNotFoundError(b"caf\xe9".decode("utf-8", "surrogateescape"))


async def no_json() -> Any:
    return {"x": object()}


def nested(levels: int) -> Any:
    value: Any = 5
    for _ in range(levels):
        value = [value]
    return value


def returning(value: Any) -> Any:
    async def work() -> Any:
        return value

    return work


async def nul_error() -> None:
    raise ValueError("embedded null in 'a\0b'")


async def nul_unfit() -> None:
    raise Unavailable("x.y", "no 'a\0b'")


@pytest.mark.parametrize("handler", [bad_text, bad_error, no_json, nul_error, nul_unfit])
async def test_whatever_a_command_gives_it_is_answered(handler: Any) -> None:
    plugin = plugin_of(handler)
    plugin._received(Name.COMMAND, command())
    await until(lambda: len(answers(plugin)) == 2, 2.0, what="answer")
    (first, _), (last, result) = answers(plugin)
    assert (first, last) == ("ACCEPTED", "ERRORED")
    assert result["error"]
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"out": "a\0b"}, "$.params.commandAcks[0].result.out: text must not contain U+0000"),
        ({"a\0": 1}, "U+0000"),
        ("a\0b", "$.params.commandAcks[0].result.response: text must not contain U+0000"),
        ({"out": "a\ud800b"}, "half a character"),
        ({"n": 10**5000}, "$.params: cannot be written as JSON"),
        ({("a", "b"): 1}, "cannot be written as JSON"),
        ({"x": object()}, "$.params.commandAcks[0].result: is no JSON"),
        (nested(MAX_RESULT_DEPTH), "nested deeper than 64 levels"),
        (nested(5000), "nested deeper than 64 levels"),
    ],
    ids=["text", "key", "plain", "surrogate", "number", "tuple", "object", "deep", "deeper"],
)
async def test_a_result_that_an_agent_refuses_is_an_error(value: Any, says: str) -> None:
    plugin = plugin_of(returning(value))
    plugin._received(Name.COMMAND, command())
    await until(lambda: len(answers(plugin)) == 2, 2.0, what="answer")
    state, result = answers(plugin)[-1]
    assert state == "ERRORED"
    assert "the result cannot be sent: " in result["error"]
    assert says in result["error"]


@pytest.mark.parametrize(
    "handler",
    [
        returning({"out": "a\0b"}),
        returning({"n": 10**30, "tiny": 1e-300, "none": None}),
        returning(nested(MAX_RESULT_DEPTH - 1)),
        returning(nested(MAX_RESULT_DEPTH)),
        bad_text,
        nul_error,
        nul_unfit,
    ],
    ids=["nul", "numbers", "deepest", "deep", "bad text", "nul error", "nul unfit"],
)
async def test_the_agent_takes_every_answer(handler: Any) -> None:
    plugin = plugin_of(handler)
    plugin._received(Name.COMMAND, command())
    await until(lambda: len(answers(plugin)) == 2, 2.0, what="answer")
    agent = Harness(registered=False)
    agent.send(Name.UPDATE, {**plugin.registration.render(), "epoch": str(NOW // 1_000_000)})
    agent.guard.of(GUID).commands.sent(f"{0:040x}", module="one", name="work", now_us=NOW)
    for item in plugin._connection.outbox._urgent:
        taken = agent.send(item.name, {**item.params, "epoch": str(NOW // 1_000_000)})
        assert isinstance(taken, CommandAcked), taken


@pytest.mark.parametrize(
    ("refuse", "reason"),
    [
        (lambda: bad_error(), "refuse= must return a text or None, not coroutine"),
        (lambda: False, "refuse= must return a text or None, not bool"),
        (lambda: "not 'a\0b'", "not 'a\ufffdb'"),
    ],
    ids=["coroutine", "bool", "nul"],
)
def test_whatever_a_check_gives_the_command_is_rejected(refuse: Any, reason: str) -> None:
    plugin = plugin_of(no_json, refuse)
    plugin._received(Name.COMMAND, command())
    assert answers(plugin) == [("REJECTED", {"reason": reason})]
