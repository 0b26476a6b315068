# SPDX-License-Identifier: Apache-2.0
"""The push API's routes (spec connmix §2): what each request does, and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from towline.gateway.announce import NodesOf
from towline.gateway.httpwire import Answer, plain_error
from towline.gateway.mesh import Outcome, send_problem
from towline.gateway.pushws import PushSocket, PushSockets
from towline.gateway.routes import RoutedService
from towline.protocols.connmix import replies
from towline.protocols.connmix.codes import ApiError
from towline.protocols.connmix.requests import parse_http_publish, parse_http_send

if TYPE_CHECKING:
    from towline.gateway.httptypes import Reply, Request
    from towline.gateway.mesh import Mesh


class PushService(RoutedService):
    """Answers requests to the push API: the routes of :class:`RoutedService`, and those that act."""

    def __init__(
        self,
        mesh: Mesh,
        sockets: PushSockets,
        max_data_bytes: int,
        nodes: NodesOf,
        metrics: Callable[[], Awaitable[bytes]],
    ) -> None:
        super().__init__(nodes, metrics)
        self._mesh = mesh
        self._sockets = sockets
        self._limit = max_data_bytes
        self.routes |= {
            b"/v1/mesh/publish": {b"POST": ("write", self._publish)},
            b"/v1/mesh/send": {b"POST": ("write", self._send)},
            b"/ws/v1": {b"GET": ("read", self._needs_upgrade)},
        }

    def upgrade(self, request: Request, transport: asyncio.Transport, early: bytes) -> asyncio.Protocol | Answer:
        """Take over a connection for ``/ws/v1``."""
        if request.path != b"/ws/v1":
            return plain_error(404, "http.not_found", "there is no WebSocket here; the API's is /ws/v1")
        if request.method != b"GET":
            return plain_error(405, "http.method", "an upgrade is a GET", ((b"Allow", b"GET"),))
        if "read" not in request.grant.roles:
            return plain_error(403, "http.forbidden", "this user lacks the role read")
        return PushSocket.open(self._sockets, request, transport, early)

    # -- routes

    def _publish(self, request: Request, reply: Reply) -> None:
        try:
            message = parse_http_publish(request.body, self._limit)
        except ApiError as error:
            self._error(error, reply)
            return

        def done(outcome: Outcome) -> None:
            reply(Answer(replies.http_counts(outcome[0], outcome[1])))

        self._mesh.publish_then(message.channel, message.data, message.kind == "binary", done)

    def _send(self, request: Request, reply: Reply) -> None:
        try:
            message = parse_http_send(request.body, self._limit)
        except ApiError as error:
            self._error(error, reply)
            return

        def done(outcome: Outcome) -> None:
            problem = send_problem(message.client_id, outcome)
            if problem is None:
                reply(Answer(replies.HTTP_DONE))
            else:
                self._error(problem, reply)

        self._mesh.send_then(message.client_id, message.data, message.kind == "binary", done)

    def _error(self, error: ApiError, reply: Reply) -> None:
        self._sockets.errors[int(error.code)] += 1
        reply(Answer(replies.http_error(error)))

    def _needs_upgrade(self, request: Request, reply: Reply) -> None:
        reply(plain_error(426, "http.upgrade", "this is a WebSocket", ((b"Upgrade", b"websocket"),)))
