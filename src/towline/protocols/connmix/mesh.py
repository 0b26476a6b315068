# SPDX-License-Identifier: Apache-2.0
"""What gateway nodes tell each other over the bus.

A message is one version byte, one operation byte (1–127) and a msgpack array. Relay messages for agents' links share the
same inbox; their second byte begins a msgpack array (128 and above), which tells the two apart.
"""

from __future__ import annotations

import msgspec

VERSION = 1

_PUBLISH, _SEND, _COUNTS, _CALL, _CALLED, _WANTS, _OFFER, _TAKEN = range(1, 9)


class Publish(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Deliver to the receiver's own subscribers of ``channel`` and answer with :class:`Counts`."""

    seq: int
    channel: str
    data: bytes
    binary: bool


class Send(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Deliver to one client of the receiver and answer with :class:`Counts` (1 and 0 when accepted)."""

    seq: int
    client_id: str
    data: bytes
    binary: bool


class Counts(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How many outboxes accepted (``sent``) and refused (``failed``) the message ``seq`` of the node this goes to."""

    seq: int
    sent: int
    failed: int


class Call(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Execute ``conn.call`` on a client of the receiver; ``arguments`` is a JSON array."""

    seq: int
    client_id: str
    function: str
    arguments: bytes


class Called(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The answer to :class:`Call`: an empty ``problem`` means that it was done."""

    seq: int
    problem: str


class Wants(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Topics that consumers of the sender take messages of, each with the number to offer them under; 0: no more.

    ``whole`` begins the list anew: what the sender wanted before and does not name is over.
    """

    whole: bool
    topics: dict[str, int]


class Offer(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A message for a consumer of the receiver, to be answered with :class:`Taken`. ``under`` is the number of the
    :class:`Wants` that it follows; ``data`` is JSON text; ``node`` and ``client_id`` say where it was pushed."""

    seq: int
    under: int
    topic: str
    node: int
    client_id: str
    data: bytes


class Taken(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Whether a consumer got the offer ``seq``. If not, the offers that follow under the same number are refused too."""

    seq: int
    taken: bool


QueueMessage = Wants | Offer | Taken
MeshMessage = Publish | Send | Counts | Call | Called | QueueMessage

_OPERATION: dict[type, bytes] = {
    Publish: bytes((VERSION, _PUBLISH)),
    Send: bytes((VERSION, _SEND)),
    Counts: bytes((VERSION, _COUNTS)),
    Call: bytes((VERSION, _CALL)),
    Called: bytes((VERSION, _CALLED)),
    Wants: bytes((VERSION, _WANTS)),
    Offer: bytes((VERSION, _OFFER)),
    Taken: bytes((VERSION, _TAKEN)),
}
_DECODERS: dict[int, msgspec.msgpack.Decoder[MeshMessage]] = {
    prefix[1]: msgspec.msgpack.Decoder(kind) for kind, prefix in _OPERATION.items()
}
_encode = msgspec.msgpack.Encoder().encode

OVERHEAD = 64 + 1024
"""Most bytes that an encoded Publish, Send or Offer adds to its data."""


class MeshFormatError(ValueError):
    """Not a mesh message that this version understands."""


def is_mesh(payload: bytes) -> bool:
    """Whether a bus payload is a mesh message rather than a relay message."""
    return len(payload) > 1 and payload[1] < 0x80


def encode(message: MeshMessage) -> bytes:
    """The bytes for the bus."""
    return _OPERATION[type(message)] + _encode(message)


def decode(payload: bytes) -> MeshMessage:
    """The inverse of :func:`encode`; MeshFormatError for anything else."""
    if len(payload) < 3 or payload[0] != VERSION:
        raise MeshFormatError(f"unknown version {payload[:1].hex() or 'of an empty message'}")
    decoder = _DECODERS.get(payload[1])
    if decoder is None:
        raise MeshFormatError(f"unknown operation {payload[1]}")
    try:
        return decoder.decode(memoryview(payload)[2:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MeshFormatError(str(error)) from None
