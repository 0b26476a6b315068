# SPDX-License-Identifier: Apache-2.0
"""Wrong input for the plugins' port: TLS, WebSocket and octo (spec octo §1, §4, §5)."""

from __future__ import annotations

import copy
import itertools
import json
import random
import socket
import ssl
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.integration.wrong import texts
from tests.integration.wrong.frames import bad_frames, truncated
from tests.integration.wrong.heads import bombs, heads
from tests.integration.wrong.wire import BINARY, CONT, PING, PONG, TEXT, Gone, Wire, encode, tls_context
from towline.protocols.octo.signature import make_salt, sign

FRAME_BYTES = 1_048_576
UPDATE_BYTES = 131_072
OFFLINE, INVALID, PARSE = "-320000", "-326000", "-327000"
MODULE = "probe"


def salt() -> bytes:
    return make_salt()


class Octo:
    """Signs messages of one plugin."""

    def __init__(self, app_guid: str, access_key: str) -> None:
        self.app_guid = app_guid
        self.access_key = access_key

    def text(self, name: str, params: dict[str, Any]) -> bytes:
        """Unsigned; appGUID and epoch are filled in."""
        body = {"appGUID": self.app_guid, "epoch": str(int(time.time())), **params}
        return json.dumps({"jsonrpc": "2.0", "method": f"v2/{name}", "params": body}, separators=(",", ":")).encode()

    def signed(self, name: str, params: dict[str, Any]) -> bytes:
        return sign(self.text(name, params), self.access_key, salt())

    def update(self) -> bytes:
        """The registration."""
        return self.signed("notifyPluginUpdate", UPDATE)


UPDATE: dict[str, Any] = {
    "appName": "wrong-inputs", "type": "ib", "sdk": "1.0.0", "version": "1.0.0", "displayName": "Wrong inputs",
    "modules": [
        {
            "moduleName": MODULE,
            "states": [{"name": "status", "displayType": "string"}, {"name": "disks", "displayType": "table"}],
            "metrics": [{"name": "number", "displayType": "custom", "displayUnit": "n"}],
            "events": [{"name": "login"}],
            "alarms": [{"name": "hot", "params": []}],
            "commands": [{"name": "go", "type": "asynchronous"}],
        }
    ],
}  # fmt: skip

GOOD: dict[str, dict[str, Any]] = {
    "notifyPluginState": {"moduleName": MODULE, "states": [{"name": "status", "value": "fine"}]},
    "notifyPluginMetric": {"moduleName": MODULE, "metrics": [{"name": "number", "value": "1", "epoch": "{now}"}]},
    "notifyPluginEvent": {"moduleName": MODULE, "events": [{"name": "login", "value": "x", "epoch": "{now}"}]},
    "notifyPluginAlert": {
        "moduleName": MODULE,
        "alarms": [{"name": "hot", "action": "trigger", "message": "x", "epoch": "{now}"}],
    },
}


def good(name: str) -> dict[str, Any]:
    """Parameters of a message that would be taken."""
    made: dict[str, Any] = json.loads(json.dumps(GOOD[name]).replace("{now}", str(int(time.time()))))
    return made


class Plugins:
    """The plugins' port."""

    def __init__(self, port: int, octo: Octo, random_: random.Random) -> None:
        self.port = port
        self.octo = octo
        self.random = random_
        self.inputs = 0
        self.answers: Counter[str] = Counter()
        self._tls = tls_context()

    def open(self) -> Wire:
        wire = Wire(self.port, tls=self._tls)
        reply = wire.upgrade("/", self.port)
        assert reply.status == 101, reply
        return wire

    def register(self) -> Wire:
        """A connection that is this plugin's. What the agent then says (settings) is passed over by :meth:`answer`."""
        wire = self.open()
        wire.send(encode(TEXT, self.octo.update()))
        wire.send(encode(PING, b"registered"))
        while (frame := wire.frame()).opcode != PONG:
            assert b'"error"' not in frame.payload, frame
        return wire

    def answer(self, wire: Wire) -> dict[str, Any]:
        """The next error; what the agent tells plugins by itself is passed over."""
        while True:
            answer: dict[str, Any] = json.loads(wire.text())
            if "error" in answer:
                assert answer["jsonrpc"] == "2.0", answer
                assert answer["id"] is None, answer
                assert isinstance(answer["error"]["message"], str), answer
                code: str = answer["error"]["code"]
                self.answers[code] += 1
                return answer

    def refused(
        self, wire: Wire, data: bytes, codes: tuple[str, ...], *, binary: bool = False, why: object = ""
    ) -> str:
        """One message that must be answered with one of these codes; returns the error's text."""
        opcode = BINARY if binary else TEXT
        if len(data) > 3 and self.random.random() < 0.2:
            at = self.random.randrange(1, len(data))
            wire.send(encode(opcode, data[:at], fin=False) + encode(PING, b"") + encode(CONT, data[at:]))
        else:
            wire.send(encode(opcode, data))
        answer = self.answer(wire)
        assert answer["error"]["code"] in codes, (why, data[:300], answer)
        self.inputs += 1
        message: str = answer["error"]["message"]
        assert message
        return message

    # -- below octo

    def handshakes(self, count: int) -> None:
        """What is no TLS, or not the TLS we speak: the connection ends."""
        for number in range(count):
            if number % 4 == 0:
                context = tls_context()
                with_old = number % 8 == 0
                if with_old:
                    with warnings.catch_warnings(action="ignore"):
                        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
                        context.maximum_version = ssl.TLSVersion.TLSv1_1
                    context.set_ciphers("ALL:@SECLEVEL=0")
                else:
                    context.maximum_version = ssl.TLSVersion.TLSv1_2
                    context.set_ciphers("AES128-SHA")  # no forward secrecy, and RSA, which the certificate is not
                try:
                    Wire(self.port, tls=context).close()
                except (ssl.SSLError, ConnectionResetError):
                    pass
                else:
                    raise AssertionError("an old or weak TLS was taken")
            else:
                with Wire(self.port) as wire:
                    wire.send(
                        self.random.choice(
                            [
                                b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
                                b"\x16\x03\x01" + self.random.randbytes(300),
                                b"\x80\x2e\x01\x00\x02" + self.random.randbytes(41),
                                self.random.randbytes(200) + b"\xff" * 200,
                                b"\x15\x03\x03\x00\x02\x02\x28",
                            ]
                        )
                    )
                    wire.socket.shutdown(socket.SHUT_WR)
                    assert wire.ends()
            self.inputs += 1

    def heads(self, count: int) -> None:
        """Heads that are no upgrade."""
        host = b"localhost"
        for bad in itertools.islice(heads(b"/", host, self.random), count):
            with Wire(self.port, tls=self._tls) as wire:
                wire.send(bad.data + b"\r\n\r\n")
                try:
                    status = wire.reply().status
                except Gone:
                    status = 0
                assert status in (*bad.statuses, 400), (bad, status)
                assert wire.ends(), bad
            self.inputs += 1

    def bombs(self, count: int) -> None:
        """Heads without end: cut off."""
        for data in itertools.islice(bombs(b"/", b"localhost", self.random, 16 * 1024), count):
            with Wire(self.port, tls=self._tls) as wire:
                wire.send(data)
                assert wire.ends(), data[:80]
            self.inputs += 1

    def frames(self, count: int) -> None:
        """Frames that break WebSocket."""
        for bad in itertools.islice(bad_frames(self.random, FRAME_BYTES), count):
            with self.open() as wire:
                wire.send(bad.data)
                wire.refused(bad.codes, (bad.name, bad.data[:60]))
            self.inputs += 1

    def crumbs(self, count: int) -> None:
        """One message in very many fragments, most of them empty: answered like any other, and soon."""
        with self.open() as wire:
            for _ in range(count):
                began = time.monotonic()
                pieces = encode(CONT, b"", fin=False) * 2000 + encode(CONT, b"x", fin=False) * 2000
                wire.send(encode(TEXT, b"{", fin=False) + pieces + encode(CONT, b"}"))
                answer = self.answer(wire)
                assert answer["error"]["code"] == PARSE, answer
                assert time.monotonic() - began < 2
                self.inputs += 1

    def vanish(self, count: int) -> None:
        """Half a handshake or half a frame, then gone."""
        for number in range(count):
            if number % 2:
                wire = self.open()
                wire.send(truncated(self.random))
            else:
                wire = Wire(self.port)
                wire.send(b"\x16\x03\x01\x02\x00\x01")
            wire.reset() if self.random.random() < 0.5 else wire.close()
            self.inputs += 1

    # -- octo

    def strangers(self, count: int) -> None:
        """One connection that never registers: an error for each message, and it stays."""
        update = self.octo.text("notifyPluginUpdate", UPDATE)
        choices: list[tuple[Callable[[], bytes], tuple[str, ...], bool]] = [
            (lambda: self.random.choice(texts.NOT_JSON), (PARSE,), False),
            (lambda: texts.harm_text(update, self.random), (PARSE,), False),
            (lambda: self.random.randbytes(50), (PARSE,), True),
            (lambda: update, (PARSE,), True),
            (lambda: b"[" + update + b"]", (INVALID,), False),
            (lambda: b"[" + b",".join([update] * 3) + b"]", (INVALID,), False),
            (lambda: b"[]", (INVALID,), False),
            (
                lambda: self.random.choice([b"1", b"null", b'"x"', b"true", b"{}", b'{"jsonrpc":"2.0"}']),
                (INVALID,),
                False,
            ),
            (lambda: texts.nested(self.random.randrange(10, 20_000), self.random), (PARSE, INVALID), False),
            (lambda: self.octo.signed(name := self.random.choice(list(GOOD)), good(name)), (INVALID,), False),
            (lambda: update, (INVALID,), False),
            (lambda: self._badly_signed(), (INVALID,), False),
            (lambda: self._envelope(), (INVALID,), False),
            (lambda: self._stranger().update(), (INVALID,), False),
            (
                lambda: self.octo.text("notifyPluginUpdate", {**UPDATE, "displayName": "x" * UPDATE_BYTES}),
                (INVALID,),
                False,
            ),
        ]
        with self.open() as wire:
            for number in range(count):
                make, codes, binary = choices[number % len(choices)]
                self.refused(wire, make(), codes, binary=binary, why=number % len(choices))

    def _stranger(self) -> Octo:
        return Octo("b8e873a1-e5df-43a2-928a-745ff9c94dfb", "a key that nobody gave out")

    def _badly_signed(self) -> bytes:
        update = self.octo.text("notifyPluginUpdate", UPDATE)
        whole = sign(update, self.octo.access_key, salt())
        kind = self.random.randrange(8)
        if kind == 0:
            return sign(update, "another key", salt())
        if kind == 1:  # a byte of the text changed after signing
            return whole.replace(b"wrong-inputs", b"right-inputs")
        if kind == 2:  # re-indented on the way
            return json.dumps(json.loads(whole), indent=1).encode()
        if kind == 3:
            return whole.replace(
                b"m=64,t=16,p=8", self.random.choice([b"m=65536,t=16,p=8", b"m=64,t=1,p=1", b"m=64,t=16,p=9"])
            )
        if kind == 4:
            return whole.replace(b"argon2id", self.random.choice([b"argon2i", b"argon2d", b"none"]))
        if kind == 5:
            at = whole.index(b"p=8$") + 4
            return whole[: at + 10] + whole[at + 11 :]
        if kind == 6:
            return whole.replace(b"?authorization=", b"?authorization=?authorization=")
        return whole.replace(b"v=19", b"v=16")

    def _envelope(self) -> bytes:
        body = json.loads(self.octo.text("notifyPluginUpdate", UPDATE))
        kind = self.random.randrange(6)
        if kind == 0:
            body["jsonrpc"] = self.random.choice(["1.0", "2.1", 2.0, None])
        elif kind == 1:
            names = [
                "v2/notifyPluginNothing",
                "v3/notifyPluginUpdate",
                "notifyPluginUpdate",
                "",
                "v2/",
                "v2/eval",
                "x" * 300,
            ]
            body["method"] = self.random.choice([*names, "v1/notifyPluginUpdate", "v2/notifyPluginCommand"])
        elif kind == 2:
            body["method"] = self.random.choice([None, 1, [], {}, True])
        elif kind == 3:
            body["params"] = self.random.choice([None, 1, [], "x", True])
        elif kind == 4:
            del body[self.random.choice(["jsonrpc", "method", "params"])]
        else:
            return json.dumps(body).replace('"method":', '"method":"v2/notifyPluginUpdate","method":').encode()
        return json.dumps(body).encode()

    def contents(self, count: int) -> None:
        """Signed messages of a registered plugin whose content breaks a rule: an error with the place, and it stays."""
        with self.register() as wire:
            for _ in range(count):
                name = self.random.choice(list(GOOD))
                params = self._broken(name)
                message = self.refused(wire, self.octo.signed(name, params), (INVALID,), why=(name, params))
                assert "$" in message or "bytes" in message, (name, params, message)

    def _broken(self, name: str) -> dict[str, Any]:
        params = good(name)
        items = next(key for key, value in params.items() if isinstance(value, list))
        kind = self.random.randrange(8)
        if kind == 0:
            params["moduleName"] = self.random.choice(["", "nowhere", "a b", 1, None, "x" * 65, "probe\n"])
        elif kind == 1:
            params[items] = self.random.choice([None, "x", 1, {}, [None], ["x"], [[]]])
        elif kind == 2:
            params[items][0]["name"] = self.random.choice(["unknown", "", 1, None, "a b", "n" * 33, "status\n"])
        elif kind == 3:
            del params[items][0]["name"]
        elif kind == 4:
            params["epoch"] = self.random.choice(
                [
                    "0",
                    "9" * 11,
                    "-1",
                    "1e9",
                    "",
                    "now",
                    1,
                    None,
                    str(int(time.time()) - 3600),
                    str(int(time.time()) + 3600),
                ]
            )
        elif kind == 5:
            params["appGUID"] = self.random.choice(["", "x", None, 7, "b8e873a1-e5df-43a2-928a-745ff9c94dfb"])
        elif kind == 6:
            params["filler"] = "x" * 2100  # over 2048 bytes with its signature
        else:
            params["moduleName"] = {"notifyPluginState": "probe\0"}.get(name, "PROBE")
        return params

    def replays(self, count: int) -> None:
        """A message that was taken once is refused when it comes again, from any connection."""
        for _ in range(count):
            with self.register() as wire:
                whole = self.octo.signed("notifyPluginState", good("notifyPluginState"))
                wire.send(encode(TEXT, whole))
                message = self.refused(wire, whole, (INVALID,))
                assert "before" in message, message

    def registrations(self, count: int) -> None:
        """Declarations that break a rule: refused, and the one before stays in force."""
        with self.register() as wire:
            for _ in range(count):
                update = copy.deepcopy(UPDATE)
                module = update["modules"][0]
                kind = self.random.randrange(9)
                if kind == 0:
                    update["appName"] = self.random.choice(["", "1x", "a b", None, 5, "x\n"])
                elif kind == 1:
                    update["version"] = self.random.choice(["1", "1.2", "1.2.x", "", 1.2, None, "1.2.3\n"])
                elif kind == 2:
                    update["type"] = self.random.choice(["", "both", None, 1])
                elif kind == 3:
                    update["modules"] = self.random.choice([None, {}, "x", [1], [module, module]])
                elif kind == 4:
                    module["metrics"] = [{"name": "number", "displayType": "custom"}]
                elif kind == 5:
                    module["commands"] = [{"name": "go", "type": "synchronous"}]
                elif kind == 6:
                    module["states"] = [{"name": self.random.choice(["a" * 33, "", "é"]), "displayType": "string"}]
                elif kind == 7:
                    required = {"name": "p", "displayType": "string", "required": "true"}
                    module["commands"] = [{"name": "go", "type": "asynchronous", "params": [required]}]
                else:
                    module["moduleName"] = "m" * 65
                self.refused(wire, self.octo.signed("notifyPluginUpdate", update), (INVALID,), why=update)

    def too_big(self, count: int) -> None:
        """Over what any method may have: an error. Over 1 MiB: 1009 and the end (see :meth:`frames`)."""
        with self.open() as wire:
            for number in range(count):
                size = self.random.randrange(UPDATE_BYTES + 1, FRAME_BYTES)
                self.refused(wire, b'"' + b"x" * size + b'"' if number % 2 else b"{" * size, (INVALID,))
