# SPDX-License-Identifier: Apache-2.0
"""How a message looks between processes: a fixed head, then the payload as it is. Pure.

::

    version u8 | kind u8 | correlation u64 | length of sender u8 | sender ASCII | payload

``correlation`` joins a call with its reply and is 0 elsewhere. The payload of ``ERROR`` and ``BEAT`` is msgpack (see
:class:`Failure` and :class:`Beat`); unknown fields are ignored. A release reads its own version and the one before, and
sends the one before until no older release is left in the mesh.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, TypeVar

import msgspec

from towline.errors import InvalidInput

VERSION = 1
OLDEST = 1
"""The version before, once there is one."""

SEND, CALL, REPLY, ERROR, EVENT, BEAT, BYE = range(1, 8)
"""Kinds of envelope. A BYE has no payload."""

_HEAD = struct.Struct(">BBQB")
MAX_SENDER = 255
OVERHEAD = _HEAD.size + MAX_SENDER
"""Most bytes that an envelope adds to its payload."""


class Envelope(NamedTuple):
    """One message on the wire."""

    kind: int
    sender: str
    correlation: int
    payload: bytes


class Failure(msgspec.Struct, frozen=True):
    """Payload of an ERROR: what the callee raised."""

    code: str
    message: str


class Beat(msgspec.Struct, frozen=True):
    """Payload of a BEAT. ``hello`` asks everyone to answer with a beat at once."""

    kind: str
    number: int
    started_us: int
    info: dict[str, str]
    hello: bool = False


class Refusal(InvalidInput):
    """Bytes that are not an envelope, or one of a version that is not spoken here (``bus.version_refused``)."""


def encode(kind: int, sender: str, correlation: int, payload: bytes) -> bytes:
    """The bytes of one envelope. ``sender`` is ASCII, at most 255 characters."""
    name = sender.encode("ascii")
    return b"".join((_HEAD.pack(VERSION, kind, correlation, len(name)), name, payload))


def decode(data: bytes) -> Envelope:
    """The inverse of :func:`encode`; Refusal for anything else."""
    if not data:
        raise Refusal("bus.malformed", "an empty message is not an envelope")
    if not OLDEST <= data[0] <= VERSION:
        raise Refusal("bus.version_refused", f"envelope version {data[0]}, spoken here are {OLDEST} to {VERSION}")
    if len(data) < _HEAD.size:
        raise Refusal("bus.malformed", f"{len(data)} bytes, an envelope has at least {_HEAD.size}")
    _, kind, correlation, length = _HEAD.unpack_from(data)
    if not SEND <= kind <= BYE:
        raise Refusal("bus.malformed", f"kind {kind} is not one of {SEND} to {BYE}")
    end = _HEAD.size + length
    name = data[_HEAD.size : end]
    if len(name) < length or not length or not name.isascii():
        raise Refusal("bus.malformed", f"the sender is not {length} ASCII characters")
    return Envelope(kind, name.decode("ascii"), correlation, data[end:])


Body = TypeVar("Body", Failure, Beat)

_pack = msgspec.msgpack.Encoder().encode
_failure = msgspec.msgpack.Decoder(Failure)
_beat = msgspec.msgpack.Decoder(Beat)


def pack(body: Failure | Beat) -> bytes:
    """A body as a payload."""
    return _pack(body)


def unpack_failure(payload: bytes) -> Failure:
    """The payload of an ERROR; Refusal when it is not one."""
    return _unpack(_failure, payload)


def unpack_beat(payload: bytes) -> Beat:
    """The payload of a BEAT; Refusal when it is not one."""
    return _unpack(_beat, payload)


def _unpack(decoder: msgspec.msgpack.Decoder[Body], payload: bytes) -> Body:
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal("bus.malformed", f"the payload is not what its kind says: {error}") from None
