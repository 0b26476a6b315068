# SPDX-License-Identifier: Apache-2.0
"""A device, played: ``python examples/jsonrpc_device/device.py SERIAL [127.0.0.1:6790]``. Standard library only.

It reports a temperature every ten seconds and can be told ``set_interval {"seconds": 2}``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
from typing import Any


class Device:
    """One connection: requests in both directions over one stream of lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._interval = 10.0
        self._changed = asyncio.Event()

    async def call(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._say({"jsonrpc": "2.0", "method": method, "params": params, "id": number})
        return await future

    def _say(self, message: dict[str, Any]) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def listen(self) -> None:
        while line := await self._reader.readline():
            message = json.loads(line)
            if "method" in message:
                self._called(message)
            elif (future := self._waiting.pop(message["id"], None)) is not None:
                if "error" in message:
                    future.set_exception(RuntimeError(message["error"]["message"]))
                else:
                    future.set_result(message["result"])
        raise ConnectionError("the gateway closed the connection")

    def _called(self, message: dict[str, Any]) -> None:
        if message["method"] == "set_interval":
            self._interval = float(message["params"]["seconds"])
            self._changed.set()
            outcome: dict[str, Any] = {"result": True}
        else:
            outcome = {"error": {"code": -32601, "message": "this device has only set_interval"}}
        if "id" in message:
            self._say({"jsonrpc": "2.0", **outcome, "id": message["id"]})

    async def report(self, serial: str) -> None:
        await self.call("register", serial=serial)
        print(f"registered at {await self.call('time')}", flush=True)
        while True:
            await self.call("report", temperature=round(random.gauss(21, 1), 1))
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), self._interval)
            except TimeoutError:
                pass


async def main(serial: str, address: str = "127.0.0.1:6790") -> None:
    host, _, port = address.rpartition(":")
    device = Device(*await asyncio.open_connection(host, int(port)))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(device.listen())
        tasks.create_task(device.report(serial))


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        raise SystemExit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
