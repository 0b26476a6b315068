# SPDX-License-Identifier: Apache-2.0
"""Signing in and out."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from towline import __version__, errors
from towline.api import models
from towline.api.auth import CallerDep, HubDep, check_origin, drop_cookie, remote_of, set_cookie
from towline.api.errors import documented

router = APIRouter(tags=["session"])


@router.post("/session", responses=documented(401, 403, 429, signed_in=False))
async def sign_in(request: Request, response: Response, hub: HubDep, body: models.Login) -> models.Session:
    """Sign in with a user's name and password. Browsers get a cookie; programs use `token` as Bearer."""
    if "origin" in request.headers:
        check_origin(request)
    view = await hub.users.login(body.user, body.password, remote_of(request))
    set_cookie(request, response, view.token, view.expires_us)
    return models.Session.of(view, view.token, __version__)


@router.get("/session", responses=documented())
async def session(hub: HubDep, caller: CallerDep) -> models.Session:
    """Who the caller is, what they may do, and until when."""
    return models.Session.of(await hub.users.session(caller.actor), caller.token, __version__)


@router.delete("/session", status_code=204, responses=documented())
async def sign_out(request: Request, response: Response, hub: HubDep, caller: CallerDep) -> None:
    """End the session; its live connections are closed."""
    await hub.users.logout(caller.actor)
    drop_cookie(request, response)


@router.post("/session/password", status_code=204, responses=documented(429))
async def change_password(hub: HubDep, caller: CallerDep, body: models.PasswordChange) -> None:
    """Change one's own password; one's other sessions end."""
    try:
        await hub.users.change_password(caller.actor, body.old, body.new)
    except errors.Refused as error:
        if error.code != "login.wrong":
            raise
        # A 401 would tell a browser that its session is over, which it is not.
        raise errors.InvalidInput("password.wrong", error.message, where="$.old") from None
