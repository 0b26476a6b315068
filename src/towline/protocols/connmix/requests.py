# SPDX-License-Identifier: Apache-2.0
"""Requests of the connmix API: bytes in, typed requests out, or an :class:`ApiError` (spec connmix §2–3, §8).

All methods come by WebSocket (``{"m", "p", "i"}``), those of the mesh by HTTP too (``/v1/mesh/*``, body = the parameters).
Generation 1.5 shapes are accepted: a one-element array for ``p``, a bare list of topics for ``queue.pop``.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Literal

import msgspec

from towline.protocols.connmix.codes import ApiError, invalid

Kind = Literal["text", "binary"]

MAX_NAME_BYTES = 1024
"""Longest channel or topic name, in bytes of UTF-8."""

MAX_PREFETCH = 10_000
"""Most messages of a durable topic that a consumer may have without an ack."""

MAX_DELAY_S = 86_400
"""Longest time that ``queue.nack`` puts a message off."""

CALLS = frozenset({"set_context", "set_context_value", "subscribe", "unsubscribe"})
"""Functions that ``conn.call`` may execute."""


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for input that is not what it should be; text that is not UTF-8 is not a DecodeError."""


_HALF = rb"u[dD][%b][0-9a-fA-F]{2}"
_ESCAPES = re.compile(rb"\\(?:%b\\%b|(%b)|.)" % (_HALF % b"89abAB", _HALF % b"c-fC-F", _HALF % b"89a-fA-F"), re.DOTALL)


def replace_lone_surrogates(text: bytes) -> bytes:
    """JSON text with U+FFFD for halves of a pair, as Go decodes them: JavaScript writes such for a text that it cut."""
    return _ESCAPES.sub(lambda found: b"\\ufffd" if found[1] else found[0], text)


class MeshSend(msgspec.Struct, frozen=True, gc=False):
    """Send ``data`` to one client anywhere in the mesh. ``data`` is UTF-8 for text, raw bytes for binary."""

    client_id: str
    data: bytes
    kind: Kind


class MeshPublish(msgspec.Struct, frozen=True, gc=False):
    """Send ``data`` to every subscriber of a channel anywhere in the mesh."""

    channel: str
    data: bytes
    kind: Kind


class QueuePop(msgspec.Struct, frozen=True):
    """Consume these topics: at least one, in the order given, none twice."""

    topics: tuple[str, ...]
    prefetch: int = 0
    """Messages of a durable topic that may be unacked; 0: as many as the topic allows (our extension, ``n``)."""


class QueueUnpop(msgspec.Struct, frozen=True):
    """Stop consuming all topics."""


class QueueAck(msgspec.Struct, frozen=True):
    """Messages of durable topics were dealt with (our extension): the ``a`` of their events."""

    tokens: tuple[str, ...]


class QueueNack(msgspec.Struct, frozen=True):
    """Messages of durable topics could not be dealt with: they come again, after ``delay_s`` (our extension)."""

    tokens: tuple[str, ...]
    delay_s: float


class ConnCall(msgspec.Struct, frozen=True):
    """Execute one of :data:`CALLS` on a connection; ``function`` is not checked here, because another name is 301."""

    client_id: str
    function: str
    arguments: list[Any]


Request = MeshSend | MeshPublish | QueuePop | QueueUnpop | QueueAck | QueueNack | ConnCall


class Unparsed(msgspec.Struct, frozen=True):
    """A WebSocket request whose envelope was understood: the method, its parameters and the id to echo.

    ``id`` is the JSON text of the scalar that the client chose, ``null`` without one.
    """

    method: str
    params: bytes
    id: bytes


class _Deliver(msgspec.Struct):
    c: str | int
    d: str
    t: str = "text"


class _Pop(msgspec.Struct):
    t: list[str]
    n: int = 0


class _Ack(msgspec.Struct):
    a: list[str]
    w: float = 0.0


class _Call(msgspec.Struct):
    c: str | int
    f: str
    a: list[Any]


_NULL = b"null"
_ABSENT = msgspec.Raw(b"")


class _Envelope(msgspec.Struct):
    m: msgspec.Raw = _ABSENT
    p: msgspec.Raw = _ABSENT
    i: msgspec.Raw = _ABSENT
    id: msgspec.Raw = _ABSENT


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_deliver = msgspec.json.Decoder(_Deliver).decode
_decode_delivers = msgspec.json.Decoder(list[_Deliver]).decode
_decode_pop = msgspec.json.Decoder(_Pop).decode
_decode_pops = msgspec.json.Decoder(list[_Pop | str]).decode
_decode_ack = msgspec.json.Decoder(_Ack).decode
_decode_acks = msgspec.json.Decoder(list[_Ack]).decode
_decode_call = msgspec.json.Decoder(_Call).decode
_decode_calls = msgspec.json.Decoder(list[_Call]).decode
_decode_text = msgspec.json.Decoder(str).decode


def parse_http_send(body: bytes, max_data_bytes: int) -> MeshSend:
    """The body of ``POST /v1/mesh/send``. Arrays are refused here (spec connmix §2)."""
    return _send(_object(_decode_deliver, body), max_data_bytes)


def parse_http_publish(body: bytes, max_data_bytes: int) -> MeshPublish:
    """The body of ``POST /v1/mesh/publish``."""
    return _publish(_object(_decode_deliver, body), max_data_bytes)


def parse_envelope(text: bytes) -> Unparsed:
    """The outer object of a WebSocket request. What cannot be read at all is 101, to be answered with ``i`` null."""
    try:
        envelope = _mended(_decode_envelope, text)
    except UNREADABLE as error:
        raise invalid(_reason(error, "request")) from None
    number = bytes(envelope.i) or bytes(envelope.id) or _NULL
    if number[:1] in (b"{", b"["):
        raise invalid("`i` must be a string, a number, a boolean or null")
    if number[:1] == b'"':
        # A skipped value is not checked for UTF-8, and what is echoed must be a legal text frame.
        try:
            _decode_text(number)
        except UNREADABLE as error:
            raise invalid(_reason(error, "`i`")) from None
    try:
        method = _decode_text(envelope.m)
    except UNREADABLE:
        # Not raised: the id is known, so the caller can echo it.
        method = ""
    return Unparsed(method, bytes(envelope.p), number)


def parse_request(unparsed: Unparsed, max_data_bytes: int) -> Request:
    """The parameters of an envelope, for its method."""
    method, params = unparsed.method, unparsed.params
    if method == "mesh.publish":
        return _publish(_one(_decode_deliver, _decode_delivers, params), max_data_bytes)
    if method == "mesh.send":
        return _send(_one(_decode_deliver, _decode_delivers, params), max_data_bytes)
    if method == "queue.pop":
        return _pop(params)
    if method == "queue.unpop":
        return QueueUnpop()
    if method == "queue.ack":
        return QueueAck(_tokens(_one(_decode_ack, _decode_acks, params)))
    if method == "queue.nack":
        nack = _one(_decode_ack, _decode_acks, params)
        if not 0 <= nack.w <= MAX_DELAY_S:
            raise invalid(f"`w` must be 0 to {MAX_DELAY_S} seconds, not {nack.w}")
        return QueueNack(_tokens(nack), nack.w)
    if method == "conn.call":
        call = _one(_decode_call, _decode_calls, params)
        return ConnCall(_client(call.c), call.f, call.a)
    if not method:
        raise invalid("`m` must be the name of a method")
    raise invalid(f"unknown method {_short(method)}")


def _mended(decode: Any, text: bytes) -> Any:
    """Decode, if need be without lone surrogates."""
    try:
        return decode(text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        mended = replace_lone_surrogates(text)
        if mended == text:
            raise
        return decode(mended)


def _object(decode: Any, body: bytes) -> Any:
    if not body:
        raise invalid("the body is empty; it must be a JSON object")
    try:
        return _mended(decode, body)
    except UNREADABLE as error:
        raise invalid(_reason(error, "body")) from None


def _one(decode: Any, decode_list: Any, params: bytes) -> Any:
    """An object, or the one element of an array (generation 1.5)."""
    if not params:
        raise invalid("`p` is missing")
    try:
        if params[:1] != b"[":
            return _mended(decode, params)
        elements = _mended(decode_list, params)
    except UNREADABLE as error:
        raise invalid(_reason(error, "`p`")) from None
    if len(elements) != 1:
        raise invalid(f"`p` as an array must have exactly one element, not {len(elements)}")
    return elements[0]


def _tokens(ack: _Ack) -> tuple[str, ...]:
    if not ack.a:
        raise invalid("`a` must name at least one message")
    return tuple(ack.a)


def _pop(params: bytes) -> QueuePop:
    names: list[Any]
    prefetch = 0
    pop: _Pop
    if params[:1] == b"[":
        try:
            names = _mended(_decode_pops, params)
        except UNREADABLE as error:
            raise invalid(_reason(error, "`p`")) from None
        if len(names) == 1 and isinstance(names[0], _Pop):
            pop = names[0]
            names, prefetch = pop.t, pop.n
    else:
        pop = _one(_decode_pop, _decode_pops, params)
        names, prefetch = pop.t, pop.n
    if not 0 <= prefetch <= MAX_PREFETCH:
        raise invalid(f"`n` must be 0 to {MAX_PREFETCH} messages, not {prefetch}")
    if not names:
        raise invalid("`t` must name at least one topic")
    topics: dict[str, None] = {}
    for name in names:
        if not isinstance(name, str):
            raise invalid("`p` as an array must have exactly one object, or be a list of topic names")
        check_name(name, "topic")
        topics[name] = None
    return QueuePop(tuple(topics), prefetch)


def _send(request: _Deliver, limit: int) -> MeshSend:
    data, kind = _payload(request, limit)
    return MeshSend(_client(request.c), data, kind)


def _publish(request: _Deliver, limit: int) -> MeshPublish:
    data, kind = _payload(request, limit)
    channel = request.c if isinstance(request.c, str) else str(request.c)
    check_name(channel, "channel")
    return MeshPublish(channel, data, kind)


def _client(value: str | int) -> str:
    if value == "":
        raise invalid("`c` is empty; it must be a client_id")
    return value if isinstance(value, str) else str(value)


def check_name(name: str, what: str) -> None:
    """Raise 101 for a channel or topic name that is empty or longer than :data:`MAX_NAME_BYTES`."""
    if not name:
        raise invalid(f"the {what} name is empty")
    if len(name) > 255 and len(name.encode()) > MAX_NAME_BYTES:
        raise invalid(f"the {what} name has {len(name.encode())} bytes, the limit is {MAX_NAME_BYTES}")


def _payload(request: _Deliver, limit: int) -> tuple[bytes, Kind]:
    kind: Kind
    if request.t == "text":
        kind, data = "text", request.d.encode()
    elif request.t == "binary":
        kind = "binary"
        # Line breaks may stand anywhere, as command line tools write them.
        text = request.d.replace("\n", "").replace("\r", "") if "\n" in request.d or "\r" in request.d else request.d
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise invalid("`d` is not base64, which type binary needs") from None
    else:
        raise invalid(f"`t` must be text or binary, not {_short(request.t)}")
    if len(data) > limit:
        raise invalid(f"`d` has {len(data)} bytes, the limit is {limit}")
    return data, kind


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _reason(error: BaseException, what: str) -> str:
    """msgspec's sentence, which names the JSON path, in the words of this API."""
    if isinstance(error, RecursionError):
        return f"{what} is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"{what} is not JSON: its text is not UTF-8"
    if not isinstance(error, msgspec.ValidationError):
        return f"{what} is not JSON: {error}"
    text = str(error).replace("Object missing required field", "missing")
    return f"{what}: {text[:1].lower()}{text[1:]}"


__all__ = [
    "CALLS",
    "MAX_NAME_BYTES",
    "ApiError",
    "ConnCall",
    "Kind",
    "MeshPublish",
    "MeshSend",
    "QueueAck",
    "QueueNack",
    "QueuePop",
    "QueueUnpop",
    "Request",
    "Unparsed",
    "check_name",
    "parse_envelope",
    "parse_http_publish",
    "parse_http_send",
    "parse_request",
]
