# SPDX-License-Identifier: Apache-2.0
"""Statements that write many rows at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

_CHUNKS: Final = (64, 8, 1)
"""Rows of one statement; few sizes, so that all stay prepared. 64 × 10 values are below the limit of any SQLite (999)."""


class Rows:
    """``head VALUES row, row, … tail``.

    ``executemany`` gives up and takes back Python's global lock for every row: beside a busy event loop each of that
    can cost 5 ms. One statement for many rows does it once.
    """

    def __init__(self, head: str, row: str, tail: str = "") -> None:
        self._statements = [(size, f"{head} {', '.join([row] * size)}{tail}") for size in _CHUNKS]

    def execute(self, connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """Write the rows; how many were inserted or changed."""
        changed = at = 0
        for size, statement in self._statements:
            while len(rows) - at >= size:
                values = tuple(chain.from_iterable(rows[at : at + size]))
                changed += connection.execute(statement, values).rowcount
                at += size
        return changed
