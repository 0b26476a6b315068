# SPDX-License-Identifier: Apache-2.0
"""The buffer that a raw port's script looks at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.gateway.fakes import World
from towline.gateway.entries.buffer import Buffer
from towline.gateway.entries.lua.rawentry import HANDED_OVER, LuaRawEntry

SCRIPT = """
function on_connect() end function on_close() end function on_message() end
function protocol_decode(s) return s end function protocol_encode(s) return s end
local function read(buf, n)
  local data, problem = buf:read(n)
  return {data or "(nil)", problem or "", buf:position()}
end
function protocol_input(buf)
  print(mix.json_encode({read(buf, 2), read(buf, CASE), read(buf, 1.9), read(buf, 0)}))
  return 0
end
"""


@pytest.mark.parametrize("size", [5, HANDED_OVER + 5])
@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ("math.huge", "only {left} bytes are left"),
        ("1e300", "only {left} bytes are left"),
        ("-math.huge", "read takes a number of bytes"),
        ("0/0", "read takes a number of bytes"),
        ("-1", "read takes a number of bytes"),
        ("'x'", "read takes a number of bytes"),
    ],
)
def test_what_cannot_be_read_leaves_the_position(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int, case: str, problem: str
) -> None:
    path = tmp_path / "entry.lua"
    path.write_text(SCRIPT.replace("CASE", case))
    conn: Any = World().connect()[0]
    LuaRawEntry(path).protocol_input(conn, Buffer(bytearray(b"abcde".ljust(size, b"."))))
    first, second, third, fourth = json.loads(capsys.readouterr().out)
    assert first == ["ab", "", 2]
    assert second == ["(nil)", problem.format(left=size - 2), 2]
    assert third == ["c", "", 3]
    assert fourth == ["", "", 3]
