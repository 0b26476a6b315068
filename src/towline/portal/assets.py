# SPDX-License-Identifier: Apache-2.0
"""The files of the built page, read into memory (about two megabytes)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec

CONTENT_TYPES: Final[dict[str, bytes]] = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".ico": b"image/x-icon",
    ".js": b"text/javascript; charset=utf-8",
    ".json": b"application/json",
    ".md": b"text/plain; charset=utf-8",
    ".png": b"image/png",
    ".svg": b"image/svg+xml",
    ".txt": b"text/plain; charset=utf-8",
    ".webmanifest": b"application/manifest+json",
    ".woff2": b"font/woff2",
}


class Asset(msgspec.Struct, frozen=True):
    """One file: its bytes, the same bytes gzipped when the build left them, type and a strong entity tag."""

    body: bytes
    packed: bytes | None
    content_type: bytes
    etag: bytes


def load(directory: Path) -> dict[str, Asset]:
    """Relative path with ``/`` → file, for every file in ``directory`` but hidden and ``.gz`` ones; {} without it."""
    if not directory.is_dir():
        return {}
    return {
        path.relative_to(directory).as_posix(): _read(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.suffix != ".gz" and not path.name.startswith(".")
    }


def _read(path: Path) -> Asset:
    body = path.read_bytes()
    packed = path.with_name(path.name + ".gz")
    return Asset(
        body=body,
        packed=packed.read_bytes() if packed.is_file() else None,
        content_type=CONTENT_TYPES.get(path.suffix, b"application/octet-stream"),
        etag=b'"' + hashlib.sha256(body).hexdigest()[:20].encode() + b'"',
    )
