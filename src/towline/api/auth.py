# SPDX-License-Identifier: Apache-2.0
"""Who asks: a Bearer token, or the session cookie of a browser.

A browser sends the cookie by itself, so a request that changes something and has only the cookie must come from our own
page: its Origin has to be ours.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection

from towline.api.settings import DoorSettings
from towline.clock import US_PER_SECOND, Clock
from towline.errors import Refused
from towline.hub.actor import Actor
from towline.hub.hub import Hub

COOKIE = "towline_session_"
"""What the cookie's name begins with; the rest is the installation's. Browsers keep cookies by host without its port, so two
Towlines on one host would sign each other out."""

_OF_HUB_ID = 12
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_bearer = HTTPBearer(auto_error=False, description="An API token or a session token.")


class _SessionCookie(APIKeyCookie):
    """The cookie under this installation's name, and no other."""

    async def __call__(self, request: HTTPConnection) -> str | None:
        return request.cookies.get(cookie_name(hub_of(request)))


_cookie = _SessionCookie(
    name=COOKIE + "ID", auto_error=False, description="Set by POST /session; ID is the installation's own."
)


class Caller(NamedTuple):
    """The actor, and the token that proved it."""

    actor: Actor
    token: str


def hub_of(request: HTTPConnection) -> Hub:
    """The hub behind this door."""
    hub: Hub = request.app.state.hub
    return hub


def cookie_name(hub: Hub) -> str:
    """The end of the hub's id is its random part; unlike the port, it is the same behind a proxy."""
    return COOKIE + hub.identity.hub_id.replace("-", "")[-_OF_HUB_ID:]


def settings_of(request: Request) -> DoorSettings:
    """The door's settings."""
    settings: DoorSettings = request.app.state.settings
    return settings


def clock_of(request: Request) -> Clock:
    """Where time comes from."""
    clock: Clock = request.app.state.clock
    return clock


def remote_of(request: Request) -> str:
    """The caller's address (behind trusted proxies the one they tell)."""
    return request.client.host if request.client else ""


async def caller_of(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    cookie: Annotated[str | None, Security(_cookie)],
) -> Caller:
    """The caller, or Refused ``auth.required``, ``auth.origin`` or what the hub says of the token."""
    if bearer is not None:
        token = bearer.credentials
    elif cookie:
        if request.method not in _SAFE:
            check_origin(request)
        token = cookie
    else:
        raise Refused(
            "auth.required",
            "sign in, or send Authorization: Bearer with an API token",
            hint="POST session with user and password, or make a token with `towline token create`",
        )
    return Caller(await hub_of(request).users.verify(token, remote_of(request)), token)


async def actor_of(caller: Annotated[Caller, Depends(caller_of)]) -> Actor:
    return caller.actor


def check_origin(request: Request) -> None:
    """Refused ``auth.origin`` unless the request's Origin (or Referer) is this door's own."""
    given = request.headers.get("origin") or _origin_of(request.headers.get("referer", ""))
    if given is not None and own_origin(given, request.headers.get("host", ""), settings_of(request)):
        return
    raise Refused(
        "auth.origin",
        "a change by cookie must come from this site's own pages",
        where="Origin",
        hint="programs send Authorization: Bearer instead of the cookie",
    )


def own_origin(origin: str, host: str, settings: DoorSettings) -> bool:
    """Whether an Origin header names this door: its ``public_url``, or the Host that was asked."""
    origin = origin.lower()
    if origin == settings.public_origin():
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc == host.lower()


def set_cookie(request: Request, response: Response, token: str, expires_us: int) -> None:
    """Give the browser its session."""
    settings = settings_of(request)
    max_age = max(0, (expires_us - clock_of(request).now_us()) // US_PER_SECOND)
    response.set_cookie(
        cookie_name(hub_of(request)),
        token,
        max_age=max_age,
        path=settings.prefix() or "/",
        secure=_secure(request),
        httponly=True,
        samesite="lax",
    )


def drop_cookie(request: Request, response: Response) -> None:
    """Take it back."""
    path = settings_of(request).prefix() or "/"
    response.delete_cookie(
        cookie_name(hub_of(request)), path=path, secure=_secure(request), httponly=True, samesite="lax"
    )


def _secure(request: Request) -> bool:
    origin = settings_of(request).public_origin() or ""
    return request.url.scheme == "https" or origin.startswith("https://")


def _origin_of(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else None


ClockDep = Annotated[Clock, Depends(clock_of)]
HubDep = Annotated[Hub, Depends(hub_of)]
ActorDep = Annotated[Actor, Depends(actor_of)]
CallerDep = Annotated[Caller, Depends(caller_of)]
