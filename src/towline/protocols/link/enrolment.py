# SPDX-License-Identifier: Apache-2.0
"""The enrolment line: all an agent needs, in one pasted string.

``wss://hub.example:6790/link/v1#<token>.<pin>[.<ca>]``: where to dial, the one-time token, the base64url SHA-256 of
the hub's public key, and optionally the base64url SHA-256 of the certificate authority's certificate (DER) that signed
the gateway's certificate. What follows ``#`` never goes over the network as part of a URL.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from towline.errors import InvalidInput
from towline.protocols.link.limits import DIGEST_BYTES, LINK_PATH

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")
_HINT = "copy the whole line that `towline up` or the portal printed"


@dataclass(frozen=True, slots=True)
class EnrolmentLine:
    """``url`` is the link's address without the fragment; ``pin`` and ``ca`` are 32 bytes each."""

    url: str
    token: str
    pin: bytes
    ca: bytes | None = None

    def __str__(self) -> str:
        parts = [self.token, _b64(self.pin)]
        if self.ca is not None:
            parts.append(_b64(self.ca))
        return f"{self.url}#{'.'.join(parts)}"

    def __repr__(self) -> str:
        return f"EnrolmentLine({self.url!r}, token hidden)"


def format_line(url: str, token: str, pin: bytes, ca: bytes | None = None) -> str:
    """Write a line. ``url`` may or may not end in the link's path; InvalidInput ``enrol.line`` if a part is
    wrong.
    """
    base = url.rstrip("/")
    if not base.endswith(LINK_PATH):
        base += LINK_PATH
    line = str(EnrolmentLine(base, token, pin, ca))
    parse_line(line)
    return line


def parse_line(text: str) -> EnrolmentLine:
    """Read a line; InvalidInput ``enrol.line`` says which part is wrong and never repeats the token."""
    url, mark, secret = text.strip().partition("#")
    if not mark:
        raise InvalidInput("enrol.line", "the enrolment line has no '#'", hint=_HINT)
    check_link_url(url)
    parts = secret.split(".")
    if len(parts) not in (2, 3):
        raise InvalidInput("enrol.line", f"after '#' come 2 or 3 parts, here are {len(parts)}", hint=_HINT)
    if not _TOKEN.fullmatch(parts[0]):
        raise InvalidInput("enrol.line", "the token is cut or has a stray character", hint=_HINT)
    digests = [_digest(part, name) for part, name in zip(parts[1:], ("hub key", "certificate"), strict=False)]
    return EnrolmentLine(url, parts[0], digests[0], digests[1] if len(digests) > 1 else None)


def check_link_url(url: str) -> None:
    """InvalidInput ``enrol.line`` unless ``url`` is ws or wss with a host and the link's path."""
    try:
        split = urlsplit(url)
        port_ok = split.port is None or split.port > 0
        host = split.hostname
    except ValueError:
        split, port_ok, host = urlsplit(""), False, None
    if not url.isprintable() or " " in url:  # urlsplit passes over some of these
        raise InvalidInput("enrol.line", "the address has a space or a control character in it", hint=_HINT)
    if split.scheme not in ("ws", "wss") or not host or not port_ok or split.query or split.username:
        raise InvalidInput("enrol.line", "the address is not ws://host:port or wss://host:port", hint=_HINT)
    if not split.path.endswith(LINK_PATH):
        raise InvalidInput("enrol.line", f"the address does not end in {LINK_PATH}", hint=_HINT)


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _digest(text: str, name: str) -> bytes:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != DIGEST_BYTES or _b64(raw) != text:
        raise InvalidInput("enrol.line", f"the fingerprint of the {name} is cut or has a stray character", hint=_HINT)
    return raw
