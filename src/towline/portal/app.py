# SPDX-License-Identifier: Apache-2.0
"""A small ASGI application that serves the built page.

``index.html`` is sent fresh each time, with a nonce of its own and the base path filled in; files below ``assets/``
have their content's hash in the name and may be cached for ever; any other path without a file is a route of the
page and gets ``index.html``. Files are read once, when the application is made: a rebuild while the server runs
never mixes two builds.
"""

from __future__ import annotations

import html
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any, Final

from towline.portal.assets import Asset, load

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

STATIC: Final = Path(__file__).parent / "static"
BASE_MARK: Final = "/__towline_base__/"
NONCE_MARK: Final = "__towline_nonce__"

_IMMUTABLE: Final = b"public, max-age=31536000, immutable"
_NOT_BUILT: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Towline: the page was not built</title>
<style nonce="__towline_nonce__">
body { font: 15px/1.6 system-ui, sans-serif; max-width: 40rem; margin: 15vh auto; padding: 0 1.5rem; }
code { font: 13px/1.6 ui-monospace, monospace; }
</style>
</head>
<body>
<h1>The page was not built</h1>
<p>This server runs, and its REST, socket.io and push doors work; only the portal's page is missing from the installation.</p>
<p>In a clone of the repository, build it with <code>python tools/portal_build.py</code> and restart. It was left out
because <code>TOWLINE_SKIP_PORTAL</code> was set, or because this is an editable install that has not been built yet.
An installation from a wheel or an sdist always carries the page.</p>
<p>The REST interface describes itself at <a href="__towline_base__api/towline/v1/docs">api/towline/v1/docs</a>.</p>
</body>
</html>
"""


def create_portal(prefix: str = "", directory: Path = STATIC) -> Application:
    """The ASGI application for the page that lies in ``directory``.

    ``prefix`` is the path below which browsers see the portal (``/fleet`` when the public address is
    ``https://example.com/fleet``), ``''`` for the root. Request paths arrive with the prefix already taken off.
    """
    return Portal(prefix, directory)


class Portal:
    """See :func:`create_portal`."""

    def __init__(self, prefix: str, directory: Path) -> None:
        self._base = f"/{prefix.strip('/')}/" if prefix.strip("/") else "/"
        self._assets = load(directory)
        index = self._assets.pop("index.html", None)
        self.built: bool = index is not None
        """Whether there is a page to serve."""
        safe_base = html.escape(self._base, quote=True)
        if index is None:
            self._page = _NOT_BUILT.replace("__towline_base__", safe_base)
        else:
            self._page = index.body.decode("utf-8").replace(BASE_MARK, safe_base)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            await self._respond(scope, send)

    async def _respond(self, scope: Scope, send: Send) -> None:
        head_only = scope["method"] == "HEAD"
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, b"only GET and HEAD\n", _text((b"allow", b"GET, HEAD")))
            return
        path = str(scope["path"]).lstrip("/")
        asset = self._assets.get(path)
        if asset is not None:
            await self._send_asset(scope, send, asset, immutable=path.startswith("assets/"), head_only=head_only)
        elif _is_route(path):
            await self._send_page(send, head_only=head_only)
        else:
            await _answer(send, 404, b"no such file\n", _text(), head_only=head_only)

    async def _send_asset(self, scope: Scope, send: Send, asset: Asset, *, immutable: bool, head_only: bool) -> None:
        headers: Headers = [
            (b"content-type", asset.content_type),
            (b"etag", asset.etag),
            (b"cache-control", _IMMUTABLE if immutable else b"no-cache"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if asset.packed is not None:
            headers.append((b"vary", b"accept-encoding"))
        if _header(scope, b"if-none-match") == asset.etag:
            await _answer(send, 304, b"", headers, head_only=True)
            return
        body = asset.body
        if asset.packed is not None and b"gzip" in _header(scope, b"accept-encoding"):
            body = asset.packed
            headers.append((b"content-encoding", b"gzip"))
        await _answer(send, 200, body, headers, head_only=head_only)

    async def _send_page(self, send: Send, *, head_only: bool) -> None:
        nonce = secrets.token_urlsafe(16)
        headers: Headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            *security_headers(nonce),
        ]
        page = self._page.replace(NONCE_MARK, nonce).encode()
        await _answer(send, 200 if self.built else 503, page, headers, head_only=head_only)


def security_headers(nonce: str) -> Iterable[tuple[bytes, bytes]]:
    """What a browser is told about the page: no foreign host, no frame around it, scripts and styles only of ours."""
    policy = (
        "default-src 'none'; "
        f"script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; "
        "img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "
        "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )
    return [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"same-origin"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    ]


def _is_route(path: str) -> bool:
    """Whether ``path`` is a route of the page: not a file's name and not below one of the other doors."""
    first, _, _ = path.partition("/")
    last = path.rpartition("/")[2]
    return first not in {"api", "socket.io-client", "assets"} and "." not in last


def _header(scope: Scope, name: bytes) -> bytes:
    return next((bytes(value) for key, value in scope["headers"] if key == name), b"")


def _text(*more: tuple[bytes, bytes]) -> Headers:
    return [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff"), *more]


async def _answer(send: Send, status: int, body: bytes, headers: Headers, *, head_only: bool = False) -> None:
    if status != 304:
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head_only else body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
