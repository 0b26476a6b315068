# SPDX-License-Identifier: Apache-2.0
"""Each route: what reaches the hub, and the exact JSON that comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.helpers import until
from tests.unit.api.conftest import BASE, client_of
from tests.unit.api.fakehub import DEVICE, NOW_US, OFFLINE, FakeHub, command
from towline.api import DoorApp
from towline.bus.base import Member
from towline.bus.memory import MemoryBus
from towline.clock import rfc3339
from towline.errors import NotFound
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


class Node:
    """A gateway node that answers, or does not."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer

    def on_call(self, sender: str, payload: bytes) -> bytes:
        if self.answer is None:
            raise NotFound("gateway.call_unknown", "a node answers no such call")
        assert payload == b"\x01status"
        return self.answer

    def on_message(self, sender: str, payload: bytes) -> None: ...

    def on_event(self, sender: str, payload: bytes) -> None: ...

    def on_joined(self, member: Member) -> None: ...

    def on_left(self, member: Member, cause: str) -> None: ...


async def test_metrics_are_for_who_may_read(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'towline_server_events_total{part="hub",event="links.opened"} 3' in lines
    assert 'towline_server_now{part="hub",name="links.sessions"} 2' in lines
    assert any(line.startswith('towline_server_events_total{part="bus",event="sent"}') for line in lines)


async def test_gateway_lists_living_nodes(client: httpx.AsyncClient, bus: MemoryBus) -> None:
    assert (await client.get("/gateway")).json() == {"nodes": []}
    info = {"version": "9", "api_server": "127.0.0.1:6789"}
    one = await bus.open("node", Node(b'{"clients":2,"links":1,"channels":0,"more":[]}'), info=info)
    two = await bus.open("node", Node(None))
    nodes = {node["id"]: node for node in (await client.get("/gateway")).json()["nodes"]}
    assert nodes[one.address] == {
        "id": one.address,
        "number": -1,
        "version": "9",
        "api_server": "127.0.0.1:6789",
        "started_at": TIME,
        "clients": 2,
        "links": 1,
        "channels": 0,
    }
    assert nodes[two.address]["clients"] is None
    await one.close()
    await two.close()


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
