# SPDX-License-Identifier: Apache-2.0
"""Which generation of connmix a file is of, by how its keys are written: what a missing key means depends on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

Generation = Literal[1, 2, "both"]

ENTRY = "lua/entry.websocket.lua"
PATH = "/chat"
REDIS = ("default", "localhost:6379")
PORTS = {"api_listen": 6789, "center_listen": 6787, "clients": 6790}
API_TIMEOUT_S = {1: 600, 2: 60}
SERVER_TIMEOUT_S = {"readTimeout": 60, "writeTimeout": 10}

_SNAKE, _CAMEL = re.compile("[a-z]_[a-z]"), re.compile("[a-z][A-Z]")


def generation(tree: Any) -> Generation:
    """1 for keys in snake_case, as ``log`` and ``control`` are too; 2 for camelCase, and for a file that shows neither."""
    signs = set(_signs(tree))
    return "both" if len(signs) == 2 else 1 if signs == {1} else 2


def _signs(tree: Any) -> Iterator[Literal[1, 2]]:
    if isinstance(tree, list):
        for item in tree:
            yield from _signs(item)
    elif isinstance(tree, dict):
        for key, below in tree.items():
            word = str(key)
            if _SNAKE.search(word) or (word in ("log", "control") and isinstance(below, dict)):
                yield 1
            elif _CAMEL.search(word):
                yield 2
            yield from _signs(below)
