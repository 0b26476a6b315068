# SPDX-License-Identifier: Apache-2.0
"""One connection to a NATS server that comes back by itself, and the ordered queue of what is to go out.

The client library can reconnect too, but it then replays what it buffered before the cut and gives up for good on some
server errors. Here every connection is a new client: what a cut loses is lost, counted, and never arrives late.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import logging
import random
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client

from towline.bus.base import MAX_PAYLOAD
from towline.bus.envelope import OVERHEAD
from towline.bus.local import MAX_QUEUED, MAX_QUEUED_BYTES
from towline.bus.nats_client import GuardedClient, NoTlsError
from towline.bus.settings import BusSettings, Timing
from towline.errors import StartError

log = logging.getLogger("towline.bus")

Count = dict[str, int]
FAILURES = (OSError, nats.errors.Error, asyncio.TimeoutError)
"""What goes wrong while talking to a server."""


class NatsLink:
    """``up`` says whether messages go out now.

    ``on_connect(client)`` subscribes, ``on_up()`` may send, ``on_down()`` hears of a cut.
    """

    def __init__(
        self,
        settings: BusSettings,
        timing: Timing,
        on_connect: Callable[[Client], Awaitable[None]],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
        on_error: Callable[[Exception], None],
        *,
        max_queued: int = MAX_QUEUED,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        self.up = False
        self.client: GuardedClient | None = None
        self.cuts = 0
        self._settings = settings
        self._timing = timing
        self._on_connect = on_connect
        self._on_up = on_up
        self._on_down = on_down
        self._on_error = on_error
        self._max_queued = max_queued
        self._max_queued_bytes = max_queued_bytes
        self._out: deque[tuple[Count, str, bytes]] = deque()
        self._out_bytes = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._lost = asyncio.Event()
        self._closing = False
        self._last_error: Exception | None = None
        self._writer: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect for the first time; StartError names what is wrong."""
        check_secure(self._settings)
        options = self._options()
        try:
            async with asyncio.timeout(self._timing.start):
                await self._connect(options)
        except FAILURES as error:
            reason = self._last_error or error
            if "authorization" in str(reason).lower():
                raise StartError(
                    "bus.account_refused",
                    f"the NATS server at {self._name} refuses this account",
                    where="bus.user",
                    hint="set bus.user and bus.password, bus.token or bus.credentials",
                ) from None
            if isinstance(reason, ssl.SSLError | NoTlsError):
                raise StartError(
                    "bus.tls_failed",
                    f"no TLS with the NATS server at {self._name}: {reason}",
                    where="bus.tls_ca",
                    hint="bus.tls_ca names the CA that signed its certificate; the server needs a tls block",
                ) from None
            raise StartError(
                "bus.server_unreachable",
                f"no NATS server answers at {self._name}: {reason or type(reason).__name__}",
                where="bus.url",
                hint="start nats-server with JetStream (-js), or correct the address",
            ) from None
        self._keeper = asyncio.create_task(self._keep(options))

    async def close(self) -> None:
        """Send what is queued and disconnect."""
        self._closing = True
        await self.drained()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        await self._end()

    def enqueue(self, count: Count, subject: str, data: bytes, *, first: bool = False) -> bool:
        """Send in order, soon. False and counted when cut or full; ``first`` passes the queue and its bounds."""
        if not self.up:
            count["dropped_unreachable"] += 1
            return False
        size = self._out_bytes + len(data)
        if first:
            self._out.appendleft((count, subject, data))
        elif len(self._out) >= self._max_queued or size > self._max_queued_bytes:
            count["dropped_full"] += 1
            return False
        else:
            self._out.append((count, subject, data))
        self._out_bytes = size
        self._wake.set()
        return True

    async def drained(self, timeout: float = 2.0) -> None:
        """Wait until the server has what is queued now, if it can be reached."""
        try:
            async with asyncio.timeout(timeout):
                while self.up and self.client is not None and self._out:
                    self._idle.clear()
                    await self._idle.wait()
                if self.up and self.client is not None:
                    flush = asyncio.ensure_future(self.client.flush())
                    lost = asyncio.ensure_future(self._lost.wait())
                    try:
                        await asyncio.wait((flush, lost), return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        flush.cancel()
                        lost.cancel()
                        await asyncio.gather(flush, lost, return_exceptions=True)
        except FAILURES:
            pass

    # One connection after the other

    async def _connect(self, options: dict[str, Any]) -> None:
        client = GuardedClient("tls" in options, self._ended)

        async def failed(error: Exception) -> None:
            self._last_error = error
            self._on_error(error)

        async def noted() -> None:
            pass

        self._last_error = None
        self._lost.clear()
        try:
            await client.connect(
                **options, error_cb=failed, closed_cb=noted, disconnected_cb=noted, reconnected_cb=noted
            )
            if client.max_payload < MAX_PAYLOAD + OVERHEAD:
                raise StartError(
                    "bus.max_payload",
                    f"the NATS server takes messages of {client.max_payload} bytes, {MAX_PAYLOAD + OVERHEAD} are needed",
                    where="bus.url",
                    hint="raise max_payload in the NATS server's configuration (its default is enough)",
                )
            self.client = client
            await self._on_connect(client)
            await client.flush()
        except BaseException:
            self.client = None
            await client.close()
            raise
        if client.is_closed:  # lost while it was set up
            self.client = None
            raise nats.errors.ConnectionClosedError
        self.up = True
        self._writer = asyncio.create_task(self._write(client))
        self._on_up()

    async def _keep(self, options: dict[str, Any]) -> None:
        while True:
            await self._lost.wait()
            if self._closing:
                return
            self.cuts += 1
            log.warning("the bus is cut", extra={"server": self._name, "reason": str(self._last_error or "closed")})
            await self._end()
            delay = self._timing.backoff
            while not self.up:
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(delay * 2, self._timing.backoff_max)
                try:
                    async with asyncio.timeout(self._timing.start):
                        await self._connect(options)
                except StartError as error:
                    log.error("%s", error)
                except FAILURES:
                    continue
            log.info("the bus is back", extra={"server": self._name})

    def _ended(self, client: Client) -> None:
        if client is self.client:
            self._down()
            self._lost.set()

    def _down(self) -> None:
        if self.up:
            self.up = False
            for count, _, _ in self._out:
                count["dropped_cut"] += 1
            self._out.clear()
            self._out_bytes = 0
            self._idle.set()
            self._on_down()

    async def _end(self) -> None:
        """Leave nothing of the present connection."""
        client, self.client = self.client, None
        self._down()
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait([self._writer])
            self._writer = None
        if client is not None:
            await client.close()

    async def _write(self, client: Client) -> None:
        out = self._out
        while self.client is client:
            if not out:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
                continue
            count, subject, data = out.popleft()
            self._out_bytes -= len(data)
            try:
                await client.publish(subject, data)
            except FAILURES:  # the connection ends; its closed callback does the rest
                count["dropped_cut"] += 1
                await asyncio.sleep(0)

    # How to connect

    @property
    def _name(self) -> str:
        return ", ".join(redacted(url) for url in servers(self._settings.url))

    def _options(self) -> dict[str, Any]:
        settings = self._settings
        options: dict[str, Any] = {
            "servers": servers(settings.url),
            "name": f"towline {settings.realm}",
            "inbox_prefix": f"towline.{settings.realm}.reply",
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0.05,
            "connect_timeout": self._timing.start / 2,
            "ping_interval": self._timing.beat,
            "max_outstanding_pings": 3,
        }
        if settings.user:
            options.update(user=settings.user, password=settings.password)
        if settings.token:
            options["token"] = settings.token
        if settings.credentials:
            if importlib.util.find_spec("nkeys") is None:
                raise StartError(
                    "bus.nkeys_missing",
                    "a credentials file needs the package nkeys",
                    where="bus.credentials",
                    hint="install nkeys",
                )
            options["user_credentials"] = settings.credentials
        if wants_tls(settings):
            options["tls"] = tls_context(settings)
        return options


def servers(urls: str) -> list[str]:
    """The servers of a comma-separated list; StartError when one is not a NATS address."""
    found = [url.strip() for url in urls.split(",") if url.strip()]
    for url in found:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("nats", "tls") and parts.hostname and (parts.port or 4222)
        except ValueError:
            good = False
        if not good:
            raise StartError("bus.url", f"{redacted(url)} is not nats://host:port or tls://host:port", where="bus.url")
    if not found:
        raise StartError("bus.url", "no NATS server is named", where="bus.url")
    return found


def redacted(url: str) -> str:
    """The address without the account."""
    scheme, separator, rest = url.rpartition("://")
    return scheme + separator + rest.rpartition("@")[2]


def wants_tls(settings: BusSettings) -> bool:
    named = any(url.startswith("tls://") for url in servers(settings.url))
    return named or bool(settings.tls_ca or settings.tls_certificate)


def tls_context(settings: BusSettings) -> ssl.SSLContext:
    """What the server's certificate is checked against, and our own certificate."""
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca or None)
        if settings.tls_certificate:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key or None)
    except OSError as error:  # an ssl.SSLError is one
        raise StartError(
            "bus.tls_files", f"the certificates for NATS cannot be read: {error}", where="bus.tls_ca"
        ) from None
    return context


def check_secure(settings: BusSettings) -> None:
    """Whoever is on the bus is trusted fully: off loopback, TLS and an account are a must."""
    if settings.allow_plain:
        return
    account = bool(settings.user or settings.token or settings.credentials or settings.tls_certificate)
    for url in servers(settings.url):
        parts = urlsplit(url)
        if loopback(parts.hostname or ""):
            continue
        if not wants_tls(settings) or not (account or parts.username):
            raise StartError(
                "bus.insecure",
                f"the NATS server {redacted(url)} is not on this machine and needs TLS and an account",
                where="bus.url",
                hint="use tls://, and bus.user with bus.password; or bus.allow_plain on a network of your own",
            )


def loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
