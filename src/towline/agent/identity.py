# SPDX-License-Identifier: Apache-2.0
"""Who this agent is: its own Ed25519 key, and what enrolment gave it. Both files are 0600 in the data
directory.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from towline.agent.files import sync_directory, write_private
from towline.errors import StartError

KEY_FILE = "agent.key"
NEXT_KEY_FILE = "agent.key.next"
IDENTITY_FILE = "identity.json"
_SEED_BYTES = 32


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a device knows after enrolment.

    :param hub_key: the hub's Ed25519 public key, pinned
    :param url: where the link is dialled
    :param ca_pem: certificate that the gateway's must chain to; empty: the system's authorities
    """

    device_id: str
    workgroup: str
    hub_id: str
    hub_key: bytes
    url: str
    name: str = ""
    ca_pem: str = ""
    enrolled_us: int = 0


class DeviceKey:
    """The agent's own key; the private half never leaves the file."""

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether an Ed25519 signature holds; the form that protocols/link asks for."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def device_key(data: Path) -> DeviceKey:
    """Read the key, or make it at the first start. StartError ``agent.key`` if it is damaged."""
    return _key_of(data / KEY_FILE)


def next_key(data: Path, *, make: bool) -> DeviceKey | None:
    """The key that is to follow, if one was begun; ``make`` begins one. StartError ``agent.key``, OSError."""
    path = data / NEXT_KEY_FILE
    return _key_of(path) if make or path.exists() else None


def key_made_us(data: Path) -> int:
    """When the key was taken into use: its file's time (what is restored without times only changes its key early)."""
    return (data / KEY_FILE).stat().st_mtime_ns // 1000


def use_next_key(data: Path, now_us: int) -> None:
    """The next key takes the key's place, in one step. OSError."""
    path = data / NEXT_KEY_FILE
    os.utime(path, ns=(now_us * 1000, now_us * 1000))
    path.replace(data / KEY_FILE)
    sync_directory(data)


def drop_next_key(data: Path) -> None:
    """Forget a key that the hub will never take."""
    (data / NEXT_KEY_FILE).unlink(missing_ok=True)


def _key_of(path: Path) -> DeviceKey:
    try:
        seed = path.read_bytes()
    except FileNotFoundError:
        seed = secrets.token_bytes(_SEED_BYTES)
        write_private(path, seed)
    except OSError as error:
        raise StartError("agent.key", f"cannot read the agent's key: {error.strerror}", where=str(path)) from None
    if len(seed) != _SEED_BYTES:
        raise StartError(
            "agent.key",
            f"the agent's key must be {_SEED_BYTES} bytes, it has {len(seed)}",
            where=str(path),
            hint="restore it, or remove it and enrol this device again",
        )
    path.chmod(0o600)
    return DeviceKey(seed)


def load_identity(data: Path) -> Identity | None:
    """What enrolment left, or None. StartError ``agent.identity`` if the file is damaged."""
    path = data / IDENTITY_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise StartError(
            "agent.identity",
            f"cannot read what this device was enrolled as: {error}",
            where=str(path),
            hint="restore the file, or remove it and enrol this device again",
        ) from None


def save_identity(data: Path, identity: Identity) -> None:
    """Keep what enrolment gave."""
    write_private(data / IDENTITY_FILE, msgspec.json.format(msgspec.json.encode(identity), indent=2) + b"\n")
