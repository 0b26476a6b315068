# SPDX-License-Identifier: Apache-2.0
"""Figures of link v1. Sizes are bytes, times are seconds."""

from __future__ import annotations

LINK_PATH = "/link/v1"
VERSION_MIN = 1
VERSION_MAX = 1

MAX_FRAME = 64 * 1024
"""A WebSocket message on the link; a longer one closes the connection with 1009."""
MAX_BATCH_FRAME = 60 * 1024
"""Body of one BATCH or BATCH_PART frame; the rest of the frame is room for the header."""
MAX_BATCH = 256 * 1024
"""A whole batch; what is over MAX_BATCH_FRAME travels as BATCH_PART frames."""
MAX_BATCH_PARTS = -(-MAX_BATCH // MAX_BATCH_FRAME)
MAX_ITEMS = 20_000
"""Items of one batch."""
MAX_DATA = 16 * 1024
"""Payload of one DATA frame, so that urgent frames never wait long behind a stream."""

HEARTBEAT_S = 5.0
"""The agent sends PING this often."""
SILENT_S = 15.0
"""A link that was silent this long is dead, for either side."""
HANDSHAKE_S = 10.0
"""From the opened socket to WELCOME or ENROLLED."""
RESEND_S = 15.0
"""An unacknowledged batch is sent again, with the same sequence, after this."""

NONCE_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
DIGEST_BYTES = 32
MAX_NAME = 200
"""Characters of a name or fact of a device in HELLO and ENROL."""
MAX_FACTS = 64
FIRST_STREAM = 16
"""Streams below are fixed; from here on they are opened by EXEC and closed by END."""
MAX_STREAMS = 32
"""Dynamic streams open at once on one link."""
STREAM_CREDIT = 64 * 1024
"""Credit in bytes that a stream starts with."""
MAX_COMMAND_LIFE_S = 30 * 86_400
"""No command lives longer; the agent's journal keeps its rows as long."""
