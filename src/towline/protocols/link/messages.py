# SPDX-License-Identifier: Apache-2.0
"""Bodies of the frames: maps, whose unknown members are ignored and whose later members have defaults, so N
and N−1 talk.

BATCH's body is :class:`towline.protocols.link.items.Batch`. PING and PONG carry whatever the pinging side
likes.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, TypeVar

import msgspec

from towline.protocols.link.frames import Frame, LinkError, Type, encode_frame
from towline.protocols.link.items import Lane
from towline.protocols.link.limits import STREAM_CREDIT


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A frame's body."""


# -- control
# -----------------------------------------------------------------------------------------------------


class Hello(Body, frozen=True, kw_only=True):
    """agent → hub, first. An agent that wants to enrol leaves ``device_id`` empty.

    :param min, max: protocol versions the agent speaks
    :param nonce: 32 random bytes
    :param facts: hostname, os, arch, kernel, python, … as text
    """

    min: int
    max: int
    nonce: bytes
    device_id: str = ""
    workgroup: str = ""
    spool_id: str = ""
    agent_version: str = ""
    features: list[str] = []
    facts: dict[str, str] = {}


class Challenge(Body, frozen=True, kw_only=True):
    """hub → agent. ``signature`` covers (tag, "hub", hub_id, device_id, connection_id, agent nonce, hub
    nonce).
    """

    version: int
    hub_id: str
    hub_key: bytes
    connection_id: str
    nonce: bytes
    signature: bytes


class Proof(Body, frozen=True, kw_only=True):
    """agent → hub. ``signature`` covers (tag, "agent", hub_id, device_id, connection_id, hub nonce, agent
    nonce).
    """

    signature: bytes


class Welcome(Body, frozen=True, kw_only=True):
    """hub → agent: signed in.

    :param acked: lane → last sequence stored of this spool; what is at or below it is trimmed, the rest sent
        again
    :param counter: this connection's number for the device; the highest is the newest
    """

    version: int
    acked: dict[str, int] = {}
    counter: int = 0
    server_time_us: int = 0
    heartbeat_s: float = 5.0
    silent_s: float = 15.0
    features: list[str] = []
    name: str = ""


class Refused(Body, frozen=True, kw_only=True):
    """hub or node → agent, before it closes. ``retry_after_s`` null: a person has to do something first."""

    code: str
    message: str
    retry_after_s: float | None = None


class Enrol(Body, frozen=True, kw_only=True):
    """agent → hub, after a CHALLENGE that matches the line's pin. ``signature``: see handshake.py."""

    token: str
    public_key: bytes
    signature: bytes
    name: str = ""


class Enrolled(Body, frozen=True, kw_only=True):
    """hub → agent. ``signature`` covers the token's hash, the public key and the ids."""

    device_id: str
    workgroup: str
    hub_id: str
    hub_key: bytes
    signature: bytes
    name: str = ""


class Ping(Body, frozen=True, kw_only=True):
    """agent → node: alive. The node answers PONG with the same bytes."""

    time_us: int = 0


class Resync(Body, frozen=True, kw_only=True):
    """node or hub → agent: another hub serves this link now. Unacknowledged batches go again at once, dynamic
    streams are over.
    """

    reason: str = ""
    acked: dict[str, int] = {}


class Bye(Body, frozen=True, kw_only=True):
    """Either side, before an orderly close."""

    code: str = ""
    reason: str = ""


class KeyChange(Body, frozen=True, kw_only=True):
    """agent → hub, signed in: from now on ``public_key`` is this device's. ``signature``: see keychange.py."""

    public_key: bytes
    signature: bytes


class KeyChanged(Body, frozen=True, kw_only=True):
    """hub → agent: the key of KEY_CHANGE counts now; with ``code`` it does not, and the old one still does."""

    public_key: bytes
    signature: bytes = b""
    code: str = ""
    message: str = ""


# -- lanes
# ---------------------------------------------------------------------------------------------------------


class Ack(Body, frozen=True, kw_only=True):
    """hub → agent: everything of the lane up to ``seq`` is committed."""

    spool_id: str
    lane: Lane
    seq: int


class BatchPart(Body, frozen=True, kw_only=True):
    """agent → hub: a piece of a batch over 60 KiB; ``part`` counts from 0, ``of`` is how many there are."""

    part: int
    of: int
    data: bytes


# -- commands
# --------------------------------------------------------------------------------------------------------


class Command(Body, frozen=True, kw_only=True):
    """hub → agent. ``params`` is the JSON text of octo's ``params`` list; ``expires_in_s`` is what remains of
    its life, ``sent_s_ago`` when it was first sent: a journal that is younger may have lost it.
    """

    command_id: str
    app_guid: str
    module: str
    name: str
    params: bytes = b"[]"
    expires_in_s: float = 60.0
    sent_s_ago: float = 0.0


class CommandQuery(Body, frozen=True, kw_only=True):
    """hub → agent: what became of these? Answered by CommandStep items, from the journal.

    One that the journal does not know is entered as never to be executed and answered ``not_executed``; unless the
    journal is younger than the command (``sent_s_ago``, beside each id), then the answer is ``unknown``. With
    ``cancel``, one that was received and not delivered yet is ``not_executed`` too.
    """

    command_ids: list[str]
    cancel: bool = False
    sent_s_ago: list[float] = []


class PluginKeyAsk(Body, frozen=True, kw_only=True):
    """agent → hub: a plugin connected whose key the agent lacks."""

    app_guid: str


class PluginKey(Body, frozen=True, kw_only=True):
    """hub → agent: answer to an ask, or preloading. ``access_key`` null: there is no such plugin."""

    app_guid: str
    access_key: str | None = None
    app_name: str = ""


class PluginKeyRevoked(Body, frozen=True, kw_only=True):
    """hub → agent: the key ends now; the plugin's connection closes."""

    app_guid: str


class Settings(Body, frozen=True, kw_only=True):
    """hub → agent: alarm and config settings of a plugin, JSON text of the list ``modules`` (spec octo §3.8,
    §3.9); null leaves as is.
    """

    app_guid: str
    version: str = ""
    alarms: bytes | None = None
    configs: bytes | None = None


# -- streams
# ---------------------------------------------------------------------------------------------------------


class Exec(Body, frozen=True, kw_only=True):
    """hub → agent: opens the frame's stream with a shell command, ``/bin/sh -c``."""

    exec_id: str
    command: str
    timeout_s: float = 60.0
    max_output: int = 1024 * 1024
    credit: int = STREAM_CREDIT
    user: str = ""
    """Who asked, for the agent's log."""


class Data(Body, frozen=True, kw_only=True):
    """Bytes of a stream. For EXEC ``channel`` 1 is stdout, 2 is stderr. Each takes its size off the stream's
    credit.
    """

    data: bytes
    channel: Literal[0, 1, 2] = 1


class Credit(Body, frozen=True, kw_only=True):
    """Receiver → sender: so many bytes more may come."""

    amount: int


class End(Body, frozen=True, kw_only=True):
    """Closes a stream. ``return_code`` is negative when the command was killed or never ran; then ``reason``
    is a code.

    reasons: ``""`` ended by itself, ``timeout``, ``cancelled``, ``output_limit``, ``not_allowed``, ``busy``,
    ``failed``, ``link_lost``, ``agent_stopped``
    """

    return_code: int
    reason: str = ""
    message: str = ""
    truncated: bool = False


class ExecCancel(Body, frozen=True, kw_only=True):
    """hub → agent: kill what runs on the frame's stream."""

    reason: str = ""


Message: TypeAlias = (
    Hello
    | Challenge
    | Proof
    | Welcome
    | Refused
    | Enrol
    | Enrolled
    | Ping
    | Resync
    | Bye
    | KeyChange
    | KeyChanged
    | Ack
    | BatchPart
    | Command
    | CommandQuery
    | PluginKeyAsk
    | PluginKey
    | PluginKeyRevoked
    | Settings
    | Exec
    | Data
    | Credit
    | End
    | ExecCancel
)

TYPES: dict[type[Body], Type] = {
    Hello: Type.HELLO,
    Challenge: Type.CHALLENGE,
    Proof: Type.PROOF,
    Welcome: Type.WELCOME,
    Refused: Type.REFUSED,
    Enrol: Type.ENROL,
    Enrolled: Type.ENROLLED,
    Ping: Type.PING,
    Resync: Type.RESYNC,
    Bye: Type.BYE,
    KeyChange: Type.KEY_CHANGE,
    KeyChanged: Type.KEY_CHANGED,
    Ack: Type.ACK,
    BatchPart: Type.BATCH_PART,
    Command: Type.COMMAND,
    CommandQuery: Type.COMMAND_QUERY,
    PluginKeyAsk: Type.PLUGIN_KEY_ASK,
    PluginKey: Type.PLUGIN_KEY,
    PluginKeyRevoked: Type.PLUGIN_KEY_REVOKED,
    Settings: Type.SETTINGS,
    Exec: Type.EXEC,
    Data: Type.DATA,
    Credit: Type.CREDIT,
    End: Type.END,
    ExecCancel: Type.EXEC_CANCEL,
}
"""Body → frame type."""

_STREAMS: dict[type[Body], int] = {
    Command: 1,
    CommandQuery: 1,
    PluginKeyAsk: 1,
    PluginKey: 1,
    PluginKeyRevoked: 1,
    Settings: 1,
}
"""Fixed streams of those that are not control; lanes and dynamic streams are said by the caller."""

_decoders: dict[int, msgspec.msgpack.Decoder[Message]] = {
    int(type): msgspec.msgpack.Decoder(body) for body, type in TYPES.items()
}
_decoders[int(Type.PONG)] = msgspec.msgpack.Decoder(Ping)

B = TypeVar("B", bound=Body)


def encode(message: Body, *, stream: int | None = None, seq: int = 0) -> bytes:
    """A whole frame of a message. ``stream`` is needed for ACK, BATCH_PART and what dynamic streams carry."""
    cls = type(message)
    return encode_frame(TYPES[cls], message, stream=_STREAMS.get(cls, 0) if stream is None else stream, seq=seq)


def decode_body(frame: Frame) -> Message | None:
    """The body of a frame, or None for BATCH (items.py decodes it) and for types this version does not know.
    LinkError ``link.body``.
    """
    decoder = _decoders.get(frame.type)
    if decoder is None:
        return None
    try:
        return decoder.decode(frame.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        name = Type(frame.type).name
        raise LinkError("link.body", f"the body of {name} is wrong: {error}", where=name) from None


def expect(frame: Frame, body: type[B]) -> B:
    """The body of a frame that has to be of one kind. LinkError ``link.sequence`` if it is another,
    ``link.body`` if it is wrong.
    """
    if frame.type != TYPES[body]:
        try:
            got = Type(frame.type).name
        except ValueError:
            got = f"type {frame.type}"
        raise LinkError("link.sequence", f"{got} came where {TYPES[body].name} was due", where=got)
    message = decode_body(frame)
    assert isinstance(message, body)
    return message
