# SPDX-License-Identifier: Apache-2.0
"""The server is told to stop in the middle of things: whoever waits hears why."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx

from tests.helpers import until
from tests.integration.product import Product, local_device
from tests.unit.api.liveclient import LiveClient


async def test_whoever_waits_for_a_shell_command_is_told(tmp_path: Path) -> None:
    product = Product(tmp_path)
    try:
        await asyncio.to_thread(product.start)
        with product.client() as client:
            device = await asyncio.to_thread(local_device, client)
            token = client.headers["authorization"].removeprefix("Bearer ")
        live = await LiveClient.signed_in(product.url, token, "main")
        await live.emit("device:cmd", {"deviceId": device["id"], "cmd": "echo begun; sleep 60"})
        await live.got("device:cmd:rpc")
        url = f"{product.url}/api/towline/v1/devices/{device['id']}/exec"
        begun = tmp_path / "begun"
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=20) as rest:
            waiting = asyncio.create_task(rest.post(url, json={"cmd": f"touch {begun}; sleep 60"}))
            await until(begun.exists)
            os.kill(product.children()["server"], signal.SIGTERM)
            answer = await waiting
        assert (answer.status_code, answer.json()["return_code"], answer.json()["reason"]) == (200, -1, "hub_closing")
        assert await live.closed() == 1012
        [reply] = live.of("device:cmd:reply")
        assert (reply["returnCode"], reply["stdout"]) == (-1, "begun\n")
        assert "shutting down" in reply["stderr"]
        assert "Traceback" not in product.output()
    finally:
        await asyncio.to_thread(product.close)
