# SPDX-License-Identifier: Apache-2.0
"""An HTTP port of a node, for back ends: its address, its protocol, its certificate."""

from __future__ import annotations

import asyncio
import logging
import ssl

from towline.gateway.access import Access
from towline.gateway.addresses import cannot_listen, is_loopback, split_address
from towline.gateway.httptypes import Service
from towline.gateway.pushapi import PushServer
from towline.gateway.settings import GatewaySettings
from towline.gateway.tls import server_context

log = logging.getLogger("towline.gateway")


class ApiPort:
    """The push API, or the center's."""

    def __init__(self, name: str, settings: GatewaySettings, service: Service, listen: str, where: str) -> None:
        self.name = name
        self._listen = listen
        self._where = where
        host, self._number = split_address(listen)
        self._host = host
        self.access = Access(settings.users, settings.hosts, settings.origins, listen)
        self.server = PushServer(settings, self.access, service)
        self._files = (settings.api_certificate, settings.api_key)
        self.tls: ssl.SSLContext | None = None
        self.address: tuple[str, int] = ("", 0)
        self._socket: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen. StartError names the setting of an address that cannot be had."""
        self.warn_when_open()
        self.tls = server_context(*self._files, "gateway.api_certificate")
        loop = asyncio.get_running_loop()
        try:
            self._socket = await loop.create_server(
                self.server.make, self._host, self._number, backlog=4096, ssl=self.tls
            )
        except OSError as error:
            raise cannot_listen(error, self._listen, self._where) from None
        self.address = self._socket.sockets[0].getsockname()[:2]

    def warn_when_open(self) -> None:
        """Say it where everybody who reaches this port may use it."""
        if self.access.open and not is_loopback(self._host):
            log.warning(f"the {self.name} is open to everybody who can reach it", extra={"listen": self._listen})

    def reconfigure(self, settings: GatewaySettings) -> None:
        """Go by these settings from the next request on."""
        was_open = self.access.open
        self.access.replace(settings.users, settings.hosts, settings.origins)
        self.server.settings = settings
        if not was_open:
            self.warn_when_open()

    def stop_listening(self) -> None:
        """Take no new connections."""
        if self._socket is not None:
            self._socket.close()

    def close(self) -> None:
        """Answer what is under way, close the idle."""
        self.stop_listening()
        self.server.close()

    def abort_all(self) -> None:
        """Cut what is still connected."""
        for protocol in list(self.server.protocols):
            protocol.abort()
