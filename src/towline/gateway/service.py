# SPDX-License-Identifier: Apache-2.0
"""The push API's routes (spec connmix §2): what each request does, and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from towline import __version__
from towline.gateway.httpwire import Answer, plain_error
from towline.gateway.mesh import Outcome, send_problem
from towline.gateway.pushws import PushSocket, PushSockets
from towline.protocols.connmix import replies
from towline.protocols.connmix.codes import ApiError
from towline.protocols.connmix.requests import parse_http_publish, parse_http_send

if TYPE_CHECKING:
    from towline.gateway.access import Access
    from towline.gateway.httptypes import Reply, Request
    from towline.gateway.mesh import Mesh

Handler = Callable[["Request", "Reply"], None]

_VERSION = msgspec.json.encode({"api": ["v1"], "apis": ["v1"], "server": f"towline {__version__}"})


class PushService:
    """Answers requests. ``nodes`` gives the answer of ``/v1/nodes``, ``metrics`` renders in a thread."""

    def __init__(
        self,
        mesh: Mesh,
        access: Access,
        sockets: PushSockets,
        max_data_bytes: int,
        nodes: Callable[[], list[dict[str, Any]]],
        metrics: Callable[[], Callable[[], bytes]],
    ) -> None:
        self._mesh = mesh
        self._access = access
        self._sockets = sockets
        self._limit = max_data_bytes
        self._nodes = nodes
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._routes: dict[bytes, dict[bytes, tuple[str, Handler]]] = {
            b"/v1/mesh/publish": {b"POST": ("write", self._publish)},
            b"/v1/mesh/send": {b"POST": ("write", self._send)},
            b"/version": {b"GET": ("read", self._version)},
            b"/v1/nodes": {b"GET": ("read", self._list_nodes)},
            b"/metrics": {b"GET": ("read", self._render_metrics)},
            b"/ws/v1": {b"GET": ("read", self._needs_upgrade)},
        }

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer one request, now or later."""
        if request.origin:
            reply = self._with_cors(request, reply)
        methods = self._routes.get(request.path)
        if methods is None:
            reply(plain_error(404, "http.not_found", "no such path; see the documentation of the push API"))
            return
        found = methods.get(b"GET" if request.method == b"HEAD" else request.method)
        if found is None:
            self._other_method(request, methods, reply)
            return
        role, handler = found
        if role not in request.grant.roles:
            reply(plain_error(403, "http.forbidden", f"this user lacks the role {role}"))
            return
        handler(request, reply)

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

    def _version(self, request: Request, reply: Reply) -> None:
        reply(Answer(_VERSION))

    def _list_nodes(self, request: Request, reply: Reply) -> None:
        reply(Answer(msgspec.json.encode({"nodes": self._nodes()})))

    def _render_metrics(self, request: Request, reply: Reply) -> None:
        render = self._metrics()

        async def work() -> None:
            try:
                body = await asyncio.to_thread(render)
            except Exception:
                reply(plain_error(500, "http.failed", "the metrics could not be rendered"))
                raise
            reply(Answer(body, content_type=b"text/plain; version=0.0.4; charset=utf-8"))

        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _needs_upgrade(self, request: Request, reply: Reply) -> None:
        reply(plain_error(426, "http.upgrade", "this is a WebSocket", ((b"Upgrade", b"websocket"),)))

    # -- methods and origins

    def _other_method(self, request: Request, methods: dict[bytes, tuple[str, Handler]], reply: Reply) -> None:
        allow = [*methods, b"OPTIONS"] if b"GET" not in methods else [*methods, b"HEAD", b"OPTIONS"]
        allowed = b", ".join(allow)
        if request.method == b"OPTIONS":
            reply(Answer(status=204, headers=((b"Allow", allowed),)))
        else:
            reply(plain_error(405, "http.method", "this path does not take this method", ((b"Allow", allowed),)))

    def _with_cors(self, request: Request, reply: Reply) -> Reply:
        headers: tuple[tuple[bytes, bytes], ...] = (
            (b"Access-Control-Allow-Origin", request.origin.encode("latin-1")),
            (b"Vary", b"Origin"),
        )
        if request.method == b"OPTIONS":
            headers = (
                *headers,
                (b"Access-Control-Allow-Methods", b"GET, POST"),
                (b"Access-Control-Allow-Headers", b"Authorization, Content-Type"),
                (b"Access-Control-Max-Age", b"600"),
            )

        def wrapped(answer: Answer) -> None:
            reply(Answer(answer.body, answer.status, (*answer.headers, *headers), answer.content_type))

        return wrapped
