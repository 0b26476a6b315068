# SPDX-License-Identifier: Apache-2.0
"""Wrong input for the operators' door: REST."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any
from urllib.parse import quote

from tests.integration.wrong import texts
from tests.integration.wrong.heads import bombs, heads
from tests.integration.wrong.wire import Gone, Reply, Wire

BASE = "/api/towline/v1"
HEAD_BYTES = 32 * 1024
BODY_BYTES = 1024 * 1024

REQUIRED: dict[str, dict[str, Any]] = {
    "/session": {"user": "nobody", "password": "wrong"},
    "/session/password": {"old": "a", "new": "b"},
    "/users": {"name": "made-by-a-test", "password": "x"},
    "/users/00000000/password": {"password": "long enough to be one"},
    "/tokens": {"name": "t", "privileges": ["no such"], "ttl_days": 1},
    "/plugins": {"name": "p", "app_guid": "not a guid"},
    "/devices/{device}/exec": {"cmd": "true"},
    "/devices/{device}/commands": {"app_guid": "a", "module": "b", "name": "c"},
    "/enrolments": {"ttl_s": 60},
}
"""Bodies of the routes that take one; all of their members are looked at."""

GETS = (
    "/devices", "/devices/{device}/metrics", "/devices/{device}/events", "/devices/{device}/commands", "/audit",
    "/commands/x",
)  # fmt: skip

QUERIES = (
    "limit=-1", "limit=0", "limit=abc", "limit=1e9", "limit=99999999999999999999", "limit=", "limit=1&limit=x",
    "limit=%00", "limit=\u0663",
)  # fmt: skip


class Rest:
    """REST under ``/api/towline/v1``, with a session that may do everything."""

    def __init__(self, port: int, token: str, cookie: str, device: str, random_: random.Random) -> None:
        self.port = port
        self.token = token
        self.cookie = cookie
        self.device = device
        self.random = random_
        self.inputs = 0
        self.statuses: dict[int, int] = {}
        self._wire: Wire | None = None

    def drop(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def ask(self, method: str, path: str, body: bytes | None = None, *headers: str, signed_in: bool = True) -> Reply:
        """One request on a connection that stays."""
        if self._wire is None:
            self._wire = Wire(self.port)
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *headers]
        if signed_in:
            lines.append(f"Authorization: Bearer {self.token}")
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        self._wire.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b""))
        try:
            reply = self._wire.reply(head_only=method == "HEAD")
        except Gone:
            raise AssertionError(f"no answer to {method} {path} {(body or b'')[:200]!r}") from None
        if reply.headers.get("connection") == "close":
            self.drop()
        self.inputs += 1
        self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1
        return reply

    def refused(self, reply: Reply, statuses: tuple[int, ...], *what: object) -> None:
        """A refusal in the documented shape."""
        assert reply.status in statuses, (what, reply)
        error = reply.json()["error"]
        assert set(error) <= {"code", "message", "where", "hint"}, reply
        assert error["code"], reply
        assert error["message"], reply

    # -- inputs

    def bodies(self, count: int) -> None:
        """Bodies that are no request: 400, naming the place."""
        for number in range(count):
            path, good = self.random.choice(list(REQUIRED.items()))
            path = BASE + path.replace("{device}", self.device)
            text = json.dumps(good)
            kind = number % 6
            if kind == 0:
                body = self.random.choice([text for text in texts.NOT_JSON if not text.startswith(b"\xef\xbb")])
            elif kind == 1:
                body = texts.harm_text(text.encode(), self.random)
            elif kind == 2:
                member = self.random.choice(list(good))
                value = texts.odd(self.random, lambda value: isinstance(value, str | int) or value in (None, []))
                body = texts.with_member(text, member, value).encode()
            elif kind == 3:
                body = json.dumps({**good, "stranger": 1}).encode()
            elif kind == 4:
                body = texts.nested(self.random.randrange(2, 20_000), self.random)
            else:
                body = self.random.choice([b"[" + text.encode() + b"]", b"null", b"1", b'""', b"[]", b"true"])
            self.refused(self.ask("POST", path, body), (400,), path, body[:200])

    def texts(self, count: int) -> None:
        """Strings of every oddity where strings are right: refused or accepted, never a failure of ours."""
        for _ in range(count):
            choices: list[tuple[str, dict[str, Any]]] = [
                ("/devices/{device}/commands", {"app_guid": "a", "module": "b", "name": "c", "params": {"x": "y"}}),
                ("/users", {"name": "n", "password": "p"}),
                ("/tokens", {"name": "t", "privileges": ["no such"]}),
                ("/plugins", {"name": "p", "app_guid": "not a guid"}),
            ]
            path, good = self.random.choice(choices)
            member = self.random.choice(list(good))
            value = self.random.choice([*texts.ODD_VALUES, "NaN", "-Infinity"])
            if member == "params":
                value = '{"x":' + value + "}"
            body = texts.with_member(json.dumps(good), member, value).encode()
            reply = self.ask("POST", BASE + path.replace("{device}", self.device), body)
            if reply.status >= 300:
                self.refused(reply, (400, 403, 404, 409), path, body)

    def queries(self, count: int) -> None:
        """Queries and paths that mean nothing."""
        for _ in range(count):
            path = BASE + self.random.choice(GETS).replace("{device}", self.device)
            query = self.random.choice(
                [
                    *QUERIES, "before=-1", "before=zz", "before=9223372036854775808", "before=" + "9" * 40, "after=%ff%fe",
                    "after=" + "a" * 600, "from=yesterday", "from=-999999d", "from=9999-99-99T00:00:00Z", "to=0001-01-01",
                    "from=2026-01-01T00:00:00Z&to=2025-01-01T00:00:00Z", "max_points=-5", "max_points=NaN", "state=maybe",
                    "search=" + "s" * 200, "wait_s=-1", "wait_s=inf", "wait_s=nan", "group=" + "g" * 70, "before=%00",
                    "before=eyJ9", "after=eyJ9", "from=1e309", "table=" + "t" * 300,
                ]
            )  # fmt: skip
            reply = self.ask("GET", f"{path}?{quote(query, safe='=&%')}")
            if reply.status >= 300:
                self.refused(reply, (400, 404), path, query)

    def paths(self, count: int) -> None:
        """Things that are not there, and methods that are not served."""
        strange = [
            "x", "..", "%2e%2e%2f", "%00", "%ff", "a" * 5000, "'; DROP TABLE device; --", "%F0%9F%98%80", "0" * 36,
            "%ed%a0%80", "null", "-1", "00000000-0000-0000-0000-000000000000",
        ]  # fmt: skip
        for _ in range(count):
            name = quote(self.random.choice(strange), safe="%")
            method, path = self.random.choice(
                [
                    ("GET", f"/devices/{name}"), ("DELETE", f"/devices/{name}"), ("GET", f"/devices/{name}/metrics"),
                    ("GET", f"/devices/{name}/plugins"), ("GET", f"/devices/{name}/states"), ("GET", f"/commands/{name}"),
                    ("POST", f"/commands/{name}/cancel"), ("DELETE", f"/users/{name}"), ("DELETE", f"/tokens/{name}"),
                    ("DELETE", f"/plugins/{name}"), ("GET", f"/plugins/{name}/credential"), ("GET", f"/{name}"),
                    ("DELETE", f"/enrolments/{name}"), ("PUT", f"/devices/{name}"), ("DELETE", "/devices"),
                    ("PATCH", "/audit"), ("TRACE", "/devices"),
                ]
            )  # fmt: skip
            reply = self.ask(method, BASE + path)
            self.refused(reply, (400, 404, 405), method, path)

    def strangers(self, count: int) -> None:
        """Without a token, with one that is none, with a cookie from another site."""
        header, payload, signature = self.token.split(".")
        for _ in range(count):
            path = BASE + self.random.choice(
                ["/devices", "/users", "/audit", "/session", "/tokens", f"/devices/{self.device}"]
            )
            headers = self.random.choice(
                [
                    [],
                    ["Authorization: Bearer "],
                    ["Authorization: Basic YWRtaW46YWRtaW4="],
                    ["Authorization: Bearer " + "x" * 3000],
                    [f"Authorization: Bearer {header}.{payload}.{signature[::-1]}"],
                    [f"Authorization: Bearer {header}.{payload}."],
                    ["Authorization: Bearer eyJhbGciOiJub25lIn0.e30."],
                    [f"Cookie: {self.cookie}=nonsense"],
                    [f"Cookie: towline_session={self.token}"],
                    [f"Cookie: {self.cookie}=\xff\xfe; ;;; ="],
                ]
            )
            reply = self.ask("GET", path, None, *headers, signed_in=False)
            self.refused(reply, (401,), path, headers)
            reply = self.ask(
                "POST", f"{BASE}/enrolments", b"{}", f"Cookie: {self.cookie}={self.token}",
                self.random.choice(["Origin: https://evil.example", "Origin: null", "X-None: 1"]), signed_in=False,
            )  # fmt: skip
            self.refused(reply, (403,), path)

    def heads(self, count: int) -> None:
        """Heads that are none: 400, and the connection ends."""
        host = b"127.0.0.1:%d" % self.port
        for bad in itertools.islice(heads(BASE.encode() + b"/session", host, self.random), count):
            with Wire(self.port) as wire:
                wire.send(bad.data + b"GET /smuggled HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
                try:
                    status = wire.reply().status
                except Gone:
                    status = 0
                assert status in (*bad.statuses, 400), (bad, status)
                if status == 400:
                    assert wire.ends(), bad
            self.inputs += 1

    def bombs(self, count: int) -> None:
        """Heads without end: 431, and the connection ends."""
        host = b"127.0.0.1:%d" % self.port
        for data in itertools.islice(bombs(BASE.encode() + b"/session", host, self.random, HEAD_BYTES), count):
            with Wire(self.port) as wire:
                wire.send(data)
                status = wire.reply().status
                assert status in (400, 431), (data[:80], status)
                assert wire.ends(), data[:80]
            self.inputs += 1

    def long_bodies(self, count: int) -> None:
        """Bodies over the limit, by length and in chunks: 413."""
        head = f"POST {BASE}/session HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n".encode()
        piece = b'"' + b"x" * 65535
        for number in range(count):
            with Wire(self.port) as wire:
                if number % 2:
                    wire.send(head + b"Content-Length: %d\r\n\r\n" % (BODY_BYTES + 1 + number))
                else:
                    wire.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
                    for _ in range(BODY_BYTES // len(piece) + 1):
                        wire.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
                reply = wire.reply()
                self.refused(reply, (413,))
                assert wire.ends()
            self.inputs += 1

    def vanish(self, count: int) -> None:
        """Half a request, then gone."""
        whole = f'POST {BASE}/session HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n{{"user":"a","password":"b"}}'.encode()
        for _ in range(count):
            wire = Wire(self.port)
            wire.send(whole[: self.random.randrange(len(whole))])
            wire.reset() if self.random.random() < 0.5 else wire.close()
            self.inputs += 1
