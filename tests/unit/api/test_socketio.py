# SPDX-License-Identifier: Apache-2.0
"""The live door over a real WebSocket: signing in, the published requests and notices, and ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.helpers import until
from tests.unit.api.fakehub import DEVICE, NOW_US, OFFLINE, FakeHub, command
from tests.unit.api.liveclient import LiveClient
from towline.api import DoorApp, DoorServer, DoorSettings, create_app
from towline.api.socketio import door, guard
from towline.bus.memory import MemoryBus
from towline.clock import ManualClock, rfc3339
from towline.hub import events as happenings
from towline.hub.events import Happening, StoredRecord
from towline.hub.views import ExecResult

Announce = Callable[[Happening], None]


# Signing in --------------------------------------------------------------------------------------------------------


async def test_signing_in_by_query_as_published(served: str, doors: DoorApp, hub: FakeHub) -> None:
    client = await LiveClient.signed_in(served)
    assert len(doors.live) == 1
    assert hub.users.verified == [("owner-token", "127.0.0.1")]
    await client.close()
    await until(lambda: len(doors.live) == 0)


async def test_signing_in_by_auth_keeps_the_token_out_of_the_url(served: str) -> None:
    client = await LiveClient.open(served, None, None)
    await client.sign_in({"token": "owner-token", "orgName": "acme"})
    await client.close()


@pytest.mark.parametrize(
    ("token", "workgroup", "code"),
    [
        (None, "acme", "auth.required"),
        ("owner-token", None, "auth.workgroup"),
        ("owner-token", "other", "auth.workgroup"),
        ("wrong", "acme", "token.invalid"),
    ],
)
async def test_refusals_carry_data(served: str, token: str | None, workgroup: str | None, code: str) -> None:
    client = await LiveClient.open(served, token, workgroup)
    await client.raw("40")
    await until(lambda: client.refused is not None)
    assert client.refused["data"]["code"] == code
    assert client.refused["message"] == client.refused["data"]["message"]
    await client.close()


async def test_another_namespace_is_refused(served: str) -> None:
    client = await LiveClient.open(served)
    await client.raw("40/admin,")
    await until(lambda: client.refused is None)
    await client.close()


async def test_a_client_is_told_a_heartbeat_that_keeps_the_promise_about_presence(served: str) -> None:
    url = served.replace("http", "ws", 1) + "/socket.io-client/?EIO=4&transport=websocket"
    async with connect(url, proxy=None) as client:
        opening = json.loads(str(await client.recv())[1:])
    patience_of_the_page = 1500
    assert opening["pingInterval"] + opening["pingTimeout"] + patience_of_the_page < 20_000


async def test_an_older_engine_is_told_so_in_its_own_words(served: str, doors: DoorApp) -> None:
    url = served.replace("http", "ws", 1) + "/socket.io-client/?EIO=3&transport=websocket&token=x&orgName=acme"
    async with connect(url, proxy=None) as old:
        assert str(await old.recv()).startswith("0{")
        refusal = str(await old.recv())
    assert refusal.startswith("44")
    assert "Engine.IO 4" in json.loads(refusal[2:])
    assert doors.counters["live.refused_version"] == 1


async def test_polling_is_refused_with_a_reason(served: str) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{served}/socket.io-client/?EIO=4&transport=polling")
        assert answer.status_code == 400
        assert "websocket" in answer.json()["message"]
        answer = await http.post(f"{served}/socket.io-client/?EIO=3&transport=polling", content=b"x")
        assert "Engine.IO 4" in answer.json()["message"]


async def test_a_query_of_many_fields_is_refused(served: str, doors: DoorApp) -> None:
    query = "&".join(f"f{n}=1" for n in range(40))
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{served}/socket.io-client/?{query}")
    assert answer.status_code == 400
    assert "32 fields" in answer.json()["message"]
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{served.replace('http', 'ws', 1)}/socket.io-client/?{query}", proxy=None):
            pass
    assert refused.value.response.status_code == 403
    assert doors.counters["live.refused_query"] == 2


async def test_a_connection_that_does_not_sign_in_is_closed(
    served: str, doors: DoorApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "SIGN_IN_SECONDS", 0.05)
    client = await LiveClient.open(served)
    assert await client.closed() == 4408
    assert doors.counters["live.sign_in_timeout"] == 1


async def test_no_more_connections_than_allowed(hub: FakeHub, bus: MemoryBus) -> None:
    settings = DoorSettings(port=0, max_sockets=1)
    app = create_app(hub.as_hub(), bus, settings, clock=ManualClock(NOW_US))
    server = DoorServer(app.asgi, settings, app.counters)
    await app.start()
    await server.start()
    client = await LiveClient.signed_in(server.url)
    with pytest.raises(Exception, match="403"):
        await LiveClient.open(server.url)
    await client.close()
    await until(lambda: len(app.live) == 0)
    second = await LiveClient.signed_in(server.url)
    await second.close()
    await server.close()
    await app.close()


async def test_a_token_that_ends_closes_its_connections(
    served: str, doors: DoorApp, announcer: Announce, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "CLOSE_GRACE_SECONDS", 0.05)
    mine = await LiveClient.signed_in(served, "owner-token")
    other = await LiveClient.signed_in(served, "operator-token")
    announcer(happenings.TokenEnded(workgroup="acme", jti="owner-token"))
    await until(lambda: mine.signed_out)
    assert await mine.closed() == 4401
    assert len(doors.live) == 1
    late = await LiveClient.open(served, "owner-token")
    await late.raw("40")
    await until(lambda: late.refused is not None)
    assert late.refused["data"]["code"] == "token.revoked"
    await late.close()
    await other.close()


async def test_lost_privileges_close_connections(served: str, doors: DoorApp, announcer: Announce) -> None:
    mine = await LiveClient.signed_in(served, "operator-token")
    announcer(happenings.AccessChanged(workgroup="acme", user_id="somebody-else"))
    announcer(happenings.AccessChanged(workgroup="acme", user_id="u-1"))
    assert await mine.closed() == 4403
    assert doors.counters["live.access_changed"] == 1


async def test_a_token_that_expires_closes_its_connections(served: str, doors: DoorApp, hub: FakeHub) -> None:
    hub.users.expires_us = NOW_US + 50_000
    client = await LiveClient.signed_in(served)
    await until(lambda: client.signed_out)
    assert doors.counters["live.token_expired"] == 1
    await client.close()


# device:cmd --------------------------------------------------------------------------------------------------------


async def test_cmd_with_exact_keys(served: str, hub: FakeHub) -> None:
    client = await LiveClient.signed_in(served)
    await client.emit("device:cmd", {"deviceId": DEVICE, "cmd": "uptime"})
    await client.got("device:cmd:reply")
    assert client.events == [
        ("device:cmd:rpc", {"correlationId": "c-0"}),
        ("device:cmd:reply", {"stdout": "uptime\n", "stderr": "", "returnCode": 0, "correlationId": "c-0"}),
    ]
    await client.close()


async def test_concurrent_request_ids_are_matched(served: str, hub: FakeHub) -> None:
    hub.answer_at_once = False
    client = await LiveClient.signed_in(served)
    for number in range(5):
        await client.emit("device:cmd", {"deviceId": DEVICE, "cmd": f"echo {number}", "requestId": f"r-{number}"})
    accepted = await client.got("device:cmd:rpc", 5)
    assert [(body["requestId"], body["correlationId"]) for body in accepted] == [(f"r-{n}", f"c-{n}") for n in range(5)]
    for execution in reversed(hub.executions):
        execution.future.set_result(ExecResult(stdout=execution.correlation_id, stderr="", return_code=0))
    replies = await client.got("device:cmd:reply", 5)
    assert {(body["requestId"], body["stdout"]) for body in replies} == {(f"r-{n}", f"c-{n}") for n in range(5)}
    await client.close()


@pytest.mark.parametrize(
    ("token", "device", "word"),
    [
        ("reader-token", DEVICE, "control_devices"),
        ("owner-token", "nowhere", "no device"),
        ("owner-token", OFFLINE, "offline"),
    ],
)
async def test_refused_cmd_has_an_error_and_no_reply(
    served: str, hub: FakeHub, token: str, device: str, word: str
) -> None:
    client = await LiveClient.signed_in(served, token)
    await client.emit("device:cmd", {"deviceId": device, "cmd": "uptime", "requestId": "r"})
    (body,) = await client.got("device:cmd:rpc")
    assert set(body) == {"error", "requestId"}
    assert set(body["error"]) == {"message"}
    assert word in body["error"]["message"]
    assert await client.ask("towline:unwatch", {"deviceId": DEVICE}) == {"ok": True}
    assert client.of("device:cmd:reply") == []
    await client.close()


async def test_a_device_lost_in_mid_command_gives_its_reply_with_the_reason(served: str, hub: FakeHub) -> None:
    hub.answer_at_once = False
    client = await LiveClient.signed_in(served)
    await client.emit("device:cmd", {"deviceId": DEVICE, "cmd": "sleep 99"})
    await client.got("device:cmd:rpc")
    hub.executions[0].future.set_result(
        ExecResult(stdout="half", stderr="warned", return_code=-1, reason="silent", message="the device went offline")
    )
    (body,) = await client.got("device:cmd:reply")
    assert body == {
        "stdout": "half",
        "stderr": "warned\nthe device went offline\n",
        "returnCode": -1,
        "correlationId": "c-0",
    }
    await client.close()


async def test_too_many_commands_at_once(hub: FakeHub, bus: MemoryBus) -> None:
    settings = DoorSettings(port=0, socket_requests=2)
    app = create_app(hub.as_hub(), bus, settings, clock=ManualClock(NOW_US))
    server = DoorServer(app.asgi, settings, app.counters)
    await app.start()
    await server.start()
    hub.answer_at_once = False
    client = await LiveClient.signed_in(server.url)
    for _ in range(3):
        await client.emit("device:cmd", {"deviceId": DEVICE, "cmd": "sleep 9"})
    third = (await client.got("device:cmd:rpc", 3))[2]
    assert "still running" in third["error"]["message"]
    await client.close()
    await server.close()
    await app.close()


WRONG: list[list[Any]] = [
    [],
    [None],
    ["text"],
    [5],
    [[]],
    [{}],
    [{"deviceId": DEVICE}],
    [{"deviceId": 5, "cmd": "x"}],
    [{"deviceId": DEVICE, "cmd": ""}],
    [{"deviceId": DEVICE, "cmd": ["x"]}],
    [{"deviceId": DEVICE, "cmd": "x" * 20_000}],
    [{"deviceId": DEVICE, "cmd": "a\0b"}],
    [{"deviceId": DEVICE, "cmd": "x", "requestId": 5}],
    [{"deviceId": DEVICE, "cmd": "x", "requestId": "r" * 200}],
    [{"deviceId": DEVICE, "cmd": "x"}, "extra"],
    [{"deviceId": "\ud800", "cmd": "x"}],
]


async def test_wrong_arguments_are_answered_and_counted(served: str, doors: DoorApp, hub: FakeHub) -> None:
    client = await LiveClient.signed_in(served)
    for number, args in enumerate(WRONG, 1):
        await client.emit("device:cmd", *args)
        bodies = await client.got("device:cmd:rpc", number)
        assert set(bodies[-1]["error"]) == {"message"}, args
        assert "requestId" not in bodies[-1]
    assert client.of("device:cmd:reply") == []
    assert hub.executions == []
    counted = doors.counters["live.error.request.invalid"] + doors.counters["live.error.device.unknown"]
    assert counted == len(WRONG)
    await client.close()


async def test_binary_arguments_are_answered(served: str) -> None:
    client = await LiveClient.signed_in(served)
    placeholder = {"_placeholder": True, "num": 0}
    await client.raw("451-" + json.dumps(["device:cmd", {"deviceId": DEVICE, "cmd": placeholder}]))
    await client.raw(b"uptime")
    (body,) = await client.got("device:cmd:rpc")
    assert body["error"]["message"] == "cmd must be a string, not binary data"
    await client.close()


# What is not there yet, in its proper shape -----------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["device:testConfig", "device:applyConfig", "device:applyYamlConfig"])
async def test_configuration_is_not_there_yet(served: str, event: str) -> None:
    client = await LiveClient.signed_in(served)
    await client.emit(event, {"deviceId": DEVICE, "config": {}, "requestId": "r"})
    (body,) = await client.got(f"{event}:rpc")
    assert body == {"result": "error", "error": {"message": "not available in this version"}, "requestId": "r"}
    await client.close()


@pytest.mark.parametrize("event", ["device:refreshMeta", "device:sendArdexactl", "device:sendArdpkg"])
async def test_others_are_not_there_yet(served: str, event: str) -> None:
    client = await LiveClient.signed_in(served)
    await client.emit(event, {"deviceId": DEVICE})
    (body,) = await client.got(f"{event}:rpc")
    assert body == {"error": {"message": "not available in this version"}}
    await client.close()


async def test_upgrade_keeps_its_plain_string(served: str) -> None:
    client = await LiveClient.signed_in(served)
    await client.emit("device:doUpgrade", {"deviceId": DEVICE, "requestId": "r"})
    (body,) = await client.got("device:doUpgrade:reply")
    assert body == {"error": "not available in this version", "requestId": "r"}
    await client.close()


async def test_unknown_events(served: str, doors: DoorApp) -> None:
    client = await LiveClient.signed_in(served)
    assert (await client.ask("device:explode", {}))["error"]["code"] == "event.unknown"
    assert doors.counters["live.unknown_event"] == 1
    await client.close()


# Notices -----------------------------------------------------------------------------------------------------------


def presence(state: str, online: bool, workgroup: str = "acme") -> happenings.DevicePresence:
    return happenings.DevicePresence(
        workgroup=workgroup,
        device_id=DEVICE,
        online=online,
        state=state,
        cause="silent",
        cause_text="the link was silent",
        since_us=NOW_US,
    )


async def test_notices_have_exact_keys(served: str, announcer: Announce) -> None:
    client = await LiveClient.signed_in(served, "reader-token")
    name = f"CN={DEVICE},O=acme"
    announcer(presence("offline", False, workgroup="other"))
    announcer(happenings.DeviceNew(workgroup="acme", device_id=DEVICE, name="x"))
    announcer(presence("online", True))
    announcer(presence("verifying", False))
    announcer(happenings.MetaChange(workgroup="acme", device_id=DEVICE))
    await client.got("device:metaChange")
    when = rfc3339(NOW_US)
    shown = {"since": when, "cause": "silent", "cause_text": "the link was silent"}
    assert client.events == [
        ("device:new", {"id": DEVICE, "cn": name, "online": False}),
        ("towline:device", {"deviceId": DEVICE}),
        ("towline:presence", {"deviceId": DEVICE, "presence": {"state": "online", **shown}}),
        ("device:stateChange", {"cn": name, "vhost": "acme", "online": True}),
        ("towline:presence", {"deviceId": DEVICE, "presence": {"state": "verifying", **shown}}),
        ("device:metaChange", {"id": DEVICE}),
    ]
    await client.close()


def stored(source: str = "cpu", number: int = 41) -> happenings.RecordsStored:
    record = StoredRecord(
        message_id=number,
        kind="metric",
        table="host",
        source=source,
        event_time_us=NOW_US,
        fields={"used": ("d", "12.50"), "cores": 4, "name": "a", "ok": True, "none": None},
    )
    return happenings.RecordsStored(
        workgroup="acme", device_id=DEVICE, first_message_id=number, store_time_us=NOW_US, records=[record]
    )


async def test_watching_a_device(served: str, announcer: Announce) -> None:
    client = await LiveClient.signed_in(served)
    other = await LiveClient.signed_in(served)
    assert await client.ask("towline:watch", {"deviceId": DEVICE}) == {"ok": True}
    announcer(stored())
    announcer(
        happenings.StatesChanged(
            workgroup="acme",
            device_id=DEVICE,
            states=[
                happenings.ChangedState(
                    app_guid="g", table="hello", source="main", name="mood", value='"fine"', time_us=NOW_US
                )
            ],
        )
    )
    announcer(happenings.Declared(workgroup="acme", device_id=DEVICE, app_guid="g", app_name="hello", version="1"))
    announcer(happenings.CommandChanged(workgroup="acme", device_id=DEVICE, command=command(state="acked", final=True)))
    announcer(
        happenings.AlertRaised(
            workgroup="acme", device_id=DEVICE, app_guid="g", table="t", source="s", name="n",
            action="trigger", message="hot", time_us=NOW_US,
        )
    )  # fmt: skip
    await client.got("towline:alert")
    assert client.of("towline:records") == [
        {
            "deviceId": DEVICE,
            "records": [
                {
                    "kind": "metric",
                    "table": "host",
                    "source": "cpu",
                    "time": NOW_US // 1000,
                    "message_id": 41,
                    "fields": {"used": 12.5, "cores": 4, "name": "a", "ok": True, "none": None},
                }
            ],
        }
    ]
    assert client.of("towline:states")[0]["states"][0]["value"] == "fine"
    assert client.of("towline:plugins") == [{"deviceId": DEVICE}]
    assert client.of("towline:command")[0]["command"]["state"] == "acked"
    assert await client.ask("towline:unwatch", {"deviceId": DEVICE}) == {"ok": True}
    announcer(stored())
    assert await client.ask("towline:unwatch", {"deviceId": DEVICE}) == {"ok": True}
    assert len(client.of("towline:records")) == 1
    assert other.events == []
    await client.close()
    await other.close()


async def test_a_deep_state_stays_text(served: str, announcer: Announce) -> None:
    client = await LiveClient.signed_in(served)
    assert await client.ask("towline:watch", {"deviceId": DEVICE}) == {"ok": True}
    deep = "[" * 900 + "]" * 900
    state = happenings.ChangedState(app_guid="g", table="hello", source="main", name="mood", value=deep, time_us=NOW_US)
    announcer(happenings.StatesChanged(workgroup="acme", device_id=DEVICE, states=[state]))
    [body] = await client.got("towline:states")
    assert body["states"][0]["value"] == deep
    await client.close()


async def test_watching_needs_a_known_device(served: str) -> None:
    client = await LiveClient.signed_in(served)
    assert (await client.ask("towline:watch", {"deviceId": "nowhere"}))["error"]["code"] == "device.unknown"
    assert (await client.ask("towline:watch"))["error"]["code"] == "request.invalid"
    await client.close()


# Feeds -------------------------------------------------------------------------------------------------------------


async def test_feeds(served: str, announcer: Announce) -> None:
    client = await LiveClient.signed_in(served, "operator-token")
    wanted = {"deviceId": DEVICE, "table": "host", "source": "cpu"}
    await client.emit("device:feed", {**wanted, "field": "used", "requestId": "r-1"})
    await client.emit("device:feed", wanted)
    one, all_of_it = await client.got("device:feed:rpc", 2)
    assert set(one) == {"feedId", "requestId"}
    assert set(all_of_it) == {"feedId"}
    announcer(stored("disk", 40))
    announcer(stored("cpu", 41))
    first, second = await client.got("device:feed:reply", 2)
    common = {
        "event_time": rfc3339(NOW_US),
        "table": "host",
        "source": "cpu",
        "device": DEVICE,
        "messageId": "41",
    }
    assert first == {**common, "feedId": one["feedId"], "value": 12.5, "requestId": "r-1"}
    assert second == {**common, "feedId": all_of_it["feedId"], "value": [12.5, 4, "a", True, None]}
    await client.emit("device:feed:stop", {"feedId": one["feedId"]})
    assert await client.got("device:feed:stop:rpc") == [{"complete": True}]
    announcer(stored("cpu", 42))
    assert (await client.got("device:feed:reply", 3))[2]["feedId"] == all_of_it["feedId"]
    await client.emit("device:feed:stopAll")
    assert await client.got("device:feed:stopAll:rpc") == [{"complete": True}]
    announcer(stored("cpu", 43))
    await client.emit("device:feed:stop", {"feedId": one["feedId"]})
    assert "error" in (await client.got("device:feed:stop:rpc", 2))[1]
    assert len(client.of("device:feed:reply")) == 3
    await client.close()


async def test_feeds_need_control_devices(served: str) -> None:
    client = await LiveClient.signed_in(served, "reader-token")
    await client.emit("device:feed", {"deviceId": DEVICE, "table": "host", "source": "cpu"})
    (body,) = await client.got("device:feed:rpc")
    assert "control_devices" in body["error"]["message"]
    await client.close()


# Slow and broken clients -------------------------------------------------------------------------------------------


async def test_a_slow_viewer_loses_live_data_and_then_the_line(
    hub: FakeHub, bus: MemoryBus, announcer: Announce
) -> None:
    settings = msgspec.structs.replace(DoorSettings(port=0), socket_outbox_bytes=65_536)
    app = create_app(hub.as_hub(), bus, settings, clock=ManualClock(NOW_US))
    server = DoorServer(app.asgi, settings, app.counters)
    await app.start()
    await server.start()
    slow = await LiveClient.signed_in(server.url)
    quick = await LiveClient.signed_in(server.url)
    for client in (slow, quick):
        assert await client.ask("towline:watch", {"deviceId": DEVICE}) == {"ok": True}
    slow.websocket.transport.pause_reading()
    big = StoredRecord(
        message_id=1, kind="log", table="t", source="s", event_time_us=NOW_US, fields={"text": "x" * 30_000}
    )
    batch = happenings.RecordsStored(
        workgroup="acme", device_id=DEVICE, first_message_id=1, store_time_us=NOW_US, records=[big]
    )
    sent = 0
    while app.counters["live.left_out_slow"] == 0:
        announcer(batch)
        sent += 1
        await quick.got("towline:records", sent)
        assert sent < 5000
    long = happenings.AlertRaised(
        workgroup="acme", device_id=DEVICE, app_guid="g", table="t", source="s", name="n", action="trigger",
        message="m" * 20_000, time_us=NOW_US,
    )  # fmt: skip
    alerts = 0
    while app.counters["live.closed_slow"] == 0:
        announcer(long)
        alerts += 1
        await quick.got("towline:alert", alerts)
        assert alerts < 50
    await until(lambda: len(app.live) == 1)
    slow.websocket.transport.abort()
    await slow.closed()
    await quick.close()
    await server.close()
    await app.close()


GARBAGE: list[str | bytes] = [
    b"binary out of place",
    "",
    "9",
    "4",
    "42",
    "42{}",
    "42[]",
    "42[5]",
    '42["connect"]',
    '42["disconnect"]',
    '42["*"]',
    "42not json",
    '42/admin,["device:cmd"]',
    "42" + "[" * 100_000,
    '42["a",' + "[" * 100 + "]" * 100 + "]",
    "40",
    "40[]",
    '45["x"]',
    '459-["x"]',
    '451-["x",{"_placeholder":true,"num":7}]',
    '451-["x",{"_placeholder":true,"num":"0"}]',
    '4599999999999-["x"]',
    "46",
    "44{}",
    "b4AAAA",
    "42" + "1" * 50 + '["x"]',
]


async def test_malformed_frames_close_the_connection_and_are_counted(served: str, doors: DoorApp) -> None:
    for number, frame in enumerate(GARBAGE, 1):
        client = await LiveClient.signed_in(served)
        await client.raw(frame)
        assert await client.closed() == 1008, frame
        assert doors.counters["live.malformed"] == number
    await until(lambda: len(doors.live) == 0)


@pytest.mark.parametrize("frame", ["2probe", "5", "6", "430[]"])
async def test_meaningless_frames_are_left_out(served: str, doors: DoorApp, frame: str) -> None:
    client = await LiveClient.signed_in(served)
    await client.raw(frame)
    assert await client.ask("towline:unwatch", {"deviceId": DEVICE}) == {"ok": True}
    assert doors.counters["live.left_out"] == 1
    await client.close()


async def test_a_huge_frame_is_closed_with_1009(served: str) -> None:
    client = await LiveClient.signed_in(served)
    await client.raw("42" + "x" * 1_100_000)
    assert await client.closed() == 1009


async def test_other_websocket_paths_are_refused(served: str) -> None:
    with pytest.raises(Exception, match="403"):
        await connect(served.replace("http", "ws", 1) + "/elsewhere", proxy=None)


async def test_signing_out_and_in_again_on_one_connection(served: str, doors: DoorApp) -> None:
    client = await LiveClient.signed_in(served)
    await client.raw("41")
    await until(lambda: len(doors.live) == 0)
    client.connected.clear()
    await client.sign_in()
    assert len(doors.live) == 1
    await client.close()


async def test_closing_the_doors_ends_connections(served: str, doors: DoorApp) -> None:
    client = await LiveClient.signed_in(served)
    await doors.live.close()
    assert await client.closed() == 1012


async def test_under_a_path_prefix(hub: FakeHub, bus: MemoryBus) -> None:
    settings = DoorSettings(port=0, public_url="http://example.org/towline")
    app = create_app(hub.as_hub(), bus, settings, clock=ManualClock(NOW_US))
    server = DoorServer(app.asgi, settings, app.counters)
    await app.start()
    await server.start()
    for url in (server.url + "/towline", server.url):
        client = await LiveClient.signed_in(url)
        assert await client.ask("towline:watch", {"deviceId": DEVICE}) == {"ok": True}
        await client.close()
    await server.close()
    await app.close()
