# SPDX-License-Identifier: Apache-2.0
"""A port for raw TCP clients: no upgrade, no frames; its entry cuts what comes into messages."""

from __future__ import annotations

import ssl

import aiofastnet

from towline.gateway.connections import Realm
from towline.gateway.entries.base import RawEntry
from towline.gateway.listener import ClientPort
from towline.gateway.portsettings import PortSettings
from towline.gateway.rawsocket import RawClient
from towline.gateway.snowflake import Snowflakes


class RawPort(ClientPort):
    """One port of ``protocol: socket``."""

    def __init__(self, realm: Realm, ids: Snowflakes, settings: PortSettings, entry: RawEntry, number: int = 0) -> None:
        super().__init__(realm, ids, settings, number=number)
        self.handler = self.raw_entry = entry

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen. OSError when the address cannot be had."""

        def factory() -> RawClient:
            return RawClient(self)

        if tls is not None:  # as in wsglue.open_port
            handshake_s = self.settings.handshake_timeout_s
            server = await self.loop.create_server(
                factory, host, port, ssl=tls, ssl_handshake_timeout=handshake_s, backlog=4096
            )
        else:
            server = await aiofastnet.create_server(self.loop, factory, host, port, backlog=4096)
        self._listens(server)
