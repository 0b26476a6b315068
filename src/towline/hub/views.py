# SPDX-License-Identifier: Apache-2.0
"""What use cases answer: frozen values without behaviour. Times are int64 microseconds UTC, 0 when unknown."""

from __future__ import annotations

from decimal import Decimal
from typing import Generic, Literal, TypeVar

import msgspec

T = TypeVar("T")

Value = int | bool | str | Decimal | None
"""A field's value: integer, bool, keyword/text/date (str), decimal, or null. Never a float."""

EnrolmentState = Literal["open", "used", "expired", "revoked"]

PresenceState = Literal["online", "offline", "verifying", "never"]

CommandState = Literal[
    "queued",
    "sent",
    "received",
    "delivered",
    "accepted",
    "acked",
    "errored",
    "rejected",
    "expired",
    "cancelled",
    "timed_out",
    "unknown",
]
FINAL_STATES: frozenset[str] = frozenset({"acked", "errored", "rejected", "expired", "cancelled", "timed_out"})
"""States that a command does not leave by itself. ``unknown`` is not among them: the agent may yet report."""


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """Some of a longer list. ``next`` is passed back to get the following ones; None at the end."""

    items: list[T]
    next: str | None = None


class PresenceView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a device is connected, since when, and why it changed. ``cause_text`` is the cause for people."""

    state: PresenceState
    since_us: int = 0
    cause: str = ""
    cause_text: str = ""


class AgentView(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent said of itself and its machine at its last login. ``address`` is the remote address seen."""

    version: str = ""
    platform: str = ""
    arch: str = ""
    hostname: str = ""
    os: str = ""
    address: str = ""


class SummaryView(msgspec.Struct, frozen=True, kw_only=True):
    """Latest values of the host plugin in percent, None when it does not report one."""

    cpu: float | None = None
    memory: float | None = None


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """One device. ``flags`` holds words such as ``duplicate_key`` that want somebody's attention."""

    id: str
    name: str
    cn: str
    workgroup: str
    group: str
    created_us: int
    presence: PresenceView
    agent: AgentView
    summary: SummaryView | None = None
    flags: list[str] = []


class DeviceCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Over the whole workgroup, whatever the search."""

    total: int
    online: int


class DevicePage(msgspec.Struct, frozen=True, kw_only=True):
    """What ``devices.list`` answers."""

    items: list[DeviceView]
    next: str | None
    counts: DeviceCounts


class EnrolmentView(msgspec.Struct, frozen=True, kw_only=True):
    """A one-time invitation for a device. ``line`` and ``token`` are given once, at creation; '' afterwards.

    ``state`` is ``open``, ``used``, ``expired`` or ``revoked``; ``device_id`` the device that redeemed it.
    """

    id: str
    name: str | None
    created_us: int
    expires_us: int
    state: EnrolmentState
    device_id: str | None = None
    line: str = ""
    token: str = ""


class PluginView(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin of a device: its declaration and whether it is connected to the agent.

    ``declaration`` is the JSON text of the octo ``v2/notifyPluginUpdate`` params.
    ``cause`` says why ``online`` last changed.
    """

    app_guid: str
    app_name: str
    display_name: str
    version: str
    type: str
    online: bool
    since_us: int
    cause: str
    declared_us: int
    declaration: str


class CredentialView(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin's credential. ``access_key`` is '' except where it was asked for. ``devices``: how many have it."""

    app_guid: str
    name: str
    platform: str
    architecture: str
    created_us: int
    devices: int = 0
    access_key: str = ""


class StateView(msgspec.Struct, frozen=True, kw_only=True):
    """The latest value of one plugin state; ``value`` is JSON text."""

    app_guid: str
    table: str
    source: str
    name: str
    value: str
    time_us: int


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One field over time. Points ascend by time; values are decimal text."""

    table: str
    source: str
    field: str
    points: list[tuple[int, str]]


class SeriesPage(msgspec.Struct, frozen=True, kw_only=True):
    """``truncated``: there were more than could be read; narrow the window or the filter."""

    series: list[Series]
    truncated: bool
    from_us: int
    to_us: int


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """One event record field: octo events are records of kind ``event`` with field = event name."""

    message_id: int
    table: str
    source: str
    name: str
    value: Value
    time_us: int
    stored_us: int


class CommandStepView(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a command's history."""

    state: str
    time_us: int
    note: str = ""


class CommandView(msgspec.Struct, frozen=True, kw_only=True):
    """A command in the ledger. ``params`` keeps the declaration's order; ``result`` is JSON text or None.

    ``late_result``: JSON text of what came after the command had timed out (spec octo §3.3), or None.
    """

    id: str
    device_id: str
    app_guid: str
    module: str
    name: str
    params: dict[str, str | bool]
    state: CommandState
    final: bool
    created_us: int
    expires_us: int
    user: str
    steps: list[CommandStepView]
    result: str | None = None
    late_result: str | None = None


class ExecResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a remote shell command ended.

    ``return_code`` is negative with a ``reason`` word when the command was killed, never ran, or its end is not known;
    ``message`` then says so for people.
    """

    stdout: str
    stderr: str
    return_code: int
    reason: str | None = None
    message: str = ""


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """A person who can sign in."""

    id: str
    name: str
    display_name: str
    privileges: list[str]
    created_us: int
    disabled: bool = False
    last_login_us: int = 0
    password_us: int = 0
    """When the password was set."""


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """A signed-in session. ``token`` is the JWT ('' where it cannot be known again), valid until ``expires_us``."""

    user_id: str
    user_name: str
    display_name: str
    workgroup: str
    workgroup_name: str
    privileges: list[str]
    expires_us: int
    jti: str
    token: str = ""


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """An API token; the token itself is in :class:`NewToken` once."""

    jti: str
    name: str
    user_id: str
    user_name: str
    privileges: list[str]
    created_us: int
    expires_us: int
    revoked: bool = False


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh API token; ``token`` is shown this once."""

    token: str
    info: TokenView


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what. ``detail`` is JSON text of an object."""

    id: int
    time_us: int
    user: str
    action: str
    entity: str
    entity_id: str
    detail: str
    address: str
