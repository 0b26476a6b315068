# SPDX-License-Identifier: Apache-2.0
"""Wrong input for the clients' port: clients of an entry (``builtin:echo``) and agents' links."""

from __future__ import annotations

import itertools
import random
from typing import Any

import msgspec

from tests.integration.wrong.frames import bad_frames, truncated
from tests.integration.wrong.heads import bombs, heads
from tests.integration.wrong.pushapi import Counted
from tests.integration.wrong.wire import BINARY, CLOSE, CONT, PING, PONG, TEXT, Gone, Wire, encode
from towline.protocols.link.frames import Type
from towline.protocols.link.limits import MAX_FRAME

MESSAGE_BYTES = 64 * 1024
HEAD_BYTES = 16 * 1024
LINK = "/link/v1"

_pack = msgspec.msgpack.encode


class Clients:
    """Upgrades and frames of ordinary clients."""

    def __init__(self, port: int, random_: random.Random, counted: Counted) -> None:
        self.port = port
        self.random = random_
        self.counted = counted
        self.inputs = 0

    def open(self) -> Wire:
        wire = Wire(self.port)
        reply = wire.upgrade("/", self.port)
        assert reply.status == 101, reply
        return wire

    def heads(self, count: int) -> None:
        """Heads that are no upgrade: an error and the end."""
        host = b"127.0.0.1:%d" % self.port
        for bad in itertools.islice(heads(b"/", host, self.random), count):
            with Wire(self.port) as wire:
                wire.send(bad.data + b"\r\n\r\n")
                try:
                    status = wire.reply().status
                except Gone:
                    status = 0
                # picows takes any target without a space for a path: it is then an unknown one.
                assert status in (*bad.statuses, 400) or (status, bad.name) == (404, "control in the target"), (
                    bad,
                    status,
                )
                assert wire.ends(), bad
            self.counted["refused", "unknown_path" if status == 404 else "handshake"] += 1
            self.inputs += 1

    def bombs(self, count: int) -> None:
        """Heads without end: cut off."""
        host = b"127.0.0.1:%d" % self.port
        for data in itertools.islice(bombs(b"/", host, self.random, HEAD_BYTES), count):
            with Wire(self.port) as wire:
                wire.send(data)
                assert wire.ends(), data[:80]
            self.counted["refused", "handshake"] += 1
            self.inputs += 1

    def upgrades(self, count: int) -> None:
        """Requests that are well-formed and no WebSocket of ours."""
        host = f"Host: 127.0.0.1:{self.port}"
        good = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        key = "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="
        for _ in range(count):
            line, headers, status, reason = self.random.choice(
                [
                    ("GET /nowhere HTTP/1.1", [*good, key], 404, "unknown_path"),
                    ("GET /link/v2 HTTP/1.1", [*good, key], 404, "unknown_path"),
                    ("GET //link/v1 HTTP/1.1", [*good, key], 404, "unknown_path"),
                    ("GET / HTTP/1.1", good, 400, "not_websocket"),
                    ("GET / HTTP/1.1", [*good, "Sec-WebSocket-Key: short"], 400, "not_websocket"),
                    ("GET / HTTP/1.1", [*good, "Sec-WebSocket-Key: \xff\xfe"], 400, "not_websocket"),
                    ("GET / HTTP/1.1", [*good[:2], "Sec-WebSocket-Version: 12", key], 426, "version"),
                    ("GET / HTTP/1.1", ["Upgrade: websocket", key], 400, "not_websocket"),
                    ("GET /link/v1 HTTP/1.1", ["Connection: Upgrade", "Upgrade: h2c", key], 400, "not_websocket"),
                    ("GET / HTTP/1.1", [], 400, "not_websocket"),
                ]
            )
            with Wire(self.port) as wire:
                wire.send(("\r\n".join([line, host, *headers]) + "\r\n\r\n").encode("latin-1"))
                reply = wire.reply()
                assert reply.status == status, (line, headers, reply)
                assert wire.ends()
            self.counted["refused", reason] += 1
            self.inputs += 1

    def frames(self, count: int) -> None:
        """Frames that break the protocol."""
        for bad in itertools.islice(bad_frames(self.random, MESSAGE_BYTES), count):
            with self.open() as wire:
                wire.send(bad.data)
                code = wire.refused(bad.codes, (bad.name, bad.data[:60]))
                cause = {1009: "too_big", 1007: "bad_text"}.get(code, "protocol_error")
                self.counted["closed", cause] += 1
            self.inputs += 1

    def texts(self, count: int) -> None:
        """Text that is not UTF-8, whole and in fragments cut anywhere: 1007."""
        bad = [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok \xe2\x82", b"\xf8\x88\x80\x80\x80"]
        for _ in range(count):
            text = self.random.choice(bad)
            with self.open() as wire:
                if self.random.random() < 0.5:
                    at = self.random.randrange(len(text) + 1)
                    wire.send(encode(TEXT, text[:at], fin=False) + encode(CONT, text[at:]))
                else:
                    wire.send(encode(TEXT, text))
                assert wire.close_code() == 1007, text
            self.counted["closed", "bad_text"] += 1
            self.inputs += 1

    def strange_but_right(self, count: int) -> None:
        """What looks odd and is allowed: empty fragments, pings between fragments, every byte in a write of its own."""
        with self.open() as wire:
            for number in range(count):
                text = f"message {number}: é€😀".encode()
                if number % 2:
                    at = self.random.randrange(len(text))
                    wire.send(encode(TEXT, text[:at], fin=False) + encode(CONT, b"", fin=False))
                    wire.send(encode(PING, b"p") + encode(CONT, text[at:]))
                    frame = wire.frame()
                    assert (frame.opcode, frame.payload) == (PONG, b"p"), frame
                else:
                    for byte in encode(TEXT, text):
                        wire.send(bytes([byte]))
                assert wire.text() == text.decode()
                self.inputs += 1

    def vanish(self, count: int) -> None:
        """Half a head or half a frame, then gone."""
        for number in range(count):
            wire = self.open() if number % 2 else Wire(self.port)
            wire.send(truncated(self.random) if number % 2 else b"GET / HTTP/1.1\r\nHost: x\r\nUpgr")
            wire.reset() if self.random.random() < 0.5 else wire.close()
            if number % 2 == 0:
                self.counted["refused", "handshake"] += 1
            self.inputs += 1


class Links:
    """``/link/v1``: frames of no agent."""

    def __init__(self, port: int, random_: random.Random, counted: Counted) -> None:
        self.port = port
        self.random = random_
        self.counted = counted
        self.inputs = 0

    def open(self) -> Wire:
        wire = Wire(self.port)
        reply = wire.upgrade(LINK, self.port)
        assert reply.status == 101, reply
        return wire

    def frames(self, count: int) -> None:
        """What breaks WebSocket."""
        for bad in itertools.islice(bad_frames(self.random, MAX_FRAME), count):
            with self.open() as wire:
                wire.send(bad.data)
                # Fragments, text and reserved bits are no link frames, whatever else is wrong with them.
                code = wire.refused(bad.codes | {3500}, (bad.name, bad.data[:60]))
                self.counted["links_closed", "frame_size" if code == 1009 else "protocol_error"] += 1
            self.inputs += 1

    def strangers(self, count: int) -> None:
        """Whole WebSocket messages that are no link frame: 3500."""
        for _ in range(count):
            opcode, payload = self.random.choice(
                [
                    (TEXT, b"\x94\x01\x00\x00\x80"),
                    (BINARY, b""),
                    (BINARY, b"\x94"),
                    (BINARY, b"\x93\x01\x00\x80"),
                    (BINARY, b"\x95\x01\x00\x00\x80\x80"),
                    (BINARY, b"\x94\xff\x00\x00\x80"),
                    (BINARY, b"\x94\xcc\x80\x00\x00\x80"),
                    (BINARY, self.random.randbytes(3) + b"\x00" * 5),
                    (BINARY, b'{"jsonrpc":"2.0"}'),
                ]
            )
            if opcode == BINARY and payload[:1] == b"\x94" and len(payload) >= 5 and payload[1] < 0x80:
                continue
            with self.open() as wire:
                wire.send(encode(opcode, payload))
                code = wire.close_code()
                assert code == 3500, (opcode, payload, code)
            self.counted["links_closed", "protocol_error"] += 1
            self.inputs += 1

    def messages(self, count: int) -> None:
        """Link frames that the hub refuses: REFUSED, then a close code of the link."""
        done = 0
        while done < count:
            payload = self._message()
            with self.open() as wire:
                wire.send(encode(BINARY, payload))
                opcodes = []
                try:
                    while (frame := wire.frame()).opcode != CLOSE:
                        opcodes.append(frame.payload[1] if frame.payload else -1)
                except Gone:
                    raise AssertionError(f"no close frame after {payload[:80]!r}") from None
                assert opcodes in ([Type.REFUSED], [Type.REFUSED, Type.REFUSED]), (payload[:80], opcodes)
                assert frame.code in (3510, 3511), (payload[:80], frame)
            done += 1
            self.inputs += 1

    def _message(self) -> bytes:
        random_ = self.random
        hello = {
            "min": 1, "max": 1, "features": [], "device_id": "0" * 8, "workgroup": "main", "nonce": b"n" * 32,
            "spool_id": "s", "agent_version": "1", "facts": {},
        }  # fmt: skip
        enrol = {"token": "t" * 20, "public_key": b"k" * 32, "facts": {}, "name": "x"}
        kind = random_.randrange(7)
        if kind == 0:  # out of order: a type that nobody may begin with
            number = random_.choice([2, 3, 4, 5, 7, 10, 16, 17, 18, 32, 33, 34, 35, 36, 37, 48, 49, 50, 51, 52])
            return _pack([number, 0, 0, {}])
        if kind == 1:  # a body that is no map, or no body
            return bytes([0x94, random_.choice([1, 3, 6]), 0, 0]) + random_.choice([b"\xc0", b"\x01", b"\x90", b"\xc1"])
        if kind == 2:  # a member of the wrong type
            member = random_.choice(["min", "max", "device_id", "workgroup", "nonce", "spool_id"])
            wrong: Any = random_.choice([None, [], {}, -1, 2**64 - 1, b"\xff", "x" * 5000])
            if wrong == -1 and member == "min":
                wrong = 2
            return _pack([1, 0, 0, {**hello, "min": 9, member: wrong}])
        if kind == 3:  # a version that nobody speaks
            return _pack([1, 0, 0, {**hello, "min": 7, "max": 9}])
        if kind == 4:  # an enrolment with a token that is none
            return _pack([6, 0, 0, {**enrol, "public_key": random_.choice([b"", b"k" * 31, b"k" * 32])}])
        if kind == 5:  # half a frame
            whole = _pack([1, 0, 0, hello])
            return whole[: random_.randrange(5, len(whole) - 1)]
        return b"\x94\x01\x00\x00" + b"\x81" * random_.randrange(1000, 5000) + b"\x01"  # deep nesting

    def proofs(self, count: int) -> None:
        """A stranger who claims to be a device: a challenge, as any device gets, then REFUSED."""
        for number in range(count):
            with self.open() as wire:
                hello = {
                    "min": 1, "max": 1, "features": [], "device_id": f"device-{number}", "workgroup": "main",
                    "nonce": self.random.randbytes(32), "spool_id": "s", "agent_version": "1", "facts": {},
                }  # fmt: skip
                wire.send(encode(BINARY, _pack([Type.HELLO, 0, 0, hello])))
                assert wire.frame().payload[1] == Type.CHALLENGE
                signature = self.random.randbytes(self.random.choice([64, 64, 63, 0]))
                wire.send(encode(BINARY, _pack([Type.PROOF, 0, 0, {"signature": signature}])))
                assert wire.frame().payload[1] == Type.REFUSED
                wire.refused({3510, 3511}, "a proof that is none")
            self.inputs += 1

    def floods(self, count: int) -> None:
        """Heartbeats and unknown types before signing in: answered or passed over, never a reason to stop serving."""
        with self.open() as wire:
            for number in range(count):
                wire.send(encode(BINARY, _pack([8, 0, 0, {"time_us": number}])))
                assert wire.frame().payload[1] == Type.PONG
                self.inputs += 1

    def vanish(self, count: int) -> None:
        """Half a frame, then gone."""
        for _ in range(count):
            wire = self.open()
            wire.send(truncated(self.random))
            wire.reset() if self.random.random() < 0.5 else wire.close()
            self.inputs += 1
