# SPDX-License-Identifier: Apache-2.0
"""What a hub asks gateway nodes, and what they answer: figures, channels, topics, clients, and a few actions.

A question is a bus call: one version byte and a tagged msgpack map. The answer is one version byte and a msgpack map of
the type that stands beside the question. Members that are not known are ignored, those that are missing take their
default, so that releases next to each other understand each other. Lists are cut to :data:`LIST_BYTES`.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

VERSION = 1

LIST_BYTES = 192 * 1024
"""What the names of one answer take at most, in bytes; the bus carries 256 KiB."""

CONTEXT_BYTES = 64 * 1024
"""What the context of one client takes at most as JSON, in bytes."""

MAX_ROWS = 500
"""Rows of one answer."""


class AskStatus(msgspec.Struct, frozen=True, kw_only=True, tag_field="ask", tag="status"):
    """To be answered with :class:`Status`."""


class AskChannels(msgspec.Struct, frozen=True, kw_only=True, tag_field="ask", tag="channels"):
    """To be answered with :class:`Channels`: those with most subscribers whose name contains ``search``; with ``names``
    exactly those that exist of them."""

    search: str = ""
    limit: int = 100
    names: list[str] = []


class AskTopics(msgspec.Struct, frozen=True, kw_only=True, tag_field="ask", tag="topics"):
    """To be answered with :class:`Topics`: the fullest first."""

    search: str = ""
    limit: int = 100


class AskClients(msgspec.Struct, frozen=True, kw_only=True, tag_field="ask", tag="clients"):
    """To be answered with :class:`Clients`: newest first, older than the id ``after`` when it is given; ``search`` is the
    beginning of an id or of a remote address, ``channel`` one that they subscribe to."""

    search: str = ""
    channel: str = ""
    after: str = ""
    limit: int = 100


class AskClient(msgspec.Struct, frozen=True, kw_only=True, tag_field="ask", tag="client"):
    """To be answered with :class:`ClientDetails`; NotFound ``client.unknown``."""

    client_id: str


class DoSend(msgspec.Struct, frozen=True, kw_only=True, tag_field="ask", tag="send"):
    """Send to one client of any node, to be answered with :class:`Sent`."""

    client_id: str
    data: bytes
    binary: bool = False


class DoPublish(msgspec.Struct, frozen=True, kw_only=True, tag_field="ask", tag="publish"):
    """Publish in the whole mesh, to be answered with :class:`Sent`."""

    channel: str
    data: bytes
    binary: bool = False


class DoDisconnect(msgspec.Struct, frozen=True, kw_only=True, tag_field="ask", tag="disconnect"):
    """Close a client of this node, to be answered with :class:`Sent` (``sent`` 1); NotFound ``client.unknown``."""

    client_id: str
    code: int
    reason: str = ""


Question = AskStatus | AskChannels | AskTopics | AskClients | AskClient | DoSend | DoPublish | DoDisconnect


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """One client port and what happened there since the node started."""

    number: int
    listen: str
    path: str = "/"
    protocol: str = "websocket"
    tls: bool = False
    entry: str = ""
    """Name of the script or built-in; empty for a port that serves agents only."""
    clients: int = 0
    accepted: int = 0
    messages: int = 0
    entry_errors: int = 0
    refused: dict[str, int] = {}
    closed: dict[str, int] = {}


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One node now. ``counters`` only grow, so that the asker makes rates; ``loop_lag_ms`` is the worst of a minute."""

    number: int = -1
    version: str = ""
    api_server: str = ""
    clients: int = 0
    links: int = 0
    channels: int = 0
    topics: int = 0
    queued: int = 0
    queued_bytes: int = 0
    consumers: int = 0
    behind: int = 0
    loop_lag_ms: float = 0.0
    memory_bytes: int = 0
    draining: bool = False
    counters: dict[str, int] = {}
    listeners: list[Listener] = []


class Channel(msgspec.Struct, frozen=True):
    """A channel and its subscribers on the node that answers."""

    name: str
    subscribers: int


class Channels(msgspec.Struct, frozen=True, kw_only=True):
    """``matching`` counts all that the question means; ``channels`` may be fewer."""

    channels: list[Channel]
    matching: int


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic on the node that answers. ``away`` counts messages that another node was offered, or of a durable topic those
    that consumers have and have not acked. What a durable topic holds, all its nodes share."""

    name: str
    depth: int
    consumers: int
    away: int = 0
    durable: bool = False


class Topics(msgspec.Struct, frozen=True, kw_only=True):
    """``matching`` counts all that the question means; ``topics`` may be fewer."""

    topics: list[Topic]
    matching: int


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A client in a list. ``since_us`` is microseconds since 1970; ``waiting`` is bytes that its socket has not taken."""

    id: str
    listener: int
    remote_addr: str
    since_us: int
    channels: int
    waiting: int


class Clients(msgspec.Struct, frozen=True, kw_only=True):
    """``more``: there are older ones that match."""

    clients: list[Client]
    more: bool


class ClientDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one client. ``context`` is a JSON object; keys whose value did not fit, or cannot be said in JSON,
    stand in ``omitted``. ``channels`` may be fewer than ``channel_count``."""

    client: Client
    listen: str
    entry: str
    protocol: str
    path: str
    user_agent: str
    context: bytes
    omitted: list[str]
    channels: list[str]
    channel_count: int
    behind: bool


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """Frames that outboxes took and refused; ``silent`` nodes did not answer and add to neither."""

    sent: int
    failed: int = 0
    silent: int = 0


class InspectFormatError(ValueError):
    """Not a question, or not an answer, that this version understands."""


_T = TypeVar("_T")
_PREFIX = bytes((VERSION,))
_encode = msgspec.msgpack.Encoder().encode
_questions: msgspec.msgpack.Decoder[Question] = msgspec.msgpack.Decoder(Question)


def encode(value: msgspec.Struct) -> bytes:
    """The bytes of a question or an answer."""
    return _PREFIX + _encode(value)


def decode_question(payload: bytes) -> Question:
    """The inverse of :func:`encode`; InspectFormatError for anything else."""
    if payload[:1] != _PREFIX:
        raise InspectFormatError(f"unknown version {payload[:1].hex() or 'of an empty question'}")
    try:
        return _questions.decode(memoryview(payload)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InspectFormatError(str(error)) from None


def decode_answer(payload: bytes, kind: type[_T]) -> _T:
    """An answer of the given type; InspectFormatError for anything else."""
    if payload[:1] != _PREFIX:
        raise InspectFormatError(f"unknown version {payload[:1].hex() or 'of an empty answer'}")
    try:
        return msgspec.msgpack.decode(memoryview(payload)[1:], type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InspectFormatError(str(error)) from None


def clean(text: str) -> str:
    """Text as UTF-8 can carry it: a lone surrogate, which JSON can smuggle in, becomes ``?``."""
    return text.encode("utf-8", "replace").decode()
