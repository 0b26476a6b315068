# SPDX-License-Identifier: Apache-2.0
"""Small things about picows that every listener needs."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from picows import WSFrame

# A LoggerAdapter, because picows makes a child logger for each connection of a plain Logger. What clients do wrong is
# counted and not logged.
_log = logging.getLogger("towline.gateway.picows")
_log.setLevel(logging.CRITICAL)
QUIET: logging.LoggerAdapter[logging.Logger] = logging.LoggerAdapter(_log, {})

CLOSE_WAIT_S = 5.0
"""How long a peer has to answer a close frame, or to take what is queued before it."""

_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})

READ_BUFFER = 1024
"""picows' first read buffer of a connection; it grows with what the peer sends."""


def picows_code(code: int) -> Any:
    """picows takes any number where its annotations want its own enumeration."""
    return code


def close_number(code: Any) -> int:
    """The number behind what picows calls a close code."""
    return int(code)


def answer_code(frame: WSFrame) -> int:
    """The code that answers a peer's close frame; 0 when its code is one that may not be sent (RFC 6455 §7.4)."""
    if not frame.payload_size:
        return 1000
    code = close_number(frame.get_close_code())
    return code if code in _CLOSE_CODES or 3000 <= code < 5000 else 0


def peer_address(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    if not peer:
        return ""
    return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
