# SPDX-License-Identifier: Apache-2.0
"""examples/jsonrpc_device: both entries against the same dialogues, and the programs as they are."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.helpers import until
from tests.integration.gateway.examples import EXAMPLES, program, settings_of
from tests.integration.gateway.running import api, running_node
from towline.client import Consumer, PushClient

CONFIG = settings_of("jsonrpc_device")
ENTRIES = pytest.mark.parametrize("entry", ["entry.py", "entry.lua"])


def settings(entry: str) -> dict[str, Any]:
    return {**CONFIG, "entry": str(EXAMPLES / "jsonrpc_device" / entry)}


class Line:
    """A device by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def hear(self) -> Any:
        return json.loads(await asyncio.wait_for(self.reader.readline(), 15))

    async def ask(self, method: str, number: object = 1, **params: Any) -> Any:
        self.writer.write(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": number}).encode())
        self.writer.write(b"\n")
        answer = await self.hear()
        assert answer.pop("jsonrpc") == "2.0"
        assert answer.pop("id") == number
        return answer.get("result", answer.get("error", {}).get("code"))


async def device_at(address: tuple[str, int]) -> Line:
    return Line(*await asyncio.open_connection(*address))


@ENTRIES
async def test_dialogues(entry: str) -> None:
    async with (
        running_node(**settings(entry)) as node,
        Consumer("device.reports", "device.answers", url=api(node)) as events,
        PushClient(api(node)) as push,
    ):
        device = await device_at(node.clients_address)
        assert await device.ask("report", temperature=1) == -32001
        for serial in ("", "a b", "x" * 33, 5, None):
            assert await device.ask("register", serial=serial) == -32602
        assert await device.ask("register", "a", serial="pump-7") is True
        assert await device.ask("register", serial="pump-8") == -32002
        assert await device.ask("time") > 1_700_000_000
        assert await device.ask("dance", "x") == -32601
        assert await device.ask("report", temperature=20.5, tags=["a"]) is True
        event = await anext(events)
        assert (event.topic, event.data) == (
            "device.reports",
            {"serial": "pump-7", "data": {"temperature": 20.5, "tags": ["a"]}},
        )
        # Notifications, an empty line, and pieces of a line.
        for piece in (b'{"jsonrpc":"2.0","method":"report","params":{"n":1}}\n\r\n{"jsonrpc":"2.0",', b'"method":"ti'):
            device.writer.write(piece)
            await device.writer.drain()
        device.writer.write(b'me","id":7}\n')
        assert (await device.hear())["id"] == 7
        assert (await anext(events)).data["data"] == {"n": 1}
        # A back end calls, and what comes back is passed on.
        assert (await push.publish("device:pump-7", '{"jsonrpc":"2.0","method":"x","id":"q1"}')) == (1, 0)
        assert await device.hear() == {"jsonrpc": "2.0", "method": "x", "id": "q1"}
        device.writer.write(b'{"jsonrpc":"2.0","result":{"ok":1},"id":"q1"}\n')
        event = await anext(events)
        assert event.topic == "device.answers"
        assert event.data == {"serial": "pump-7", "data": {"jsonrpc": "2.0", "result": {"ok": 1}, "id": "q1"}}
        assert (await push.publish("device:pump-7", "two\nlines")) == (0, 1)
        device.writer.close()


@ENTRIES
async def test_what_cannot_be_understood_is_answered_and_the_line_stays(entry: str) -> None:
    async with running_node(**settings(entry)) as node:
        device = await device_at(node.clients_address)
        for wrong, code in (
            (b"{", -32700),
            (b"\xff\xfe", -32700),
            (b"[1]", -32600),
            (b"5", -32600),
            (b'{"id":null}', -32600),
            (b'{"method":5}', -32601),
        ):
            device.writer.write(wrong + b"\n")
            answer = await device.hear()
            assert (answer["error"]["code"], answer["id"]) == (code, None)
        device.writer.write(b'{"jsonrpc":"2.0","result":1,"id":3}\n')
        assert (await device.hear())["error"]["code"] == -32001
        assert await device.ask("register", serial="pump-7") is True
        device.writer.write(b"x" * 20_000)
        assert await asyncio.wait_for(device.reader.read(), 15) == b""
        device.writer.close()
        await until(lambda: not node.realm.connections)


@ENTRIES
async def test_the_programs(entry: str) -> None:
    async with (
        running_node(**settings(entry)) as node,
        program("jsonrpc_device/backend.py", api(node)) as back_end,
        program("jsonrpc_device/device.py", "pump-7", f"127.0.0.1:{node.clients_address[1]}") as device,
    ):
        assert (await device.line()).startswith("registered at ")
        assert (await back_end.line()).startswith('pump-7 reports {"temperature": ')
        for line, answer in (
            ("pump-8 set_interval {}", "pump-8 set_interval: not connected"),
            ("pump-7 dance", "pump-7 dance: failed: {'code': -32601, 'message': 'this device has only set_interval'}"),
            ('pump-7 set_interval {"seconds": 0.5}', "pump-7 set_interval: true"),
        ):
            back_end.type(line)
            found = await back_end.line()
            while found.startswith("pump-7 reports"):
                found = await back_end.line()
            assert found == answer
        assert (await back_end.line()).startswith("pump-7 reports")  # and again and again
