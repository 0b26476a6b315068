# SPDX-License-Identifier: Apache-2.0
"""WebSocket frames that break RFC 6455, with the close codes that answer them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from tests.integration.wrong.wire import BINARY, CLOSE, CONT, MASK, PING, PONG, TEXT, encode, mask

PROTOCOL = frozenset({1002})
TOO_BIG = frozenset({1009})


class BadFrames(NamedTuple):
    """``codes``: close codes of which any is right."""

    name: str
    data: bytes
    codes: frozenset[int]


def header(first: int, length: bytes) -> bytes:
    """A frame's first bytes, put together by hand; the mask bit must be in ``length[0]``."""
    return bytes([first]) + length + MASK


def bad_frames(random_: random.Random, limit: int) -> Iterator[BadFrames]:
    """Endless: what ends a connection whatever the application is. ``limit``: longest message in bytes."""

    def payload() -> bytes:
        return random_.randbytes(random_.randrange(0, 100))

    def data_opcode() -> int:
        return random_.choice([TEXT, BINARY])

    def control() -> int:
        return random_.choice([CLOSE, PING, PONG])

    made = (
        lambda: BadFrames("unmasked", encode(data_opcode(), b"{}" + payload(), masked=False), PROTOCOL),
        lambda: BadFrames("unmasked control", encode(control(), b"", masked=False), PROTOCOL),
        lambda: BadFrames("reserved bits", encode(data_opcode(), b"{}", reserved=random_.randrange(1, 8)), PROTOCOL),
        lambda: BadFrames("reserved bits of a control", encode(PING, b"", reserved=random_.randrange(1, 8)), PROTOCOL),
        lambda: BadFrames("opcode", encode(random_.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15]), payload()), PROTOCOL),
        lambda: BadFrames("fragmented control", encode(control(), b"", fin=False), PROTOCOL),
        lambda: BadFrames("long control", encode(control(), b"\x03\xe8" + b"a" * random_.randrange(124, 400)), PROTOCOL),
        lambda: BadFrames("continuation of nothing", encode(CONT, payload(), fin=random_.random() < 0.5), PROTOCOL),
        lambda: BadFrames(
            "message within a message", encode(TEXT, b"{", fin=False) + encode(data_opcode(), b"}"), PROTOCOL
        ),
        lambda: BadFrames("close of one byte", encode(CLOSE, b"\x03"), PROTOCOL),
        lambda: BadFrames(
            "close code",
            encode(CLOSE, random_.choice([0, 1, 999, 1004, 1005, 1006, 1015]).to_bytes(2, "big")),
            PROTOCOL,
        ),
        lambda: BadFrames("close text", encode(CLOSE, b"\x03\xe8\xff\xfe"), frozenset({1002, 1007})),
        lambda: BadFrames("length of 2**63", header(0x82, b"\xff" + b"\xff" * 8), frozenset({1002, 1009})),
        lambda: BadFrames("announced too big", header(0x82, b"\xff" + _size(random_, limit)), TOO_BIG),
        lambda: BadFrames("announced too big, then data", _flood(random_, limit), TOO_BIG),
        lambda: BadFrames("too big in fragments", _fragments(random_, limit), TOO_BIG),
        lambda: BadFrames("random bytes", _unmasked(random_), PROTOCOL),
    )  # fmt: skip
    while True:
        yield random_.choice(made)()


def _unmasked(random_: random.Random) -> bytes:
    return bytes([random_.randrange(256), random_.randrange(128)]) + random_.randbytes(random_.randrange(0, 300))


def _size(random_: random.Random, limit: int) -> bytes:
    return max(65536, random_.randrange(limit + 1, limit * 1000)).to_bytes(8, "big")


def _flood(random_: random.Random, limit: int) -> bytes:
    return header(0x81, b"\xff" + _size(random_, limit)) + random_.randbytes(random_.randrange(1000, 100_000))


def _fragments(random_: random.Random, limit: int) -> bytes:
    size = min(limit, 60_000)
    count = limit // size + 1
    rest = b"".join(encode(CONT, b"b" * size, fin=False) for _ in range(count))
    return encode(random_.choice([TEXT, BINARY]), b"a" * size, fin=False) + rest


def truncated(random_: random.Random) -> bytes:
    """A frame that never becomes whole."""
    whole = encode(random_.choice([TEXT, BINARY, PING]), random_.randbytes(random_.randrange(20, 120)))
    return whole[: random_.randrange(1, len(whole))]


def masked(first: int, second: int, payload: bytes) -> bytes:
    """A frame with its two first bytes as given."""
    return bytes([first, second]) + MASK + mask(payload)
