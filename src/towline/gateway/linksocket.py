# SPDX-License-Identifier: Apache-2.0
"""One agent's socket: frames in and out, and when it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from towline.gateway.closecodes import DRAINING, HANDSHAKE, PROTOCOL, SILENT, SLOW, TOO_BIG, UNKNOWN_LINK, CloseCode
from towline.gateway.frames import binary_frame, pong_frame
from towline.gateway.wsglue import CLOSE_WAIT_S, answer_code, close_number, peer_address, picows_code
from towline.protocols.link import relay
from towline.protocols.link.frames import Priority, Type, frame_type, pong_for
from towline.protocols.link.limits import HANDSHAKE_S, MAX_FRAME, SILENT_S
from towline.protocols.link.messages import Refused, encode
from towline.protocols.link.streams import Outbox

if TYPE_CHECKING:
    from towline.gateway.link_entry import LinkEntry

MAX_FRAMES_A_TICK = 1000
"""Frames of one link in a tick; at more, reading pauses until the next (the sender feels it as a slow network)."""

AHEAD_BYTES = 32 * 1024
"""What may wait in a transport. Little, so that an urgent frame is never far behind bulk."""

PONGS_BYTES = 64 * 1024
"""With so much unread no further WebSocket ping is answered: the link is closed."""

RETRY_S = 5.0
"""What an agent is told to wait when there is no hub."""

_PICOWS_CAUSES = {1009: "frame_size"}


class LinkListener(WSListener):
    """One agent's socket."""

    __slots__ = (
        "_accepted", "_behind", "_cause", "_closing", "_detail", "_entry", "_flushing", "_frames", "_opened_at", "_outbox",
        "_since_us", "_throttled", "_transport", "conn", "hub", "last_seen", "remote",
    )  # fmt: skip

    def __init__(self, entry: LinkEntry) -> None:
        self._entry = entry
        self._transport: WSTransport
        self._outbox = Outbox()
        self._accepted: relay.Accept | None = None
        self._since_us = 0
        self._behind = False
        self._flushing = False
        self._closing = False
        self._throttled = False
        self._frames = 0
        self._cause = ""
        self._detail = ""
        self._opened_at = self.last_seen = entry.now
        self.conn = ""
        self.hub = ""
        self.remote = ""

    @property
    def signed_in(self) -> bool:
        """Whether the hub accepted the link."""
        return self._accepted is not None

    def entry(self) -> relay.RosterEntry:
        """The link in a roster."""
        accepted = self._accepted
        assert accepted is not None
        return relay.RosterEntry(self.conn, accepted.device_id, accepted.workgroup, accepted.counter, self._since_us)

    # -- picows

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        raw = transport.underlying_transport
        raw.set_write_buffer_limits(high=AHEAD_BYTES)
        self.remote = peer_address(raw)
        self._entry.opened(self, transport.request.path.decode("latin-1"))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        entry = self._entry
        self.last_seen = entry.now
        self._frames += 1
        if self._frames > MAX_FRAMES_A_TICK and not self._throttled:
            self._throttled = True
            entry.counters.throttled += 1
            transport.underlying_transport.pause_reading()
        kind = frame.msg_type
        if self._closing and kind is not WSMsgType.CLOSE:
            return
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self.end(PROTOCOL, "protocol_error")
        elif kind is WSMsgType.BINARY and frame.fin:
            if frame.payload_size > MAX_FRAME:
                self.end(TOO_BIG, "frame_size")
                return
            data = frame.get_payload_as_bytes()
            number = frame_type(data)
            if number == Type.PING:
                self.put(Priority.CONTROL, pong_for(data))
            elif number < 0:
                self.end(UNKNOWN_LINK, "protocol_error")
            else:
                if number == Type.BYE:
                    self._cause = self._cause or "closed_by_agent"
                entry.frame(self, data)
        elif kind is WSMsgType.PING:
            raw = transport.underlying_transport
            if raw.get_write_buffer_size() > PONGS_BYTES:
                self.end(SLOW, "slow")
            else:
                raw.write(pong_frame(frame.get_payload_as_bytes()))
        elif kind is WSMsgType.CLOSE:
            if not transport.is_close_frame_sent:
                code = answer_code(frame)
                if not code:
                    self.end(PROTOCOL, "protocol_error")
                    return
                self._cause = self._cause or "closed_by_agent"
                transport.send_close(picows_code(code))
            transport.disconnect()
        elif kind is not WSMsgType.PONG:
            self.end(UNKNOWN_LINK, "protocol_error")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._outbox.clear()
        cause = self._cause
        if not cause:
            sent = transport.close_handshake.sent if transport.close_handshake is not None else None
            cause = "connection_lost" if sent is None else _PICOWS_CAUSES.get(close_number(sent.code), "protocol_error")
        self._entry.gone(self, cause, self._detail)

    def pause_writing(self) -> None:
        self._behind = True

    def resume_writing(self) -> None:
        self._behind = False
        self.flush()

    # -- out

    def put(self, priority: Priority, frame: bytes) -> None:
        """Queue a frame for the agent; one that does not fit closes the link as too slow."""
        if self._closing:
            return
        if not self._outbox.put(priority, frame):
            self.end(SLOW, "slow")
            return
        if not self._flushing and not self._behind:
            self._flushing = True
            self._entry.flush_soon(self)

    def flush(self) -> None:
        """Write by priority until the transport has enough."""
        self._flushing = False
        while self._outbox and not self._behind:
            self._transport.underlying_transport.write(self._next(AHEAD_BYTES))

    def _next(self, size: int) -> bytes:
        if len(self._outbox) == 1 and (frame := self._outbox.pop()) is not None:
            return binary_frame(frame)
        frames: list[bytes] = []
        total = 0
        while total < size and (frame := self._outbox.pop()) is not None:
            frames.append(binary_frame(frame))
            total += len(frame)
        return b"".join(frames)

    # -- ends

    def accept(self, message: relay.Accept, now_us: int) -> None:
        """The hub signed the agent in."""
        self._accepted = message
        self._since_us = now_us

    def refuse(self, code: str, message: str, close: CloseCode) -> None:
        """No hub will hear of this link: say so and close."""
        self.put(Priority.CONTROL, encode(Refused(code=code, message=message, retry_after_s=RETRY_S)))
        self.end(close, close.cause)

    def end(self, code: CloseCode, cause: str) -> None:
        """The node closes the link."""
        self.finish(code.code, code.reason, cause)

    def finish(self, code: int, reason: str, cause: str) -> None:
        """Close after what is queued. The first cause counts."""
        if self._closing:
            return
        self._closing = True
        self._cause = cause
        self._detail = reason
        transport = self._transport
        if cause == "slow":
            self._outbox.clear()
        while self._outbox:
            transport.underlying_transport.write(self._next(AHEAD_BYTES))
        transport.send_close(picows_code(code), reason.encode()[:120].decode("utf-8", "ignore"))
        asyncio.get_running_loop().call_later(CLOSE_WAIT_S, transport.disconnect, False)

    def abort(self) -> None:
        """Cut the connection."""
        self._cause = self._cause or DRAINING.cause
        self._transport.disconnect(graceful=False)

    def check_time(self, now: float) -> None:
        """Every tick: silence, the handshake's time, the rate."""
        self._frames = 0
        if self._throttled:
            self._throttled = False
            self.last_seen = now
            self._transport.underlying_transport.resume_reading()
        if self._closing:
            return
        if not self.signed_in and now - self._opened_at > HANDSHAKE_S:
            self.end(HANDSHAKE, HANDSHAKE.cause)
        elif now - self.last_seen > SILENT_S:
            self.end(SILENT, "silent")
            # Who is silent will not answer a close frame either, and presence should not wait for it.
            self._transport.disconnect(graceful=False)
