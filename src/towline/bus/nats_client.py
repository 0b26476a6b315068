# SPDX-License-Identifier: Apache-2.0
"""The NATS client library, with what it gets wrong in a handshake and at an end put right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport, Transport


class NoTlsError(nats.errors.Error):
    """TLS was asked for, the server does without."""


class OneWriteTransport(TcpTransport):
    """Sends CONNECT with the PING that follows it.

    A server that refuses an account answers and closes. If a PING comes after that, the kernel answers with a reset, which
    throws the server's reason away before it is read.
    """

    def __init__(self, connected: Transport) -> None:
        self.__dict__.update(vars(connected))
        self._held = b""

    def write(self, payload: bytes) -> None:
        if payload.startswith(b"CONNECT "):
            self._held = payload
            return
        held, self._held = self._held, b""
        super().write(held + payload)  # type: ignore[no-untyped-call]


class GuardedClient(Client):
    """The library's client, with three habits mended.

    A server that offers no TLS gets no plain-text answer (password included) when TLS was asked for. What a server says
    when it refuses an account is heard. And the end of a connection is told at once, before anything waits for a dead socket.
    """

    def __init__(self, secure: bool, on_end: Callable[[Client], None]) -> None:
        super().__init__()
        self._secure = secure
        self._on_end = on_end

    def local_host(self) -> str:
        """This end's address; empty while not connected."""
        writer = getattr(self._transport, "_io_writer", None)
        own = writer.get_extra_info("sockname") if writer is not None else None
        return str(own[0]) if own else ""

    async def _process_connect_init(self) -> None:
        assert self._transport is not None
        self._transport = OneWriteTransport(self._transport)
        await super()._process_connect_init()

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if self._secure and initial_connection and not info.get("tls_required"):
            raise NoTlsError("the server does not ask for TLS")
        await super()._process_info(info, initial_connection)

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        self._on_end(self)
        self._pending = []
        self._pending_data_size = 0
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        await super()._close(status, do_cbs)
