# SPDX-License-Identifier: Apache-2.0
"""The doors put together: REST, the live door and the portal behind one ASGI application."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable
from typing import Any, Literal, cast

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from towline import __version__
from towline.api import errors
from towline.api.asgi import ASGI, Edge, Receive, Scope, Send, refuse
from towline.api.reference import page
from towline.api.routes import ROUTERS
from towline.api.settings import DoorSettings
from towline.api.socketio import PATH, LiveDoor
from towline.api.waiting import CommandWaiters
from towline.bus.base import Bus, Endpoint, Member
from towline.clock import Clock, SystemClock
from towline.errors import TowlineError, Unavailable
from towline.hub.events import CommandChanged, decode, records_of
from towline.hub.hub import Hub

BASE = "/api/towline/v1"
"""Where our REST begins; ``/api/v1`` belongs to ardexa's shapes."""

_ABOUT = (
    "Devices, their plugins, values and commands, users and tokens. Sign in with `POST /session`, or send "
    "`Authorization: Bearer` with an API token. Errors are `{error: {code, message, where?, hint?}}`."
)

logger = logging.getLogger(__name__)


class DoorApp:
    """``asgi`` serves every door; :meth:`start` joins the bus so that live connections hear what happens."""

    counters: Counter[str]
    """Everything counted, by dotted name."""

    def __init__(self, hub: Hub, bus: Bus, settings: DoorSettings, portal: ASGI | None, clock: Clock) -> None:
        self.counters = Counter()
        self._bus = bus
        self._endpoint: Endpoint | None = None
        self.live = LiveDoor(hub, settings, self.counters, clock)
        self.waiters = CommandWaiters()
        self.rest = rest(hub, settings, self.waiters, clock)
        doors = _Doors(self.rest, self.live.asgi, portal)
        self._hub = hub
        self.asgi: ASGI = Edge(doors, settings, self.counters, self._closing)

    async def start(self) -> None:
        """Join the bus. Serve ``asgi`` after this."""
        self._endpoint = await self._bus.open("door", _Ears(self), info={"version": __version__}, events=True)
        self.rest.state.endpoint = self._endpoint
        self.rest.state.counters = self.counters

    async def _closing(self) -> None:
        """Whoever waits is told while there still is a connection to tell it on."""
        self.waiters.release()
        self._hub.execs.close()
        await self.live.flush()

    async def close(self) -> None:
        """End live connections and leave the bus; stop serving before this."""
        await self.live.close()
        if self._endpoint is not None:
            await self._endpoint.close()
            self._endpoint = None


def create_app(
    hub: Hub, bus: Bus, settings: DoorSettings, *, portal: ASGI | None = None, clock: Clock | None = None
) -> DoorApp:
    """The doors of a hub. ``portal`` serves what is neither REST nor live; ``scope["towline.prefix"]`` tells it
    the path prefix of ``public_url``."""
    return DoorApp(hub, bus, settings, portal, clock or SystemClock())


def rest(hub: Hub, settings: DoorSettings, waiters: CommandWaiters, clock: Clock) -> FastAPI:
    """The REST application, without what surrounds it."""
    app = _Rest(
        title="Towline",
        version=__version__,
        description=_ABOUT,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        servers=[{"url": settings.prefix() or "/"}],
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
    )
    app.state.hub = hub
    app.state.settings = settings
    app.state.waiters = waiters
    app.state.clock = clock
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router, prefix=BASE)

    # Drawing the description takes a fifth of a second, once: not on the loop that others share.
    @app.get(f"{BASE}/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(app.openapi))

    @app.get(f"{BASE}/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        described = await asyncio.to_thread(app.openapi)
        return HTMLResponse(await asyncio.to_thread(page, described, f"{settings.prefix()}{BASE}/openapi.json"))

    return app


def describe() -> dict[str, Any]:
    """The OpenAPI description, without a hub behind it; for the documentation."""
    return rest(cast(Hub, None), DoorSettings(), CommandWaiters(), SystemClock()).openapi()


class _Rest(FastAPI):
    """FastAPI describes a 422 for every route with parameters; ours answer 400 in our shape."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            described = super().openapi()
            for item in described["paths"].values():
                for operation in item.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                described["components"]["schemas"].pop(name, None)
            self.openapi_schema = described
        return self.openapi_schema


def _operation_id(route: APIRoute) -> str:
    return route.name


class _Doors:
    """Chooses by path."""

    def __init__(self, api: ASGIApp, live: ASGI, portal: ASGI | None) -> None:
        self._api = api
        self._live = live
        self._portal = portal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == PATH or path.startswith(PATH + "/"):
            await self._live(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif path.startswith("/api/"):
            await self._api(scope, receive, send)
        elif self._portal is not None:
            await self._portal(scope, receive, send)
        else:
            await refuse(send, 404, "route.unknown", "the portal is not part of this server; REST is under " + BASE)


class _Ears:
    """The doors' receiver on the bus: happenings come in, nothing else is expected."""

    def __init__(self, doors: DoorApp) -> None:
        self._doors = doors

    def on_message(self, sender: str, payload: bytes) -> None:
        self._doors.counters["bus.unexpected"] += 1

    def on_call(self, sender: str, payload: bytes) -> bytes | Awaitable[bytes]:
        raise Unavailable("bus.no_calls", "a door answers no calls")

    def on_event(self, sender: str, payload: bytes) -> None:
        device_id = records_of(payload)
        if device_id is not None and not self._doors.live.watched(device_id):
            return
        try:
            happening = decode(payload)
        except TowlineError as error:
            self._doors.counters["bus.bad_event"] += 1
            logger.debug("%s", error)
            return
        if happening is None:
            self._doors.counters["bus.unknown_event"] += 1
            return
        try:
            if isinstance(happening, CommandChanged):
                self._doors.waiters.changed(happening.command.id)
            self._doors.live.happened(happening)
        except Exception:
            self._doors.counters["bus.failed_event"] += 1
            logger.exception("a happening could not be passed on")

    def on_joined(self, member: Member) -> None:
        pass

    def on_left(self, member: Member, cause: Literal["closed", "silent"]) -> None:
        pass
