# SPDX-License-Identifier: Apache-2.0
"""One WebSocket to a gateway node: frames in, an outbox of strict priority out."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from towline.errors import Unavailable
from towline.protocols.link.frames import Priority
from towline.protocols.link.limits import MAX_FRAME
from towline.protocols.link.streams import Outbox

_BUFFER = 128 * 1024
"""Bytes that the transport may hold before frames wait in the outbox, where priority counts."""
_DIAL_S = 10.0


class Wire(WSListener):  # type: ignore[misc,unused-ignore]
    """The connection.

    :ivar on_frame: called with each binary frame, in order
    :ivar closed: set once the connection is gone
    :ivar reason: why, as far as known
    """

    def __init__(self) -> None:
        self.on_frame: Callable[[bytes], None] = lambda _data: None
        self.closed = asyncio.Event()
        self.reason = "connection lost"
        self.outbox = Outbox()
        self._transport: WSTransport | None = None
        self._paused = False

    # -- picows
    # ------------------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        transport.underlying_transport.set_write_buffer_limits(high=_BUFFER)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.BINARY and frame.fin:
            self.on_frame(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            text = frame.get_close_reason() or ""
            self.reason = f"closed by the gateway: {int(frame.get_close_code().value)} {text}".rstrip()
            transport.disconnect()
        elif frame.msg_type in (WSMsgType.BINARY, WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self.close("the gateway sent what is no link frame", WSCloseCode.UNSUPPORTED_DATA)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport = None
        self.outbox.clear()
        self.closed.set()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._drain()

    # -- ours
    # --------------------------------------------------------------------------------------------------------

    def send(self, frame: bytes, priority: Priority) -> bool:
        """Queue a frame; False if there is no room in its class or the connection is gone."""
        if self._transport is None or not self.outbox.put(priority, frame):
            return False
        self._drain()
        return True

    def _drain(self) -> None:
        while self._transport is not None and not self._paused:
            frame = self.outbox.pop()
            if frame is None:
                return
            try:
                self._transport.send(WSMsgType.BINARY, frame)
            except Exception as error:  # picows raises several kinds once a transport is closing
                self.close(f"cannot write: {error}")
                return

    def close(self, reason: str, code: WSCloseCode = WSCloseCode.OK) -> None:
        """End the connection; ``reason`` is for our own log."""
        transport, self._transport = self._transport, None
        self.reason = reason
        if transport is not None:
            try:
                transport.send_close(code)
                transport.disconnect()
            except Exception:
                transport.underlying_transport.abort()

    def abort(self, reason: str) -> None:
        """End the connection without a word: the other side does not answer anyway."""
        transport, self._transport = self._transport, None
        self.reason = reason
        if transport is not None:
            transport.underlying_transport.abort()


async def dial(url: str, context: ssl.SSLContext | None) -> Wire:
    """Open the WebSocket. Unavailable ``link.unreachable`` says why not, in words."""
    try:
        async with asyncio.timeout(_DIAL_S):
            _, wire = await ws_connect(
                Wire,
                url,
                ssl_context=context,
                websocket_handshake_timeout=_DIAL_S,
                max_frame_size=MAX_FRAME + 64,
                max_redirects=0,
                read_buffer_init_size=4096,
                logger_name="link",
            )
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(
            "link.certificate", f"the certificate of {url} is not trusted: {error.verify_message}"
        ) from None
    except TimeoutError:
        raise Unavailable("link.unreachable", f"{url} does not answer within {_DIAL_S:.0f} s") from None
    except (OSError, WSError, ValueError) as error:  # ValueError: a name that cannot be looked up
        raise Unavailable("link.unreachable", f"cannot reach {url}: {error}") from None
    if not isinstance(wire, Wire):  # picows then has no listener to give: the connection ended within the handshake
        raise Unavailable("link.unreachable", f"{url} closed the connection before it answered")
    return wire
