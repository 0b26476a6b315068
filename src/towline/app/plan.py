# SPDX-License-Identifier: Apache-2.0
"""What the supervisor is to run, and the directory that everything lives in."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from towline.app.live import Origin
from towline.app.settings import Settings
from towline.app.supervisor import STOP_SECONDS
from towline.errors import StartError

SECRET_BYTES = 32


def up_plan(settings: Settings, *, agent: bool, origin: Origin | None = None) -> dict[str, Any]:
    """The supervisor's plan: the server, and the agent of this machine. The log file is the server's."""
    data = prepare_data(Path(settings.data))
    settings = msgspec.structs.replace(settings, data=str(data))
    if agent:
        local = msgspec.structs.replace(
            settings.agent,
            data=settings.agent.data or str(data / "agent"),
            enrol_file=settings.agent.enrol_file or str(enrol_file(data)),
        )
        settings = msgspec.structs.replace(settings, agent=local)
    tree = msgspec.to_builtins(settings) | {"origin": msgspec.to_builtins(origin)}
    own = {"agent": tree | {"log": tree["log"] | {"file": ""}}}
    names = ["server", "agent"] if agent else ["server"]
    return {
        "lock": str(data / "supervisor.lock"),
        "stop_seconds": STOP_SECONDS + settings.gateway.drain_s,
        "children": [
            {"name": name, "argv": [sys.executable, "-m", f"towline.app.{name}"], "settings": own.get(name, tree)}
            for name in names
        ],
    }


def prepare_data(path: Path) -> Path:
    """Make the data directory (0700) and check that it can be written. StartError ``data.*`` otherwise."""
    path = path.expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)  # one made by hand, or by an archive, may be open to others
        probe = path / f".write-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except NotADirectoryError:
        raise StartError(
            "data.not_directory", "the data directory's path leads through a file", where=str(path)
        ) from None
    except FileExistsError:
        raise StartError("data.not_directory", "the data directory is a file", where=str(path)) from None
    except OSError as error:
        raise StartError(
            "data.not_writable", f"cannot write the data directory: {error.strerror}", where=str(path)
        ) from None
    return path


def enrol_file(data: Path) -> Path:
    """Where the server leaves the enrolment line of this machine's own agent."""
    return data / "agent-enrolment"


def secret_key(data: Path) -> bytes:
    """The key that seals secrets at rest: made once, 0600, written whole or not at all."""
    path = data / "secret.key"
    if not path.exists():
        write_private(path, os.urandom(SECRET_BYTES))
    key = path.read_bytes()
    if len(key) != SECRET_BYTES:
        raise StartError("data.secret_key", f"the key must be {SECRET_BYTES} bytes, it has {len(key)}", where=str(path))
    return key


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads, through a temporary one, synced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
