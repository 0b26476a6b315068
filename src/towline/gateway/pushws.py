# SPDX-License-Identifier: Apache-2.0
"""The push API's WebSocket side, ``/ws/v1`` (spec connmix §3): websockets' sans-I/O server on the HTTP connection's transport.

Requests of one socket are carried out in order. Answers go out in order too, except that one which waits for another node
does not hold back those behind it: the request id tells them apart.

A socket that consumes topics takes messages while less than :data:`CONSUMER_BYTES` wait for it; the rest waits in the topic.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from websockets.datastructures import Headers
from websockets.frames import CloseCode as WebSocketCode
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as UpgradeRequest
from websockets.protocol import State
from websockets.server import ServerProtocol

from towline.errors import Conflict, TowlineError, Unavailable
from towline.gateway.access import Access, Denied
from towline.gateway.closecodes import ACCESS_ENDED, DRAINING, SILENT, SLOW
from towline.gateway.httpwire import Answer, plain_error
from towline.gateway.mesh import Done, Mesh, Outcome, send_problem
from towline.gateway.queues import Queues
from towline.gateway.wsglue import QUIET
from towline.protocols.connmix import replies
from towline.protocols.connmix.codes import ApiError, Code, invalid
from towline.protocols.connmix.requests import (
    ConnCall,
    MeshPublish,
    MeshSend,
    QueueAck,
    QueueNack,
    QueuePop,
    QueueUnpop,
    parse_envelope,
    parse_request,
)

if TYPE_CHECKING:
    from towline.gateway.httptypes import Request

CLOSE_WAIT_S = 5.0

CONSUMER_BYTES = 64 * 1024
"""What may wait for a consumer before its topics keep their messages; it is written when a turn of the loop ends."""


class PushSockets:
    """What all sockets of ``/ws/v1`` share."""

    def __init__(
        self,
        mesh: Mesh,
        queues: Queues,
        max_data_bytes: int,
        max_message_bytes: int,
        limit: int,
        read_timeout_s: float,
    ) -> None:
        self.mesh = mesh
        self.queues = queues
        self.max_data_bytes = max_data_bytes
        self.max_message_bytes = max_message_bytes
        self.outbox_bytes = limit
        self.read_timeout_s = read_timeout_s
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()
        self.sockets: dict[PushSocket, None] = {}
        self.opened = 0
        self.requests = 0
        self.errors: Counter[int] = Counter()
        self.closed: Counter[str] = Counter()
        self._tick_s = min(1.0, read_timeout_s / 4)
        self._timer = self.loop.call_later(self._tick_s, self._tick)

    def _tick(self) -> None:
        self.now = self.loop.time()
        self._timer = self.loop.call_later(self._tick_s, self._tick)
        for one in [one for one in self.sockets if one.last_seen < self.now - one.read_timeout_s]:
            one.close(SILENT.code, SILENT.reason, SILENT.cause)

    def reconfigure(self, max_message_bytes: int, read_timeout_s: float) -> None:
        """Limits of sockets that open from now on."""
        self.max_message_bytes = max_message_bytes
        self.read_timeout_s = read_timeout_s
        self._tick_s = min(self._tick_s, read_timeout_s / 4)

    def check_access(self, access: Access) -> None:
        """Users changed: every socket has what its user has now, and who has nothing any more is told to stay away."""
        for one in list(self.sockets):
            one.check_access(access)

    def close(self) -> None:
        """Tell all sockets to reconnect elsewhere."""
        self._timer.cancel()
        for one in list(self.sockets):
            one.close(DRAINING.code, DRAINING.reason, DRAINING.cause)


class PushSocket(asyncio.Protocol):
    """One back end's socket."""

    def __init__(
        self, shared: PushSockets, request: Request, transport: asyncio.Transport, server: ServerProtocol
    ) -> None:
        self._shared = shared
        self._request_was = request
        self._write_role = "write" in request.grant.roles
        self._transport = transport
        self._server = server
        self._out: list[bytes] = []
        self._scheduled = False
        self._fragments: bytearray | None = None
        self._cause = ""
        self._over = False
        self._consumes = False
        self._paused = False
        self._unwritten = 0
        self.last_seen = shared.now
        self.read_timeout_s = shared.read_timeout_s

    @classmethod
    def open(
        cls, shared: PushSockets, request: Request, transport: asyncio.Transport, early: bytes
    ) -> PushSocket | Answer:
        """Finish the handshake and take the transport over, or say why not."""
        server = ServerProtocol(state=State.CONNECTING, max_size=shared.max_message_bytes, logger=QUIET)
        target = request.path.decode("latin-1") + (f"?{request.query}" if request.query else "")
        headers = Headers(
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.items()]
        )
        response = server.accept(UpgradeRequest(target, headers))
        if response.status_code != 101:
            return plain_error(response.status_code, "http.upgrade", "not a valid WebSocket upgrade")
        server.send_response(response)
        # The parser of a ServerProtocol begins with the request, which was read elsewhere: begin behind it.
        server.parser = super(ServerProtocol, server).parse()
        next(server.parser)
        socket = cls(shared, request, transport, server)
        shared.sockets[socket] = None
        shared.opened += 1
        transport.set_protocol(socket)
        socket._flush()
        if early:
            socket.data_received(early)
        return socket

    def check_access(self, access: Access) -> None:
        """Have what the user may do now; end when that is nothing."""
        request = self._request_was
        grant = access.check(request.headers, request.query, request.remote_ip)
        needed = "write" if self._consumes else "read"  # taking messages needs write (spec connmix §2.4)
        if isinstance(grant, Denied) or needed not in grant.roles:
            self.close(ACCESS_ENDED.code, ACCESS_ENDED.reason, ACCESS_ENDED.cause)
        else:
            self._write_role = "write" in grant.roles

    # -- asyncio

    def data_received(self, data: bytes) -> None:
        self.last_seen = self._shared.now
        server = self._server
        server.receive_data(data)
        for event in server.events_received():
            if isinstance(event, Frame):
                self._frame(event)
        self._check_open()
        self._flush()
        if server.close_expected():
            self._end()

    def eof_received(self) -> bool:
        self._server.receive_eof()
        self._check_open()
        self._flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        shared = self._shared
        shared.queues.unpop(self)
        if shared.sockets.pop(self, self) is None:
            shared.closed[self._cause or self._why()] += 1

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._consumes:
            self._shared.queues.ready(self)

    def _check_open(self) -> None:
        """A peer that closes gets no more messages: they would be lost."""
        if self._consumes and self._server.state is not State.OPEN:
            self._consumes = False
            self._shared.queues.unpop(self)

    # -- a consumer (towline.gateway.queues.Consumer)

    @property
    def ready(self) -> bool:
        return not self._paused and self._unwritten < CONSUMER_BYTES and self._server.state is State.OPEN

    def deliver(self, event: bytes) -> None:
        self._text(event)

    def _why(self) -> str:
        """The cause of an end that the peer brought about."""
        if self._server.parser_exc is not None and self._server.close_sent is not None:
            return "too_big" if self._server.close_sent.code == WebSocketCode.MESSAGE_TOO_BIG else "protocol_error"
        return "closed_by_peer"

    # -- frames

    def _frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.fin and self._fragments is None:
                self._request(bytes(frame.data))
                return
            if self._fragments is None:
                self._fragments = bytearray()
            self._fragments += frame.data  # one buffer: empty fragments, of which there may be any number, cost nothing
            if frame.fin:
                whole, self._fragments = bytes(self._fragments), None
                self._request(whole)

    def _request(self, text: bytes) -> None:
        shared = self._shared
        if text == b"ping":
            self._text(b"pong")
            return
        shared.requests += 1
        number = b"null"
        try:
            unparsed = parse_envelope(text)
            number = unparsed.id
            request = parse_request(unparsed, shared.max_data_bytes)
            if not self._write_role:
                raise ApiError(Code.FORBIDDEN, "this user lacks the role write")
            self._execute(request, number)
        except ApiError as error:
            self._error(error, number)

    def _execute(self, request: Any, number: bytes) -> None:
        mesh = self._shared.mesh
        match request:
            case MeshPublish(channel, data, kind):

                def published(outcome: Outcome) -> None:
                    self._text(replies.counts(outcome[0], outcome[1], number))

                mesh.publish_then(channel, data, kind == "binary", published)
            case MeshSend(client_id, data, kind):

                def sent(outcome: Outcome) -> None:
                    problem = send_problem(client_id, outcome)
                    if problem is None:
                        self._text(replies.done(number))
                    else:
                        self._error(problem, number)

                mesh.send_then(client_id, data, kind == "binary", sent)
            case ConnCall(client_id, function, arguments):
                check_call(function, arguments)

                def called(done: Done) -> None:
                    if done.problem:
                        self._error(ApiError(Code.EXECUTION_FAILED, done.problem), number)
                    else:
                        self._text(replies.done(number))

                mesh.call_then(client_id, function, arguments, called)
            case QueuePop():
                self._pop(request, number)
            case QueueUnpop():
                if not self._shared.queues.unpop(self):
                    raise ApiError(Code.CANCEL_FAILED, "this socket consumes no topics")
                self._consumes = False
                self._text(replies.done(number))
            case QueueAck(tokens):

                def acked(ended: int, unknown: int, error: TowlineError | None) -> None:
                    if error is None:
                        self._text(replies.counts(ended, unknown, number))
                    else:
                        self._error(ApiError(Code.ACK_FAILED, error.message), number)

                self._shared.queues.ack(self, tokens, acked)
            case QueueNack(tokens, delay_s):
                self._text(replies.counts(*self._shared.queues.nack(self, tokens, delay_s), number))

    def _pop(self, request: QueuePop, number: bytes) -> None:
        queues = self._shared.queues
        try:
            queues.pop(self, request.topics, request.prefetch)
        except Conflict as error:
            raise ApiError(Code.REPEATED_CONSUMPTION, error.message) from None
        except Unavailable as error:
            raise ApiError(Code.CONSUMPTION_FAILED, error.message) from None
        self._consumes = True
        self._text(replies.done(number))
        queues.ready(self)

    # -- out

    def _error(self, error: ApiError, number: bytes) -> None:
        self._shared.errors[int(error.code)] += 1
        self._text(replies.error(error, number))

    def _text(self, data: bytes) -> None:
        if self._over or self._server.state is not State.OPEN:
            return
        self._server.send_text(data)
        self._unwritten += len(data)
        if not self._scheduled:
            self._scheduled = True
            self._shared.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        out = [data for data in self._server.data_to_send() if data]
        self._unwritten = 0
        if not out or self._over:
            return
        transport = self._transport
        transport.write(out[0] if len(out) == 1 else b"".join(out))
        if self._consumes:
            self._shared.queues.ready(self)
        if transport.get_write_buffer_size() > self._limit():
            self.close(SLOW.code, SLOW.reason, SLOW.cause)

    def _limit(self) -> int:
        """What may wait for this socket. A consumer's messages are bounded where they come from, by :attr:`ready`."""
        shared = self._shared
        return shared.outbox_bytes + (CONSUMER_BYTES * 2 + shared.max_data_bytes if self._consumes else 0)

    def close(self, code: int, reason: str, cause: str) -> None:
        """Start the closing handshake; the connection is cut when the peer does not follow."""
        if self._over or self._server.state is not State.OPEN:
            return
        self._cause = cause
        self._consumes = False
        self._shared.queues.unpop(self)
        self._shared.sockets.pop(self, None)
        self._shared.closed[cause] += 1
        self._server.send_close(WebSocketCode(code) if code < 3000 else code, reason)
        self._flush()
        self._shared.loop.call_later(CLOSE_WAIT_S, self._transport.abort)

    def _end(self) -> None:
        """The closing handshake is done, or failed: the server closes first."""
        if not self._over:
            self._transport.close()


def check_call(function: str, arguments: list[Any]) -> None:
    """``subscribe`` and ``unsubscribe`` want names (101); what else is wrong is 301 at the connection's node."""
    if function in ("subscribe", "unsubscribe") and not arguments:
        raise invalid(f"`a` must not be empty for {function}")
