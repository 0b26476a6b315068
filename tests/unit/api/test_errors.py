# SPDX-License-Identifier: Apache-2.0
"""Whatever goes wrong is answered in one shape."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.unit.api.conftest import client_of
from tests.unit.api.fakehub import DEVICE, FakeHub
from towline import errors
from towline.api import DoorApp
from towline.api.errors import respond, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidInput("a.b", "x"), 400),
        (errors.NotFound("a.b", "x"), 404),
        (errors.Conflict("a.b", "x"), 409),
        (errors.Refused("a.b", "x"), 403),
        (errors.Refused("token.expired", "x"), 401),
        (errors.Refused("login.wrong", "x"), 401),
        (errors.Unavailable("a.b", "x"), 503),
        (errors.Unavailable("login.throttled", "x"), 429),
        (errors.TowlineError("a.b", "x"), 500),
    ],
)
def test_statuses(error: errors.TowlineError, status: int) -> None:
    assert status_of(error) == status


def test_retry_after_has_a_default() -> None:
    assert respond(errors.Unavailable("login.throttled", "x")).headers["retry-after"] == "30"


def shape_of(answer: httpx.Response) -> dict[str, str]:
    body = answer.json()
    assert set(body) == {"error"}
    assert {"code", "message"} <= set(body["error"]) <= {"code", "message", "where", "hint"}
    detail: dict[str, str] = body["error"]
    return detail


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"", "$"),
        (b"{", "$[1]"),
        (b"[]", "$"),
        (b"null", "$"),
        (b'{"name": 5}', "$.name"),
        (b'{"name": ""}', "$.name"),
        (b'{"name": "x", "extra": 1}', "$.extra"),
        (b'{"name": "\xff"}', None),
        (b'{"name": "\\ud800"}', "$.name"),
        (b'{"name": ' + b"[" * 100_000, None),
        (b'{"name": ' + b"9" * 5000 + b"}", None),
    ],
)
async def test_bad_bodies(client: httpx.AsyncClient, content: bytes, where: str | None) -> None:
    answer = await client.patch(f"/devices/{DEVICE}", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    detail = shape_of(answer)
    assert detail["code"] == "request.invalid"
    assert detail.get("where") == where


async def test_unknown_routes_and_methods(client: httpx.AsyncClient) -> None:
    missing = await client.get("/nothing")
    assert missing.status_code == 404
    assert shape_of(missing)["code"] == "route.unknown"
    wrong = await client.put("/devices")
    assert wrong.status_code == 405
    assert shape_of(wrong)["code"] == "route.method"
    assert "GET" in wrong.headers["allow"]


async def test_an_error_of_ours_is_logged_and_hidden(
    doors: DoorApp, hub: FakeHub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.fail = RuntimeError("the database burns")
    transport = httpx.ASGITransport(doors.asgi, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://towline.test") as client:
        answer = await client.get("/api/towline/v1/devices", headers={"authorization": "Bearer owner-token"})
    assert answer.status_code == 500
    assert shape_of(answer)["code"] == "internal"
    assert "burns" not in answer.text
    assert "burns" in caplog.text


async def test_too_much(client: httpx.AsyncClient, doors: DoorApp) -> None:
    body = json.dumps({"name": "x" * 2_000_000}).encode()
    headers = {"content-type": "application/json"}
    declared = await client.patch(f"/devices/{DEVICE}", content=body, headers=headers)
    assert declared.status_code == 413
    assert shape_of(declared)["code"] == "request.too_large"

    async def pieces() -> object:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    streamed = await client.patch(f"/devices/{DEVICE}", content=pieces(), headers=headers)  # type: ignore[arg-type]
    assert streamed.status_code == 413
    assert doors.counters["http.413"] == 2


async def test_values_that_json_cannot_carry_do_not_break_answers(client: httpx.AsyncClient, hub: FakeHub) -> None:
    body = '{"app_guid":"g","module":"m","name":"n","params":{"a":NaN,"b":1e999,"c":"\\ud800"}}'
    answer = await client.post(
        f"/devices/{DEVICE}/commands", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (202, 400)


async def test_security_headers(doors: DoorApp) -> None:
    async with client_of(doors, None) as client:
        answer = await client.get("/health")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
