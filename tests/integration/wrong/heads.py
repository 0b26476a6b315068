# SPDX-License-Identifier: Apache-2.0
"""Wrong heads and bodies of HTTP requests, with the statuses that a server may answer them with.

A request that two readers could understand differently (two lengths, a length and chunks, a bare line feed …) must end
the connection: what follows it may be another's request.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple


class Bad(NamedTuple):
    """``statuses``: any of these is right; 0 stands for closing without an answer. ``stays``: None when both are right."""

    name: str
    data: bytes
    statuses: tuple[int, ...]


MALFORMED = (400,)
_METHODS = (b"GET", b"POST", b"PUT", b"DELETE")


def heads(path: bytes, host: bytes, random_: random.Random) -> Iterator[Bad]:
    """Endless: heads that no server may take for a request."""
    ok = b"POST " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n"
    made = (
        lambda: Bad("random bytes", random_.randbytes(random_.randrange(4, 200)) + b"\r\n\r\n", MALFORMED),
        lambda: Bad("no method", b" " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", MALFORMED),
        lambda: Bad("unknown method", b"BREW " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", (400, 405, 501)),
        lambda: Bad("lower case method", b"post " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", MALFORMED),
        lambda: Bad("version", b"GET " + path + b" HTTP/%d.%d\r\nHost: x\r\n\r\n" % _version(random_), (400, 505)),
        lambda: Bad("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
        lambda: Bad("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random_.randbytes(64), MALFORMED),
        lambda: Bad("space in the target", b"GET /a b HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", MALFORMED),
        lambda: Bad("control in the target", b"GET /\x01\x02 HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", MALFORMED),
        lambda: Bad("two lengths", ok + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", MALFORMED),
        lambda: Bad("list of lengths", ok + b"Content-Length: 2, 2\r\n\r\n{}", MALFORMED),
        lambda: Bad("length and chunks", ok + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", MALFORMED),
        lambda: Bad("chunks and length", ok + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", MALFORMED),
        lambda: Bad("hidden chunks", ok + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", MALFORMED),
        lambda: Bad("chunks not last", ok + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", MALFORMED),
        lambda: Bad("negative length", ok + b"Content-Length: -%d\r\n\r\n{}" % random_.randrange(1, 99), MALFORMED),
        lambda: Bad("signed length", ok + b"Content-Length: +2\r\n\r\n{}", MALFORMED),
        lambda: Bad("hex length", ok + b"Content-Length: 0x2\r\n\r\n{}", MALFORMED),
        lambda: Bad("endless length", ok + b"Content-Length: " + b"9" * random_.randrange(20, 60) + b"\r\n\r\n", MALFORMED),
        lambda: Bad("no length", ok + b"Content-Length: \r\n\r\n", MALFORMED),
        lambda: Bad("chunk size", ok + b"Transfer-Encoding: chunked\r\n\r\n" + _chunk(random_), MALFORMED),
        lambda: Bad("endless chunk size", ok + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n", MALFORMED),
        lambda: Bad("folded header", ok + b"X-A: b\r\n c\r\nX-B : c\r\n\r\n", MALFORMED),
        lambda: Bad("space before the colon", ok + b"Content-Length : 2\r\n\r\n{}", MALFORMED),
        lambda: Bad("no colon", ok + b"nonsense\r\n\r\n", MALFORMED),
        lambda: Bad("control in a header", ok + b"X-A: a\x00b\r\n\r\n", MALFORMED),
        lambda: Bad("control in a name", ok + b"X\x7f-A: b\r\n\r\n", MALFORMED),
        lambda: Bad("bare carriage return", ok + b"X-A: a\rX-B: b\r\n\r\n", MALFORMED),
        lambda: Bad("empty name", ok + b": b\r\n\r\n", MALFORMED),
    )  # fmt: skip
    while True:
        yield random_.choice(made)()


def _version(random_: random.Random) -> tuple[int, int]:
    return random_.choice([(3, 0), (1, 2), (9, 9), (2, 1), (0, 0)])


def _chunk(random_: random.Random) -> bytes:
    return random_.choice([b"xyz\r\n", b"-1\r\n", b"2\r\n{}XX", b"0x2\r\n{}\r\n", b"\r\n", b" 2\r\n{}\r\n0\r\n\r\n"])


def bombs(path: bytes, host: bytes, random_: random.Random, limit: int) -> Iterator[bytes]:
    """Endless: heads longer than ``limit``, in several shapes; the right answer is 431."""
    start = b"POST " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n"
    while True:
        over = limit + random_.randrange(1, limit)
        yield random_.choice(
            [
                b"GET /" + b"a" * over + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n",
                b"GET /?" + b"%41" * (over // 3 + 1) + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n",
                start + b"X-Long: " + b"b" * over + b"\r\n\r\n",
                start + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(over // 8)) + b"\r\n",
                start + b"Cookie: " + b"a=b; " * (over // 5 + 1) + b"\r\n\r\n",
                start + b"X-Unfinished: " + b"c" * (over + 600_000),
            ]
        )
