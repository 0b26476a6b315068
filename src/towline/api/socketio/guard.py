# SPDX-License-Identifier: Apache-2.0
"""The ASGI side of the live door: who gets a WebSocket at all, and what is kept from python-socketio."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from typing import Any
from urllib.parse import parse_qs

from towline.api.asgi import ASGI, Message, Receive, Scope, Send
from towline.api.socketio.packets import PacketCheck, Verdict

SIGN_IN_SECONDS = 10.0
"""How long a connection may stay without having signed in."""

MAX_QUERY_FIELDS = 32
"""Of a connection's query; socket.io needs four, and who signs in gives two more."""

_CLOSE_SECONDS = 0.25

_OLD = "this server speaks Engine.IO 4 (socket.io 3 and later); use socket.io-client 3 or 4"
_QUERY = f"the query has over {MAX_QUERY_FIELDS} fields"
_TRANSPORT = "only the websocket transport is served; use transports: ['websocket']"


class Guard:
    """Stands between one client's WebSocket and python-socketio."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, counters: Counter[str]) -> None:
        self.scope = scope
        self.signed_in = False
        self._receive = receive
        self._send = send
        self._counters = counters
        self._check = PacketCheck()
        self._close_code = 0
        self._deadline = asyncio.get_running_loop().time() + SIGN_IN_SECONDS
        self._reader: asyncio.Task[Any] | None = None
        self._writer: asyncio.Task[Any] | None = None

    @property
    def sending(self) -> bool:
        """Whether a message is on its way out."""
        return self._writer is not None

    def abort(self, code: int) -> None:
        """End the connection now, even when the client does not read: what is stuck in a read or a write ends."""
        if self._close_code:
            return
        self._close_code = code
        for task in (self._writer, self._reader):
            if task is not None and not task.done():
                task.cancel()

    def signed_out(self) -> None:
        """The client may sign in again, but not take for ever over it."""
        self.signed_in = False
        self._check.connecting = False
        self._deadline = asyncio.get_running_loop().time() + SIGN_IN_SECONDS

    async def receive(self) -> Message:
        while True:
            if self._close_code:
                return self._gone()
            self._reader = asyncio.current_task()
            try:
                if self.signed_in:
                    message = await self._receive()
                else:
                    async with asyncio.timeout_at(self._deadline):
                        message = await self._receive()
            except TimeoutError:
                if self.signed_in:
                    continue
                self._counters["live.sign_in_timeout"] += 1
                self._close_code = 4408
                return self._gone()
            finally:
                self._reader = None
            if message["type"] != "websocket.receive":
                return message
            text = message.get("text")
            verdict = self._check.text(text) if text is not None else self._check.binary(message["bytes"])
            if verdict is Verdict.GOOD:
                return message
            if verdict is Verdict.MALFORMED:
                self._counters["live.malformed"] += 1
                self._close_code = 1008
                return self._gone()
            self._counters["live.left_out"] += 1

    async def send(self, message: Message) -> None:
        if self._close_code and message["type"] == "websocket.send":
            raise OSError("the connection is being closed")
        if self._close_code and message["type"] == "websocket.close":
            # Where the client does not read, the code cannot be told; the line is cut all the same.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._send({**message, "code": self._close_code})
            return
        self._writer = asyncio.current_task()
        try:
            await self._send(message)
        finally:
            self._writer = None

    def _gone(self) -> Message:
        return {"type": "websocket.disconnect", "code": self._close_code}


class Entry:
    """The ASGI application for the live door's path."""

    def __init__(self, inner: ASGI, counters: Counter[str], max_sockets: int) -> None:
        self._inner = inner
        self._counters = counters
        self._max_sockets = max_sockets
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            query = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=MAX_QUERY_FIELDS)
        except ValueError:
            self._counters["live.refused_query"] += 1
            if scope["type"] == "http":
                await _answer(send, 3, _QUERY)
            else:
                await _close(receive, send)
            return
        version = query.get("EIO", ["4"])[0]
        if scope["type"] == "http":
            old = version != "4"
            self._counters["live.refused_version" if old else "live.refused_transport"] += 1
            await _answer(send, 5 if old else 0, _OLD if old else _TRANSPORT)
            return
        if version != "4":
            self._counters["live.refused_version"] += 1
            await _refuse_old(receive, send)
            return
        if "sid" in query or query.get("transport", ["websocket"])[0] != "websocket":
            self._counters["live.refused_transport"] += 1
            await _close(receive, send)
            return
        if self._open >= self._max_sockets:
            self._counters["live.refused_full"] += 1
            await _close(receive, send)
            return
        guard = Guard(scope, receive, send, self._counters)
        scope["towline.guard"] = guard
        self._open += 1
        try:
            await self._inner(scope, guard.receive, guard.send)
        except OSError:
            self._counters["live.broken"] += 1
        finally:
            self._open -= 1


async def _answer(send: Send, code: int, message: str) -> None:
    """Engine.IO's own shape of a refused handshake."""
    body = json.dumps({"code": code, "message": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _refuse_old(receive: Receive, send: Send) -> None:
    """Tell a socket.io 2 client in its own words: it raises ``error`` with the text."""
    await receive()
    await send({"type": "websocket.accept"})
    opening = {"sid": "refused", "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000}
    await send({"type": "websocket.send", "text": "0" + json.dumps(opening)})
    await send({"type": "websocket.send", "text": "44" + json.dumps(_OLD)})
    await send({"type": "websocket.close", "code": 1002, "reason": "Engine.IO 4 only"})


async def _close(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 1013})
