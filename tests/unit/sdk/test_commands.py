# SPDX-License-Identifier: Apache-2.0
"""Running commands, without a connection."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import until
from tests.unit.protocols.octo.samples import GUID, KEY
from towline.protocols.octo import Name
from towline.sdk import Command as Declared
from towline.sdk import Credential, Plugin


def plugin_of(handler: Any) -> Plugin:
    plugin = Plugin(Credential(app_guid=GUID, access_key=KEY), name="one", version="1.0.0")
    plugin.module(commands=[Declared("work", handler=handler)])
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


@pytest.mark.parametrize("handler", [bad_text, bad_error, no_json])
async def test_whatever_a_command_gives_it_is_answered(handler: Any) -> None:
    plugin = plugin_of(handler)
    plugin._received(Name.COMMAND, command())
    await until(lambda: len(answers(plugin)) == 2, 2.0, what="answer")
    (first, _), (last, result) = answers(plugin)
    assert (first, last) == ("ACCEPTED", "ERRORED")
    assert result["error"]
    await asyncio.sleep(0)
