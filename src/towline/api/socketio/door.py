# SPDX-License-Identifier: Apache-2.0
"""Connections of the live door: signing in, requests, and what happenings become."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from typing import Any, cast
from urllib.parse import parse_qs

import socketio
from socketio.exceptions import ConnectionRefusedError as Refusal

from towline.api.asgi import ASGI
from towline.api.server import MAX_FRAME_BYTES
from towline.api.settings import DoorSettings
from towline.api.socketio.fanout import Fanout
from towline.api.socketio.guard import MAX_QUERY_FIELDS, Entry, Guard
from towline.api.socketio.requests import Requests
from towline.api.socketio.viewer import CLOSE_ACCESS, CLOSE_SIGNED_OUT, CLOSE_SLOW, EngineServer, Viewer
from towline.clock import US_PER_SECOND, Clock
from towline.errors import Refused, TowlineError
from towline.hub.actor import Actor
from towline.hub.events import AccessChanged, AnyHappening, TokenEnded
from towline.hub.hub import Hub

PATH = "/socket.io-client"
"""The path that published clients use (spec ardexa §1.1)."""

CLOSE_GRACE_SECONDS = 2.0
FLUSH_SECONDS = 1.0

PING_INTERVAL_SECONDS = 6
PING_TIMEOUT_SECONDS = 8
"""Told to clients in the handshake. One that hears no ping for both together takes the server for gone, so that what it
shows of presence is out of date for less than the 20 s promised; a slow line has the timeout to bring its pong."""

_MAX_TIMER_SECONDS = 7 * 86_400.0
_REMEMBER_ENDED = 1024

logger = logging.getLogger(__name__)
_library_logger = logging.getLogger("towline.api.socketio.library")
_library_logger.setLevel(logging.CRITICAL)  # it writes messages with their content, and each client's mistakes


class _SocketServer(socketio.AsyncServer):
    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer


class LiveDoor:
    """socket.io for operators. ``asgi`` serves :data:`PATH`; :meth:`happened` is told what happens."""

    def __init__(self, hub: Hub, settings: DoorSettings, counters: Counter[str], clock: Clock) -> None:
        self._hub = hub
        self._clock = clock
        self._settings = settings
        self._counters = counters
        # The library has no annotations: it is handled as Any, here and in viewer.py only.
        self._server: Any = cast(Any, _SocketServer)(
            async_mode="asgi",
            async_handlers=False,  # one request of a connection at a time: reading waits for us
            transports=["websocket"],
            cors_allowed_origins=[],  # a token in the query is no ambient authority
            max_http_buffer_size=MAX_FRAME_BYTES,
            ping_interval=PING_INTERVAL_SECONDS,
            ping_timeout=PING_TIMEOUT_SECONDS,
            logger=_library_logger,
            engineio_logger=_library_logger,
            monitor_clients=True,
        )
        self._server.on("connect", self._connect)
        self._server.on("disconnect", self._disconnect)
        self._server.on("*", self._request)
        self._viewers: dict[str, Viewer] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._access_changes = 0
        self._closing: set[asyncio.Task[None]] = set()
        self._fanout = Fanout()
        self._requests = Requests(hub, settings, counters, self._fanout)
        inner: ASGI = cast(Any, socketio.ASGIApp)(self._server, socketio_path=PATH.strip("/"))
        self.asgi: ASGI = Entry(inner, counters, settings.max_sockets)

    def __len__(self) -> int:
        return len(self._viewers)

    def watched(self, device_id: str) -> bool:
        """Whether anybody looks at a device's values."""
        return self._fanout.watched(device_id)

    def happened(self, happening: AnyHappening) -> None:
        """Tell those whom it concerns."""
        if isinstance(happening, TokenEnded):
            self._ended[happening.jti] = None
            if len(self._ended) > _REMEMBER_ENDED:
                self._ended.popitem(last=False)
            for viewer in [each for each in self._viewers.values() if each.actor.jti == happening.jti]:
                self._end(viewer, "live.token_ended")
            return
        if isinstance(happening, AccessChanged):
            self._access_changes += 1
            for viewer in [each for each in self._viewers.values() if each.actor.user_id == happening.user_id]:
                self._counters["live.access_changed"] += 1
                viewer.guard.abort(CLOSE_ACCESS)
            return
        self._fanout.happened(happening)

    async def flush(self) -> None:
        """Wait until what viewers have coming was sent, for as long as a moment of stopping may take."""
        deadline = asyncio.get_running_loop().time() + FLUSH_SECONDS
        quiet = 0
        while (
            quiet < 2 and asyncio.get_running_loop().time() < deadline
        ):  # twice: between outbox and line it is nowhere
            await asyncio.sleep(0.01)
            quiet = quiet + 1 if all(each.quiet() for each in self._viewers.values()) else 0

    async def close(self) -> None:
        """End every connection and the library's own task."""
        for viewer in list(self._viewers.values()):
            viewer.guard.abort(1012)
        for task in [*self._closing, *(task for each in self._viewers.values() for task in each.requests)]:
            task.cancel()
        server, self._server = self._server, None
        if server is not None:
            await server.shutdown()

    # socket.io's handlers ------------------------------------------------------------------------------------------

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        scope = environ["asgi.scope"]
        guard: Guard = scope["towline.guard"]
        client = scope.get("client")
        try:
            actor = await self._sign_in(environ.get("QUERY_STRING", ""), auth, client[0] if client else "")
        except TowlineError as error:
            self._counters["live.refused"] += 1
            guard.signed_out()
            raise _refusal(error.code, error.message) from None
        except Exception:
            logger.exception("signing in to the live door failed")
            guard.signed_out()
            raise _refusal("internal", "internal error") from None
        # socket.io's id of the connection within a namespace is not Engine.IO's, whose outbox we need.
        engine_sid = self._server.manager.eio_sid_from_sid(sid, "/")
        socket = self._server.eio.sockets.get(engine_sid)
        if socket is None:
            raise _refusal("live.gone", "the connection is gone")
        viewer = Viewer(sid, socket, guard, actor, self._settings.socket_outbox_bytes, self._counters)
        guard.signed_in = True
        self._viewers[sid] = viewer
        self._fanout.add(viewer)
        self._watch_expiry(viewer)
        self._counters["live.connected"] += 1

    async def _disconnect(self, sid: str, reason: str = "") -> None:
        viewer = self._viewers.pop(sid, None)
        if viewer is None:
            return
        viewer.guard.signed_out()
        if viewer.expiry is not None:
            viewer.expiry.cancel()
        self._fanout.remove(viewer)

    async def _request(self, event: str, sid: str, *args: object) -> Any:
        viewer = self._viewers.get(sid)
        if viewer is None:
            return None
        if viewer.over_limit():
            self._counters["live.closed_slow"] += 1
            viewer.guard.abort(CLOSE_SLOW)
            return None
        return await self._requests.handle(viewer, event, args)

    async def _sign_in(self, query: str, auth: object, remote: str) -> Actor:
        asked = {key: values[0] for key, values in parse_qs(query, max_num_fields=MAX_QUERY_FIELDS).items()}
        if isinstance(auth, dict):
            asked = {**asked, **{key: value for key, value in auth.items() if isinstance(value, str)}}
        token, workgroup = asked.get("token"), asked.get("orgName")
        if not token:
            raise Refused("auth.required", "the query needs token=, an API token or a session token")
        if not workgroup:
            raise Refused("auth.workgroup", "the query needs orgName=, the workgroup's id")
        while True:
            before = self._access_changes
            actor = await self._hub.users.verify(token, remote)
            if before == self._access_changes:  # else what was found may be what it was before
                break
        if actor.workgroup != workgroup:
            raise Refused("auth.workgroup", f"the token does not belong to the workgroup {workgroup[:64]!r}")
        if actor.jti in self._ended:
            raise Refused("token.revoked", "the token has ended")
        return actor

    # Ends of connections -------------------------------------------------------------------------------------------

    def _watch_expiry(self, viewer: Viewer) -> None:
        if not viewer.actor.expires_us:
            return
        remaining = (viewer.actor.expires_us - self._clock.now_us()) / US_PER_SECOND
        loop = asyncio.get_running_loop()
        if remaining > _MAX_TIMER_SECONDS:
            viewer.expiry = loop.call_later(_MAX_TIMER_SECONDS, self._watch_expiry, viewer)
        else:
            viewer.expiry = loop.call_later(max(0.0, remaining), self._end, viewer, "live.token_expired")

    def _end(self, viewer: Viewer, counter: str) -> None:
        """Say good-bye in socket.io's words (the client then does not reconnect by itself), soon after cut the line."""
        self._counters[counter] += 1
        self._spawn(self._say_goodbye(viewer))

    async def _say_goodbye(self, viewer: Viewer) -> None:
        if self._server is not None:
            await self._server.disconnect(viewer.sid)
        await asyncio.sleep(CLOSE_GRACE_SECONDS)
        viewer.guard.abort(CLOSE_SIGNED_OUT)

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _refusal(code: str, message: str) -> Exception:
    """Becomes ``connect_error`` at the client: its ``message`` and, in ``data``, the code."""
    made: Exception = cast(Any, Refusal)(message, {"code": code, "message": message})
    return made
