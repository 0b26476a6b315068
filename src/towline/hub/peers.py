# SPDX-License-Identifier: Apache-2.0
"""What hubs say to each other, when a device's link is served by another hub than the one that was asked.

First byte the version, then a tagged msgpack array, apart from the relay's by the byte itself. A hub that does not
serve the device ignores the message, so the asking one needs no directory: there are few hubs.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from towline.errors import InvalidInput
from towline.protocols.link.messages import Exec

PEER_VERSION = 129
"""The relay between node and hub counts from 1, this one from 129: the first byte tells them apart."""


class Kick(msgspec.Struct, array_like=True, tag="kick", frozen=True):
    """Close the device's link, if it is yours."""

    device_id: str
    code: str
    message: str


class Dispatch(msgspec.Struct, array_like=True, tag="dispatch", frozen=True):
    """There are queued commands for the device: send them, if the link is yours."""

    device_id: str


class Relay(msgspec.Struct, array_like=True, tag="relay", frozen=True):
    """Send this link frame to the device (empty: to all of the workgroup), if the link is yours."""

    workgroup: str
    device_id: str
    data: bytes


class ExecStart(msgspec.Struct, array_like=True, tag="exec_start", frozen=True):
    """A call: start a remote shell command. Answered ``b"1"`` by the hub that serves the device, else ``b""``.

    Output and end then come as :class:`ExecOutput` and :class:`ExecEnd`, in order.
    """

    workgroup: str
    device_id: str
    message: Exec


class ExecStop(msgspec.Struct, array_like=True, tag="exec_stop", frozen=True):
    """Nobody waits for it any longer."""

    exec_id: str
    reason: str


class ExecOutput(msgspec.Struct, array_like=True, tag="exec_output", frozen=True):
    """Some output of it."""

    exec_id: str
    channel: Literal[0, 1, 2]
    data: bytes


class ExecEnd(msgspec.Struct, array_like=True, tag="exec_end", frozen=True):
    """The end of a command that another hub asked for."""

    exec_id: str
    return_code: int
    reason: str
    message: str = ""


class Verify(msgspec.Struct, array_like=True, tag="verify", frozen=True):
    """A hub left, so messages about links may have been lost with it: say again which links you serve."""


PeerMessage: TypeAlias = Verify | Kick | Dispatch | Relay | ExecStart | ExecStop | ExecOutput | ExecEnd

_PREFIX = bytes((PEER_VERSION,))
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[PeerMessage] = msgspec.msgpack.Decoder(PeerMessage)


def encode(message: PeerMessage) -> bytes:
    """As a bus payload."""
    return _PREFIX + _encoder.encode(message)


def is_peer(payload: bytes) -> bool:
    """Whether a bus payload is of this kind (and not of the relay)."""
    return bool(payload) and payload[0] == PEER_VERSION


def decode(payload: bytes) -> PeerMessage:
    """The inverse of :func:`encode`. InvalidInput ``hub.peer``."""
    try:
        if is_peer(payload):
            return _decoder.decode(memoryview(payload)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("hub.peer", f"not a message between hubs: {error}") from None
    raise InvalidInput("hub.peer", f"a message between hubs starts with the byte {PEER_VERSION}")
