# SPDX-License-Identifier: Apache-2.0
"""Wrong input for the push API, HTTP and ``/ws/v1`` (spec connmix §2 and §3)."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from typing import Any

from tests.integration.wrong import texts
from tests.integration.wrong.frames import bad_frames, truncated
from tests.integration.wrong.heads import bombs, heads
from tests.integration.wrong.wire import BINARY, CLOSE, CONT, PING, PONG, TEXT, Gone, Wire, encode

API_HEADER_BYTES = 16 * 1024
API_BODY_BYTES = 512 * 1024
UNKNOWN_CLIENT = "90071992547409"

Counted = Counter[tuple[str, str]]
"""What the node must have counted: (name of the figure without its prefix, its label's value)."""


class Http:
    """One connection after another to the push API; a request that must not end the connection is sent on the same."""

    def __init__(self, port: int, random_: random.Random, counted: Counted) -> None:
        self.port = port
        self.host = f"127.0.0.1:{port}".encode()
        self.random = random_
        self.counted = counted
        self.inputs = 0
        self._wire: Wire | None = None

    def wire(self) -> Wire:
        if self._wire is None:
            self._wire = Wire(self.port)
        return self._wire

    def drop(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def post(self, path: str, body: bytes) -> dict[str, Any]:
        """One request that gets an envelope."""
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wire().send(head.encode() + body)
        reply = self.wire().reply()
        assert reply.status == 200, (path, body[:200], reply)
        answer: dict[str, Any] = reply.json()
        return answer

    # -- inputs

    def bodies(self, count: int) -> None:
        """Bodies that are no request: 101, on one connection that stays."""
        for number in range(count):
            path = self.random.choice(["/v1/mesh/send", "/v1/mesh/publish"])
            body = self._body(number)
            answer = self.post(path, body)
            assert "r" not in answer, (path, body[:300], answer)
            assert answer["E"]["c"] == 101, (path, body[:300], answer)
            assert isinstance(answer["E"]["m"], str), answer
            assert answer["E"]["m"], answer
            self.counted["api_errors", "101"] += 1
            self.inputs += 1

    def _body(self, number: int) -> bytes:
        good = json.dumps({"c": UNKNOWN_CLIENT, "d": "hello", "t": "text"})
        kind = number % 6
        if kind == 0:
            bad = self.random.choice([b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"])
            return self.random.choice(
                [*texts.NOT_JSON, b'{"c":"x","d":"' + bad + b'"}', b'{"c":"' + bad + b'","d":"x"}']
            )
        if kind == 1:
            return texts.harm_text(good.encode(), self.random)
        if kind == 2:
            return texts.without_member(good, self.random.choice("cd")).encode()
        if kind == 3:
            return b"[" + good.encode() + b"]"
        if kind == 4:
            return texts.nested(self.random.randrange(2, 20_000), self.random)
        member = self.random.choice("cdt")
        return texts.with_member(good, member, texts.odd(self.random, fits(member))).encode()

    def unknown_clients(self, count: int) -> None:
        """A client that is nowhere: 401 in the envelope."""
        for _ in range(count):
            client = self.random.choice([UNKNOWN_CLIENT, "x" * 200, "-1", "\u202e", int(UNKNOWN_CLIENT), -5, 2**63])
            answer = self.post("/v1/mesh/send", json.dumps({"c": client, "d": ""}).encode())
            assert answer["E"]["c"] == 401, (client, answer)
            self.counted["api_errors", "401"] += 1
            self.inputs += 1

    def requests(self, count: int) -> None:
        """Whole requests that are refused: unknown paths, methods, hosts, origins. The connection stays."""
        for _ in range(count):
            path, method, host, extra, status = self.random.choice(
                [
                    ("/v1/mesh/nothing", "POST", "", "", 404),
                    ("/v1/mesh/publish/", "POST", "", "", 404),
                    ("/../etc/passwd", "GET", "", "", 404),
                    ("/%00", "GET", "", "", 404),
                    ("/v1/mesh/publish", "GET", "", "", 405),
                    ("/v1/mesh/send", "DELETE", "", "", 405),
                    ("/metrics", "POST", "", "", 405),
                    ("/ws/v1", "GET", "", "", 426),
                    ("/version", "GET", "evil.example", "", 403),
                    ("/version", "GET", "localhost.evil.example", "", 403),
                    ("/v1/mesh/publish", "POST", "", "Origin: https://evil.example\r\n", 403),
                    ("/v1/mesh/publish", "OPTIONS", "", "Origin: null\r\n", 403),
                ]
            )
            where = host or f"127.0.0.1:{self.port}"
            self.wire().send(f"{method} {path} HTTP/1.1\r\nHost: {where}\r\n{extra}Content-Length: 0\r\n\r\n".encode())
            reply = self.wire().reply()
            assert reply.status == status, (method, path, where, extra, reply)
            assert reply.json()["error"]["code"].startswith("http."), reply
            if status == 405:
                assert "POST" in reply.headers["allow"] or "GET" in reply.headers["allow"], reply
            self.counted["api_answers", str(status)] += 1
            self.inputs += 1

    def malformed(self, count: int) -> None:
        """Heads that are none: 400 (or another refusal), and the connection ends: nothing behind them is read."""
        for bad in itertools.islice(heads(b"/v1/mesh/publish", self.host, self.random), count):
            self.drop()
            smuggled = b"GET /smuggled HTTP/1.1\r\nHost: " + self.host + b"\r\n\r\n"
            self.wire().send(bad.data + smuggled)
            try:
                status = self.wire().reply().status
            except Gone:
                status = 0
            assert status in bad.statuses, (bad, status)
            if status == 405:
                assert self.wire().reply().status == 404, bad
            else:
                assert self.wire().ends(), bad
                self.counted["api_refused", "bad_request"] += 1
            self.inputs += 1
        self.drop()

    def bombs(self, count: int) -> None:
        """Heads without end: 431, and the connection ends."""
        for data in itertools.islice(bombs(b"/v1/mesh/publish", self.host, self.random, API_HEADER_BYTES), count):
            self.drop()
            self.wire().send(data)
            reply = self.wire().reply()
            assert reply.status in (431, 400), (data[:80], reply)
            assert self.wire().ends(), data[:80]
            reason = "head_too_long" if reply.status == 431 else "bad_request"
            self.counted["api_refused", reason] += 1
            self.inputs += 1
        self.drop()

    def long_bodies(self, count: int) -> None:
        """Bodies over the limit, by length and in chunks: 413 before they are whole."""
        for number in range(count):
            self.drop()
            head = b"POST /v1/mesh/publish HTTP/1.1\r\nHost: " + self.host + b"\r\n"
            piece = b"x" * 65536
            if number % 2:
                self.wire().send(head + b"Content-Length: 99999999\r\n\r\n")
                for _ in range(API_BODY_BYTES // len(piece) + 1):
                    self.wire().send(piece)
            else:
                self.wire().send(head + b"Transfer-Encoding: chunked\r\n\r\n")
                for _ in range(API_BODY_BYTES // len(piece) + 1):
                    self.wire().send(b"%x\r\n" % len(piece) + piece + b"\r\n")
            assert self.wire().reply().status == 413
            assert self.wire().ends()
            self.counted["api_refused", "body_too_long"] += 1
            self.inputs += 1
        self.drop()

    def pipelined(self, count: int) -> None:
        """Many wrong requests in one write: as many answers, in their order."""
        self.drop()
        wanted: list[int] = []
        data = b""
        for _ in range(count):
            client = self.random.choice(["", UNKNOWN_CLIENT])
            body = json.dumps({"c": client, "d": ""}).encode()
            data += (
                b"POST /v1/mesh/send HTTP/1.1\r\nHost: "
                + self.host
                + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
                + body
            )
            wanted.append(401 if client else 101)
        self.wire().send(data)
        for number in wanted:
            assert self.wire().reply().json()["E"]["c"] == number
            self.counted["api_errors", str(number)] += 1
            self.inputs += 1

    def vanish(self, count: int) -> None:
        """Half a request, then gone: by FIN or by reset."""
        whole = (
            b"POST /v1/mesh/publish HTTP/1.1\r\nHost: "
            + self.host
            + b'\r\nContent-Length: 20\r\n\r\n{"c":"a","d":"b"}   '
        )
        for _ in range(count):
            wire = Wire(self.port)
            wire.send(whole[: self.random.randrange(len(whole))])
            wire.reset() if self.random.random() < 0.5 else wire.close()
            self.inputs += 1


def fits(member: str) -> Any:
    """Whether an odd value is a right one for this member after all."""

    def check(value: Any) -> bool:
        if member == "c":
            return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, str) and bool(value))
        if member == "d":
            return isinstance(value, str)
        return value in ("text", "binary")

    return check


class Sockets:
    """``/ws/v1``: requests that are errors on one socket, frames that end one on sockets of their own."""

    def __init__(self, port: int, random_: random.Random, counted: Counted) -> None:
        self.port = port
        self.random = random_
        self.counted = counted
        self.inputs = 0

    def open(self) -> Wire:
        wire = Wire(self.port)
        reply = wire.upgrade("/ws/v1", self.port)
        assert reply.status == 101, reply
        return wire

    def upgrades(self, count: int) -> None:
        """Requests for a WebSocket that is none."""
        host = f"Host: 127.0.0.1:{self.port}"
        good = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        key = "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="
        for _ in range(count):
            line, headers, status = self.random.choice(
                [
                    ("GET /ws/v1 HTTP/1.1", [host, *good], 400),
                    ("GET /ws/v1 HTTP/1.1", [host, *good, "Sec-WebSocket-Key: short"], 400),
                    ("GET /ws/v1 HTTP/1.1", [host, *good, "Sec-WebSocket-Key: \xff"], 400),
                    ("GET /ws/v1 HTTP/1.1", [host, *good[:2], "Sec-WebSocket-Version: 12", key], 400),
                    ("GET /ws/v1 HTTP/1.1", [host, *good[:2], key], 400),
                    ("GET /ws/v2 HTTP/1.1", [host, *good, key], 404),
                    ("GET /v1/mesh/publish HTTP/1.1", [host, *good, key], 404),
                    ("POST /ws/v1 HTTP/1.1", [host, *good, key], 405),
                    ("GET /ws/v1 HTTP/1.1", ["Host: evil.example", *good, key], 403),
                    ("GET /ws/v1 HTTP/1.1", [host, *good, key, "Origin: https://evil.example"], 403),
                ]
            )
            with Wire(self.port) as wire:
                wire.send(("\r\n".join([line, *headers]) + "\r\n\r\n").encode("latin-1"))
                reply = wire.reply()
                assert reply.status == status, (line, headers, reply)
            self.counted["api_answers", str(status)] += 1
            self.inputs += 1

    def requests(self, count: int) -> None:
        """Texts that are no request: an error with the right ``i``, and the socket stays."""
        with self.open() as wire:
            for number in range(count):
                text, code, echoed = self._request(number)
                opcode = self.random.choice([TEXT, TEXT, BINARY])
                if self.random.random() < 0.3 and len(text) > 1:
                    at = self.random.randrange(len(text))
                    wire.send(encode(opcode, text[:at], fin=False))
                    wire.send(encode(PING, b"between"))
                    frame = wire.frame()
                    assert (frame.opcode, frame.payload) == (PONG, b"between"), frame
                    wire.send(encode(CONT, text[at:]))
                else:
                    wire.send(encode(opcode, text))
                answer = json.loads(wire.text())
                assert answer["E"]["c"] == code, (text[:300], answer)
                assert "r" not in answer, answer
                if echoed is not ...:
                    assert answer["i"] == echoed, (text[:300], answer)
                self.counted["api_errors", str(code)] += 1
                self.inputs += 1
            wire.send(encode(TEXT, b"ping"))
            assert wire.text() == "pong"

    def _request(self, number: int) -> tuple[bytes, int, Any]:
        """A text, the code that answers it, the ``i`` that must come back (... when it is not said)."""
        number_ = self.random.choice([None, number, "id", True, -1.5, "\u00e9"])
        good = {"m": "mesh.send", "p": {"c": UNKNOWN_CLIENT, "d": "x", "t": "text"}, "i": number_}
        kind = number % 9
        if kind == 0:
            return self.random.choice([bad for bad in texts.NOT_JSON if bad != b"ping"]), 101, None
        if kind == 1:
            return texts.harm_text(json.dumps(good).encode(), self.random), 101, ...
        if kind == 2:
            names = ["mesh.Send", "", "eval", "server.ping", "mesh.send ", "queue.push", "__init__", "x" * 5000]
            return json.dumps({**good, "m": self.random.choice(names)}).encode(), 101, number_
        if kind == 3:
            batch = [good] * self.random.randrange(0, 4)
            return json.dumps(batch).encode(), 101, None
        if kind == 4:
            member = self.random.choice("cdt")
            value = texts.odd(self.random, fits(member))
            params = texts.with_member(json.dumps(good["p"]), member, value)
            echoed = ... if "\\ud" in value else number_  # half a character: nothing of the request can be read
            return f'{{"m":"mesh.send","p":{params},"i":{json.dumps(number_)}}}'.encode(), 101, echoed
        if kind == 5:
            return (
                json.dumps({**good, "p": self.random.choice([None, 1, "x", [], [1], [{}, {}]])}).encode(),
                101,
                number_,
            )
        if kind == 6:
            calls = [
                ({"c": UNKNOWN_CLIENT, "f": "subscribe", "a": ["news"]}, 301),
                ({"c": UNKNOWN_CLIENT, "f": "exec", "a": ["rm"]}, 301),
                ({"c": UNKNOWN_CLIENT, "f": "subscribe", "a": []}, 101),
                ({"c": UNKNOWN_CLIENT, "f": "subscribe", "a": "news"}, 101),
                ({"c": UNKNOWN_CLIENT, "f": 7, "a": []}, 101),
                ({"c": None, "f": "subscribe", "a": ["x"]}, 101),
            ]
            params_, code = self.random.choice(calls)
            return json.dumps({"m": "conn.call", "p": params_, "i": number_}).encode(), code, number_
        if kind == 7:
            topics, code = self.random.choice([({"t": []}, 101), ({"t": [1]}, 101), ({}, 101), ({"t": "x"}, 101)])
            return json.dumps({"m": "queue.pop", "p": topics, "i": number_}).encode(), code, number_
        return json.dumps(good).encode(), 401, number_

    def frames(self, count: int) -> None:
        """Frames that break the protocol: a close frame with the right code, then the end."""
        for bad in itertools.islice(bad_frames(self.random, API_BODY_BYTES), count):
            with self.open() as wire:
                wire.send(bad.data)
                code = wire.refused(bad.codes, (bad.name, bad.data[:60]))
                self.counted["api_sockets_closed", "too_big" if code == 1009 else "protocol_error"] += 1
            self.inputs += 1

    def vanish(self, count: int) -> None:
        """Half a frame, then gone."""
        for _ in range(count):
            wire = self.open()
            wire.send(truncated(self.random))
            wire.reset() if self.random.random() < 0.5 else wire.close()
            self.inputs += 1

    def polite(self, count: int) -> None:
        """Closing codes that are allowed are answered in kind."""
        for _ in range(count):
            with self.open() as wire:
                code = self.random.choice([1000, 1001, 1003, 3000, 4999])
                wire.send(encode(CLOSE, code.to_bytes(2, "big") + "tschüß".encode()))
                assert wire.close_code() == code
            self.inputs += 1
