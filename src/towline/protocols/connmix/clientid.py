# SPDX-License-Identifier: Apache-2.0
"""How a client id is built (spec connmix §7): a 64-bit snowflake as a decimal string.

Bits 22 and up hold milliseconds since :data:`EPOCH_MS`, bits 12–21 the node's number, bits 0–11 a sequence.
"""

from __future__ import annotations

EPOCH_MS = 1_288_834_974_657
"""2010-11-04T01:42:54.657Z."""

SEQUENCE_BITS = 12
NODE_BITS = 10
LAST_SEQUENCE = (1 << SEQUENCE_BITS) - 1
LAST_NODE = (1 << NODE_BITS) - 1


def client_id(ms: int, number: int, sequence: int) -> str:
    """The id for a millisecond since 1970, a node's number and a sequence."""
    return str((ms - EPOCH_MS) << (SEQUENCE_BITS + NODE_BITS) | number << SEQUENCE_BITS | sequence)


def node_of(client_id: str) -> int:
    """The node number inside an id, −1 when it is not one."""
    if not client_id.isascii() or not client_id.isdigit() or len(client_id) > 20:
        return -1
    return int(client_id) >> SEQUENCE_BITS & LAST_NODE


def issued_ms(client_id: str) -> int:
    """When an id was given, in milliseconds since 1970."""
    return (int(client_id) >> (SEQUENCE_BITS + NODE_BITS)) + EPOCH_MS
