# SPDX-License-Identifier: Apache-2.0
"""The plugin port as strangers use it: real TLS and WebSocket, right and wrong inputs, slow and greedy plugins."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.helpers import until
from tests.integration.agentworld import CLOCK, GUID, KEY, RawPlugin, settings
from towline.agent.settings import OctoSettings
from towline.agent.standalone import Standalone
from towline.errors import StartError
from towline.protocols.octo.envelope import Name
from towline.protocols.octo.errors import Reason
from towline.protocols.octo.outgoing import signed
from towline.protocols.octo.signature import verify

OTHER = "b8e873a1-e5df-43a2-928a-745ff9c94dfb"


class Port:
    """A standalone agent, and what it printed."""

    def __init__(self, standalone: Standalone, shown: list[dict[str, Any]]) -> None:
        self.standalone = standalone
        self.shown = shown

    @property
    def port(self) -> int:
        return self.standalone.port

    @property
    def refused(self) -> dict[Reason, int]:
        return self.standalone.plugins.guard.refused

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.shown if one["type"] == kind]

    async def plugin(self, **changes: Any) -> RawPlugin:
        """A registered plugin."""
        count = len(self.of("declared"))
        plugin = await RawPlugin.connect(self.port, **changes)
        await plugin.register()
        await until(lambda: len(self.of("declared")) > count, what="registration")
        return plugin


def credential(path: Path, guid: str = GUID, key: str = KEY) -> Path:
    path.write_text(json.dumps({"app_guid": guid, "access_key": key}))
    return path


async def serve(tmp_path: Path, **octo: Any) -> AsyncIterator[Port]:
    shown: list[dict[str, Any]] = []
    files = [credential(tmp_path / "one.json"), credential(tmp_path / "two.json", OTHER)]
    limits = msgspec.structs.replace(OctoSettings(), **octo)
    async with Standalone(settings(tmp_path, octo=limits), CLOCK, files, shown.append) as standalone:
        yield Port(standalone, shown)


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    async for made in serve(tmp_path):
        yield made


@pytest.fixture
async def open_port(tmp_path: Path) -> AsyncIterator[Port]:
    """Without the hourly limit."""
    async for made in serve(tmp_path, calls_per_hour=0):
        yield made


async def test_registration_is_answered_with_empty_settings_signed(port: Port) -> None:
    plugin = await port.plugin()
    await plugin.wait(Name.CONFIG_UPDATE)
    (alarm,) = plugin.named(Name.ALARM_UPDATE)
    assert alarm["version"] == "1.0.0"
    assert alarm["modules"][0]["moduleName"] == "room"
    assert alarm["modules"][0]["alarms"] == []
    for message in plugin.got:
        assert "?authorization=" in message["method"]
    assert port.of("presence")[0]["online"] is True
    await plugin.close()
    await until(lambda: len(port.of("presence")) == 2, what="offline")
    assert port.of("presence")[1]["cause"] == "closed_by_plugin"


async def test_what_the_agent_signs_verifies_on_its_exact_bytes(port: Port) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with connect(f"wss://127.0.0.1:{port.port}/", ssl=context) as socket_:
        helper = RawPlugin(socket_)
        helper._task.cancel()
        await asyncio.sleep(0)
        await helper.register()
        text = await asyncio.wait_for(socket_.recv(), 5)
        assert isinstance(text, str)
        verify(text.encode(), KEY)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_every_loopback_name_and_older_tls(port: Port, host: str) -> None:
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6")
    plugin = await RawPlugin.connect(port.port, host=host)
    await plugin.register()
    await plugin.wait(Name.ALARM_UPDATE)
    await plugin.close()


def handshake(port: int, version: ssl.TLSVersion) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, context.wrap_socket(plain) as secure:
        return secure.version()


async def test_tls_1_2_works_and_1_1_does_not(port: Port) -> None:
    assert await asyncio.to_thread(handshake, port.port, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.warns(DeprecationWarning, match="TLSv1_1"), pytest.raises(OSError):
        await asyncio.to_thread(handshake, port.port, ssl.TLSVersion.TLSv1_1)


async def test_one_record_for_each_module_and_time(port: Port) -> None:
    plugin = await port.plugin()
    now = CLOCK.now_us() // 1_000_000
    samples = [
        {"name": "temperature", "value": "1.5", "time": str(now - 2)},
        {"name": "temperature", "value": 2, "time": str(now - 1)},
        {"name": "temperature", "value": "3.25", "time": str(now - 1)},
    ]
    await plugin.send(Name.METRIC, {"moduleName": "room", "metrics": samples})
    await until(lambda: len(port.of("metric")) == 3, what="records")
    assert [one["fields"]["temperature"] for one in port.of("metric")] == ["1.5", "2", "3.25"]
    await plugin.send(
        Name.ALERT,
        {
            "moduleName": "room",
            "alarms": [{"name": "hot", "action": "trigger", "time": str(now), "message": "30 degrees"}],
        },
    )
    await until(lambda: port.of("alert"), what="alert")
    assert port.of("alert")[0]["message"] == "30 degrees"
    assert plugin.errors() == []
    await plugin.close()


async def test_states_of_an_ack_and_a_command_to_its_end(port: Port) -> None:
    plugin = await port.plugin()
    command_id = port.standalone.send_command(GUID, "room", "greet", {"person": "Buzz"})
    (command,) = await plugin.wait(Name.COMMAND)
    assert command["commandId"] == command_id
    await plugin.ack(command_id, "ACCEPTED")
    await plugin.ack(command_id, "ACKED", {"x": 1}, states=[{"name": "mood", "value": "done"}])
    await until(lambda: any(one["step"] == "acked" for one in port.of("command")), what="acked")
    assert [one["step"] for one in port.of("command")] == ["received", "delivered", "accepted", "acked"]
    assert port.of("state")
    await plugin.ack(command_id, "ACKED")
    error = await plugin.refused()
    assert error["code"] == "-326000"
    await plugin.close()


async def test_the_newest_connection_of_a_plugin_wins(port: Port) -> None:
    old = await port.plugin()
    new = await port.plugin()
    await asyncio.wait_for(old.closed.wait(), 5)
    assert old.socket.close_code == 4000
    await new.metric("1")
    await until(lambda: port.of("metric"), what="metric")
    assert all(one["online"] for one in port.of("presence"))
    await new.close()
    await until(lambda: not port.of("presence")[-1]["online"], what="offline")


WRONG: list[tuple[str, str | bytes, str]] = [
    ("no JSON", "{nonsense", "-327000"),
    ("empty", "", "-327000"),
    ("binary", b"\x00\x01", "-327000"),
    ("batch", "[]", "-326000"),
    ("batch of one", '[{"jsonrpc":"2.0"}]', "-326000"),
    ("number", "42", "-326000"),
    ("no method", '{"jsonrpc":"2.0","params":{}}', "-326000"),
    ("unknown method", '{"jsonrpc":"2.0","method":"v2/notifyPluginNothing","params":{}}', "-326000"),
    ("agents' method", '{"jsonrpc":"2.0","method":"v2/notifyPluginCommand","params":{}}', "-326000"),
    ("unsigned", '{"jsonrpc":"2.0","method":"v2/notifyPluginState","params":{}}', "-326000"),
    ("v1", '{"jsonrpc":"2.0","method":"v1/notifyPluginState","params":{}}', "-326000"),
    ("too large", '{"jsonrpc":"2.0","method":"v2/notifyPluginState","params":{"x":"' + "x" * 3000 + '"}}', "-326000"),
    ("huge", '{"x":"' + "x" * 200_000 + '"}', "-326000"),
    ("deep", "[" * 50_000, "-327000"),
    ("lone surrogate", '{"a":"\\ud800"}', "-327000"),
]


@pytest.mark.parametrize(("message", "code"), [wrong[1:] for wrong in WRONG], ids=[wrong[0] for wrong in WRONG])
async def test_a_wrong_frame_gets_its_error_and_the_connection_lives(
    port: Port, message: str | bytes, code: str
) -> None:
    plugin = await port.plugin()
    await plugin.socket.send(message)
    error = await plugin.refused()
    assert error["code"] == code or (code == "-327000" and error["code"] == "-326000" and message != b"\x00\x01")
    assert error["message"]
    await plugin.metric("1")
    await until(lambda: port.of("metric"), what="metric after the error")
    assert sum(port.refused.values()) == 1
    await plugin.close()


async def test_data_before_the_registration(port: Port) -> None:
    plugin = await RawPlugin.connect(port.port)
    await plugin.metric("1")
    assert (await plugin.refused())["code"] == "-326000"
    assert port.of("metric") == []
    await plugin.register()
    await plugin.wait(Name.ALARM_UPDATE)
    await plugin.close()


async def test_signatures_times_and_replays(port: Port) -> None:
    stranger = await RawPlugin.connect(port.port, key="another-key")
    await stranger.register()
    assert "sign error" in (await stranger.refused())["message"]
    unknown = await RawPlugin.connect(port.port, guid="c8e873a1-e5df-43a2-928a-745ff9c94dfb")
    await unknown.register()
    assert (await unknown.refused())["code"] == "-326000"
    assert "give its credential with --credential" in (await unknown.refused())["message"]
    plugin = await port.plugin()
    late = plugin.sign(Name.STATE, {"moduleName": "room", "states": []}, epoch="1700000000")
    await plugin.socket.send(late)
    assert "time error" in (await plugin.refused(1))["message"]
    text = plugin.sign(Name.STATE, {"moduleName": "room", "states": []})
    await plugin.socket.send(text)
    await plugin.socket.send(text)
    await plugin.refused(2)
    assert port.refused[Reason.REPLAY] == 1
    foreign = signed(
        Name.STATE,
        {"appGUID": OTHER, "epoch": str(CLOCK.now_us() // 1_000_000), "moduleName": "room", "states": []},
        KEY,
    )
    await plugin.socket.send(foreign)
    await plugin.refused(3)
    assert port.refused[Reason.BINDING] == 1
    for one in (stranger, unknown, plugin):
        await one.close()


async def test_over_a_mebibyte_closes_with_1009(port: Port) -> None:
    plugin = await port.plugin()
    with pytest.raises(ConnectionClosed):
        await plugin.socket.send("x" * (1_048_576 + 1))
        await plugin.socket.wait_closed()
        await plugin.socket.send("more")
    await until(lambda: plugin.socket.close_code is not None, what="close")
    assert plugin.socket.close_code in (1009, 1006)
    again = await port.plugin()
    await again.close()


async def test_a_fragmented_message_is_one_and_bounded(port: Port) -> None:
    plugin = await port.plugin()
    text = plugin.sign(Name.METRIC, {"moduleName": "room", "metrics": [{"name": "temperature", "value": "7"}]})
    await plugin.socket.send([text[:50], text[50:90], text[90:]])
    await until(lambda: port.of("metric"), what="metric")
    with pytest.raises(ConnectionClosed):
        await plugin.socket.send(["x" * 300_000] * 5)
        await plugin.socket.wait_closed()
        await plugin.socket.send("more")
    assert port.standalone.plugins.server.counters["oversize"] == 1


async def test_a_flood_does_not_slow_the_others(open_port: Port) -> None:
    port = open_port
    flood, calm = await port.plugin(), await port.plugin(guid=OTHER)
    bad = '{"jsonrpc":"2.0","method":"v2/notifyPluginState?authorization=$argon2id$v=19$m=64,t=16,p=8$'
    bad += "A" * 22 + "$" + "A" * 22 + '","params":{"appGUID":"' + GUID + '","epoch":"'
    bad += str(CLOCK.now_us() // 1_000_000) + '","moduleName":"room","states":[]}}'

    async def send() -> None:
        for _ in range(1000):
            await flood.socket.send(bad)

    sending = asyncio.create_task(send())
    loop = asyncio.get_running_loop()
    slowest = 0.0
    for number in range(20):
        before = loop.time()
        await calm.metric(str(number))
        await until(lambda count=number: len(port.of("metric")) > count, 5.0, what="metric beside a flood")  # type: ignore[misc]
        slowest = max(slowest, loop.time() - before)
    await sending
    await until(lambda: len(flood.errors()) == 1000, 20.0, what="every frame answered")
    assert slowest < 0.5
    assert port.refused[Reason.SIGNATURE] == 1000
    await flood.close()
    await calm.close()


async def test_a_plugin_that_does_not_read_is_closed_and_counted(open_port: Port) -> None:
    port = open_port
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port.port, ssl=context, limit=1024, server_hostname="localhost"
    )
    writer.write(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert b"101" in await reader.readline()
    frame = b"\x81\x82\x00\x00\x00\x00{}"  # each is answered with some 100 bytes that nobody reads
    server = port.standalone.plugins.server
    try:
        async with asyncio.timeout(30):
            while not server.counters["slow"]:
                writer.write(frame * 500)
                await writer.drain()
    except ConnectionError:
        pass
    await until(lambda: server.counters["slow"] == 1, what="slow counted")
    calm = await port.plugin()
    await calm.close()
    writer.transport.abort()


async def test_five_hundred_calls_an_hour(tmp_path: Path) -> None:
    async for port in serve(tmp_path, calls_per_hour=5):
        plugin = await port.plugin()
        for number in range(6):
            await plugin.metric(str(number))
        error = await plugin.refused()
        assert (error["code"], len(port.of("metric"))) == ("-326000", 4)
        assert "calls in an hour" in error["message"]
        await plugin.close()


async def test_connections_are_counted_and_bounded(tmp_path: Path) -> None:
    async for port in serve(tmp_path, max_connections=2):
        plugins = [await RawPlugin.connect(port.port) for _ in range(2)]
        with pytest.raises(InvalidStatus):
            await RawPlugin.connect(port.port)
        for plugin in plugins:
            await plugin.close()
        server = port.standalone.plugins.server
        await until(lambda server=server: not server.connections, what="room again")  # type: ignore[misc]
        await (await port.plugin()).close()


async def test_a_taken_port_is_said(port: Port, tmp_path: Path) -> None:
    other = Standalone(settings(tmp_path, plugin_port=port.port), CLOCK, [], lambda shown: None)
    with pytest.raises(StartError, match=str(port.port)) as caught:
        await other.__aenter__()
    assert caught.value.code == "agent.plugin_port"


async def test_a_thousand_wrong_inputs_leave_it_healthy(open_port: Port) -> None:
    port = open_port
    generator = random.Random(7)
    plugin = await port.plugin()
    good = plugin.sign(Name.METRIC, {"moduleName": "room", "metrics": [{"name": "temperature", "value": "1"}]})
    sent = 0
    for number in range(1000):
        kind = generator.randrange(6)
        message: str | bytes
        if kind == 0:
            message = good[: generator.randrange(1, len(good))]
        elif kind == 1:
            at = generator.randrange(len(good))
            message = good[:at] + chr(generator.randrange(33, 126)) + good[at + 1 :]
            message = message if message != good else "{}"
        elif kind == 2:
            message = bytes(generator.randrange(256) for _ in range(generator.randrange(64)))
        elif kind == 3:
            message = json.dumps([number] * generator.randrange(5))
        elif kind == 4:
            message = json.dumps({"jsonrpc": "2.0", "method": "v2/notifyPluginState", "params": number})
        else:
            message = good.replace("temperature", "t" * generator.randrange(1, 40))
        await plugin.socket.send(message)
        sent += 1
    await until(lambda: len(plugin.errors()) == sent, 30.0, what="an error for each")
    assert sum(port.refused.values()) == sent
    assert {error["code"] for error in plugin.errors()} <= {"-326000", "-327000"}
    await plugin.metric("5")
    await until(lambda: port.of("metric"), what="still healthy")
    await plugin.close()


def raw(port: int, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        plain.sendall(data)
        plain.settimeout(0.2)
        try:
            plain.recv(100)
        except OSError:
            pass


async def test_what_is_no_tls_or_no_websocket(port: Port) -> None:
    for data in (b"", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 20, b"\x16\x03\x01\xff\xff" + bytes(100)):
        await asyncio.to_thread(raw, port.port, data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for request in (
        b"POST / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00" * 100,
        b"GET " + b"x" * 70000,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port, ssl=context, server_hostname="localhost")
        writer.write(request)
        try:
            async with asyncio.timeout(1):
                await reader.read(1000)
        except (TimeoutError, OSError):
            pass
        writer.transport.abort()
    await (await port.plugin()).close()


async def test_what_was_sent_before_a_goodbye_counts(open_port: Port) -> None:
    plugin = await open_port.plugin()
    for number in range(50):
        await plugin.metric(str(number))
    await plugin.close()
    await until(lambda: len(open_port.of("presence")) == 2, what="offline")
    assert len(open_port.of("metric")) == 50
    assert open_port.shown[-1]["type"] == "presence"


async def test_what_was_sent_before_the_plugin_came_back_counts(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    old = await port.plugin()
    command_id = port.standalone.send_command(GUID, "room", "greet", {"person": "Buzz"})
    await old.wait(Name.COMMAND)
    keys = port.standalone.plugins.keys
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(guid: str) -> str | None:
        asked.set()
        await go.wait()
        return keys.known(guid)

    with monkeypatch.context() as patch:
        patch.setattr(keys, "get", slow)
        await old.ack(command_id, "ACKED", {"x": 1})
        await old.metric("7")
        await asyncio.wait_for(asked.wait(), 5)
    new = await port.plugin()
    go.set()
    await until(lambda: any(one["step"] == "acked" for one in port.of("command")), what="acked")
    await until(lambda: port.of("metric"), what="metric")
    await new.close()


async def test_warnings_about_a_registration(port: Port, caplog: pytest.LogCaptureFixture) -> None:
    first = await port.plugin()
    with caplog.at_level("WARNING", logger="towline.agent.plugins"):
        await first.register()
        await first.register(displayName="Another name")
        await until(lambda: "with the same version 1.0.0: give it a new one" in caplog.text, what="a warning")
        second = await port.plugin(guid=OTHER)
        await until(lambda: f"plugins {GUID} and {OTHER} have the same appName" in caplog.text, what="a warning")
        assert len(caplog.records) == 2
    await first.close()
    await second.close()


async def test_an_ack_counts_even_if_its_states_cannot_be_kept(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = await port.plugin()
    command_id = port.standalone.send_command(GUID, "room", "greet", {"person": "Buzz"})
    await plugin.wait(Name.COMMAND)
    with monkeypatch.context() as patch:
        patch.setattr(port.standalone.plugins.core._outgoing, "append", lambda lane, items, **_: False)
        await plugin.ack(command_id, "ACKED", {"x": 1}, states=[{"name": "mood", "value": "done"}])
        assert (await plugin.refused())["code"] == "-320000"
    await until(lambda: any(one["step"] == "acked" for one in port.of("command")), what="acked")
    await plugin.close()
