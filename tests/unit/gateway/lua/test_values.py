# SPDX-License-Identifier: Apache-2.0
"""Values for Lua."""

from __future__ import annotations

from typing import Any

import lupa.luajit21 as lua
import pytest

from towline.gateway.entries.lua.values import to_lua


@pytest.mark.parametrize(
    "value", [10**400, [10**400], object(), {"a": {1, 2}}], ids=["huge", "in_list", "object", "set"]
)
def test_what_lua_has_not_is_a_sentence(value: Any) -> None:
    runtime = lua.LuaRuntime(encoding=None)
    with pytest.raises(ValueError, match=r"beyond the range of a double|has no form in Lua"):
        to_lua(runtime, value)
