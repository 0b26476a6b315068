# SPDX-License-Identifier: Apache-2.0
"""What a client may send on its WebSocket, checked before python-socketio sees it.

python-socketio raises (and logs a traceback) on much that is malformed, and takes an event named ``connect`` for the
connection itself. Here one frame at a time is passed on, left out, or found malformed, which closes the connection.
"""

from __future__ import annotations

import json
import re
from enum import Enum

MAX_ATTACHMENTS = 4
"""Binary parts of one event; none of our requests has any, but they are answered and not just cut off."""

MAX_DEPTH = 32
"""Nesting of an event's arguments."""

_RESERVED = frozenset({"*", "connect", "connect_error", "disconnect", "disconnecting"})
_EVENT = re.compile(r"(?P<ack>[0-9]{1,15})?(?P<json>\[.*)", re.DOTALL)
_BINARY = re.compile(r"(?P<count>[0-9]{1,2})-(?P<rest>.*)", re.DOTALL)
_NAMESPACE = re.compile(r"/[^,?]{0,128},?.{0,1024}", re.DOTALL)


class Verdict(Enum):
    GOOD = "good"
    LEAVE_OUT = "leave out"
    MALFORMED = "malformed"


class PacketCheck:
    """Follows one connection's incoming frames (Engine.IO 4, socket.io protocol 5)."""

    def __init__(self) -> None:
        self.connecting = False
        self._attachments_due = 0

    def text(self, frame: str) -> Verdict:
        """A text frame."""
        if self._attachments_due:
            return Verdict.MALFORMED
        kind = frame[:1]
        if kind == "4":
            return self._message(frame[1:])
        if kind in ("1", "3"):  # close, pong
            return Verdict.GOOD if len(frame) <= 16 else Verdict.MALFORMED
        if kind in ("2", "5", "6"):  # ping, upgrade, noop mean nothing here
            return Verdict.LEAVE_OUT
        return Verdict.MALFORMED

    def binary(self, frame: bytes) -> Verdict:
        """A binary frame: only the attachments of the event before it."""
        if not self._attachments_due:
            return Verdict.MALFORMED
        self._attachments_due -= 1
        return Verdict.GOOD

    def _message(self, packet: str) -> Verdict:
        kind, rest = packet[:1], packet[1:]
        if kind == "0":
            return self._connect(rest)
        if kind == "1":
            self.connecting = False
            return Verdict.GOOD if not rest else Verdict.LEAVE_OUT
        if kind == "2":
            return self._event(rest, 0)
        if kind == "5":
            return self._binary_event(rest)
        # Acknowledgements (3, 6): we never ask for any.
        return Verdict.LEAVE_OUT if kind == "3" else Verdict.MALFORMED

    def _connect(self, rest: str) -> Verdict:
        if rest.startswith("/") and not rest.startswith("/,"):
            return Verdict.GOOD if _NAMESPACE.fullmatch(rest) and _object(rest.partition(",")[2]) else Verdict.MALFORMED
        if self.connecting or not _object(rest.removeprefix("/,")):
            return Verdict.MALFORMED
        self.connecting = True
        return Verdict.GOOD

    def _binary_event(self, rest: str) -> Verdict:
        found = _BINARY.fullmatch(rest)
        if found is None or not 1 <= int(found["count"]) <= MAX_ATTACHMENTS:
            return Verdict.MALFORMED
        verdict = self._event(found["rest"], int(found["count"]))
        if verdict is Verdict.GOOD:
            self._attachments_due = int(found["count"])
        return verdict

    def _event(self, rest: str, attachments: int) -> Verdict:
        found = _EVENT.fullmatch(rest)
        if found is None:
            return Verdict.MALFORMED
        try:
            data = json.loads(found["json"], parse_int=_int)
        except (ValueError, RecursionError):
            return Verdict.MALFORMED
        if not data or not isinstance(data[0], str) or data[0] in _RESERVED:
            return Verdict.MALFORMED
        return Verdict.GOOD if _sound(data, attachments, MAX_DEPTH) else Verdict.MALFORMED


def _int(digits: str) -> int:
    """python-engineio refuses integers that are longer, without an answer to the client."""
    if len(digits) > 100:
        raise ValueError("too long")
    return int(digits)


def _object(text: str) -> bool:
    if not text:
        return True
    try:
        value = json.loads(text, parse_int=_int)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict)


def _sound(value: object, attachments: int, depth: int) -> bool:
    """Not too deep, and every placeholder names one of the attachments."""
    if depth == 0:
        return False
    if isinstance(value, list):
        return all(_sound(each, attachments, depth - 1) for each in value)
    if isinstance(value, dict):
        if value.get("_placeholder") and "num" in value and attachments:
            number = value["num"]
            return type(number) is int and 0 <= number < attachments
        return all(_sound(each, attachments, depth - 1) for each in value.values())
    return True
