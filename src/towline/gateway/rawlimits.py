# SPDX-License-Identifier: Apache-2.0
"""How a raw TCP client is read and closed."""

from __future__ import annotations

READ_AHEAD = 16 * 1024
"""Bytes that may wait for a busy callback before reading pauses."""

WINDOW = 4096
"""How much of the buffer ``protocol_input`` is shown first; four times as much whenever it wants more. A read full of small
packets then costs no copy of the whole rest for each."""

PATIENCE_S = 0.005
"""A large packet that comes in dribs is looked at when a thirty-second part of it has been added, or after this time."""

TURN_PACKETS = 100
"""Packets of one client in one turn of the loop; then the others have theirs."""

PACKET_HEAD = 1024
"""What a protocol may put around a message: a packet is longer by this than ``max_message_bytes`` allows a message to be."""

LINGER_S = 1.0
"""How long a closing socket waits for the client's own end: closing at once, with bytes unread, would take back the last
bytes sent."""
