# SPDX-License-Identifier: Apache-2.0
"""What every request passes before an application sees it.

Strips the path prefix of ``public_url``, believes trusted proxies, limits bodies in size and time, adds security
headers, and logs without query strings (they carry tokens).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from towline.api.settings import DoorSettings, IPNetwork

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]

access = logging.getLogger("towline.api.access")

_PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "connect-src 'self' ws: wss:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"content-security-policy", _PAGE_POLICY.encode()),
)
"""Given to every answer that does not set its own."""


class _Refuse(HTTPException):
    """The body is too large or too slow. FastAPI lets this kind through when it is raised while it reads."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, message, headers={"connection": "close"})
        self.code = code


class Edge:
    """The outermost ASGI application. ``closing`` is awaited by the server before it waits for open requests."""

    def __init__(
        self, inner: ASGI, settings: DoorSettings, counters: Counter[str], closing: Callable[[], Awaitable[None]]
    ) -> None:
        self.closing = closing
        self._inner = inner
        self._settings = settings
        self._prefix = settings.prefix()
        self._proxies = settings.proxies()
        self._counters = counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        scope = dict(scope)
        scope["towline.prefix"] = self._prefix
        self._strip(scope)
        if self._proxies:
            believe(scope, self._proxies)
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._inner(scope, receive, send)

    def _strip(self, scope: Scope) -> None:
        """A proxy may pass the prefix on or strip it itself: both work."""
        path: str = scope["path"]
        if self._prefix and (path == self._prefix or path.startswith(self._prefix + "/")):
            scope["path"] = path[len(self._prefix) :] or "/"
            raw = scope.get("raw_path")
            if raw:
                scope["raw_path"] = raw[len(self._prefix.encode()) :] or b"/"

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.monotonic()
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                present = {name.lower() for name, _ in headers}
                headers += [(name, value) for name, value in SECURITY_HEADERS if name not in present]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._inner(scope, self._limited(scope, receive), sending)
        except _Refuse as refusal:
            if not status:
                await refuse(sending, refusal.status_code, refusal.code, refusal.detail)
        except asyncio.CancelledError:
            # The server's patience with running requests has ended. What is raised here would be a traceback in the log
            # and a plain text to the client.
            if not status:
                await refuse(sending, 503, "server.closing", "the server is shutting down; try again in a few seconds")
        finally:
            self._counters[f"http.{status // 100}xx"] += 1
            if status in (408, 413):
                self._counters[f"http.{status}"] += 1
            if self._settings.access_log:
                client = scope.get("client") or ("-", 0)
                access.info(
                    "%s %s %d", scope["method"], scope["path"], status,
                    extra={"client": client[0], "ms": round((time.monotonic() - started) * 1000, 1)},
                )  # fmt: skip

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        limit = self._settings.max_body_bytes
        seen = 0
        done = False
        deadline: float | None = None

        async def receiving() -> Message:
            nonlocal seen, done, deadline
            if done:  # what remains is the disconnect, which may take for ever
                return await receive()
            if deadline is None:
                deadline = time.monotonic() + self._settings.request_timeout_s
                declared = _content_length(scope)
                if declared > limit:
                    raise _Refuse(413, "request.too_large", f"the body has {declared} bytes, at most {limit}")
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                raise _Refuse(408, "request.timeout", "the body did not arrive in time") from None
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                done = not message.get("more_body", False)
                if seen > limit:
                    raise _Refuse(413, "request.too_large", f"the body has over {limit} bytes")
            else:
                done = True
            return message

        return receiving


async def refuse(send: Send, status: int, code: str, message: str) -> None:
    """Answer in our error shape and close the connection."""
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def header(scope: Scope, name: bytes) -> str | None:
    """A header's value (several are joined by commas), None without one."""
    values = [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
    return ",".join(values) if values else None


def believe(scope: Scope, proxies: tuple[IPNetwork, ...]) -> None:
    """Take client address and scheme from a trusted proxy's headers.

    The client is the rightmost X-Forwarded-For address that is not a trusted proxy itself: what stands left of it could
    have been written by anybody.
    """
    client = scope.get("client")
    if client is None or not _trusted(client[0], proxies):
        return
    proto = (header(scope, b"x-forwarded-proto") or "").split(",")[-1].strip().lower()
    if proto in ("http", "https"):
        secure = {"http": "ws", "https": "wss"} if scope["type"] == "websocket" else {}
        scope["scheme"] = secure.get(proto, proto)
    for hop in reversed((header(scope, b"x-forwarded-for") or "").split(",")):
        address = hop.strip().removeprefix("[").removesuffix("]")
        try:
            ipaddress.ip_address(address)
        except ValueError:
            return
        scope["client"] = (address, 0)
        if not _trusted(address, proxies):
            return


def _trusted(address: str, proxies: tuple[IPNetwork, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in proxies)


def _content_length(scope: Scope) -> int:
    text = header(scope, b"content-length") or "0"
    return int(text) if text.isdecimal() and len(text) < 19 else 0
