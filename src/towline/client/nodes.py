# SPDX-License-Identifier: Apache-2.0
"""Which nodes a mesh has, as any of them tells (``/v1/nodes``, spec connmix §1)."""

from __future__ import annotations

import ipaddress
import logging
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

log = logging.getLogger("towline.client")

_decode = msgspec.json.Decoder(dict[str, list[dict[str, Any]]]).decode


def client(headers: dict[str, str]) -> httpx.AsyncClient:
    """What :func:`learn` asks with; to be closed by the caller."""
    return httpx.AsyncClient(headers=headers, timeout=10.0, trust_env=False)


async def learn(client: httpx.AsyncClient, url: str) -> list[str] | None:
    """Addresses (``host:port``) of the push APIs that the node at ``url`` (a socket's) lists; None when it does not say."""
    http = "http" + url.removeprefix("ws").removesuffix("/ws/v1") + "/v1/nodes"
    try:
        answer = await client.get(http)
        answer.raise_for_status()
        return [str(one.get("api_server", "")) for one in _decode(answer.content).get("nodes", [])]
    except (httpx.HTTPError, msgspec.DecodeError, UnicodeDecodeError) as error:
        log.info("nodes not known", extra={"url": url, "reason": str(error)})
        return None


def others(seed: str, servers: list[str]) -> list[str]:
    """Sockets' URLs of the nodes besides that of ``seed``. One that says no address which leads to it is left out: what
    is there comes through the mesh."""
    parts = urlsplit(seed)
    near = _is_loopback(parts.hostname or "")
    found = []
    for server in servers:
        host = server.rpartition(":")[0].strip("[]")
        if not host or _is_any(host) or (_is_loopback(host) and not near):
            continue
        url = f"{parts.scheme}://{server}/ws/v1"
        if _plain(url) != _plain(seed) and url not in found:
            found.append(url)
    return found


def _plain(url: str) -> str:
    return url.replace("//localhost:", "//127.0.0.1:")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
