# SPDX-License-Identifier: Apache-2.0
"""The port itself: heads and bodies too long or too slow, ports that are taken, settings that contradict each other."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.certificates import write_pair
from tests.helpers import until
from tests.unit.api.fakehub import DEVICE, NOW_US, FakeHub
from tests.unit.api.liveclient import LiveClient
from towline.api import DoorServer, DoorSettings, create_app
from towline.api.asgi import believe
from towline.bus.memory import MemoryBus
from towline.clock import ManualClock
from towline.errors import StartError


@pytest.fixture
async def hasty(hub: FakeHub, bus: MemoryBus) -> AsyncIterator[tuple[DoorServer, Counter[str]]]:
    """Doors that give a request a second."""
    settings = DoorSettings(port=0, request_timeout_s=0.2, max_body_bytes=4096)
    app = create_app(hub.as_hub(), bus, settings, clock=ManualClock(NOW_US))
    server = DoorServer(app.asgi, settings, app.counters)
    await app.start()
    await server.start()
    yield server, app.counters
    await server.close()
    await app.close()


async def exchange(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send the pieces; everything that comes back until the server closes."""
    answer = b""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(5):
            answer = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


async def test_a_slow_head(hasty: tuple[DoorServer, Counter[str]]) -> None:
    server, counters = hasty
    assert (await exchange(server.port, b"GET / HT")).startswith(b"HTTP/1.1 408")
    assert (await exchange(server.port)).startswith(b"HTTP/1.1 408")
    assert counters["http.head_too_slow"] == 2


async def test_a_long_head(hasty: tuple[DoorServer, Counter[str]]) -> None:
    server, counters = hasty
    pieces = [b"GET / HTTP/1.1\r\n", *[b"x-filler: " + b"y" * 8000 + b"\r\n"] * 8]
    answer = await exchange(server.port, *pieces, pause=0.005)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")  # a reset can overtake the answer
    assert counters["http.head_too_long"] == 1


async def test_a_slow_body(hasty: tuple[DoorServer, Counter[str]]) -> None:
    server, counters = hasty
    head = b"POST /api/towline/v1/session HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n"
    answer = await exchange(server.port, head + b'{"user"')
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"request.timeout"' in answer
    assert counters["http.408"] == 1


async def test_a_body_that_is_too_long(hasty: tuple[DoorServer, Counter[str]]) -> None:
    server, _ = hasty
    head = b"POST /api/towline/v1/session HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    declared = await exchange(server.port, head + b"content-length: 5000\r\n\r\n")
    assert declared.startswith(b"HTTP/1.1 413")
    chunk = b"800\r\n" + b" " * 2048 + b"\r\n"
    chunked = await exchange(server.port, head + b"transfer-encoding: chunked\r\n\r\n" + chunk * 3)
    assert chunked.startswith(b"HTTP/1.1 413")


RUBBISH = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"nonsense\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost : x\r\n\r\n",
    b"GET /socket.io-client/?EIO=4&transport=websocket HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n"
    b"connection: upgrade\r\n\r\n",
]


async def test_rubbish_is_refused(hasty: tuple[DoorServer, Counter[str]]) -> None:
    server, _ = hasty
    for rubbish in RUBBISH:
        answer = await exchange(server.port, rubbish)
        assert answer == b"" or answer.split(b" ")[1] in (b"400", b"404", b"408", b"426"), (rubbish, answer)
    healthy = b"GET /api/towline/v1/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert (await exchange(server.port, healthy)).startswith(b"HTTP/1.1 200")


async def test_closing_does_not_wait_for_the_patient(
    hasty: tuple[DoorServer, Counter[str]], hub: FakeHub, caplog: pytest.LogCaptureFixture
) -> None:
    server, _ = hasty
    live = await LiveClient.signed_in(server.url)
    path = f"{server.url}/api/towline/v1/commands/{'ab' * 20}?wait_s=30"
    async with httpx.AsyncClient(verify=False, headers={"authorization": "Bearer owner-token"}) as client:
        waiting = asyncio.create_task(client.get(path))
        await until(lambda: hub.calls)
        started = asyncio.get_running_loop().time()
        await server.close()
        assert asyncio.get_running_loop().time() - started < 1.5
        assert (await waiting).json()["state"] == "queued"
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    assert await live.closed() == 1012


async def test_closing_tells_who_waits_for_a_shell_command(
    hasty: tuple[DoorServer, Counter[str]], hub: FakeHub, caplog: pytest.LogCaptureFixture
) -> None:
    server, _ = hasty
    hub.answer_at_once = False
    live = await LiveClient.signed_in(server.url)
    await live.emit("device:cmd", {"deviceId": DEVICE, "cmd": "sleep 60"})
    await live.got("device:cmd:rpc")
    url = f"{server.url}/api/towline/v1/devices/{DEVICE}/exec"
    async with httpx.AsyncClient(headers={"authorization": "Bearer owner-token"}) as client:
        waiting = asyncio.create_task(client.post(url, json={"cmd": "sleep 60"}))
        await until(lambda: len(hub.executions) == 2)
        await server.close()
        answer = await waiting
    assert (answer.status_code, answer.json()["reason"]) == (200, "hub_closing")
    assert await live.closed() == 1012
    [reply] = live.of("device:cmd:reply")
    assert (reply["returnCode"], reply["stderr"]) == (-1, "it closes\n")
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_what_takes_too_long_at_the_end_is_told_so_in_json(
    hasty: tuple[DoorServer, Counter[str]],
    hub: FakeHub,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, _ = hasty
    asked = asyncio.Event()

    async def stuck(*_: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(hub, "list", stuck)
    async with httpx.AsyncClient(headers={"authorization": "Bearer owner-token"}) as client:
        waiting = asyncio.create_task(client.get(f"{server.url}/api/towline/v1/devices"))
        await asked.wait()
        await server.close()
        answer = await waiting
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server.closing")
    assert all(record.exc_info is None for record in caplog.records)


async def test_urls_with_odd_bytes(hasty: tuple[DoorServer, Counter[str]]) -> None:
    server, _ = hasty
    for target in (b"/api/towline/v1/devices/%00%ff%2f..", b"//", b"/%", b"/socket.io-client/?%ff=%00&EIO=\xff", b"*"):
        answer = await exchange(server.port, b"GET " + target + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert answer.split(b" ")[1] in (b"400", b"401", b"404"), (target, answer)


async def test_a_taken_port_is_one_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = DoorServer(_nothing, DoorSettings(port=other.getsockname()[1]))
        with pytest.raises(StartError, match=r"port \d+ on 127.0.0.1 is in use"):
            await server.start()
        await server.close()


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"listen": "0.0.0.0"}, "portal.tls_needed"),
        ({"listen": "::"}, "portal.tls_needed"),
        ({"certificate": "a.pem"}, "portal.tls_incomplete"),
        ({"certificate": "/nowhere/a.pem", "key": "/nowhere/b.pem"}, "portal.certificate"),
        ({"public_url": "ftp://x"}, "portal.public_url"),
        ({"public_url": "https://x/?a=1"}, "portal.public_url"),
        ({"trusted_proxies": ("10.0.0.0/99",)}, "portal.trusted_proxies"),
    ],
)
async def test_settings_that_cannot_start(settings: dict[str, Any], code: str) -> None:
    server = DoorServer(_nothing, DoorSettings(port=0, **settings))
    with pytest.raises(StartError) as caught:
        await server.start()
    assert caught.value.code == code


async def test_ipv6_and_behind_a_proxy() -> None:
    for settings in (DoorSettings(port=0, listen="::1"), DoorSettings(port=0, listen="0.0.0.0", behind_proxy=True)):
        server = DoorServer(_nothing, settings)
        await server.start()
        async with httpx.AsyncClient(verify=False) as client:
            assert (await client.get(server.url)).status_code == 200
        await server.close()


async def test_tls(tmp_path: Path) -> None:
    import ssl

    certificate, key = write_pair(tmp_path)
    server = DoorServer(_nothing, DoorSettings(port=0, certificate=str(certificate), key=str(key)))
    await server.start()
    assert server.url.startswith("https://")
    async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=str(certificate))) as client:
        assert (await client.get(server.url)).status_code == 200
    await server.close()


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::1]", "2001:db8::1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
    ],
)
def test_who_is_believed(peer: str, forwarded: str, client: str) -> None:
    scope: dict[str, Any] = {
        "type": "websocket",
        "scheme": "ws",
        "client": (peer, 1),
        "headers": [(b"x-forwarded-for", forwarded.encode()), (b"x-forwarded-proto", b"https")],
    }
    believe(scope, DoorSettings(trusted_proxies=("10.0.0.0/8",)).proxies())
    assert scope["client"][0] == client
    assert scope["scheme"] == ("ws" if peer == "192.0.2.1" else "wss")


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
