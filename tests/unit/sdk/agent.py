# SPDX-License-Identifier: Apache-2.0
"""A small real agent: wss on loopback around the octo session, for tests of plugins."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from pathlib import Path
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from tests.certificates import write_pair
from towline.clock import SystemClock
from towline.protocols.octo import ErrorReply, Guard, Limits, Registered, Session, outgoing
from towline.protocols.octo import messages as m

KEY = "made-up-key-for-testing-00000000"
GUID = "a8e873a1-e5df-43a2-928a-745ff9c94dfb"


def server_context() -> ssl.SSLContext:
    """TLS with a fresh self-signed certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        context.load_cert_chain(*write_pair(Path(folder)))
    return context


class _Connection(WSListener):
    def __init__(self, agent: TestAgent) -> None:
        self.agent = agent
        self.session = Session(agent.guard)
        self.transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.agent.connections.append(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            self.agent.take(self, frame.get_payload_as_bytes(), frame.msg_type == WSMsgType.BINARY)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self in self.agent.connections:
            self.agent.connections.remove(self)


class TestAgent:
    """Records events, keeps the raw frames and error replies, sends commands and settings."""

    __test__ = False

    def __init__(self, limits: Limits | None = None, key: str | None = KEY) -> None:
        self.guard = Guard(limits or Limits())
        self.key = key
        self.clock = SystemClock()
        self.events: list[Any] = []
        self.frames: list[bytes] = []
        self.replies: list[ErrorReply] = []
        self.connections: list[_Connection] = []
        self._context = server_context()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, port: int = 0) -> TestAgent:
        def listener(_: WSUpgradeRequest) -> WSListener:
            return _Connection(self)

        self._server = await ws_create_server(listener, "127.0.0.1", port, ssl=self._context)
        assert self._server is not None
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.drop()
            await self._server.wait_closed()
            self._server = None

    def drop(self) -> None:
        """Lose every connection, as a killed agent does."""
        for connection in list(self.connections):
            assert connection.transport is not None
            connection.transport.disconnect(graceful=False)

    @property
    def url(self) -> str:
        return f"wss://localhost:{self.port}"

    def take(self, connection: _Connection, frame: bytes, binary: bool) -> None:
        self.frames.append(frame)
        now = self.clock.now_us()
        seen = connection.session.inspect(frame, now, binary=binary)
        result = seen if isinstance(seen, ErrorReply) else connection.session.accept(seen, self.key, now)
        if isinstance(result, ErrorReply):
            self.replies.append(result)
            self.send(result.encode())
        else:
            self.events.append(result)

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def registered(self) -> bool:
        return bool(self.of(Registered))

    def send(self, text: str) -> None:
        transport = self.connections[-1].transport
        assert transport is not None
        transport.send(WSMsgType.TEXT, text.encode())

    def command(
        self, module: str, name: str, params: dict[str, str | bool] | None = None, command_id: str = "c" * 40
    ) -> None:
        now = self.clock.now_us()
        book = self.guard.of(GUID).commands
        if all(entry.command_id != command_id for entry in book.open()):
            book.sent(command_id, module=module, name=name, now_us=now)
        values = [m.ParamValue(name=key, value=value) for key, value in (params or {}).items()]
        self.send(
            outgoing.command(
                KEY, app_guid=GUID, module=module, name=name, params=values, command_id=command_id, now_us=now
            )
        )
