# SPDX-License-Identifier: Apache-2.0
"""Routes of an HTTP port: which request goes to whom, by path, method and role; other methods; browsers' questions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from towline import __version__
from towline.gateway.announce import NodesOf
from towline.gateway.httpwire import Answer, plain_error

if TYPE_CHECKING:
    from towline.gateway.httptypes import Reply, Request

Handler = Callable[["Request", "Reply"], None]
Routes = dict[bytes, dict[bytes, tuple[str, Handler]]]
"""By path and method: the role that is needed, and who answers."""

_VERSION = msgspec.json.encode({"api": ["v1"], "apis": ["v1"], "server": f"towline {__version__}"})


class RoutedService:
    """Answers requests by a table. ``/version``, ``/v1/nodes`` and ``/metrics`` are on every port.

    :param nodes: gives the answer of ``/v1/nodes``
    :param metrics: renders ``/metrics``
    """

    def __init__(self, nodes: NodesOf, metrics: Callable[[], Awaitable[bytes]]) -> None:
        self._nodes = nodes
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self.routes: Routes = {
            b"/version": {b"GET": ("read", self._version)},
            b"/v1/nodes": {b"GET": ("read", self._list_nodes)},
            b"/metrics": {b"GET": ("read", self._render_metrics)},
        }

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer one request, now or later."""
        if request.origin:
            reply = _with_cors(request, reply)
        methods = self.routes.get(request.path)
        if methods is None:
            reply(plain_error(404, "http.not_found", "no such path; see the documentation of the push API"))
            return
        found = methods.get(b"GET" if request.method == b"HEAD" else request.method)
        if found is None:
            _other_method(request, methods, reply)
            return
        role, handler = found
        if role not in request.grant.roles:
            reply(plain_error(403, "http.forbidden", f"this user lacks the role {role}"))
            return
        handler(request, reply)

    def upgrade(self, request: Request, transport: asyncio.Transport, early: bytes) -> asyncio.Protocol | Answer:
        """Nothing here is a WebSocket."""
        return plain_error(404, "http.not_found", "there is no WebSocket here")

    # -- routes

    def _version(self, request: Request, reply: Reply) -> None:
        reply(Answer(_VERSION))

    def _list_nodes(self, request: Request, reply: Reply) -> None:
        reply(Answer(msgspec.json.encode({"nodes": self._nodes(request.local_ip)})))

    def _render_metrics(self, request: Request, reply: Reply) -> None:
        async def work() -> None:
            try:
                body = await self._metrics()
            except Exception:
                reply(plain_error(500, "http.failed", "the metrics could not be rendered"))
                raise
            reply(Answer(body, content_type=b"text/plain; version=0.0.4; charset=utf-8"))

        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _other_method(request: Request, methods: dict[bytes, tuple[str, Handler]], reply: Reply) -> None:
    allow = [*methods, b"OPTIONS"] if b"GET" not in methods else [*methods, b"HEAD", b"OPTIONS"]
    allowed = b", ".join(allow)
    if request.method == b"OPTIONS":
        reply(Answer(status=204, headers=((b"Allow", allowed),)))
    else:
        reply(plain_error(405, "http.method", "this path does not take this method", ((b"Allow", allowed),)))


def _with_cors(request: Request, reply: Reply) -> Reply:
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
