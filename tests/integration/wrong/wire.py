# SPDX-License-Identifier: Apache-2.0
"""A client that is free to be wrong: raw bytes over TCP or TLS, HTTP answers and WebSocket frames read strictly.

Blocking on purpose: one input, one answer, no scheduler in between.
"""

from __future__ import annotations

import base64
import json
import random
import socket
import ssl
import struct
from typing import Any, NamedTuple

TIMEOUT_S = 5.0
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Reply(NamedTuple):
    """An HTTP answer, whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Frame(NamedTuple):
    """A frame of the server."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """The close code; 1005 when there is none."""
        assert self.opcode == CLOSE, self
        return int.from_bytes(self.payload[:2], "big") if len(self.payload) >= 2 else 1005


class Gone(Exception):
    """The server closed the connection without (further) answer."""


def tls_context() -> ssl.SSLContext:
    """As plugins do it: no check of the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Wire:
    """One connection."""

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None, timeout: float = TIMEOUT_S) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket: socket.socket = tls.wrap_socket(plain) if tls else plain
        except BaseException:
            plain.close()
            raise
        self._buffer = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        try:
            self.socket.close()
        except OSError:
            pass

    def reset(self) -> None:
        """Vanish with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    # -- bytes

    def send(self, data: bytes) -> None:
        """Send all; a server that has already closed is not an error: its answer is still to be read."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            pass

    def _more(self) -> None:
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise AssertionError(f"no answer in {TIMEOUT_S:.0f} s; so far {self._buffer[:200]!r}") from None
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            data = b""
        if not data:
            raise Gone
        self._buffer += data

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._more()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def ends(self, timeout: float = TIMEOUT_S) -> bool:
        """Whether the server closes the connection in this time; what it still says is passed over."""
        self.socket.settimeout(timeout)
        try:
            while True:
                self._buffer = b""
                self._more()
        except Gone:
            return True
        except AssertionError:
            return False
        finally:
            self.socket.settimeout(TIMEOUT_S)

    # -- HTTP

    def reply(self, *, head_only: bool = False) -> Reply:
        """Read one HTTP answer (interim answers are passed over)."""
        while True:
            first = self._line()
            assert first.startswith(b"HTTP/1.1 "), first
            status = int(first[9:12])
            headers: dict[str, str] = {}
            while line := self._line():
                name, colon, value = line.decode("latin-1").partition(":")
                assert colon, line
                headers[name.lower()] = value.strip()
            if status != 100:
                break
        if head_only or status in (101, 204, 304):
            return Reply(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self._line(), 16):
                body += self._take(size)
                assert self._line() == b""
            assert self._line() == b""
            return Reply(status, headers, body)
        return Reply(status, headers, self._take(int(headers.get("content-length", "0"))))

    # -- WebSocket

    def upgrade(self, path: str, port: int, *headers: str) -> Reply:
        """Ask for a WebSocket; the answer is 101 when it is one."""
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: " + base64.b64encode(b"0123456789abcdef").decode(),
            *headers,
        ]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        return self.reply()

    def frame(self) -> Frame:
        """The next frame of the server, which never fragments, masks or sets reserved bits."""
        first, second = self._take(2)
        assert first & 0xF0 == 0x80, f"first byte {first:#x}"
        assert second < 0x80, "a server does not mask"
        size = second
        if size == 126:
            size = int.from_bytes(self._take(2), "big")
        elif size == 127:
            size = int.from_bytes(self._take(8), "big")
        return Frame(first & 15, self._take(size))

    def text(self) -> str:
        """The next message, which is text; pings and pongs are passed over."""
        while (frame := self.frame()).opcode in (PING, PONG):
            pass
        assert frame.opcode == TEXT, frame
        return frame.payload.decode()

    def close_code(self) -> int:
        """The close code that the server sends next; 1006 when it closes without, 0 when it does not close at all."""
        try:
            while (frame := self.frame()).opcode != CLOSE:
                pass
        except Gone:
            return 1006
        except AssertionError:
            return 0
        return frame.code

    def refused(self, codes: frozenset[int] | set[int], what: object) -> int:
        """The server closes with one of these codes; its close is answered, then it ends the connection."""
        code = self.close_code()
        assert code in codes, (what, code)
        self.send(encode(CLOSE, code.to_bytes(2, "big")))
        assert self.ends(), (what, "the connection stays open")
        return code


def encode(opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """A client's frame. The mask is fixed: randomness belongs to the seed."""
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    bit = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    return head + MASK + mask(payload)


MASK = b"\x11\x22\x33\x44"


def mask(payload: bytes) -> bytes:
    """XOR with :data:`MASK`."""
    size = len(payload)
    repeated = (MASK * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


def chopped(data: bytes, random_: random.Random, pieces: int = 4) -> list[bytes]:
    """``data`` in a few pieces at random places."""
    cuts = sorted(random_.randrange(len(data) + 1) for _ in range(pieces - 1))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
