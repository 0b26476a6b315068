# SPDX-License-Identifier: Apache-2.0
"""Scripted dialogues of the connmix API, played against a running ``towline gateway`` over real sockets.

The tables are the documented protocol (docs/protocols/connmix.md): requests byte for byte, answers byte for byte. Where an
answer's text is ours, it is held to its code and the documented words that it begins with.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.dialogues import ANSWERS, ERRORS, ROUTES, SENT, WORDS, WRONG, Route
from tests.integration.gatewayprocess import GatewayProcess
from tests.integration.wrong.wire import BINARY, CONT, PING, PONG, TEXT, Gone, Reply, Wire, encode

ENTRY = """
import json

def on_handshake(conn, handshake):
    conn.subscribe("news")
    conn.send(conn.id)

def on_message(conn, message):
    word, _, rest = message.data.partition(" ")
    if word == "push":
        topic, _, data = rest.partition(" ")
        conn.queue.push(topic, json.loads(data))
    elif word == "context":
        conn.send(json.dumps(conn.context(), sort_keys=True))
"""

SETTINGS = """
gateway:
  api_listen: 127.0.0.1:{api}
  clients_listen: 127.0.0.1:{clients}
  entry: entry.py
  listeners:
    - { listen: "127.0.0.1:{forward}", path: /in, entry: "builtin:forward:in" }
  queue: { max_topics: 20 }
  api_body_bytes: 400000
"""

USERS = """\
  users:
    - { username: all, password: "p:a ss", host: "127.*.*.*" }
    - { username: look, password: look, roles: [read] }
    - { username: act, password: act, roles: [write] }
    - { username: far, password: far, host: "10.0.*.*" }
"""

NOWHERE = "1463819408261513216"


class Node(GatewayProcess):
    """The process, and who talks to it."""

    def __init__(self, folder: Path, users: str = "") -> None:
        (folder / "entry.py").write_text(ENTRY)
        super().__init__(folder, SETTINGS + users, "forward")
        self.api, self.clients, self.forward = (self.ports[name] for name in ("api", "clients", "forward"))

    def client(self) -> Client:
        return Client(self.clients, "/")

    def back_end(self, query: str = "") -> Wire:
        wire = Wire(self.api)
        reply = wire.upgrade("/ws/v1" + query, self.api)
        assert reply.status == 101, reply
        return wire

    def ask(self, method: str, path: str, body: bytes | None = None, *headers: str) -> Reply:
        """One request on a connection of its own."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.api}", *headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        with Wire(self.api) as wire:
            wire.send(("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b""))
            return wire.reply(head_only=method == "HEAD")


class Client(Wire):
    """A client whose entry told it its id."""

    def __enter__(self) -> Client:
        return self

    def __init__(self, port: int, path: str) -> None:
        super().__init__(port)
        assert self.upgrade(path, port).status == 101
        self.id = self.text()

    def context(self) -> Any:
        self.send(encode(TEXT, b"context"))
        return json.loads(self.text())


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(tmp_path_factory.mktemp("connmix"))
    try:
        yield made
        made.stop()
    finally:
        made.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(tmp_path_factory.mktemp("guarded"), USERS)
    try:
        yield made
        made.stop()
    finally:
        made.close()


@pytest.fixture
def client(node: Node) -> Iterator[Client]:
    made = node.client()
    yield made
    made.close()


def ask(wire: Wire, text: str) -> str:
    wire.send(encode(TEXT, text.encode()))
    return wire.text()


# HTTP: POST /v1/mesh/send and /v1/mesh/publish. CLIENT stands for the id of a connected client.

DONE = '{"E":null,"r":{"s":true}}'


@pytest.mark.parametrize(("body", "opcode", "payload"), SENT)
def test_send_by_http(node: Node, client: Client, body: str, opcode: int, payload: bytes) -> None:
    reply = node.ask("POST", "/v1/mesh/send", body.replace("CLIENT", client.id).encode())
    assert (reply.status, reply.body.decode()) == (200, DONE)
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    frame = client.frame()
    assert (frame.opcode, frame.payload) == (opcode, payload)


@pytest.mark.parametrize(("body", "opcode", "payload"), SENT)
def test_publish_by_http(node: Node, client: Client, body: str, opcode: int, payload: bytes) -> None:
    with node.client() as second:
        text = body.replace('"CLIENT"', '"news"').replace("CLIENT", '"news"')
        reply = node.ask("POST", "/v1/mesh/publish", text.encode(), "Content-Type: text/plain")
        assert (reply.status, reply.body.decode()) == (200, '{"E":null,"r":{"s":2,"f":0}}')
        for one in (client, second):
            frame = one.frame()
            assert (frame.opcode, frame.payload) == (opcode, payload)


@pytest.mark.parametrize("channel", ['"nobody"', '"with space"', "12345", '"é"', '"a.>*"'])
def test_a_channel_without_subscribers_is_no_error(node: Node, channel: str) -> None:
    reply = node.ask("POST", "/v1/mesh/publish", f'{{"c":{channel},"d":"x","t":"text"}}'.encode())
    assert (reply.status, reply.body) == (200, b'{"E":null,"r":{"s":0,"f":0}}')


@pytest.mark.parametrize("body", WRONG, ids=[body[:40] for body in WRONG])
@pytest.mark.parametrize("path", ["/v1/mesh/send", "/v1/mesh/publish"])
def test_invalid_arguments_by_http(node: Node, path: str, body: str) -> None:
    reply = node.ask("POST", path, body.encode())
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json; charset=utf-8")
    assert re.fullmatch(r'\{"E":\{"c":101,"m":"invalid argument: [^\n]+"\}\}', reply.body.decode()), reply
    assert len(reply.body) < 300


@pytest.mark.parametrize(
    "who", [f'"{NOWHERE}"', NOWHERE, '"abc"', "0", "-1", "18446744073709551615", '"news"', '"99999999999999999999999"']
)
def test_a_client_that_is_nowhere(node: Node, who: str) -> None:
    reply = node.ask("POST", "/v1/mesh/send", f'{{"c":{who},"d":"x"}}'.encode())
    assert reply.status == 200
    assert re.fullmatch(r'\{"E":\{"c":401,"m":"failed to send: [^\n]+"\}\}', reply.body.decode()), reply


@pytest.mark.parametrize("route", ROUTES, ids=[f"{route.method} {route.path}" for route in ROUTES])
def test_paths_and_methods(node: Node, route: Route) -> None:
    reply = node.ask(route.method, route.path, b"" if route.method in ("POST", "PUT", "PATCH") else None)
    assert reply.status == route.status, reply
    if route.allow:
        assert route.allow in reply.headers["allow"].split(", ")
    if route.status >= 400 and route.method != "HEAD":
        assert set(reply.json()) == {"error"}
        assert reply.json()["error"]["code"].startswith("http.")


def test_a_body_over_the_limit(node: Node) -> None:
    reply = node.ask("POST", "/v1/mesh/publish", b'{"c":"x","d":"' + b"x" * 400_000 + b'"}')
    assert reply.status == 413


def test_version_and_nodes(node: Node) -> None:
    version = node.ask("GET", "/version").json()
    assert version["apis"] == version["api"] == ["v1"]
    (listed,) = node.ask("GET", "/v1/nodes").json()["nodes"]
    assert listed["id"].isdigit()
    assert listed["api_server"] == f"127.0.0.1:{node.api}"
    assert (listed["host"], listed["ip"], listed["port"]) == (listed["api_server"], "127.0.0.1", node.api)


def test_metrics(node: Node, client: Client) -> None:
    reply = node.ask("GET", "/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    text = reply.body.decode()
    assert "\nconnmix_engine_servers_clients 1.0\n" in text
    for name in ("read_messages_total", "send_messages_total", "send_errors_total"):
        assert re.search(rf'(?m)^connmix_engine_servers_{name}\{{protocol="websocket"\}} \d', text), name


# The socket: requests with their exact answers. CLIENT as above.

NOTHING = '"r":{"s":0,"f":0}'


@pytest.mark.parametrize(("request_", "answer"), ANSWERS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_requests_and_their_answers(node: Node, client: Client, request_: str, answer: str, opcode: int) -> None:
    with node.back_end() as wire:
        wire.send(encode(opcode, request_.replace("CLIENT", client.id).encode()))
        assert wire.text() == answer


@pytest.mark.parametrize(
    ("member", "echoed"),
    [
        ('"i":1', "1"),
        ('"i":-7', "-7"),
        ('"i":1.50', "1.50"),
        ('"i":1e3', "1e3"),
        ('"i":12345678901234567890123', "12345678901234567890123"),
        ('"i":"abc"', '"abc"'),
        ('"i":"\\u00e9\\""', '"\\u00e9\\""'),
        ('"i":""', '""'),
        ('"i":true', "true"),
        ('"i":false', "false"),
        ('"i":null', "null"),
        ('"id":9', "9"),
        ('"id":"x"', '"x"'),
        ('"id":null', "null"),
        ('"i":1,"id":2', "1"),
        ('"id":2,"i":1', "1"),
        ('"x":1', "null"),
    ],
)
def test_the_number_of_a_request_comes_back_as_it_was(node: Node, member: str, echoed: str) -> None:
    with node.back_end() as wire:
        assert (
            ask(wire, f'{{"m":"mesh.publish","p":{{"c":"x","d":""}},{member}}}')
            == f'{{"E":null,{NOTHING},"i":{echoed}}}'
        )
        refused = ask(wire, f'{{"m":"nothing","p":{{}},{member}}}')
        assert re.fullmatch(rf'\{{"E":\{{"c":101,"m":"invalid argument: .+"\}},"i":{re.escape(echoed)}\}}', refused), (
            refused
        )


def error(code: int, number: str) -> str:
    return rf'\{{"E":\{{"c":{code},"m":"{WORDS[code]}: [^\n]+"\}},"i":{re.escape(number)}\}}'


@pytest.mark.parametrize(("request_", "code", "number"), ERRORS, ids=[case[0][:80] or "empty" for case in ERRORS])
def test_errors(node: Node, client: Client, request_: str, code: int, number: str) -> None:
    text = request_.replace("CLIENT", client.id).replace("NOWHERE", NOWHERE)
    with node.back_end() as wire:
        answer = ask(wire, text)
        assert re.fullmatch(error(code, number), answer), answer
        assert ask(wire, "ping") == "pong"
    assert client.context() == {}, "nothing of a refused call is done"
    reached = node.ask("POST", "/v1/mesh/publish", b'{"c":"ok","d":""}').json()
    assert reached["r"] == {"s": 0, "f": 0}, "nothing of a refused call is subscribed"


def test_pings(node: Node) -> None:
    with node.back_end() as wire:
        wire.send(encode(PING, b"are you there") + encode(TEXT, b"ping") + encode(PING, b""))
        frames = [wire.frame() for _ in range(3)]
        assert sorted(frames) == [(TEXT, b"pong"), (PONG, b""), (PONG, b"are you there")]
        wire.send(encode(TEXT, b"pi", fin=False) + encode(PING, b"x") + encode(CONT, b"ng"))
        assert sorted(wire.frame() for _ in range(2)) == [(TEXT, b"pong"), (PONG, b"x")]


def test_what_calls_do(node: Node, client: Client) -> None:
    with node.back_end() as wire:

        def call(function: str, *arguments: Any) -> str:
            params = {"c": client.id, "f": function, "a": arguments}
            return ask(wire, json.dumps({"m": "conn.call", "p": params, "i": 1}))

        done = '{"E":null,"r":{"s":true},"i":1}'
        assert call("set_context", {"user_id": 10000, "name": "é"}) == done
        assert call("set_context", {"more": [1, {"deep": False}]}) == done
        assert client.context() == {"user_id": 10000, "name": "é", "more": [1, {"deep": False}]}
        assert call("set_context_value", "name", "b") == done
        assert call("set_context_value", "more", None) == done
        assert call("set_context_value", "zero", 0) == done
        assert client.context() == {"user_id": 10000, "name": "b", "zero": 0}
        assert call("subscribe", "channel1", "channel2") == done
        assert call("subscribe", "channel1") == done
        for channel, count in (("channel1", 1), ("channel2", 1), ("channel3", 0)):
            answer = ask(wire, f'{{"m":"mesh.publish","p":{{"c":"{channel}","d":"{channel}"}},"i":2}}')
            assert answer == f'{{"E":null,"r":{{"s":{count},"f":0}},"i":2}}'
        assert call("unsubscribe", "channel1", "channel3") == done
        assert ask(wire, '{"m":"mesh.publish","p":{"c":"channel1","d":"x"},"i":2}') == f'{{"E":null,{NOTHING},"i":2}}'
        assert [client.text(), client.text()] == ["channel1", "channel2"]


def test_requests_of_one_socket_are_in_order(node: Node, client: Client) -> None:
    with node.back_end() as wire:
        data = b""
        for number in range(300):
            method, target = ("mesh.publish", "news") if number % 2 else ("mesh.send", client.id)
            data += encode(TEXT, f'{{"m":"{method}","p":{{"c":"{target}","d":"{number}"}},"i":{number}}}'.encode())
        wire.send(data)
        assert [client.text() for _ in range(300)] == [str(number) for number in range(300)]
        assert [json.loads(wire.text())["i"] for _ in range(300)] == list(range(300))


# Topics


def event(node: Node, client_id: str, topic: str, data: str) -> str:
    number = node.ask("GET", "/v1/nodes").json()["nodes"][0]["id"]
    return f'{{"e":"queue.pop","p":{{"n":{number},"c":"{client_id}","t":"{topic}","d":{data}}},"id":null}}'


def test_a_dialogue_with_the_builtin_forward(node: Node) -> None:
    with node.back_end() as wire, Wire(node.forward) as client:
        assert client.upgrade("/in", node.forward).status == 101
        client.send(encode(TEXT, b"early"))
        assert ask(wire, '{"m":"queue.pop","p":{"t":["in"]},"i":1}') == '{"E":null,"r":{"s":true},"i":1}'
        first = wire.text()
        client_id = json.loads(first)["p"]["c"]
        assert first == event(node, client_id, "in", '{"frame":{"type":"text","data":"early","finish":true}}')
        client.send(encode(BINARY, b"\x00\xff") + encode(TEXT, '{"a":"é"}'.encode()) + encode(TEXT, b""))
        for frame in ('"binary","data":"AP8="', '"text","data":"{\\"a\\":\\"é\\"}"', '"text","data":""'):
            assert wire.text() == event(node, client_id, "in", f'{{"frame":{{"type":{frame},"finish":true}}}}')
        assert re.fullmatch(error(202, "2"), ask(wire, '{"m":"queue.pop","p":{"t":["other"]},"i":2}'))
        assert re.fullmatch(error(202, "2"), ask(wire, '{"m":"queue.pop","p":{"t":["in"]},"i":2}'))
        assert ask(wire, '{"m":"queue.unpop","p":{},"i":3}') == '{"E":null,"r":{"s":true},"i":3}'
        assert re.fullmatch(error(203, "4"), ask(wire, '{"m":"queue.unpop","p":{},"i":4}'))
        client.send(encode(TEXT, b"waits"))
        assert ask(wire, "ping") == "pong"
        assert ask(wire, '{"m":"queue.pop","p":["in"],"i":5}') == '{"E":null,"r":{"s":true},"i":5}'
        assert json.loads(wire.text())["p"]["d"]["frame"]["data"] == "waits"
        reply = node.ask("POST", "/v1/mesh/send", json.dumps({"c": client_id, "d": "answer"}).encode())
        assert reply.body.decode() == DONE
        assert client.text() == "answer"


@pytest.mark.parametrize(
    ("pushed", "data"),
    [
        ({"b": 1, "a": [True, None]}, '{"b":1,"a":[true,null]}'),
        ([1, "x"], '[1,"x"]'),
        ('{"a": 1}', '{"a": 1}'),
        ("[1]", "[1]"),
        ("{broken", '"{broken"'),
        ("plain", '"plain"'),
        ("5", '"5"'),
        ("null", '"null"'),
        ("", '""'),
        (5, "5"),
        (1.5, "1.5"),
        (False, "false"),
    ],
)
@pytest.mark.parametrize("params", ['{"t":["t"]}', '["t"]', '[{"t":["t"]}]', '{"t":["other","t","t"]}'])
def test_what_is_pushed_is_what_comes(node: Node, client: Client, pushed: Any, data: str, params: str) -> None:
    with node.back_end() as wire:
        assert ask(wire, f'{{"m":"queue.pop","p":{params},"i":1}}') == '{"E":null,"r":{"s":true},"i":1}'
        client.send(encode(TEXT, f"push t {json.dumps(pushed)}".encode()))
        assert wire.text() == event(node, client.id, "t", data)


def test_consumers_share_and_topics_have_a_limit(node: Node, client: Client) -> None:
    with node.back_end() as one, node.back_end() as two, node.back_end() as third:
        for wire in (one, two):
            assert ask(wire, '{"m":"queue.pop","p":{"t":["shared"]},"i":1}') == '{"E":null,"r":{"s":true},"i":1}'
        client.send(b"".join(encode(TEXT, f"push shared {number}".encode()) for number in range(6)))
        heard = [[json.loads(wire.text())["p"]["d"] for _ in range(3)] for wire in (one, two)]
        assert sorted(heard[0] + heard[1]) == list(range(6))
        assert heard == [sorted(part) for part in heard]
        many = json.dumps([f"topic{number}" for number in range(30)])
        assert re.fullmatch(error(201, "2"), ask(third, f'{{"m":"queue.pop","p":{{"t":{many}}},"i":2}}'))
        assert ask(third, '{"m":"queue.pop","p":{"t":["topic1"]},"i":3}') == '{"E":null,"r":{"s":true},"i":3}'


# The upgrade


def test_upgrades(node: Node) -> None:
    for port, path in (
        (node.api, "/ws/v1"),
        (node.api, "/ws/v1?x=1"),
        (node.clients, "/?token=1"),
        (node.forward, "/in"),
    ):
        with Wire(port) as wire:
            reply = wire.upgrade(
                path,
                port,
                "Sec-WebSocket-Protocol: chat, v2",
                "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
            )
            assert reply.status == 101
            assert "sec-websocket-protocol" not in reply.headers
            assert "sec-websocket-extensions" not in reply.headers
    for port, path in ((node.api, "/ws"), (node.clients, "/chat"), (node.forward, "/"), (node.forward, "/in/")):
        with Wire(port) as wire:
            assert wire.upgrade(path, port).status == 404


def test_client_ids_are_snowflakes(node: Node, client: Client) -> None:
    with node.client() as second:
        number = int(node.ask("GET", "/v1/nodes").json()["nodes"][0]["id"])
        for one in (client, second):
            assert re.fullmatch(r"[1-9]\d{18}", one.id)
            assert int(one.id) >> 12 & 1023 == number
        assert int(second.id) > int(client.id)


# Access

BASIC = {
    name: "Authorization: Basic " + base64.b64encode(name.encode()).decode()
    for name in (
        "all:p:a ss",
        "look:look",
        "act:act",
        "far:far",
        "all:wrong",
        "nobody:x",
        "look:",
    )
}


@pytest.mark.parametrize(
    ("who", "reads", "writes"),
    [
        ("", 401, 401),
        ("all:p:a ss", 200, 200),
        ("look:look", 200, 403),
        ("act:act", 403, 200),
        ("far:far", 403, 403),
        ("all:wrong", 401, 401),
        ("nobody:x", 401, 401),
        ("look:", 401, 401),
    ],
)
def test_users_by_http(guarded: Node, who: str, reads: int, writes: int) -> None:
    headers = [BASIC[who]] if who else []
    for path in ("/version", "/v1/nodes", "/metrics"):
        assert guarded.ask("GET", path, None, *headers).status == reads
    for path in ("/v1/mesh/send", "/v1/mesh/publish"):
        reply = guarded.ask("POST", path, b'{"c":"1","d":""}', *headers)
        assert reply.status == writes
        if writes == 401:
            assert reply.headers["www-authenticate"] == 'Basic realm="connmix"'
    for scheme in ("Bearer abc", "Basic", "Basic !!!", "basic " + BASIC["all:p:a ss"][21:]):
        status = guarded.ask("GET", "/version", None, f"Authorization: {scheme}").status
        assert status == (200 if scheme.startswith("basic ") else 401), scheme


def test_users_on_the_socket(guarded: Node) -> None:
    for query, headers, status in (
        ("", [], 401),
        ("?username=all&password=wrong", [], 401),
        ("?username=far&password=far", [], 403),
        ("?username=act&password=act", [], 403),
        ("", [BASIC["look:look"]], 101),
        ("?username=all&password=p%3Aa+ss", [], 101),
        ("?username=all&password=p%3Aa%20ss", [], 101),
    ):
        with Wire(guarded.api) as wire:
            reply = wire.upgrade("/ws/v1" + query, guarded.api, *headers)
            assert reply.status == status, (query, reply)
    with guarded.back_end("?username=look&password=look") as wire:
        assert ask(wire, "ping") == "pong"
        for method, params in (
            ("mesh.send", '{"c":"1","d":""}'),
            ("mesh.publish", '{"c":"1","d":""}'),
            ("queue.pop", '{"t":["x"]}'),
            ("queue.unpop", "{}"),
            ("conn.call", '{"c":"1","f":"subscribe","a":["x"]}'),
        ):
            answer = ask(wire, f'{{"m":"{method}","p":{params},"i":1}}')
            assert re.fullmatch(error(403, "1"), answer), answer
        assert re.fullmatch(error(101, "1"), ask(wire, '{"m":"x","p":{},"i":1}'))
    with guarded.back_end("?username=all&password=p%3Aa%20ss") as wire:
        assert ask(wire, '{"m":"mesh.publish","p":{"c":"x","d":""},"i":1}') == f'{{"E":null,{NOTHING},"i":1}}'


def test_a_socket_that_breaks_the_rules_ends(node: Node) -> None:
    with node.back_end() as wire:
        wire.send(encode(TEXT, b"x" * 400_001))
        assert wire.close_code() == 1009
    with node.back_end() as wire:
        wire.send(encode(TEXT, b"ping", masked=False))
        assert wire.close_code() == 1002
        with pytest.raises(Gone):
            wire.frame()
