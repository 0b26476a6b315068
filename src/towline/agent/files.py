# SPDX-License-Identifier: Apache-2.0
"""Small files of the agent: written whole or not at all, readable by their owner only."""

from __future__ import annotations

import os
from pathlib import Path

from towline.errors import StartError


def prepare_directory(path: Path) -> None:
    """Make the data directory (0700). StartError ``agent.data`` if that cannot be, or it cannot be written."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise StartError(
            "agent.data", f"cannot use the agent's data directory: {error.strerror}", where=str(path)
        ) from None


def write_private(path: Path, content: bytes) -> None:
    """Replace a file (0600) through a temporary one, synced with its directory."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a rename last."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
