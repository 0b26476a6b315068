# SPDX-License-Identifier: Apache-2.0
"""What gateway nodes and hubs say to each other about links: first byte the version, then a tagged msgpack
array.

``conn`` is the node's connection id (a snowflake string). Fields may be added at the end with a default.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from towline.protocols.link.frames import LinkError

RELAY_VERSION = 1
_OLDEST = 1


class RosterEntry(msgspec.Struct, array_like=True, frozen=True):
    """One signed-in link of a node. ``since_us``: when it was accepted."""

    conn: str
    device_id: str
    workgroup: str
    counter: int
    since_us: int


# -- node → hub
# ------------------------------------------------------------------------------------------------------


class Opened(msgspec.Struct, array_like=True, tag="opened", frozen=True):
    """A link was opened. ``remote`` is the agent's address as the node sees it, ``path`` the request's path."""

    conn: str
    remote: str
    path: str


class Frame(msgspec.Struct, array_like=True, tag="frame", frozen=True):
    """A frame from the agent, as it came."""

    conn: str
    data: bytes


class Closed(msgspec.Struct, array_like=True, tag="closed", frozen=True):
    """A link is gone.

    ``cause``: ``closed_by_agent``, ``silent``, ``node_draining``, ``protocol_error``, ``slow``, ``handshake_timeout``,
    ``frame_size``, ``rate``, ``connection_lost``, or the cause of the hub's Close.
    """

    conn: str
    cause: str
    detail: str = ""


class Roster(msgspec.Struct, array_like=True, tag="roster", frozen=True):
    """Signed-in links of the node: the answer to RosterAsk, in parts of at most :data:`ROSTER_PART` entries;
    or links handed to a new hub because theirs left (``handed``), which say nothing about the node's others.
    """

    entries: list[RosterEntry]
    part: int = 0
    last: bool = True
    handed: bool = False


ROSTER_PART = 1000
"""Entries of one Roster, so that it stays far below a bus message's 256 KiB."""

# -- hub → node
# ------------------------------------------------------------------------------------------------------


class Out(msgspec.Struct, array_like=True, tag="out", frozen=True):
    """Send this frame to the agent. ``cls`` is a :class:`~towline.protocols.link.frames.Priority`."""

    conn: str
    data: bytes
    cls: int = 1


class Accept(msgspec.Struct, array_like=True, tag="accept", frozen=True):
    """The link is signed in: the handshake's time limit ends, the link is in the roster from now on."""

    conn: str
    device_id: str
    workgroup: str
    counter: int


class Close(msgspec.Struct, array_like=True, tag="close", frozen=True):
    """Close the link after what is queued for it. ``cause`` comes back in Closed."""

    conn: str
    code: int
    reason: str
    cause: str


class RosterAsk(msgspec.Struct, array_like=True, tag="roster_ask", frozen=True):
    """Who is signed in at this node?"""


NodeMessage: TypeAlias = Opened | Frame | Closed | Roster
HubMessage: TypeAlias = Out | Accept | Close | RosterAsk
RelayMessage: TypeAlias = NodeMessage | HubMessage

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[RelayMessage] = msgspec.msgpack.Decoder(RelayMessage)
_VERSION_BYTE = bytes((RELAY_VERSION,))


def encode_relay(message: RelayMessage) -> bytes:
    """A relay message as a bus payload."""
    return _VERSION_BYTE + _encoder.encode(message)


def decode_relay(data: bytes | memoryview) -> RelayMessage:
    """The inverse of :func:`encode_relay`; LinkError ``link.relay`` for an unknown version or message."""
    if len(data) < 2 or not _OLDEST <= data[0] <= RELAY_VERSION:
        version = data[0] if len(data) else "none"
        raise LinkError("link.relay", f"a relay message of version {version}; known are {_OLDEST} to {RELAY_VERSION}")
    try:
        return _decoder.decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LinkError("link.relay", f"not a relay message: {error}") from None
