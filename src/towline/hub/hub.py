# SPDX-License-Identifier: Apache-2.0
"""The hub: devices, presence, ingest, commands, plugins, users, audit, joined to one endpoint on the bus."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from towline.bus.base import Bus
from towline.clock import Clock
from towline.hub.audit import Audit
from towline.hub.commands import Commands
from towline.hub.devices import Devices
from towline.hub.execs import Execs
from towline.hub.identity import Enrolments
from towline.hub.plugins import Plugins
from towline.hub.records import Records
from towline.hub.settings import HubSettings
from towline.hub.users import Users
from towline.ids import RandomBytes

if TYPE_CHECKING:
    Store = Any


class Bootstrapped(msgspec.Struct, frozen=True, kw_only=True):
    """What :meth:`Hub.bootstrap` made. ``password`` is the new admin's, to print once; None when users exist already.

    ``enrolment_line(name)`` makes a line for this installation's own agent.
    """

    workgroup: str
    admin: str
    password: str | None
    enrolment_line: Callable[[str | None], Awaitable[str]]


class Hub:
    """One hub process. ``secret`` is the content of the data directory's ``secret.key`` (32 bytes)."""

    devices: Devices
    enrolments: Enrolments
    plugins: Plugins
    records: Records
    commands: Commands
    execs: Execs
    users: Users
    audit: Audit

    def __init__(
        self,
        store: Store,
        bus: Bus,
        clock: Clock,
        settings: HubSettings,
        *,
        secret: bytes,
        random: RandomBytes = secrets.token_bytes,
    ) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Make or load the identity key, join the bus, ask who is connected, start the sweeps."""
        raise NotImplementedError

    async def bootstrap(self, workgroup: str = "main", admin: str = "admin") -> Bootstrapped:
        """Make the workgroup and its first user unless they exist."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop the sweeps, end executions, leave the bus."""
        raise NotImplementedError

    def counters(self) -> dict[str, int]:
        """Everything counted, by dotted name."""
        raise NotImplementedError
