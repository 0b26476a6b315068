# SPDX-License-Identifier: Apache-2.0
"""The error codes of the connmix API, each with the words that its documentation uses (spec connmix §2–3)."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """A code of the ``E`` object."""

    INVALID_ARGUMENT = 101
    CONSUMPTION_FAILED = 201
    REPEATED_CONSUMPTION = 202
    CANCEL_FAILED = 203
    ACK_FAILED = 204
    """Ours: acks of durable topics could not be stored."""
    EXECUTION_FAILED = 301
    SEND_FAILED = 401
    FORBIDDEN = 403
    """Ours: the connection's user lacks the role. No documented code fits."""


WORDS: dict[Code, str] = {
    Code.INVALID_ARGUMENT: "invalid argument",
    Code.CONSUMPTION_FAILED: "consumption failed",
    Code.REPEATED_CONSUMPTION: "repeated consumption",
    Code.CANCEL_FAILED: "failed to cancel consumption",
    Code.ACK_FAILED: "failed to acknowledge",
    Code.EXECUTION_FAILED: "execution failed",
    Code.SEND_FAILED: "failed to send",
    Code.FORBIDDEN: "forbidden",
}
"""How each message begins. What was wrong follows after ``: ``."""


class ApiError(Exception):
    """A request that is answered with an ``E`` object.

    :param code: one of :class:`Code`
    :param reason: what was wrong, naming the key and the limit; becomes the rest of the message
    """

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason

    @property
    def message(self) -> str:
        """The text of ``m``: the documented words, then the reason."""
        return f"{WORDS[self.code]}: {self.reason}" if self.reason else WORDS[self.code]


def invalid(reason: str) -> ApiError:
    """The error 101."""
    return ApiError(Code.INVALID_ARGUMENT, reason)
