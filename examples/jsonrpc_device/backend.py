# SPDX-License-Identifier: Apache-2.0
"""A back end of the devices: ``python examples/jsonrpc_device/backend.py [http://127.0.0.1:6789]``.

Prints what devices report, and calls a device for each line on standard input: ``SERIAL METHOD PARAMS``, for example
``pump-7 set_interval {"seconds": 2}``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from typing import Any

from towline.client import Consumer, Event, PushClient

TIMEOUT_S = 10.0


class Devices:
    """Calls of devices on any node, and their answers."""

    def __init__(self, push: PushClient) -> None:
        self._push = push
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def call(self, serial: str, method: str, params: dict[str, Any]) -> str:
        """What the device answered, or why there is no answer."""
        number = uuid.uuid4().hex  # not to be guessed by another device
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        request = {"jsonrpc": "2.0", "method": method, "params": params, "id": number}
        try:
            if not (await self._push.publish(f"device:{serial}", json.dumps(request))).sent:
                return "not connected"
            answer = await asyncio.wait_for(future, TIMEOUT_S)
        except TimeoutError:
            return "no answer"
        finally:
            del self._waiting[number]
        return f"failed: {answer['error']}" if "error" in answer else json.dumps(answer["result"])

    def heard(self, event: Event) -> None:
        serial, data = event.data["serial"], event.data["data"]
        if event.topic == "device.reports":
            print(f"{serial} reports {json.dumps(data)}", flush=True)
        elif (future := self._waiting.get(data["id"])) is not None and not future.done():
            future.set_result(data)


async def main(url: str = "http://127.0.0.1:6789") -> None:
    async with PushClient(url) as push, Consumer("device.reports", "device.answers", url=url) as events:
        devices = Devices(push)
        calls: set[asyncio.Task[None]] = set()

        async def call(line: str) -> None:
            serial, method, params = [*line.split(maxsplit=2), "{}"][:3]
            print(f"{serial} {method}: {await devices.call(serial, method, json.loads(params))}", flush=True)

        def typed() -> None:
            line = sys.stdin.readline()
            if not line:
                asyncio.get_running_loop().remove_reader(sys.stdin)
            elif len(line.split()) >= 2:
                task = asyncio.create_task(call(line))
                calls.add(task)
                task.add_done_callback(calls.discard)

        asyncio.get_running_loop().add_reader(sys.stdin, typed)
        async for event in events:
            devices.heard(event)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
