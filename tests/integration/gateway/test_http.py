# SPDX-License-Identifier: Apache-2.0
"""The push API's HTTP: routes, limits, order, access, and what comes broken or slowly. On both event loops."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.helpers import until
from tests.integration.gateway.running import api, clients, running_node
from towline.gateway import pushapi
from towline.gateway.mesh import Outcome
from towline.gateway.node import Node
from towline.gateway.settings import UserSettings


class Raw:
    """A TCP connection to the push API; cut when its test ends."""

    made: ClassVar[list[Raw]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.made.append(self)

    @classmethod
    async def open(cls, node: Node) -> Raw:
        return cls(*await asyncio.open_connection("127.0.0.1", node.api_address[1]))

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode()
        status = int(head.split(" ", 2)[1])
        headers = dict(re.findall(r"(?m)^([A-Za-z-]+): (.*)\r$", head))
        return status, headers, await self.reader.readexactly(int(headers.get("Content-Length", 0)))

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        self.writer.write(data)
        return await self.answer()

    async def ended(self) -> bool:
        return await asyncio.wait_for(self.reader.read(1), 5) == b""


@pytest.fixture(autouse=True)
async def _cut() -> AsyncIterator[None]:
    yield
    for raw in Raw.made:
        raw.writer.transport.abort()
    Raw.made.clear()
    await asyncio.sleep(0.01)


def post(path: str, body: bytes, *headers: str, method: str = "POST") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers]).encode() + b"\r\n\r\n"


PUBLISH = post("/v1/mesh/publish", b'{"c":"x","d":"y"}')
NOBODY = b'{"E":null,"r":{"s":0,"f":0}}'


async def test_routes() -> None:
    async with running_node() as node:
        raw = await Raw.open(node)
        status, headers, body = await raw.ask(PUBLISH)
        assert (status, headers["Content-Type"], body) == (200, "application/json; charset=utf-8", NOBODY)
        assert json.loads((await raw.ask(get("/version")))[2])["apis"] == ["v1"]
        (listed,) = json.loads((await raw.ask(get("/v1/nodes?x=1")))[2])["nodes"]
        assert listed["api_server"] == f"127.0.0.1:{node.api_address[1]}"
        assert (listed["id"], listed["ip"], listed["port"]) == ("1", "127.0.0.1", node.api_address[1])
        status, headers, body = await raw.ask(get("/metrics"))
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain")
        for name in (
            b"connmix_engine_servers_clients 0.0",
            b"process_resident_memory_bytes",
            b"towline_gateway_api_requests_total",
        ):
            assert name in body
        for path, method, allow in (
            ("/v1/mesh/publish", "GET", "POST, OPTIONS"),
            ("/v1/mesh/send", "DELETE", "POST, OPTIONS"),
            ("/version", "POST", "GET, HEAD, OPTIONS"),
        ):
            status, headers, _ = await raw.ask(get(path, method=method))
            assert (status, headers["Allow"]) == (405, allow)
        assert (await raw.ask(get("/version", method="OPTIONS")))[:1] == (204,)
        for path in ("/", "/v1", "/v1/mesh/publish/", "/link/v1", "/v1/mesh/Publish"):
            status, _, body = await raw.ask(get(path))
            assert (status, json.loads(body)["error"]["code"]) == (404, "http.not_found")
        assert (await raw.ask(get("/ws/v1")))[0] == 426


async def test_pipelined_answers_come_in_order_and_bytes_may_dribble() -> None:
    async with running_node() as node:
        raw = await Raw.open(node)
        requests = [PUBLISH, get("/metrics"), post("/v1/mesh/send", b'{"c":"1","d":""}'), get("/nothing"), PUBLISH]
        raw.writer.write(b"".join(requests))
        assert [(await raw.answer())[0] for _ in requests] == [200, 200, 200, 404, 200]
        for byte in PUBLISH:
            raw.writer.write(bytes((byte,)))
            await raw.writer.drain()
        assert (await raw.answer())[2] == NOBODY
        raw.writer.write(PUBLISH * 1000)
        for _ in range(1000):
            assert (await raw.answer())[2] == NOBODY


async def test_a_refusal_waits_for_the_answers_before_it() -> None:
    async with running_node() as node:
        raw = await Raw.open(node)
        raw.writer.write(get("/metrics") + PUBLISH + b"nonsense\r\n\r\n" + PUBLISH)
        assert [(await raw.answer())[0] for _ in range(3)] == [200, 200, 400]
        assert await raw.ended()


async def test_the_answer_to_a_body_too_long_is_not_lost() -> None:
    async with running_node() as node:
        for _ in range(5):
            raw = await Raw.open(node)
            raw.writer.write(post("/v1/mesh/publish", bytes(4_000_000)))
            assert (await raw.answer())[0] == 413
            assert await raw.ended()


async def test_a_body_that_says_it_is_too_long_is_not_waited_for() -> None:
    async with running_node() as node:
        for expect in (b"", b"Expect: 100-continue\r\n"):
            raw = await Raw.open(node)
            head = b"POST /v1/mesh/publish HTTP/1.1\r\nHost: 127.0.0.1\r\n" + expect
            raw.writer.write(head + b"Content-Length: 600000000\r\n\r\n")
            assert (await raw.answer())[0] == 413
            raw.writer.write(b"x" * 100_000)
            assert await raw.ended()
        assert node.server.counters.refused["body_too_long"] == 2


async def test_keep_alive_and_close() -> None:
    async with running_node() as node:
        for data in (
            post("/v1/mesh/publish", b'{"c":"x","d":"y"}', "Connection: close"),
            b'POST /v1/mesh/publish HTTP/1.0\r\nHost: localhost\r\nContent-Length: 17\r\n\r\n{"c":"x","d":"y"}',
        ):
            raw = await Raw.open(node)
            status, headers, body = await raw.ask(data)
            assert (status, headers["Connection"], body) == (200, "close", NOBODY)
            assert await raw.ended()
        half = await Raw.open(node)
        half.writer.write(PUBLISH)
        half.writer.write_eof()
        assert (await half.answer())[2] == NOBODY
        assert await half.ended()


async def test_chunked_bodies_expectations_and_other_upgrades() -> None:
    async with running_node() as node:
        raw = await Raw.open(node)
        head = b"POST /v1/mesh/publish HTTP/1.1\r\nHost: localhost\r\n"
        raw.writer.write(head + b'Transfer-Encoding: chunked\r\n\r\n7\r\n{"c":"x\r\na\r\n","d":"y"}\r\n0\r\n\r\n')
        assert (await raw.answer())[2] == NOBODY
        raw.writer.write(head + b"Content-Length: 17\r\nExpect: 100-continue\r\n\r\n")
        assert await raw.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await raw.ask(b'{"c":"x","d":"y"}'))[2] == NOBODY
        h2c = post("/v1/mesh/publish", b'{"c":"x","d":"y"}', "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")
        raw.writer.write(h2c + PUBLISH)
        assert (await raw.answer())[2] == NOBODY
        assert (await raw.answer())[2] == NOBODY


async def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushapi, "LINGER_S", 0.05)
    limits = {"api_body_bytes": 2000, "api_header_bytes": 2000, "max_push_bytes": 100, "api_request_s": 0.4}
    async with running_node(**limits, api_keepalive_s=0.8, api_connections=2) as node:
        refused = node.server.counters.refused

        async def once(data: bytes, status: int, code: str) -> None:
            raw = await Raw.open(node)
            answer = await raw.ask(data)
            assert (answer[0], json.loads(answer[2])["error"]["code"]) == (status, code)
            assert answer[1]["Connection"] == "close"
            assert await raw.ended()
            await until(lambda: not node.server.protocols)

        await once(post("/v1/mesh/publish", b"x" * 2001), 413, "http.body_too_long")
        await once(post("/v1/mesh/publish", b"x" * 100_000), 413, "http.body_too_long")
        await once(get("/version", "X: " + "x" * 2000), 431, "http.head_too_long")
        await once(get("/" + "x" * 3000), 431, "http.head_too_long")
        await once(b"nonsense\r\n\r\n", 400, "http.bad_request")
        await once(b"\x16\x03\x01\x02\x00", 400, "http.bad_request")
        await once(get("/version")[:-2], 408, "http.slow")
        await once(post("/v1/mesh/publish", b'{"c":"x"')[:-3], 408, "http.slow")
        assert {"body_too_long", "head_too_long", "bad_request", "slow"} <= set(refused)
        too_long = json.loads(
            (await (await Raw.open(node)).ask(post("/v1/mesh/send", b'{"c":"1","d":"%b"}' % (b"x" * 101))))[2]
        )
        assert too_long["E"] == {"c": 101, "m": "invalid argument: `d` has 101 bytes, the limit is 100"}
        idle = await Raw.open(node)
        third = await Raw.open(node)
        assert (await third.answer())[0] == 503
        assert await idle.ended()
        await until(lambda: not node.server.protocols)


async def test_an_endless_head_in_pieces_is_cut_off() -> None:
    async with running_node(api_header_bytes=2000) as node:
        raw = await Raw.open(node)
        raw.writer.write(b"GET /version HTTP/1.1\r\nX: ")
        for _ in range(50):
            raw.writer.write(b"x" * 100)
            await asyncio.sleep(0)
        assert (await raw.answer())[0] == 431
        assert await raw.ended()


async def test_a_peer_that_never_reads_holds_a_bounded_amount() -> None:
    async with running_node() as node:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", node.api_address[1]))
        raw = Raw(*await asyncio.open_connection(sock=plain))
        transport: Any = raw.writer.transport
        transport.pause_reading()
        await until(lambda: node.server.protocols)
        (protocol,) = node.server.protocols
        for _ in range(1000):
            raw.writer.write(get("/nothing") * 50)
            await asyncio.sleep(0)
            if protocol._paused:
                break
        await until(lambda: protocol._paused, what="reading paused")
        assert protocol._transport.get_write_buffer_size() < 1_000_000


async def test_hosts_and_origins_of_an_open_api() -> None:
    async with running_node(origins=("https://app.example",)) as node:
        raw = await Raw.open(node)
        evil = PUBLISH.replace(b"Host: localhost", b"Host: evil.example")
        assert (await raw.ask(evil))[0] == 403
        assert (await raw.ask(post("/v1/mesh/publish", b"{}", "Origin: https://evil.example")))[0] == 403
        status, headers, _ = await raw.ask(get("/version", "Origin: https://app.example"))
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, "https://app.example")
        preflight = get("/v1/mesh/publish", "Origin: https://app.example", method="OPTIONS")
        status, headers, _ = await raw.ask(preflight)
        assert (status, headers["Access-Control-Allow-Methods"]) == (204, "GET, POST")
        with pytest.raises(InvalidStatus) as caught:
            await connect(api(node, "ws") + "/ws/v1", origin="https://evil.example")  # type: ignore[arg-type]
        assert caught.value.response.status_code == 403
        async with connect(api(node, "ws") + "/ws/v1", origin="https://app.example") as web:  # type: ignore[arg-type]
            await web.send("ping")
            assert await web.recv() == "pong"


async def test_users_and_roles() -> None:
    users = (UserSettings(username="look", password="x", roles=("read",)),)
    async with running_node(users=users) as node:
        raw = await Raw.open(node)
        status, headers, _ = await raw.ask(PUBLISH)
        assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="connmix"')
        look = "Authorization: Basic bG9vazp4"
        assert (await raw.ask(get("/version", look)))[0] == 200
        status, _, body = await raw.ask(post("/v1/mesh/publish", b'{"c":"x","d":"y"}', look))
        assert (status, json.loads(body)["error"]["code"]) == (403, "http.forbidden")
        async with connect(api(node, "ws") + "/ws/v1?username=look&password=x") as web:
            await web.send("ping")
            assert await web.recv() == "pong"
            await web.send('{"m":"mesh.publish","p":{"c":"x","d":"y"},"i":1}')
            assert json.loads(await web.recv())["E"]["c"] == 403
        with pytest.raises(InvalidStatus) as caught:
            await connect(api(node, "ws") + "/ws/v1?username=look&password=wrong")
        assert caught.value.response.status_code == 401


async def test_the_websocket_takes_fragments_binary_frames_and_bad_ones() -> None:
    async with running_node(api_body_bytes=2000) as node:
        async with connect(api(node, "ws") + "/ws/v1") as web:
            await web.send(["pi", "ng"])
            assert await web.recv() == "pong"
            await web.send(b"ping")
            assert await web.recv() == "pong"
            waiter = await web.ping(b"x")
            await asyncio.wait_for(waiter, 5)
            await web.send("\N{SNOWMAN}")
            assert json.loads(await web.recv())["E"]["c"] == 101
            await web.send("x" * 2001)
            with pytest.raises(ConnectionClosed) as caught:
                await web.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1009
        await until(lambda: not node.sockets.sockets)


async def test_empty_fragments_take_no_memory() -> None:
    async with running_node() as node, connect(api(node, "ws") + "/ws/v1") as web:

        async def parts() -> AsyncIterator[str]:
            yield "pi"
            for _ in range(200):
                yield ""
            (one,) = node.sockets.sockets
            await until(lambda: bytes(one._fragments or b"") == b"pi", what="fragments")
            yield "ng"

        await web.send(parts())
        assert await web.recv() == "pong"


async def test_a_header_given_twice_is_not_the_last_alone() -> None:
    async with running_node() as node:
        raw = await Raw.open(node)
        for twice in (["Origin: https://evil.example", "Origin: "], ["Host: evil.example"]):
            assert (await raw.ask(post("/v1/mesh/publish", b'{"c":"x","d":"y"}', *twice)))[0] == 403
        upgrade = ["Connection: keep-alive", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        assert (await raw.ask(get("/ws/v1", *upgrade, key)))[0] == 101


async def test_an_upgrade_behind_a_request_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_node() as node:
        waiting: list[Any] = []
        monkeypatch.setattr(node.mesh, "publish_then", lambda channel, data, binary, done: waiting.append(done))
        raw = await Raw.open(node)
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", key]
        raw.writer.write(PUBLISH + get("/ws/v1", *upgrade))
        await until(lambda: waiting, what="the request")
        waiting[0](Outcome(0, 0))
        assert (await raw.answer())[2] == NOBODY
        assert (await raw.answer())[0] == 400
        assert await raw.ended()


async def test_silence_on_the_websocket_and_on_clients(tmp_path: Any) -> None:
    async with running_node(api_keepalive_s=0.4, read_timeout_s=0.4, entry="builtin:echo") as node:
        async with connect(api(node, "ws") + "/ws/v1", ping_interval=None) as web:
            with pytest.raises(ConnectionClosed) as caught:
                await asyncio.wait_for(web.recv(), 5)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 3002
        async with (
            connect(clients(node), ping_interval=0.1) as lively,
            connect(clients(node), ping_interval=None) as quiet,
        ):
            with pytest.raises(ConnectionClosed) as caught:
                await asyncio.wait_for(quiet.recv(), 5)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 3002
            await lively.send("still here")
            assert await lively.recv() == "still here"


async def test_closing_a_node_tells_everybody() -> None:
    async with (
        running_node(entry="builtin:echo") as node,
        connect(clients(node)) as client,
        connect(api(node, "ws") + "/ws/v1") as back_end,
    ):
        idle = await Raw.open(node)
        await until(lambda: node.server.protocols and node.realm.connections)
        closing = asyncio.ensure_future(node.close())
        for web in (client, back_end):
            with pytest.raises(ConnectionClosed) as caught:
                await asyncio.wait_for(web.recv(), 5)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 3000
        assert await idle.ended()
        await asyncio.wait_for(closing, 5)
