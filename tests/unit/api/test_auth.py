# SPDX-License-Identifier: Apache-2.0
"""Who is let in: Bearer, cookie, Origin, privileges, sign-in and its errors."""

from __future__ import annotations

import httpx
import msgspec
import pytest

from tests.unit.api import fakehub
from tests.unit.api.conftest import client_of
from tests.unit.api.fakehub import DEVICE, NOW_US, FakeHub
from towline.api import DoorApp, DoorSettings, create_app
from towline.bus.memory import MemoryBus
from towline.clock import ManualClock

COOKIE = {"cookie": f"{fakehub.COOKIE}=owner-token"}


async def test_nothing_without_a_token(doors: DoorApp) -> None:
    async with client_of(doors, None) as client:
        answer = await client.get("/devices")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "auth.required"


@pytest.mark.parametrize("header", ["Bearer wrong", "Basic b3duZXItdG9rZW4=", "Bearer", "owner-token"])
async def test_wrong_tokens(doors: DoorApp, header: str) -> None:
    async with client_of(doors, None) as client:
        answer = await client.get("/devices", headers={"authorization": header})
    assert answer.status_code == 401


async def test_a_missing_privilege_is_403_and_names_it(doors: DoorApp, hub: FakeHub) -> None:
    async with client_of(doors, "reader-token") as client:
        assert (await client.get(f"/devices/{DEVICE}")).status_code == 200
        answer = await client.post(f"/devices/{DEVICE}/exec", json={"cmd": "reboot"})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "privilege.missing"
    assert "control_devices" in answer.json()["error"]["message"]
    assert hub.executions == []


async def test_signing_in_sets_a_cookie_that_scripts_cannot_read(doors: DoorApp) -> None:
    async with client_of(doors, None) as client:
        answer = await client.post("/session", json={"user": "ada", "password": "right"})
        body = answer.json()
        assert body["token"] == "owner-token"
        assert body["workgroup"] == {"id": "acme", "name": "Acme"}
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Max-Age=36000" in cookie
        assert "Secure" not in cookie
        again = (await client.get("/session")).json()
        assert again["token"] == "owner-token"
        out = await client.delete("/session", headers={"origin": "http://towline.test"})
        assert out.status_code == 204
        assert f'{fakehub.COOKIE}=""' in out.headers["set-cookie"]


async def test_another_towline_on_the_same_host_has_another_cookie(doors: DoorApp) -> None:
    async with client_of(doors, None) as client:
        for name in ("towline_session", "towline_session_00c0ffee0002"):
            answer = await client.get("/devices", headers={"cookie": f"{name}=owner-token"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "auth.required")
        both = f"towline_session_00c0ffee0002=of-another; {fakehub.COOKIE}=owner-token"
        assert (await client.get("/devices", headers={"cookie": both})).status_code == 200


async def test_sign_in_errors(doors: DoorApp) -> None:
    async with client_of(doors, None) as client:
        wrong = await client.post("/session", json={"user": "ada", "password": "wrong"})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "login.wrong")
        often = await client.post("/session", json={"user": "ada", "password": "too often"})
        assert (often.status_code, often.headers["retry-after"]) == (429, "42")
        foreign = await client.post(
            "/session", json={"user": "ada", "password": "right"}, headers={"origin": "https://evil.example"}
        )
        assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "auth.origin")


async def test_a_wrong_old_password_is_not_a_lost_session(client: httpx.AsyncClient) -> None:
    answer = await client.post("/session/password", json={"old": "wrong", "new": "something new"})
    assert answer.status_code == 400
    assert answer.json()["error"]["where"] == "$.old"
    assert (await client.post("/session/password", json={"old": "right", "new": "x"})).status_code == 204


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://towline.test"}, 200),
        ({"referer": "http://towline.test/devices"}, 200),
        ({"origin": "http://towline.test:81"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({}, 403),
    ],
)
async def test_a_cookie_changes_things_only_from_our_own_pages(
    doors: DoorApp, headers: dict[str, str], status: int
) -> None:
    async with client_of(doors, None) as client:
        assert (await client.get("/devices", headers={**COOKIE, **headers})).status_code == 200
        answer = await client.patch(f"/devices/{DEVICE}", json={"name": "x"}, headers={**COOKIE, **headers})
    assert answer.status_code == status


async def test_bearer_needs_no_origin_and_goes_before_the_cookie(doors: DoorApp) -> None:
    async with client_of(doors, "reader-token") as client:
        answer = await client.patch(f"/devices/{DEVICE}", json={"name": "x"}, headers=COOKIE)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "privilege.missing"


async def test_behind_a_public_url(hub: FakeHub, bus: MemoryBus) -> None:
    settings = DoorSettings(public_url="https://example.org/towline", behind_proxy=True)
    app = create_app(hub.as_hub(), bus, settings, clock=ManualClock(NOW_US))
    await app.start()
    async with client_of(app, None, "http://backend/towline") as client:
        answer = await client.post("/session", json={"user": "ada", "password": "right"})
        cookie = answer.headers["set-cookie"]
        assert "Path=/towline" in cookie
        assert "Secure" in cookie
        change = await client.patch(
            f"/devices/{DEVICE}", json={"name": "x"}, headers={**COOKIE, "origin": "https://example.org"}
        )
        assert change.status_code == 200
        assert 'href="/towline/api/towline/v1/openapi.json"' in (await client.get("/docs")).text
    await app.close()


async def test_the_hub_sees_the_address_that_a_trusted_proxy_tells(hub: FakeHub, bus: MemoryBus) -> None:
    settings = msgspec.structs.replace(DoorSettings(), trusted_proxies=("127.0.0.1",))
    app = create_app(hub.as_hub(), bus, settings, clock=ManualClock(NOW_US))
    await app.start()
    async with client_of(app) as client:
        await client.get("/devices", headers={"x-forwarded-for": "6.6.6.6, 203.0.113.9, 127.0.0.1"})
    await app.close()
    assert hub.users.verified[-1] == ("owner-token", "203.0.113.9")


async def test_without_trusted_proxies_nobody_is_believed(client: httpx.AsyncClient, hub: FakeHub) -> None:
    await client.get("/devices", headers={"x-forwarded-for": "203.0.113.9"})
    assert hub.users.verified[-1] == ("owner-token", "127.0.0.1")


@pytest.mark.parametrize("malformed", ["http://[", "http://[::1", "http://a]b"])
async def test_an_origin_that_is_none_is_refused(doors: DoorApp, malformed: str) -> None:
    async with client_of(doors, None) as client:
        answer = await client.post("/session", json={"user": "ada", "password": "right"}, headers={"origin": malformed})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "auth.origin")
        answer = await client.delete("/session", headers={**COOKIE, "referer": malformed})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "auth.origin")
