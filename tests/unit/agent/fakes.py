# SPDX-License-Identifier: Apache-2.0
"""Doubles for the agent's unit tests."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from towline.agent.database import Database
from towline.agent.plugincore import Plugin
from towline.agent.spooltables import Target
from towline.protocols.link.items import CommandStep, Item
from towline.protocols.octo.declaration import Declaration
from towline.protocols.octo.envelope import Name

GUID = "a8e873a1-e5df-43a2-928a-745ff9c94dfb"
KEY = "made-up-key-for-testing-00000000"


@contextlib.asynccontextmanager
async def opened(path: Path | None = None) -> AsyncIterator[Database]:
    database = Database(path)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


class Sink:
    """Takes the place of the spool; refuses when told to."""

    def __init__(self) -> None:
        self.items: list[tuple[str, Item]] = []
        self.full = False

    def append(self, lane: Target, items: Iterable[Item], *, at_once: bool = False) -> bool:
        if self.full:
            return False
        self.items += [(lane, item) for item in items]
        return True

    def add(self, connection: sqlite3.Connection, lane: Target, items: Iterable[Item]) -> None:
        self.items += [(lane, item) for item in items]

    def of(self, kind: type) -> list[Any]:
        return [item for _, item in self.items if isinstance(item, kind)]

    def steps(self) -> list[tuple[str, str]]:
        return [(item.command_id, item.step) for item in self.of(CommandStep)]


class FakeConnection:
    """A plugin's connection that keeps what is written."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.closed: tuple[int, str] | None = None
        self.takes = True

    def send(self, text: str) -> bool:
        if self.takes:
            self.sent.append(text)
        return self.takes

    def close(self, code: int, cause: str, reason: str, *, abort: bool = False) -> None:
        self.closed = (code, cause)

    def named(self, name: Name) -> list[str]:
        return [text for text in self.sent if f'"v2/{name.value}?' in text]


_PARAMS = [{"name": name, "displayType": "string", "required": False} for name in ("person", "a")]


def declaration(guid: str = GUID) -> Declaration:
    return Declaration.parse(
        {
            "appGUID": guid,
            "appName": "thermometer",
            "epoch": "1700000000",
            "type": "ib",
            "sdk": "1.0.0",
            "version": "1.0.0",
            "modules": [
                {
                    "moduleName": "room",
                    "commands": [{"name": "greet", "type": "asynchronous", "params": _PARAMS}],
                    "alarms": [{"name": "hot", "params": []}],
                    "configs": [{"name": "rate", "params": []}],
                }
            ],
        }
    )


def plugin(guid: str = GUID) -> tuple[Plugin, FakeConnection]:
    connection = FakeConnection()
    return Plugin(guid, KEY, declaration(guid), connection), connection  # type: ignore[arg-type]
