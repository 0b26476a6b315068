# SPDX-License-Identifier: Apache-2.0
"""A frame of link v1: one binary WebSocket message, msgpack ``[type, stream, seq, body]``.

``type`` is a :class:`Type` (0 to 127). ``stream`` says whose order the frame belongs to: a :class:`Stream`, or from
:data:`~towline.protocols.link.limits.FIRST_STREAM` on one that EXEC opened. ``seq`` is the lane's sequence for BATCH,
BATCH_PART and ACK, a counter from 0 for DATA, and 0 elsewhere. ``body`` is a map (see messages.py). A frame of an
unknown type is counted and ignored, so that a newer peer can say more.
"""

from __future__ import annotations

import enum

import msgspec

from towline.errors import InvalidInput
from towline.protocols.link.limits import FIRST_STREAM, MAX_FRAME


class Type(enum.IntEnum):
    """What a frame is."""

    HELLO = 1
    CHALLENGE = 2
    PROOF = 3
    WELCOME = 4
    REFUSED = 5
    ENROL = 6
    ENROLLED = 7
    PING = 8
    PONG = 9
    RESYNC = 10
    BYE = 11
    KEY_CHANGE = 12
    KEY_CHANGED = 13

    BATCH = 16
    ACK = 17
    BATCH_PART = 18

    COMMAND = 32
    COMMAND_QUERY = 33
    PLUGIN_KEY_ASK = 34
    PLUGIN_KEY = 35
    PLUGIN_KEY_REVOKED = 36
    SETTINGS = 37

    EXEC = 48
    DATA = 49
    CREDIT = 50
    END = 51
    EXEC_CANCEL = 52


class Stream(enum.IntEnum):
    """The fixed streams."""

    CONTROL = 0
    URGENT = 1
    LIVE = 2
    BACKLOG = 3


class Priority(enum.IntEnum):
    """Strict priority of what waits to be sent; a lower number goes first."""

    CONTROL = 0
    URGENT = 1
    LIVE = 2
    INTERACTIVE = 3
    BULK = 4


class LinkError(InvalidInput):
    """A peer broke a rule of link v1. ``code`` begins with ``link.``."""


class Frame(msgspec.Struct, array_like=True, frozen=True):
    """A decoded header; ``body`` is still msgpack."""

    type: int
    stream: int
    seq: int
    body: msgspec.Raw


_decoder = msgspec.msgpack.Decoder(Frame)
_encoder = msgspec.msgpack.Encoder()

_PRIORITY_OF_STREAM = {
    Stream.CONTROL: Priority.CONTROL,
    Stream.URGENT: Priority.URGENT,
    Stream.LIVE: Priority.LIVE,
    Stream.BACKLOG: Priority.BULK,
}


def decode_frame(data: bytes | memoryview) -> Frame:
    """Read a frame's header. LinkError ``link.frame`` if it is no frame, ``link.frame_size`` if it is too
    long.
    """
    if len(data) > MAX_FRAME:
        raise LinkError("link.frame_size", f"a frame of {len(data)} bytes; the limit is {MAX_FRAME}")
    try:
        frame = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LinkError("link.frame", f"not a link frame: {error}") from None
    if not (0 <= frame.type < 128 and 0 <= frame.stream < 1 << 32 and 0 <= frame.seq < 1 << 63):
        raise LinkError("link.frame", "type, stream or seq of a link frame is out of range")
    return frame


def encode_frame(type: int, body: object, *, stream: int = 0, seq: int = 0) -> bytes:
    """Make a frame. ``body`` is a Struct of messages.py, or ``msgspec.Raw`` / bytes that are a body already."""
    if isinstance(body, bytes):
        body = msgspec.Raw(body)
    return _encoder.encode((int(type), int(stream), seq, body))


def frame_type(data: bytes | memoryview) -> int:
    """The type of a frame without decoding it, or -1. What a gateway node reads of the frames it relays."""
    if len(data) < 5 or data[0] != 0x94 or data[1] > 0x7F:
        return -1
    return data[1]


def pong_for(ping: bytes | memoryview) -> bytes:
    """The PONG that answers a PING: its own bytes with the other type."""
    return b"\x94" + bytes((Type.PONG,)) + bytes(ping[2:])


def priority_of(type: int, stream: int) -> Priority:
    """The class a frame is sent in. A dynamic stream is interactive; its opener may say bulk itself."""
    if type <= Type.KEY_CHANGED:
        return Priority.CONTROL
    if Type.COMMAND <= type <= Type.SETTINGS:
        return Priority.URGENT
    if type in (Type.EXEC, Type.EXEC_CANCEL):
        return Priority.URGENT
    if type == Type.ACK:
        return Priority.URGENT
    if stream >= FIRST_STREAM:
        return Priority.INTERACTIVE
    return _PRIORITY_OF_STREAM.get(Stream(stream), Priority.BULK) if stream <= Stream.BACKLOG else Priority.BULK
