# SPDX-License-Identifier: Apache-2.0
"""``mix.http.request`` (spec connmix §4.3): httpx with our limits, and no way to a cloud's metadata addresses.

30 s unless told otherwise, 10 redirects, 8 MiB of body. A name is resolved once, its addresses are checked, and the
connection goes to the address that was checked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import quote_from_bytes

import httpcore
import httpx

TIMEOUT_S = 30.0
MAX_TIMEOUT_S = 3600.0
MAX_REDIRECTS = 10
MAX_BODY_BYTES = 8 * 1024 * 1024

FORBIDDEN = tuple(
    ipaddress.ip_network(net)
    for net in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32", "192.0.0.192/32")
)
"""Where clouds serve credentials of the machine."""

_IN_QUERY = "!#$%&'()*+,-./:;=?@[]_~|{}^`\\\"<>"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def check_address(address: str) -> str:
    """The address, if a script may connect to it; ValueError otherwise."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip.version == net.version and ip in net for net in FORBIDDEN):
        raise ValueError(f"{address} is a metadata or link-local address, which scripts may not reach")
    return address


def seconds(value: Any) -> float:
    """A timeout: whole seconds from a number, or a duration such as ``1m30s``; ValueError otherwise."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError("the timeout must be a finite number of seconds")
        found = float(int(value))
    elif isinstance(value, str) and value and not _DURATION.sub("", value):
        found = sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(value))
    else:
        raise ValueError('the timeout must be a number of seconds or a duration such as "1m30s"')
    if found <= 0:
        raise ValueError("the timeout must be above zero; a number counts whole seconds")
    return min(found, MAX_TIMEOUT_S)


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, and only over TCP."""

    def __init__(self) -> None:
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        try:
            infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(f"{host}: {error.strerror or error}") from None
        addresses = [check_address(str(info[4][0])) for info in infos]
        problem: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses[:4]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("only TCP")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Transport(httpx.AsyncBaseTransport):
    """httpx on a pool whose connections are guarded."""

    def __init__(self) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=15.0,
            network_backend=_Guarded(),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path
        )
        stream: Any = request.stream
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=url,
                headers=request.headers.raw,
                content=stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    async def aclose(self) -> None:
        await self._pool.aclose()


class HttpCalls:
    """Requests of one entry's scripts."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    def prepare(self, method: str, url: str, options: dict[str, Any]) -> Callable[[], Awaitable[dict[str, Any]]]:
        """Check the arguments; what is returned sends the request. ValueError says what was wrong."""
        try:
            target = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"{url[:100]!r}: {error}") from None
        if target.scheme not in ("http", "https") or not target.host:
            raise ValueError(f"{url[:100]!r} is not http:// or https://")
        if not method.isascii() or not method.isalpha():
            raise ValueError(f"{method[:20]!r} is no method")
        if "query" in options:
            # Marks of the grammar and escapes stand; what is not ASCII goes as UTF-8, escaped.
            query = quote_from_bytes(_bytes(options["query"], "query"), _IN_QUERY).encode()
            target = target.copy_with(query=query or None)
        timeout = seconds(options["timeout"]) if "timeout" in options else TIMEOUT_S
        headers: dict[str, str | bytes] = {"accept-encoding": "identity"} | {
            name.lower(): _bytes(value, f"the header {name}") for name, value in _table(options, "headers").items()
        }
        cookies = {name.encode(): _bytes(value, name) for name, value in _table(options, "cookies").items()}
        if cookies and "cookie" not in headers:
            headers["cookie"] = b"; ".join(b"%b=%b" % item for item in cookies.items())
        given = _table(options, "auth")
        name, password = given.get("username", given.get("user")), given.get("password", given.get("pass", ""))
        auth = None if name is None else httpx.BasicAuth(_bytes(name, "username"), _bytes(password, "password"))
        body = _bytes(options["body"], "body") if "body" in options else None

        async def send() -> dict[str, Any]:
            client = self._client = self._client or _client()
            request = client.build_request(method.upper(), target, content=body, headers=_header_list(headers))
            try:
                async with asyncio.timeout(timeout):
                    response = await client.send(request, auth=auth, stream=True)
                    try:
                        return await _read(response)
                    finally:
                        await response.aclose()
            except TimeoutError:
                raise TimeoutError(f"no whole answer from {target.host} within {timeout:g} s") from None
            except (httpx.HTTPError, httpcore.ProtocolError, httpcore.NetworkError) as error:
                raise ValueError(f"{target.host}: {error or type(error).__name__}") from None

        return send

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=_Transport(),
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        timeout=MAX_TIMEOUT_S,
        trust_env=False,
        headers={"user-agent": "towline"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # requests of different clients share nothing
    )


def _header_list(headers: dict[str, str | bytes]) -> list[tuple[bytes, bytes]]:
    found = []
    for name, value in headers.items():
        raw = value if isinstance(value, bytes) else value.encode()
        if any(mark in raw for mark in (b"\r", b"\n", b"\0")) or not _TOKEN.fullmatch(name):
            raise ValueError(f"the header {name[:40]!r} has a line end or a character that is not allowed")
        found.append((name.encode(), raw))
    return found


async def _read(response: httpx.Response) -> dict[str, Any]:
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise ValueError(f"the answer is longer than {MAX_BODY_BYTES} bytes")
    headers: dict[str, str] = {}
    for name, value in response.headers.multi_items():
        headers.setdefault("-".join(word.capitalize() for word in name.split("-")), value)
    cookies = {cookie.name: cookie.value or "" for cookie in response.cookies.jar}
    return {
        "body": bytes(body),
        "body_size": len(body),
        "headers": headers,
        "cookies": cookies,
        "status_code": response.status_code,
        "url": str(response.url),
    }


def _table(options: dict[str, Any], name: str) -> dict[str, Any]:
    found = options.get(name, {})
    if found == []:  # an empty Lua table
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"{name} must be a table of names and values")
    return found


def _bytes(value: Any, name: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.14g}".encode() if isinstance(value, float) else str(value).encode()
    raise ValueError(f"{name} must be a text")
