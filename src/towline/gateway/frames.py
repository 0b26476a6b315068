# SPDX-License-Identifier: Apache-2.0
"""Server WebSocket frames, encoded once and written to any number of connections (RFC 6455 §5.2)."""

from __future__ import annotations

import struct

_pack_short = struct.Struct("!BBH").pack
_pack_long = struct.Struct("!BBQ").pack

_TEXT, _BINARY, _CLOSE, _PONG = 0x81, 0x82, 0x88, 0x8A
PING = b"\x89\x00"
"""A ping without payload, which any client's WebSocket library answers by itself."""

_SMALL_TEXT = tuple(bytes((_TEXT, size)) for size in range(126))
_SMALL_BINARY = tuple(bytes((_BINARY, size)) for size in range(126))


def text_frame(payload: bytes) -> bytes:
    """A whole text message; ``payload`` is UTF-8."""
    size = len(payload)
    if size < 126:
        return _SMALL_TEXT[size] + payload
    return _long(_TEXT, size) + payload


def binary_frame(payload: bytes) -> bytes:
    """A whole binary message."""
    size = len(payload)
    if size < 126:
        return _SMALL_BINARY[size] + payload
    return _long(_BINARY, size) + payload


def data_frame(payload: bytes, binary: bool) -> bytes:
    """A whole message of either kind."""
    return binary_frame(payload) if binary else text_frame(payload)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping, with its payload (at most 125 bytes)."""
    return bytes((_PONG, len(payload))) + payload


def close_frame(code: int, reason: str) -> bytes:
    """A close frame; the reason is cut to 123 bytes of UTF-8."""
    text = reason.encode()[:123].decode("utf-8", "ignore").encode()
    return bytes((_CLOSE, len(text) + 2)) + code.to_bytes(2, "big") + text


def _long(first: int, size: int) -> bytes:
    return _pack_short(first, 126, size) if size < 65536 else _pack_long(first, 127, size)
