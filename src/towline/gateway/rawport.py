# SPDX-License-Identifier: Apache-2.0
"""A port for raw TCP clients: no upgrade, no frames; its entry cuts what comes into messages."""

from __future__ import annotations

import ssl

from towline.gateway.acceptor import listen
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
        handshake_s = self.settings.handshake_timeout_s
        server = await listen(lambda: RawClient(self), self.exhausted, host, port, tls, handshake_s)
        self._listens(server)
