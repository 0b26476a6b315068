# SPDX-License-Identifier: Apache-2.0
"""Wrong input for the live door: socket.io (Engine.IO 4) on ``/socket.io-client``."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

from tests.integration.wrong import texts
from tests.integration.wrong.frames import bad_frames, truncated
from tests.integration.wrong.wire import BINARY, CLOSE, PONG, TEXT, Gone, Wire, encode

PATH = "/socket.io-client/"
FRAME_BYTES = 1024 * 1024


PACKETS: tuple[bytes, ...] = (
    b"", b"9", b"x", b"{}", b"4", b"48", b"4x", b"42", b"42x", b"42[", b"42{}", b"42[]", b"42[1]", b"42[null]",
    b'42["connect"]', b'42["disconnect",{}]', b'42["*"]', b'42["device:cmd",', b"45", b"45-", b'450-["x"]', b'459-["x"]',
    b'451-["x",{"_placeholder":true,"num":7}]', b"46", b"46[]", b"40", b"40x", b"41x" * 50, b"3" * 40, b"1" * 30,
    b'42["x",' + b"[" * 50 + b"]" * 50 + b"]", b'42["x",' + b"[" * 5000 + b"]" * 5000 + b"]", b"4\x00", b"\x00",
    b'42["\\ud800' + b"x" * 20, b"49999999999999999999999[]", b'42["x",' + b"9" * 400 + b"]",
)  # fmt: skip


def too_much(value: Any) -> bool:
    """Whether the door closes the connection for this value: nested too deep, or a number too long."""
    return (isinstance(value, int) and value > 2**128) or str(value).count("[") > 20


class Live:
    """Connections of an operator who may do everything."""

    def __init__(self, port: int, token: str, device: str, random_: random.Random) -> None:
        self.port = port
        self.token = token
        self.device = device
        self.random = random_
        self.inputs = 0

    def open(self, query: str | None = None) -> Wire:
        """A WebSocket on which Engine.IO has greeted."""
        wire = Wire(self.port)
        query = f"token={self.token}&orgName=main" if query is None else query
        reply = wire.upgrade(f"{PATH}?EIO=4&transport=websocket&{query}", self.port)
        assert reply.status == 101, reply
        assert wire.text().startswith('0{"sid"')
        return wire

    def sign_in(self) -> Wire:
        """A connection on which socket.io is connected."""
        wire = self.open()
        wire.send(encode(TEXT, b"40"))
        assert wire.text().startswith('40{"sid"')
        return wire

    @staticmethod
    def event(wire: Wire, *wanted: str) -> list[Any]:
        """The next event or acknowledgement of one of these names; what the door tells everybody is passed over."""
        while True:
            text = wire.text()
            if text == "2":
                wire.send(encode(TEXT, b"3"))
                continue
            assert text[:2] in ("42", "43", "44"), text
            body = json.loads(text[2:].lstrip("0123456789"))
            if text[:2] == "43" and "ack" in wanted:
                return list(body)
            if text[:2] == "42" and body[0] in wanted:
                return list(body)

    # -- inputs

    def upgrades(self, count: int) -> None:
        """Wrong versions, transports and paths."""
        for _ in range(count):
            path, query, statuses = self.random.choice(
                [
                    (PATH, "EIO=4&transport=polling", (400,)),
                    (PATH, "EIO=3&transport=polling", (400,)),
                    (PATH, "EIO=4&transport=websocket&sid=abc", (400, 403)),
                    (PATH, "EIO=4&transport=carrier-pigeon", (400, 403)),
                    ("/ws", "", (403, 404)),
                    ("/socket.io-client/\xff", "EIO=4", (400, 403, 404)),
                    ("/api/towline/v1/devices", "", (403, 404)),
                ]
            )
            with Wire(self.port) as wire:
                if "polling" in query:
                    wire.send(f"GET {path}?{query} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())
                    reply = wire.reply()
                else:
                    reply = wire.upgrade(f"{path}?{query}", self.port)
                assert reply.status in statuses, (path, query, reply)
            self.inputs += 1

    def strangers(self, count: int) -> None:
        """Sign-ins that are refused: ``connect_error`` with code and message."""
        for _ in range(count):
            query = self.random.choice(
                [
                    "", "token=x", "orgName=main", "token=&orgName=main", f"token={self.token}", "token=a.b.c&orgName=main",
                    f"token={self.token}&orgName=other", f"token={self.token[:-3]}&orgName=main", "token=%00&orgName=%ff",
                ]
            )  # fmt: skip
            with self.open(query) as wire:
                wire.send(encode(TEXT, b"40"))
                text = wire.text()
                assert text.startswith("44{"), (query, text)
                body = json.loads(text[2:])
                assert body["message"], body
                assert body["data"]["code"], body
            self.inputs += 1

    def packets(self, count: int) -> None:
        """What is no packet of Engine.IO or socket.io: closed with 1008."""
        for _ in range(count):
            payload = self.random.choice(PACKETS)
            with self.sign_in() as wire:
                wire.send(encode(TEXT, payload))
                if payload.startswith(b"41"):  # a DISCONNECT with more behind it is passed over
                    wire.send(encode(TEXT, b"9"))
                code = wire.refused({1008}, payload[:80])
                assert code == 1008
            self.inputs += 1

    def binary(self, count: int) -> None:
        """Binary frames that no event announced, and events whose parts do not come."""
        for number in range(count):
            with self.sign_in() as wire:
                if number % 2:
                    wire.send(encode(BINARY, self.random.randbytes(20)))
                else:
                    wire.send(encode(TEXT, b'451-["device:cmd",{"_placeholder":true,"num":0}]') + encode(TEXT, b"42[]"))
                wire.refused({1008}, "binary")
            self.inputs += 1

    def requests(self, count: int) -> None:
        """Requests that are refused, many on one connection: an ``:rpc`` with ``error``, and the connection stays."""
        with self.sign_in() as wire:
            for number in range(count):
                arguments, request_id = self._arguments(number)
                wire.send(encode(TEXT, f'42["device:cmd"{arguments}]'.encode()))
                try:
                    body = self.event(wire, "device:cmd:rpc", "device:cmd:reply")
                except (AssertionError, Gone) as error:
                    raise AssertionError(f"{arguments[:200]}: {error!r}") from None
                assert body[0] == "device:cmd:rpc", (arguments, body)
                assert body[1]["error"]["message"], (arguments, body)
                if request_id:
                    assert body[1]["requestId"] == request_id, (arguments, body)
                self.inputs += 1

    def _arguments(self, number: int) -> tuple[str, str | None]:
        good = json.dumps({"deviceId": self.device, "cmd": "true", "requestId": f"r{number}"})
        kind = number % 5
        if kind == 0:
            return self.random.choice(["", f",{good},{good}", ",null", ",[]", ',"x"', ",1", ",true", ",{}"]), None
        if kind == 1:
            value = texts.odd(self.random, lambda value: too_much(value) or (isinstance(value, str) and bool(value)))
            return "," + texts.with_member(good, "cmd", value), f"r{number}"
        if kind == 2:
            value = texts.odd(self.random, too_much)
            return "," + texts.with_member(good, "deviceId", value), f"r{number}"
        if kind == 3:
            value = self.random.choice(["1", "true", "[]", "{}", '"' + "r" * 200 + '"'])
            return "," + texts.with_member(good, "requestId", value), None
        return "," + json.dumps({"deviceId": self.device, "cmd": "x" * 17_000, "requestId": f"r{number}"}), f"r{number}"

    def unknown(self, count: int) -> None:
        """Events that there are not: the acknowledgement says so; without one they are counted."""
        with self.sign_in() as wire:
            for number in range(count):
                name = self.random.choice(
                    ["device:explode", "", "x" * 500, "towline:", "__proto__", "\u202e", "message"]
                )
                wire.send(encode(TEXT, f"42{number}".encode() + json.dumps([name, {}]).encode()))
                answer = self.event(wire, "ack")
                assert answer[0]["error"]["code"] == "event.unknown", (name, answer)
                self.inputs += 1

    def frames(self, count: int) -> None:
        """Frames that break WebSocket."""
        for bad in itertools.islice(bad_frames(self.random, FRAME_BYTES), count):
            with self.sign_in() as wire:
                wire.send(bad.data)
                # Data in a reserved frame may be taken for a packet by then, and that is no packet either.
                wire.refused(bad.codes | {1007, 1008}, (bad.name, bad.data[:60]))
            self.inputs += 1

    def texts(self, count: int) -> None:
        """Text that is not UTF-8."""
        for _ in range(count):
            with self.sign_in() as wire:
                bad = self.random.choice([b"\xff", b"\xc0\xaf", b"\xed\xa0\x80"])
                wire.send(encode(TEXT, b'42["device:cmd","' + bad + b'"]'))
                wire.refused({1007}, "not UTF-8")
            self.inputs += 1

    def vanish(self, count: int) -> None:
        """Half a frame, then gone; also in the middle of a sign-in."""
        for number in range(count):
            wire = self.sign_in() if number % 2 else self.open()
            wire.send(truncated(self.random))
            wire.reset() if self.random.random() < 0.5 else wire.close()
            self.inputs += 1

    def polite(self, count: int) -> None:
        """Closing frames are answered."""
        for _ in range(count):
            with self.sign_in() as wire:
                wire.send(encode(PONG, b"nobody asked") + encode(CLOSE, b"\x03\xe8"))
                assert wire.close_code() == 1000
            self.inputs += 1
