# SPDX-License-Identifier: Apache-2.0
"""Identifiers. Randomness and time come in as arguments where a caller needs them reproducible."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Callable

RandomBytes = Callable[[int], bytes]

WORKGROUP = re.compile(r"[a-z0-9-]{2,32}")
"""A workgroup's id, to be used with ``fullmatch``."""


def uuid7(now_us: int, random_bytes: RandomBytes = secrets.token_bytes) -> str:
    """A UUID version 7 (RFC 9562): 48 bits of milliseconds, then random."""
    value = int.from_bytes(random_bytes(10), "big")
    high = (now_us // 1000 & 0xFFFF_FFFF_FFFF) << 16 | 0x7000 | value >> 62 & 0x0FFF
    low = 0b10 << 62 | value & 0x3FFF_FFFF_FFFF_FFFF
    return str(uuid.UUID(int=high << 64 | low))


def uuid4(random_bytes: RandomBytes = secrets.token_bytes) -> str:
    """A random UUID; octo's appGUID must be of this version."""
    return str(uuid.UUID(bytes=random_bytes(16), version=4))


def command_id(random_bytes: RandomBytes = secrets.token_bytes) -> str:
    """An octo commandId: 40 lower-case hex digits."""
    return random_bytes(20).hex()


def secret_token(random_bytes: RandomBytes = secrets.token_bytes) -> str:
    """A URL-safe secret of 192 bits, without padding."""
    import base64

    return base64.urlsafe_b64encode(random_bytes(24)).decode()


def cn(device_id: str, workgroup: str) -> str:
    """A device's certificate-style name, ``CN=<device id>,O=<workgroup>`` (spec ardexa §1.3)."""
    return f"CN={device_id},O={workgroup}"
