# SPDX-License-Identifier: Apache-2.0
"""``mix.parse_url`` and ``mix.parse_str`` (spec connmix §4.1): Go's URL fields in snake case; queries as PHP names them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

_SCHEME = re.compile(rb"([a-zA-Z][a-zA-Z0-9+.-]*):")
_ESCAPE = re.compile(rb"%(?![0-9a-fA-F]{2})")
_IN_PATH = "$&+,/:;=@-_.~"
_IN_FRAGMENT = "$&+,/:;=?@-_.~!()*"
"""What Go leaves as it is when it writes these."""


def parse_url(url: bytes) -> dict[str, Any]:
    """``scheme, opaque, user, host, path, raw_path, force_query, raw_query, fragment, raw_fragment, query``.

    ``raw_path`` and ``raw_fragment`` are filled only where the escaped form is not the usual one, as in Go.
    ValueError for what Go refuses: control characters, broken escapes in path or host, a space in the host.
    """
    if any(byte < 0x20 or byte == 0x7F for byte in url):
        raise ValueError("parse_url: a control character in the address")
    rest, _, fragment = url.partition(b"#")
    found = _SCHEME.match(rest)
    scheme = b""
    if found is not None:
        scheme, rest = found[1].lower(), rest[found.end() :]
    elif rest[:1] == b":" and not scheme:
        raise ValueError("parse_url: missing protocol scheme")
    rest, mark, query = rest.partition(b"?")
    out: dict[str, Any] = {
        "scheme": scheme, "opaque": b"", "user": b"", "host": b"", "path": b"", "raw_path": b"",
        "force_query": mark == b"?" and not query, "raw_query": query, "fragment": _decoded(fragment, "fragment"),
        "raw_fragment": _unusual(fragment, _IN_FRAGMENT), "query": parse_query(query),
    }  # fmt: skip
    if scheme and not rest.startswith(b"/"):
        out["opaque"] = rest
        return out
    if not rest.startswith(b"/") and b":" in rest.partition(b"/")[0]:
        raise ValueError("parse_url: first path segment in URL cannot contain colon")
    if rest.startswith(b"//") and (scheme or not rest.startswith(b"///")):
        authority, slash, path = rest[2:].partition(b"/")
        rest = slash + path
        user, at, host = authority.rpartition(b"@")
        out["user"] = _decoded(user, "user") if at else b""
        if b" " in host or _bad_port(host):
            raise ValueError("parse_url: the host or its port is not valid")
        out["host"] = _decoded(host, "host")
    out["path"] = _decoded(rest, "path")
    out["raw_path"] = _unusual(rest, _IN_PATH)
    return out


def _unusual(raw: bytes, safe: str) -> bytes:
    """``raw``, where it is not what its decoded form would be written as; else empty."""
    return raw if quote_from_bytes(unquote_to_bytes(raw), safe).encode() != raw else b""


def _bad_port(host: bytes) -> bool:
    tail = host.rpartition(b"]")[2] if host.startswith(b"[") else host
    if host.startswith(b"[") and b"]" not in host:
        return True
    name, colon, port = tail.rpartition(b":")
    return bool(colon) and bool(port) and (not port.isdigit() or (b":" in name and not host.startswith(b"[")))


def _decoded(raw: bytes, part: str) -> bytes:
    if _ESCAPE.search(raw):
        raise ValueError(f"parse_url: a broken %-escape in the {part}")
    return unquote_to_bytes(raw)


def parse_query(query: bytes) -> dict[bytes, bytes]:
    """``a=1&b=2``: the first value of a repeated name; ``+`` is a space; parts with broken escapes are left out."""
    found: dict[bytes, bytes] = {}
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if part and not _ESCAPE.search(part):
            found.setdefault(unquote_to_bytes(name.replace(b"+", b" ")), unquote_to_bytes(value.replace(b"+", b" ")))
    return found


def parse_str(text: bytes) -> dict[Any, Any]:
    """A query string's values; an address (with ``?`` or ``://``) is taken apart as by :func:`parse_url`."""
    if b"://" in text or b"?" in text:
        found = parse_url(text)
        return dict(found)
    return dict(parse_query(text))
