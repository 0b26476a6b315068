# SPDX-License-Identifier: Apache-2.0
"""Workgroups, devices and their presence."""

from __future__ import annotations

from towline.store.rows.common import PresenceState, Row


class Workgroup(Row, frozen=True, kw_only=True):
    """A tenant. ``id`` is ``[a-z0-9-]{2,32}`` and fixed."""

    id: str
    name: str
    created_us: int


class Facts(Row, frozen=True, kw_only=True):
    """What an agent says of itself and its machine. ``address`` is the remote address that the node saw."""

    agent_version: str = ""
    platform: str = ""
    arch: str = ""
    hostname: str = ""
    os: str = ""
    address: str = ""


class Device(Row, frozen=True, kw_only=True):
    """A machine. ``public_key`` is 32 bytes (Ed25519); a device whose ``revoked_us`` is set cannot log in.

    ``flags`` holds words such as ``duplicate_key`` that want somebody's attention.
    """

    workgroup: str
    id: str
    name: str
    group: str
    public_key: bytes
    created_us: int
    facts: Facts
    flags: tuple[str, ...] = ()
    revoked_us: int | None = None


class Presence(Row, frozen=True, kw_only=True):
    """Whether a device is connected. ``since_us`` and ``cause`` belong to the last change of ``state``.

    ``conn`` and ``node`` name the current connection ('' when offline); ``counter`` is raised by each connection, it
    only ever grows.
    """

    workgroup: str
    device_id: str
    state: PresenceState
    since_us: int
    cause: str
    detail: str = ""
    conn: str = ""
    node: str = ""
    counter: int = 0


class Connected(Row, frozen=True, kw_only=True):
    """``presence``: as it is now. ``before``: as it was. ``replaced``: the connection that this one replaces, to be
    closed with cause ``replaced``; None when the device had none."""

    presence: Presence
    before: Presence
    replaced: str | None
    replaced_node: str | None


class RosterEntry(Row, frozen=True, kw_only=True):
    """A live link as a node knows it."""

    workgroup: str
    device_id: str
    conn: str
    counter: int
    since_us: int


class Confirmation(Row, frozen=True, kw_only=True):
    """What a roster changed. ``online``: devices whose presence changed by it. ``stale``: links that are not their
    device's newest, or whose device does not exist: close them. ``current``: links that are right, changed or not."""

    online: list[Presence]
    stale: list[RosterEntry]
    current: list[RosterEntry]


class DeviceEntry(Row, frozen=True, kw_only=True):
    """A device with its presence, as lists show it."""

    device: Device
    presence: Presence


class DeviceCounts(Row, frozen=True, kw_only=True):
    """Of a whole workgroup. ``online`` includes devices being verified."""

    total: int
    online: int
