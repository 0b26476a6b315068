# SPDX-License-Identifier: Apache-2.0
"""The one place where errors become HTTP answers: ``{"error": {"code", "message", "where"?, "hint"?}}``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from towline.errors import Conflict, InvalidInput, NotFound, Refused, TowlineError, Unavailable

logger = logging.getLogger(__name__)


class ErrorDetail(BaseModel):
    """What was wrong."""

    code: str = Field(description="Stable dotted word, for programs.", examples=["device.offline"])
    message: str = Field(description="One sentence for people.")
    where: str | None = Field(default=None, description="JSON path or name of the value that is wrong.")
    hint: str | None = Field(default=None, description="What to do about it.")


class ErrorBody(BaseModel):
    """Every answer with a status of 400 or more."""

    error: ErrorDetail


SIGN_IN = frozenset({"auth.required", "token.invalid", "token.expired", "token.revoked", "login.wrong"})
"""Codes of :class:`Refused` that mean "sign in (again)": 401, not 403."""

STATUS_BY_CODE: Mapping[str, int] = {
    "login.throttled": 429,
    "request.too_large": 413,
    "request.timeout": 408,
}
_CODE_BY_STATUS: Mapping[int, str] = {400: "request.invalid", 404: "route.unknown", 405: "route.method"}
_STATUS_BY_CLASS: tuple[tuple[type[TowlineError], int], ...] = (
    (InvalidInput, 400),
    (NotFound, 404),
    (Conflict, 409),
    (Refused, 403),
    (Unavailable, 503),
)
_TEXT = {
    400: "a value of the request breaks a rule",
    401: "not signed in, or the token has ended",
    403: "the privilege is missing, or the origin is not ours",
    404: "no such thing, or not visible to the caller",
    409: "the present state forbids it",
    413: "the body is too large",
    429: "too many attempts; see Retry-After",
    503: "cannot be done at present; try again later",
}


def documented(*statuses: int, signed_in: bool = True) -> dict[int | str, dict[str, Any]]:
    """The ``responses=`` of a route: what every route can answer, and ``statuses``."""
    every = {400, 401, 403, *statuses} if signed_in else {400, *statuses}
    return {status: {"model": ErrorBody, "description": _TEXT[status]} for status in sorted(every)}


def status_of(error: TowlineError) -> int:
    """The HTTP status for an error."""
    if error.code in STATUS_BY_CODE:
        return STATUS_BY_CODE[error.code]
    if error.code in SIGN_IN:
        return 401
    for kind, status in _STATUS_BY_CLASS:
        if isinstance(error, kind):
            return status
    return 500


def body_of(code: str, message: str, where: str | None = None, hint: str | None = None) -> dict[str, Any]:
    """The body for an error; absent members are left out."""
    detail = {"code": code, "message": message, "where": where, "hint": hint}
    return {"error": {key: value for key, value in detail.items() if value is not None}}


def respond(error: TowlineError) -> Response:
    """The whole answer for an error."""
    status = status_of(error)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 429:
        headers["Retry-After"] = _seconds_in(error.hint or "")
    return JSONResponse(body_of(error.code, error.message, error.where, error.hint), status, headers=headers)


def install(app: FastAPI) -> None:
    """Make ``app`` answer every error in our shape."""

    @app.exception_handler(TowlineError)
    async def known(request: Request, error: TowlineError) -> Response:
        status = status_of(error)
        if status == 500:
            logger.error("%s %s: %s", request.method, request.url.path, error, extra={"code": error.code})
        return respond(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return JSONResponse(
            body_of("request.invalid", str(first.get("msg", "invalid")), _where(first.get("loc", ()))), 400
        )

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        phrase = HTTPStatus(error.status_code).phrase
        code: str = getattr(error, "code", None) or _CODE_BY_STATUS.get(error.status_code, "request.refused")
        text = error.detail
        if text == phrase:
            text = f"{request.method} {request.url.path}: {phrase.lower()}"
        return JSONResponse(body_of(code, text), error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> Response:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return JSONResponse(body_of("internal", "something went wrong on our side; the log has it"), 500)


def _seconds_in(hint: str) -> str:
    """The number of seconds that a throttled sign-in's hint tells."""
    return next((word for word in hint.replace("s", " ").split() if word.isdecimal()), "30")


def _where(location: object) -> str | None:
    if not isinstance(location, tuple | list) or not location:
        return None
    place, *rest = location
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)
    if place == "body":
        return f"${path}"
    return f"{place}{path}"
