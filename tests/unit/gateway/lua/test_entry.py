# SPDX-License-Identifier: Apache-2.0
"""Callbacks that wait for something which Lua cannot be given."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.unit.gateway.lua.scripts import Script
from towline.gateway.connections import execute_call

SCRIPT = """
local alive = setmetatable({}, {__mode = "k"})
function on_message(msg)
  if msg.data == "alive" then
    local n = 0
    for _ in pairs(alive) do n = n + 1 end
    return mix.websocket():send(tostring(n))
  end
  local mine = {}
  alive[mine] = true
  local value, problem = mix.websocket():wait_context_value("w")
  mix.websocket():send(tostring(value) .. ", " .. tostring(problem))
  mine = nil
end
"""


def alive(script: Script) -> int:
    """Callbacks whose coroutine is still there."""
    script.entry._vm.runtime.gccollect()
    script.send("alive")
    (answer,) = script.heard()
    return int(answer)


async def waiting(script: Script) -> asyncio.Future[None]:
    begun = script.send("wait")
    assert begun is not None
    task = asyncio.ensure_future(begun)
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize("odd", [10**400, object(), {"a": {1}}], ids=["huge", "object", "set"])
async def test_a_value_that_lua_has_not_is_a_problem_of_the_call(tmp_path: Path, odd: Any) -> None:
    script = Script(tmp_path, SCRIPT)
    task = await waiting(script)
    assert alive(script) == 1
    script.conn.set_context_value("w", odd)
    await task
    (answer,) = script.heard()
    assert answer.startswith(b"nil, ")
    assert b"beyond the range of a double" in answer or b"has no form in Lua" in answer
    assert alive(script) == 0


async def test_a_call_that_is_refused_leaves_the_callback_waiting(tmp_path: Path) -> None:
    script = Script(tmp_path, SCRIPT)
    task = await waiting(script)
    assert "beyond the range of a double" in execute_call(script.conn, "set_context_value", ["w", 10**400])
    assert "beyond the range of a double" in execute_call(script.conn, "set_context", [{"w": [10**400]}])
    await asyncio.sleep(0)
    assert not task.done()
    assert execute_call(script.conn, "set_context_value", ["w", 2**70]) == ""
    await task
    assert script.heard() == [b"1.1805916207174e+21, nil"]


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_a_callback_that_is_given_up_is_collected(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(tmp_path, SCRIPT)
    task = await waiting(script)

    def give(value: object) -> Any:
        raise asyncio.CancelledError

    if how == "cancelled":
        task.cancel()
    else:
        monkeypatch.setattr(script.entry._vm, "give", give)
        script.conn.set_context_value("w", 1)
    done, _ = await asyncio.wait([task])
    assert done == {task}
    assert alive(script) == 0
