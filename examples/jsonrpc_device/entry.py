# SPDX-License-Identifier: Apache-2.0
"""Devices that speak JSON-RPC 2.0 over plain TCP, one message a line: the protocol, as an entry of a raw TCP port.

    towline gateway --config examples/jsonrpc_device/jsonrpc_device.yaml

A device calls ``register {"serial"}`` first, then ``time {}`` and ``report {…}``; what it reports goes into the topic
``device.reports``. A back end calls the device: it publishes a request to the channel ``device:SERIAL``, and what the device
answers goes into the topic ``device.answers``. Whoever speaks, a message without ``id`` is a notification and not answered.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from towline.gateway.entries import Buffer, QueueFull, RawConnection

SERIAL = re.compile(r"[A-Za-z0-9-]{1,32}")
NOT_JSON = object()


class RpcError(Exception):
    """What a request is answered when it fails; codes as JSON-RPC has them, ours from -32000 downwards."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


# -- the protocol: bytes to messages and back


def protocol_input(conn: RawConnection, buffer: Buffer) -> int:
    """The length of the first line; 0 while it is not all there."""
    return buffer.find(b"\n") + 1


def protocol_decode(conn: RawConnection, data: bytes) -> object:
    """What a line says. None, for an empty one, is not passed on."""
    if not data.strip():
        return None
    try:
        found: object = json.loads(data)
    except ValueError:
        return NOT_JSON
    return found


def protocol_encode(conn: RawConnection, data: bytes) -> bytes | None:
    """What back ends publish or send to a device. Text with a line break in it would be two messages: it is refused."""
    return None if b"\n" in data else data + b"\n"


# -- messages


def on_message(conn: RawConnection, message: Any) -> None:
    if message is NOT_JSON:
        answer(conn, None, error=RpcError(-32700, "this line is not JSON"))
    elif not isinstance(message, dict):
        answer(conn, None, error=RpcError(-32600, "a message is an object"))
    elif "method" in message:
        called(conn, message)
    elif "id" in message and ("result" in message or "error" in message):
        try:
            pass_on(conn, "device.answers", message)
        except RpcError as error:
            answer(conn, message["id"], error=error)
    else:
        answer(conn, message.get("id"), error=RpcError(-32600, "neither a request nor an answer"))


def called(conn: RawConnection, request: dict[str, Any]) -> None:
    number, params = request.get("id"), request.get("params")
    try:
        method = METHODS.get(request["method"]) if isinstance(request["method"], str) else None
        if method is None:
            raise RpcError(-32601, "there are the methods register, report and time")
        if method is not register and conn.context_value("serial") is None:
            raise RpcError(-32001, "register first")
        result = method(conn, params if isinstance(params, dict) else {})
    except RpcError as error:
        answer(conn, number, error=error)
    else:
        answer(conn, number, result)


def answer(conn: RawConnection, number: object, result: object = True, *, error: RpcError | None = None) -> None:
    """Answer a request; a line that could not be understood is answered with the id null."""
    if error is not None:
        say(conn, {"jsonrpc": "2.0", "error": {"code": error.code, "message": str(error)}, "id": number})
    elif number is not None:
        say(conn, {"jsonrpc": "2.0", "result": result, "id": number})


def say(conn: RawConnection, message: dict[str, Any]) -> None:
    conn.send(
        json.dumps(message).encode() + b"\n"
    )  # conn.send writes as it is: protocol_encode is for others' messages


# -- methods


def register(conn: RawConnection, params: dict[str, Any]) -> bool:
    serial = params.get("serial")
    if not isinstance(serial, str) or not SERIAL.fullmatch(serial):
        raise RpcError(-32602, "serial has 1 to 32 letters, digits and hyphens")
    if conn.context_value("serial") is not None:
        raise RpcError(-32002, "registered already")
    conn.set_context_value("serial", serial)
    conn.subscribe(f"device:{serial}")
    return True


def report(conn: RawConnection, params: dict[str, Any]) -> bool:
    pass_on(conn, "device.reports", params)
    return True


def now(conn: RawConnection, params: dict[str, Any]) -> int:
    """Devices without a battery have no clock: seconds since 1970."""
    return int(time.time())


def pass_on(conn: RawConnection, topic: str, data: dict[str, Any]) -> None:
    """To the back ends, with the serial that the device registered with."""
    serial = conn.context_value("serial")
    if serial is None:
        raise RpcError(-32001, "register first")
    try:
        conn.queue.push(topic, {"serial": serial, "data": data})
    except QueueFull:
        raise RpcError(-32003, "busy, try again later") from None


METHODS = {"register": register, "report": report, "time": now}
