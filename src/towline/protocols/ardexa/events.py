# SPDX-License-Identifier: Apache-2.0
"""The socket.io events of the operators' live interface (spec ardexa §1): what a client may ask and how it is answered.

Pure: a request's arguments go in, a typed request or :class:`BadRequest` comes out; answers are plain dicts with exactly
the documented keys. ``requestId`` is absent from an answer when it was absent from the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from towline.errors import InvalidInput

CMD = "device:cmd"
FEED = "device:feed"
FEED_STOP = "device:feed:stop"
FEED_STOP_ALL = "device:feed:stopAll"
STATE_CHANGE = "device:stateChange"
NEW = "device:new"
META_CHANGE = "device:metaChange"
DO_UPGRADE = "device:doUpgrade"

CONFIG_EVENTS = ("device:testConfig", "device:applyConfig", "device:applyYamlConfig")
"""Answered by one ``:rpc`` with ``result`` and, on failure, ``error`` (§1.6)."""

COMPLETE_EVENTS = ("device:refreshMeta", "device:sendArdexactl", "device:sendArdpkg")
"""Answered by one ``:rpc`` with ``complete`` (§1.7)."""

MAX_ID = 128
"""Longest ``requestId``, ``deviceId``, ``feedId`` in characters."""

MAX_NAME = 256
"""Longest ``table``, ``source``, ``field`` in characters."""

MAX_CMD_BYTES = 16 * 1024
"""Longest shell command in UTF-8 bytes."""

NOT_AVAILABLE = "not available in this version"


class BadRequest(InvalidInput):
    """A request's arguments break a rule; ``request_id`` is what the answer can still echo."""

    def __init__(self, message: str, *, where: str, request_id: str | None) -> None:
        super().__init__("request.invalid", message, where=where)
        self.request_id = request_id


class CmdRequest(NamedTuple):
    """``device:cmd`` (§1.4)."""

    device_id: str
    cmd: str
    request_id: str | None


class FeedRequest(NamedTuple):
    """``device:feed`` (§1.5); ``field`` None means an array of all values."""

    device_id: str
    table: str
    source: str
    field: str | None
    request_id: str | None


class FeedStop(NamedTuple):
    """``device:feed:stop`` (§1.5)."""

    feed_id: str
    request_id: str | None


class DeviceRequest(NamedTuple):
    """A request that names only a device (§1.6, §1.7); other keys are not looked at."""

    device_id: str
    request_id: str | None


def parse_cmd(args: Sequence[object]) -> CmdRequest:
    """The arguments of ``device:cmd``; BadRequest names the key and the limit."""
    body, request_id = _object(args)
    device_id = _text(body, "deviceId", MAX_ID, request_id)
    cmd = _text(body, "cmd", MAX_CMD_BYTES, request_id)
    size = len(cmd.encode("utf-8", "surrogatepass"))
    if size > MAX_CMD_BYTES:
        raise BadRequest(f"cmd has {size} bytes, at most {MAX_CMD_BYTES}", where="$.cmd", request_id=request_id)
    if "\0" in cmd:
        raise BadRequest("cmd must not contain a NUL character", where="$.cmd", request_id=request_id)
    return CmdRequest(device_id, cmd, request_id)


def parse_feed(args: Sequence[object]) -> FeedRequest:
    """The arguments of ``device:feed``."""
    body, request_id = _object(args)
    return FeedRequest(
        _text(body, "deviceId", MAX_ID, request_id),
        _text(body, "table", MAX_NAME, request_id),
        _text(body, "source", MAX_NAME, request_id),
        _text(body, "field", MAX_NAME, request_id) if body.get("field") is not None else None,
        request_id,
    )


def parse_feed_stop(args: Sequence[object]) -> FeedStop:
    """The arguments of ``device:feed:stop``."""
    body, request_id = _object(args)
    return FeedStop(_text(body, "feedId", MAX_ID, request_id), request_id)


def parse_device(args: Sequence[object]) -> DeviceRequest:
    """The arguments of any request of which only ``deviceId`` matters."""
    body, request_id = _object(args)
    return DeviceRequest(_text(body, "deviceId", MAX_ID, request_id), request_id)


def request_id_of(args: Sequence[object]) -> str | None:
    """The request's id when it has a usable one, whatever else is wrong with it."""
    body = args[0] if args else None
    value = body.get("requestId") if isinstance(body, Mapping) else None
    return value if isinstance(value, str) and len(value) <= MAX_ID else None


def _object(args: Sequence[object]) -> tuple[Mapping[str, object], str | None]:
    request_id = request_id_of(args)
    if len(args) != 1:
        raise BadRequest(f"one object argument is needed, not {len(args)}", where="$", request_id=request_id)
    body = args[0]
    if not isinstance(body, Mapping):
        raise BadRequest(f"the argument must be an object, not {_kind(body)}", where="$", request_id=None)
    given = body.get("requestId")
    if given is not None and request_id is None:
        raise BadRequest(
            f"requestId must be a string of at most {MAX_ID} characters", where="$.requestId", request_id=None
        )
    return body, request_id


def _text(body: Mapping[str, object], key: str, limit: int, request_id: str | None) -> str:
    value = body.get(key)
    where = f"$.{key}"
    if value is None:
        raise BadRequest(f"{key} is missing", where=where, request_id=request_id)
    if not isinstance(value, str):
        raise BadRequest(f"{key} must be a string, not {_kind(value)}", where=where, request_id=request_id)
    if not value:
        raise BadRequest(f"{key} must not be empty", where=where, request_id=request_id)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadRequest(f"{key} holds half a character", where=where, request_id=request_id) from None
    if len(value) > limit:
        raise BadRequest(f"{key} has {len(value)} characters, at most {limit}", where=where, request_id=request_id)
    return value


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, bytes | bytearray):
        return "binary data"
    return "an array" if isinstance(value, list | tuple) else "an object"


# Answers -----------------------------------------------------------------------------------------------------------


def _with_request_id(body: dict[str, Any], request_id: str | None) -> dict[str, Any]:
    if request_id is not None:
        body["requestId"] = request_id
    return body


def cmd_accepted(correlation_id: str, request_id: str | None) -> dict[str, Any]:
    """``device:cmd:rpc`` of an accepted request."""
    return _with_request_id({"correlationId": correlation_id}, request_id)


def cmd_reply(
    stdout: str, stderr: str, return_code: int, correlation_id: str, request_id: str | None
) -> dict[str, Any]:
    """``device:cmd:reply``."""
    body = {"stdout": stdout, "stderr": stderr, "returnCode": return_code, "correlationId": correlation_id}
    return _with_request_id(body, request_id)


def rpc_error(message: str, request_id: str | None) -> dict[str, Any]:
    """Any ``:rpc`` that refuses; nothing follows it."""
    return _with_request_id({"error": {"message": message}}, request_id)


def config_error(message: str, request_id: str | None) -> dict[str, Any]:
    """The refusing ``:rpc`` of testConfig, applyConfig, applyYamlConfig."""
    return _with_request_id({"result": "error", "error": {"message": message}}, request_id)


def upgrade_error(message: str, request_id: str | None) -> dict[str, Any]:
    """``device:doUpgrade:reply`` of a failure: ``error`` is a plain string there."""
    return _with_request_id({"error": message}, request_id)


def feed_accepted(feed_id: str, request_id: str | None) -> dict[str, Any]:
    """``device:feed:rpc`` of an accepted request."""
    return _with_request_id({"feedId": feed_id}, request_id)


def complete(request_id: str | None) -> dict[str, Any]:
    """``:rpc`` of requests that have nothing to tell but that they were done."""
    return _with_request_id({"complete": True}, request_id)


def feed_reply(
    request: FeedRequest, feed_id: str, event_time: str, message_id: int, fields: Mapping[str, object]
) -> dict[str, Any] | None:
    """``device:feed:reply`` for a stored record, or None when the record lacks the wanted field.

    ``event_time`` is RFC 3339 UTC with milliseconds; ``messageId`` goes out as a string of digits.
    """
    if request.field is None:
        value: object = [plain(each) for each in fields.values()]
    elif request.field in fields:
        value = plain(fields[request.field])
    else:
        return None
    body = {
        "feedId": feed_id,
        "event_time": event_time,
        "table": request.table,
        "source": request.source,
        "device": request.device_id,
        "messageId": str(message_id),
        "value": value,
    }
    return _with_request_id(body, request.request_id)


def state_change(cn: str, workgroup: str, online: bool) -> dict[str, Any]:
    """``device:stateChange``."""
    return {"cn": cn, "vhost": workgroup, "online": online}


def device_new(device_id: str, cn: str) -> dict[str, Any]:
    """``device:new``; ``online`` is always false."""
    return {"id": device_id, "cn": cn, "online": False}


def meta_change(device_id: str) -> dict[str, Any]:
    """``device:metaChange``."""
    return {"id": device_id}


def plain(value: object) -> object:
    """A field's value as JSON knows it: a decimal becomes a number."""
    if isinstance(value, Decimal):
        whole = value.to_integral_value()
        return int(whole) if whole == value and abs(value) < 2**53 else float(value)
    return value
