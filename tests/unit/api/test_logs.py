# SPDX-License-Identifier: Apache-2.0
"""Tokens stay out of logs, whatever the level."""

from __future__ import annotations

import logging

import httpx
import pytest

from tests.unit.api.fakehub import COOKIE, NOW_US, FakeHub
from tests.unit.api.liveclient import LiveClient
from towline.api import DoorServer, DoorSettings, create_app
from towline.bus.memory import MemoryBus
from towline.clock import ManualClock


async def test_no_token_is_logged(hub: FakeHub, bus: MemoryBus, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = DoorSettings(port=0, access_log=True)
    app = create_app(hub.as_hub(), bus, settings, clock=ManualClock(NOW_US))
    server = DoorServer(app.asgi, settings, app.counters)
    await app.start()
    await server.start()
    client = await LiveClient.signed_in(server.url)
    await client.emit("device:cmd", {"deviceId": "x", "cmd": "secret command"})
    await client.got("device:cmd:rpc")
    await client.close()
    async with httpx.AsyncClient(verify=False) as http:
        await http.get(
            f"{server.url}/api/towline/v1/devices?search=private", headers={"cookie": f"{COOKIE}=owner-token"}
        )
    await server.close()
    await app.close()
    clients = ("httpc", "httpx", "websockets.client")
    ours = "\n".join(each.getMessage() for each in caplog.records if not each.name.startswith(clients))
    assert "GET /api/towline/v1/devices 200" in ours
    for secret in ("owner-token", "private", "secret command"):
        assert secret not in ours
