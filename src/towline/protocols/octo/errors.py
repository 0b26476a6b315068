# SPDX-License-Identifier: Apache-2.0
"""Error codes and the error reply (spec octo §4).

Octo's codes are six-digit *strings*. Each refusal also has a :class:`Reason`, a stable word for counters and
logs, which never travels.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from towline.errors import InvalidInput

MAX_MESSAGE_CHARS = 300
"""Error messages quote what came in; this keeps a reply under the payload limit whatever that was."""


class Code(StrEnum):
    """What the reply's ``code`` can be."""

    OFFLINE = "-320000"
    INVALID_REQUEST = "-326000"
    PARSE_ERROR = "-327000"


class Reason(StrEnum):
    """Why a frame was refused; one counter each."""

    OFFLINE = "offline"
    BINARY = "binary"
    PARSE = "parse"
    BATCH = "batch"
    ENVELOPE = "envelope"
    METHOD = "method"
    SIZE = "size"
    RATE = "rate"
    SEQUENCE = "sequence"
    BINDING = "binding"
    KEY = "key"
    SIGNATURE = "signature"
    EPOCH = "epoch"
    REPLAY = "replay"
    SCHEMA = "schema"
    COMMAND = "command"


class OctoError(InvalidInput):
    """A message breaks a rule of octo. ``code`` is ``octo.<reason>``, ``where`` the JSON path, if any."""

    def __init__(self, reason: Reason, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(f"octo.{reason}", message, where=where, hint=hint)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """What is answered to a refused frame. The connection stays open.

    :ivar code: one of :class:`Code`
    :ivar reason: for our counters
    :ivar message: one sentence that names the JSON path or the limit
    """

    code: Code
    reason: Reason
    message: str

    def encode(self) -> str:
        """The text frame. Errors are unsigned and their ``id`` is null."""
        text = self.message
        if len(text) > MAX_MESSAGE_CHARS:
            text = f"{text[: MAX_MESSAGE_CHARS - 1]}…"
        error = {"code": str(self.code), "message": text}
        return msgspec.json.encode({"jsonrpc": "2.0", "error": error, "id": None}).decode()

    @classmethod
    def of(cls, error: OctoError) -> ErrorReply:
        """The reply for an error raised while a frame was looked at."""
        if error.reason is Reason.OFFLINE:
            code = Code.OFFLINE
        elif error.reason in (Reason.PARSE, Reason.BINARY):
            code = Code.PARSE_ERROR
        else:
            code = Code.INVALID_REQUEST
        return cls(code, error.reason, str(error))

    @classmethod
    def offline(cls, message: str) -> ErrorReply:
        """For the agent: it can neither pass the message on nor keep it."""
        return cls(Code.OFFLINE, Reason.OFFLINE, message)
