# SPDX-License-Identifier: Apache-2.0
"""Each route: what reaches the hub, and the exact JSON that comes back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.helpers import until
from tests.unit.api.conftest import BASE, client_of
from tests.unit.api.fakehub import DEVICE, NOW_US, OFFLINE, FakeHub, command
from towline.api import DoorApp
from towline.clock import rfc3339
from towline.hub.views import CommandStepView

TIME = rfc3339(NOW_US)
GUID = "a8e873a1-e5df-43a2-928a-745ff9c94dfb"


async def test_devices(client: httpx.AsyncClient, hub: FakeHub) -> None:
    answer = await client.get("/devices", params={"search": "bo", "state": "online", "limit": 5, "after": "x"})
    assert answer.status_code == 200
    body = answer.json()
    assert hub.calls == [("devices.list", "bo", "online", None, 5, "x")]
    assert body["counts"] == {"total": 2, "online": 1}
    assert body["next"] is None
    assert body["devices"][0] == {
        "id": DEVICE,
        "name": "boat",
        "cn": f"CN={DEVICE},O=acme",
        "workgroup": "acme",
        "group": "default",
        "created_at": TIME,
        "presence": {"state": "online", "since": TIME, "cause": "silent", "cause_text": "the link was silent"},
        "agent": {
            "version": "0.1.0",
            "platform": "linux",
            "arch": "x86_64",
            "hostname": "boat-1",
            "os": "Debian 12",
            "address": "",
        },
        "summary": {"cpu": 12.5, "memory": None},
        "flags": [],
    }


async def test_one_device(client: httpx.AsyncClient, hub: FakeHub) -> None:
    assert (await client.get(f"/devices/{DEVICE}")).json()["id"] == DEVICE
    renamed = await client.patch(f"/devices/{DEVICE}", json={"name": "barge"})
    assert renamed.json()["name"] == "barge"
    assert (await client.delete(f"/devices/{DEVICE}")).status_code == 204
    missing = await client.get("/devices/nowhere")
    assert missing.status_code == 404
    assert missing.json() == {"error": {"code": "device.unknown", "message": "there is no device nowhere"}}


async def test_plugins_states_events(client: httpx.AsyncClient, hub: FakeHub) -> None:
    plugin = (await client.get(f"/devices/{DEVICE}/plugins")).json()["plugins"][0]
    assert plugin["modules"][0]["commands"][0]["name"] == "say_hello"
    assert plugin["since"] == TIME
    assert (await client.get(f"/devices/{DEVICE}/states")).json() == {
        "states": [
            {
                "app_guid": "g",
                "table": "hello",
                "source": "main",
                "field": "mood",
                "value": {"a": [1, None]},
                "time": TIME,
            }
        ]
    }
    events = (await client.get(f"/devices/{DEVICE}/events", params={"limit": 1, "before": 9, "table": "hello"})).json()
    assert hub.calls[-1] == ("records.events", DEVICE, 1, 9, "hello")
    assert events["events"][0]["value"] == "Buzz"
    assert events["next"] == "7"


async def test_metrics(client: httpx.AsyncClient, hub: FakeHub) -> None:
    answer = await client.get(
        f"/devices/{DEVICE}/metrics",
        params=[("field", "used"), ("field", "free"), ("from", "-1h"), ("max_points", "10")],
    )
    body = answer.json()
    assert body["series"] == [
        {
            "table": "host",
            "source": "cpu",
            "field": "used",
            "points": [[NOW_US // 1000, 12.5], [NOW_US // 1000 + 2000, 13.0]],
        }
    ]
    assert body["from"] == rfc3339(NOW_US - 3_600_000_000)
    asked = hub.calls[-1][3]
    assert asked["fields"] == ["used", "free"]
    assert asked["from_us"] == NOW_US - 3_600_000_000
    assert asked["max_points"] == 10
    assert asked["tables"] is None


async def test_metrics_default_window_is_fifteen_minutes(client: httpx.AsyncClient, hub: FakeHub) -> None:
    await client.get(f"/devices/{DEVICE}/metrics")
    asked = hub.calls[-1][3]
    assert asked["to_us"] - asked["from_us"] == 900_000_000


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({"from": "yesterday"}, "query.from"),
        ({"to": "2026-11-21T03:04:05"}, "query.to"),
        ({"from": "-1m", "to": "-2m"}, "query.from"),
        ({"max_points": "3"}, "query.max_points"),
        ({"max_points": "many"}, "query.max_points"),
        ({"from": "-999999999d"}, "query.from"),
    ],
)
async def test_bad_windows(client: httpx.AsyncClient, params: dict[str, str], where: str) -> None:
    answer = await client.get(f"/devices/{DEVICE}/metrics", params=params)
    assert answer.status_code == 400
    assert answer.json()["error"]["where"] == where


async def test_commands(client: httpx.AsyncClient, hub: FakeHub) -> None:
    body = {"app_guid": GUID, "module": "main", "name": "say_hello", "params": {"person": "Buzz"}, "expires_in_s": 60}
    answer = await client.post(f"/devices/{DEVICE}/commands", json=body, headers={"idempotency-key": "k-1"})
    assert answer.status_code == 202
    assert hub.calls[-1] == (
        "commands.submit", DEVICE, GUID, "main", "say_hello", {"person": "Buzz"}, 60, "k-1",
    )  # fmt: skip
    assert answer.json() == {
        "id": "ab" * 20,
        "device_id": DEVICE,
        "app_guid": GUID,
        "module": "main",
        "name": "say_hello",
        "params": {"person": "Buzz"},
        "state": "queued",
        "final": False,
        "created_at": TIME,
        "expires_at": rfc3339(NOW_US + 60_000_000),
        "user": "ada",
        "steps": [{"state": "queued", "time": TIME, "note": ""}],
        "result": None,
        "late_result": None,
    }
    listed = (await client.get(f"/devices/{DEVICE}/commands", params={"limit": 3})).json()
    assert listed["next"] == "more"
    refused = await client.post(f"/devices/{DEVICE}/commands", json={**body, "module": "nowhere"})
    assert refused.status_code == 400
    assert refused.json()["error"] == {
        "code": "command.undeclared",
        "message": "no such module",
        "where": "$.module",
        "hint": "it has main",
    }
    assert (await client.post(f"/commands/{'ab' * 20}/cancel")).status_code == 409


async def test_waiting_for_a_command(client: httpx.AsyncClient, hub: FakeHub, doors: DoorApp) -> None:
    path = f"/commands/{hub.command.id}"
    assert (await client.get(path)).json()["state"] == "queued"
    assert (await client.get(path, params={"wait_s": 20, "after_state": "sent"})).json()["state"] == "queued"
    assert (await client.get(path, params={"wait_s": 0.05})).json()["state"] == "queued"
    waiting = asyncio.create_task(client.get(path, params={"wait_s": 20}))
    await until(lambda: len(doors.waiters) == 1)
    hub.command = command(state="accepted")
    doors.waiters.changed(hub.command.id)
    await until(lambda: len(hub.calls) >= 5)
    assert not waiting.done()
    hub.command = command(
        state="acked",
        final=True,
        result='{"response":"Hello Buzz"}',
        steps=[CommandStepView(state="acked", time_us=NOW_US, note="")],
    )
    doors.waiters.changed(hub.command.id)
    body = (await waiting).json()
    assert body["result"] == {"response": "Hello Buzz"}
    assert len(doors.waiters) == 0


@pytest.mark.parametrize("depth", [100, 101, 250, 300, 5000])
async def test_a_deep_result_stays_text_and_fails_no_page(client: httpx.AsyncClient, hub: FakeHub, depth: int) -> None:
    hub.command = command(state="acked", final=True, result="[" * depth + "]" * depth, late_result='{"a":' * depth)
    for path in (f"/commands/{hub.command.id}", f"/devices/{DEVICE}/commands"):
        answer = await client.get(path)
        assert answer.status_code == 200
        found = answer.json().get("commands", [answer.json()])[0]
        assert (found["result"] == hub.command.result) == (depth > 100)


async def test_exec(client: httpx.AsyncClient, hub: FakeHub) -> None:
    answer = await client.post(f"/devices/{DEVICE}/exec", json={"cmd": "uptime", "timeout_s": 5})
    assert answer.json() == {
        "correlation_id": "c-0",
        "stdout": "uptime\n",
        "stderr": "",
        "return_code": 0,
        "reason": None,
        "message": "",
    }
    assert hub.calls[-1] == ("execs.run", DEVICE, "uptime", 5.0)
    offline = await client.post(f"/devices/{OFFLINE}/exec", json={"cmd": "uptime"})
    assert offline.status_code == 503
    assert offline.json()["error"]["code"] == "device.offline"


async def test_enrolments(client: httpx.AsyncClient, hub: FakeHub) -> None:
    made = (await client.post("/enrolments", json={"name": "pump"})).json()
    assert made["command"] == "towline agent enrol 'ws://127.0.0.1:6790/link/v1#abc.def'"
    assert made["name"] == "pump"
    assert "line" not in (await client.get("/enrolments")).json()["enrolments"][0]
    assert (await client.delete("/enrolments/e-1")).status_code == 204
    assert (await client.delete("/enrolments/e-2")).status_code == 404


async def test_credentials(client: httpx.AsyncClient, hub: FakeHub) -> None:
    made = (await client.post("/plugins", json={"name": "hello"})).json()
    assert made["access_key"] == "k" * 40
    assert hub.calls[-1] == ("plugins.create_credential", "hello", None, "linux", "x86_64")
    assert "access_key" not in (await client.get("/plugins")).json()["plugins"][0]
    assert (await client.get(f"/plugins/{GUID}/credential")).json()["access_key"] == "k" * 40
    assert (await client.delete(f"/plugins/{GUID}")).status_code == 204
    taken = await client.post("/plugins", json={"name": "taken"})
    assert taken.status_code == 409
    assert taken.json()["error"]["where"] == "$.app_guid"


async def test_users_tokens_audit(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/users")).json()
    assert listed["users"][0]["name"] == "ada"
    assert "control_devices" in listed["privileges"]
    assert (await client.post("/users", json={"name": "bob", "password": "long enough"})).json()["name"] == "bob"
    assert (await client.post("/users", json={"name": "ada", "password": "x"})).status_code == 409
    assert (await client.patch("/users/u-1", json={"display_name": "A."})).json()["display_name"] == "A."
    assert (await client.post("/users/u-1/password", json={"password": "x"})).status_code == 204
    assert (await client.delete("/users/u-1")).json()["error"]["code"] == "user.last_owner"
    made = (await client.post("/tokens", json={"name": "ci", "privileges": ["read"]})).json()
    assert made["token"] == "secret"
    assert (await client.get("/tokens")).json()["tokens"][0]["user"] == {"id": "u-1", "name": "ada"}
    assert (await client.delete("/tokens/t-2")).status_code == 404
    entries = (await client.get("/audit")).json()
    assert entries["entries"][0]["detail"] == {"name": "x"}


async def test_metrics_are_for_who_may_read(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'towline_server_events_total{part="hub",event="links.opened"} 3' in lines
    assert 'towline_server_now{part="hub",name="links.sessions"} 2' in lines
    assert any(line.startswith('towline_server_events_total{part="bus",event="sent"}') for line in lines)


async def test_gateway_lists_living_nodes(client: httpx.AsyncClient) -> None:
    one, two = (await client.get("/gateway")).json()["nodes"]
    assert (one["id"], one["number"], one["version"], one["api_server"]) == ("node-a", 3, "9", "127.0.0.1:6789")
    assert (one["started_at"], one["clients"], one["links"]) == (TIME, 1, 4)
    assert one["counters"] == {"frames_out": 9}
    assert one["listeners"][0]["closed"] == {"normal": 2}
    assert (two["number"], two["clients"], two["version"], two["listeners"]) == (4, None, None, [])


async def test_what_the_gateway_holds(client: httpx.AsyncClient, hub: FakeHub) -> None:
    channels = (await client.get("/gateway/channels", params={"search": "ro", "limit": 7})).json()
    assert channels == {"channels": [{"name": "room", "subscribers": 5, "nodes": 2}], "more": True, "silent": [4]}
    (topic,) = (await client.get("/gateway/topics")).json()["topics"]
    assert topic == {"name": "orders", "depth": 7, "consumers": 1, "away": 2, "durable": False, "nodes": 2}
    page = (await client.get("/gateway/clients", params={"channel": "room", "node": 3})).json()
    assert page["next"] == page["clients"][0]["id"] == hub.gateway.CLIENT
    assert page["clients"][0]["since"] == TIME
    details = (await client.get(f"/gateway/clients/{hub.gateway.CLIENT}")).json()
    assert (details["context"], details["omitted"], details["channels"]) == ({"name": "ann"}, ["long"], ["room"])
    assert hub.calls == [
        ("gateway.channels", "ro", 7),
        ("gateway.topics", "", 100),
        ("gateway.clients", "", "room", 3, 100, ""),
        ("gateway.client", hub.gateway.CLIENT),
    ]
    assert (await client.get("/gateway/channels", params={"limit": 501})).status_code == 400
    unknown = await client.get("/gateway/clients/12")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "client.unknown")


async def test_messages_to_gateway_clients(client: httpx.AsyncClient, hub: FakeHub) -> None:
    path = f"/gateway/clients/{hub.gateway.CLIENT}"
    body = {"channel": "room", "data": "AAE=", "kind": "binary"}
    assert (await client.post("/gateway/publish", json=body)).json() == {"sent": 5, "failed": 1, "silent": 0}
    assert (await client.post(f"{path}/send", json={"data": "hi"})).json()["sent"] == 1
    assert (await client.post(f"{path}/disconnect", json={"code": 4000})).status_code == 204
    assert hub.calls == [
        ("gateway.publish", "room", b"\x00\x01", True),
        ("gateway.send", hub.gateway.CLIENT, b"hi", False),
        ("gateway.disconnect", hub.gateway.CLIENT, 4000, "disconnected by an operator"),
    ]
    for data, kind in (("not base64", "binary"), ("\ud800", "text")):
        content = json.dumps({"channel": "room", "data": data, "kind": kind})
        wrong = await client.post("/gateway/publish", content=content, headers={"content-type": "application/json"})
        assert (wrong.status_code, wrong.json()["error"]["where"]) == (400, "$.data")


async def test_messages_to_gateway_clients_need_their_privilege(doors: DoorApp, hub: FakeHub) -> None:
    async with client_of(doors, "reader-token") as reader:
        assert (await reader.get("/gateway/clients")).status_code == 200
        for path, body in (
            ("/gateway/publish", {"channel": "room", "data": "x"}),
            (f"/gateway/clients/{hub.gateway.CLIENT}/send", {"data": "x"}),
            (f"/gateway/clients/{hub.gateway.CLIENT}/disconnect", {}),
        ):
            assert (await reader.post(path, json=body)).json()["error"]["code"] == "privilege.missing"
        assert (await reader.get(f"/gateway/clients/{hub.gateway.CLIENT}")).status_code == 403


async def test_health_and_reference_need_no_sign_in(doors: DoorApp) -> None:
    async with client_of(doors, None) as anonymous:
        assert (await anonymous.get("/health")).json()["status"] == "ok"
        page = await anonymous.get("/docs")
        assert "/devices/{device_id}/exec" in page.text
        assert "http" not in page.text.replace("openapi", "").lower().split("<body>")[0]
        described = (await anonymous.get("/openapi.json")).json()
    assert f"{BASE}/devices" in described["paths"]


def test_every_route_says_what_it_answers(doors: DoorApp) -> None:
    described = doors.rest.openapi()
    for path, item in described["paths"].items():
        for method, operation in item.items():
            answers: dict[str, Any] = operation["responses"]
            assert operation["description"], (method, path)
            assert "422" not in answers
            good = [status for status in answers if status.startswith("2")]
            assert len(good) == 1, (method, path)
            if path.endswith("/v1/metrics"):
                assert list(answers[good[0]]["content"]) == ["text/plain"]
            elif good != ["204"]:
                assert answers[good[0]]["content"]["application/json"]["schema"] != {}, (method, path)
            if not path.endswith("/health"):
                assert {"400"} <= set(answers), (method, path)
