# SPDX-License-Identifier: Apache-2.0
"""WebSocket close codes that a node uses. The range says what a client should do: 3000–3499 reconnect, 3500–3999 do not."""

from __future__ import annotations

from typing import NamedTuple


class CloseCode(NamedTuple):
    """``reason`` goes with the close frame; ``cause`` names it in logs and counters."""

    code: int
    cause: str
    reason: str
    meaning: str

    @property
    def reconnect(self) -> bool:
        """Whether a client should come back by itself (with backoff and jitter)."""
        return reconnects(self.code)


def reconnects(code: int) -> bool:
    """The rule for any code: ours by range; of the standard ones those that say nothing about the client."""
    if 3000 <= code < 4000:
        return code < 3500
    return code in (1001, 1006, 1011, 1012, 1013, 1014)


NORMAL = CloseCode(1000, "normal", "", "The entry, or the client, ended the connection.")
PROTOCOL = CloseCode(1002, "protocol_error", "protocol error", "The client broke the WebSocket protocol.")
BAD_TEXT = CloseCode(1007, "bad_text", "text is not UTF-8", "A text message was not UTF-8.")
TOO_BIG = CloseCode(1009, "too_big", "message too big", "A message was longer than `gateway.max_message_bytes`.")
FAILED = CloseCode(1011, "failed", "internal error", "The entry could not take the connection; the log says why.")

SENDABLE = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)))
"""Codes that may stand in a close frame (RFC 6455 §7.4)."""

DRAINING = CloseCode(3000, "draining", "node is going down", "The node is closing. Reconnect: another takes over.")
SLOW = CloseCode(
    3001, "slow", "too slow", "More than `gateway.outbox_bytes` were waiting. Reconnect and catch up by other means."
)
SILENT = CloseCode(3002, "silent", "nothing heard", "Nothing, not even a ping, came within `gateway.read_timeout_s`.")
NO_NUMBER = CloseCode(3003, "no_number", "node not ready", "The node has no node number at present; try another.")
HANDSHAKE = CloseCode(3004, "handshake_timeout", "sign-in took too long", "A link did not sign in within 10 s.")
NO_HUB = CloseCode(3005, "hub_unavailable", "no hub", "No hub was there to sign the link in.")
STALLED = CloseCode(3006, "stalled", "takes nothing", "The socket took nothing for `gateway.write_timeout_s`.")
OPERATOR = CloseCode(3020, "operator", "disconnected by an operator", "An operator disconnected the client.")

OPERATOR_OUT = CloseCode(
    3520, "operator_out", "disconnected by an operator", "An operator disconnected the client, who is not to come back."
)
RATE = CloseCode(3501, "rate", "too fast", "The client sent more than its port's rate, whose policy is `close`.")
UNKNOWN_LINK = CloseCode(3500, "link_protocol", "not a link", "An agent's link sent something that is no link frame.")
ACCESS_ENDED = CloseCode(
    3530, "access_ended", "access ended", "The user of a socket on `/ws/v1` may not use the push API any more."
)
ALL = (
    NORMAL, PROTOCOL, BAD_TEXT, TOO_BIG, FAILED,
    DRAINING, SLOW, SILENT, NO_NUMBER, HANDSHAKE, NO_HUB, STALLED, OPERATOR,
    OPERATOR_OUT, UNKNOWN_LINK, RATE, ACCESS_ENDED,
)  # fmt: skip
"""Every code of a node's own; hubs close links with codes of docs/reference/close-codes.md too."""
