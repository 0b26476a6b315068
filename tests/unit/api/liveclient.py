# SPDX-License-Identifier: Apache-2.0
"""A socket.io client small enough to be wrong on purpose: Engine.IO 4 frames over a plain WebSocket."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect


class LiveClient:
    """``events`` has everything received as (event, body); ``acks`` by number."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self.events: list[tuple[str, Any]] = []
        self.acks: dict[int, Any] = {}
        self.connected = asyncio.Event()
        self.refused: Any = None
        self.signed_out = False
        self.close_code: int | None = None
        self._next_ack = 0
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls, url: str, token: str | None = "owner-token", workgroup: str | None = "acme", **query: str
    ) -> LiveClient:
        """Connect and begin to sign in; token None leaves that out."""
        asked = {"EIO": "4", "transport": "websocket", **query}
        if token is not None:
            asked["token"] = token
        if workgroup is not None:
            asked["orgName"] = workgroup
        websocket = await connect(
            f"{url.replace('http', 'ws', 1)}/socket.io-client/?{urlencode(asked)}", proxy=None, max_size=None
        )
        return cls(websocket)

    @classmethod
    async def signed_in(cls, url: str, token: str = "owner-token", workgroup: str = "acme") -> LiveClient:
        client = await cls.open(url, token, workgroup)
        await client.sign_in()
        return client

    async def sign_in(self, auth: Any = None) -> None:
        await self.raw("40" + (json.dumps(auth) if auth is not None else ""))
        async with asyncio.timeout(5):
            await self.connected.wait()

    async def raw(self, frame: str | bytes) -> None:
        await self.websocket.send(frame)

    async def emit(self, event: str, *args: Any) -> None:
        await self.raw("42" + json.dumps([event, *args]))

    async def ask(self, event: str, *args: Any) -> Any:
        """Emit and wait for the acknowledgement."""
        number = self._next_ack
        self._next_ack += 1
        await self.raw(f"42{number}" + json.dumps([event, *args]))
        await self._until(lambda: number in self.acks)
        return self.acks[number]

    async def got(self, event: str, count: int = 1) -> list[Any]:
        """Wait for ``count`` events of a name; their bodies."""
        await self._until(lambda: len(self.of(event)) >= count)
        return self.of(event)

    def of(self, event: str) -> list[Any]:
        return [body for name, body in self.events if name == event]

    async def closed(self) -> int | None:
        """Wait until the server closes; its code."""
        async with asyncio.timeout(8):
            await asyncio.wait([self._reader])
        return self.close_code

    async def close(self) -> None:
        await self.websocket.close()
        await asyncio.wait([self._reader])

    async def _until(self, condition: Any) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def _read(self) -> None:
        try:
            async for frame in self.websocket:
                assert isinstance(frame, str)
                await self._take(frame)
        except Exception:
            pass
        self.close_code = self.websocket.close_code
        self._news.set()

    async def _take(self, frame: str) -> None:
        if frame == "2":
            await self.raw("3")
        elif frame.startswith("40"):
            self.connected.set()
        elif frame.startswith("41"):
            self.signed_out = True
        elif frame.startswith("44"):
            self.refused = json.loads(frame[2:])
        elif frame.startswith("42"):
            name, *rest = json.loads(frame[2:])
            self.events.append((name, rest[0] if rest else None))
        elif frame.startswith("43"):
            number, _, rest = frame[2:].partition("[")
            self.acks[int(number)] = (json.loads("[" + rest) or [None])[0]
        self._news.set()
