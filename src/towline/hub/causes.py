# SPDX-License-Identifier: Apache-2.0
"""Why presence changed: stable words for programs, a sentence for people."""

from __future__ import annotations

from typing import Final

CONNECTED: Final = "connected"
CONFIRMED: Final = "confirmed"
SEEN_AGAIN: Final = "seen_again"
CLOSED_BY_AGENT: Final = "closed_by_agent"
SILENT: Final = "silent"
NODE_DIED: Final = "node_died"
NODE_DRAINING: Final = "node_draining"
REPLACED: Final = "replaced"
REFUSED: Final = "refused"
NOT_SEEN: Final = "hub_restarted_not_seen"
HUB_RESTARTED: Final = "hub_restarted"
LOST: Final = "lost"

TEXT: Final[dict[str, str]] = {
    "": "never connected",
    CONNECTED: "connected",
    CONFIRMED: "still connected after the hub restarted",
    SEEN_AGAIN: "its link is there after all",
    CLOSED_BY_AGENT: "the agent closed the link",
    SILENT: "the link was silent",
    NODE_DIED: "the gateway node died",
    NODE_DRAINING: "the gateway node is shutting down",
    REPLACED: "a newer connection of this device replaced the former one",
    REFUSED: "the link was refused",
    NOT_SEEN: "the hub restarted and has not seen the device since",
    HUB_RESTARTED: "the hub restarted and is verifying who is connected",
    LOST: "the connection was lost",
    "connection_lost": "the connection broke",
    "frame_size": "the agent sent a frame that is too long",
    "handshake_timeout": "signing in took too long",
    "hub_unavailable": "no hub was there",
    "protocol_error": "the agent broke the link protocol",
    "slow": "the agent read too slowly",
    "rate": "the agent sent more than the gateway allows",
}
"""Cause → text. A cause that a newer node invents is shown as it is."""


def text(cause: str) -> str:
    """The sentence for ``cause``."""
    return TEXT.get(cause, cause.replace("_", " "))
