# SPDX-License-Identifier: Apache-2.0
"""The limits of one octo endpoint, in one frozen object.

Sizes count the raw UTF-8 bytes of a frame, the signature included; 1 KB is 1024 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SIGNATURE_BYTES = 89
"""What ``?authorization=<argon2 string>`` adds to a message."""
MAX_RESULT_DEPTH = 64
"""Objects and arrays inside each other in a command's result, which is the first of them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits and switches; the defaults are the product's.

    :ivar max_payload_bytes: any message without a figure of its own
    :ivar max_update_bytes: ``notifyPluginUpdate``: registrations in the field pass 2 KB
    :ivar max_ack_bytes: ``notifyPluginCommandAck``: results of commands
    :ivar max_frame_bytes: a frame over this is never parsed; the transport closes with 1009 before buffering
        it
    :ivar epoch_window_s: how far a message's epoch may be from our clock, either way; 0 switches the check
        off
    :ivar calls_per_hour: calls a plugin may make in any 3600 s; 0 switches the check off
    :ivar replay_entries: authorizations remembered for each plugin, at most
    :ivar command_timeout_s: an operator sees a timeout when no final ack came this long after delivery
    :ivar strict: all payload limits become ``max_payload_bytes``, and what older SDKs leave out is refused
        (missing ``sdk``, string results, number metrics, missing empty lists, over-long strings and tables)
    :ivar allow_v1: accept unsigned ``v1/`` methods (for tests on one's own machine)
    """

    max_payload_bytes: int = 2048
    max_update_bytes: int = 131_072
    max_ack_bytes: int = 16_384
    max_frame_bytes: int = 1_048_576
    epoch_window_s: int = 600
    calls_per_hour: int = 500
    replay_entries: int = 4096
    command_timeout_s: int = 60
    strict: bool = False
    allow_v1: bool = False

    def max_bytes(self, name: str) -> int:
        """The largest frame of the method ``name`` (without version), in bytes."""
        if self.strict:
            return self.max_payload_bytes
        if name == "notifyPluginUpdate":
            return self.max_update_bytes
        if name == "notifyPluginCommandAck":
            return self.max_ack_bytes
        return self.max_payload_bytes


DEFAULT_LIMITS = Limits()


def too_deep(value: Any, limit: int) -> bool:
    """Whether objects and arrays are inside each other more than ``limit`` times; a value that is none counts 0."""
    layer = [value]
    for _ in range(limit):  # no recursion: the reader nests deeper than Python calls
        layer = [
            child
            for node in layer
            if isinstance(node, dict | list | tuple)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not layer:
            return False
    return any(isinstance(node, dict | list | tuple) for node in layer)
