# SPDX-License-Identifier: Apache-2.0
"""What the store keeps and answers: frozen structs without behaviour.

Times are int64 microseconds UTC (``…_us``); ``None`` means "has not happened". JSON is text (str) unless a field
says bytes. Every row names its workgroup, directly or through the call that asked for it.
"""

from __future__ import annotations

from towline.store.rows.common import (
    DEFAULT_GROUP,
    SYSTEM,
    CommandState,
    Counters,
    Date,
    Page,
    Point,
    PresenceState,
    Row,
    TokenKind,
    Value,
    plain,
)
from towline.store.rows.devices import (
    Confirmation,
    Connected,
    Device,
    DeviceCounts,
    DeviceEntry,
    Facts,
    Presence,
    RosterEntry,
    Workgroup,
)
from towline.store.rows.ingest import Stored
from towline.store.rows.ledger import CommandRow, Created, NewCommand, StepOutcome, StepRow
from towline.store.rows.people import AuditEntry, Enrolment, Lease, Redeemed, Setting, Token, User
from towline.store.rows.records import (
    AlertRow,
    DeclarationRow,
    DevicePlugin,
    DropCount,
    LaneGap,
    LaneSequences,
    Latest,
    PluginCredential,
    PluginPresenceRow,
    Series,
    SeriesResult,
    StateValue,
    StoredRecord,
)

__all__ = [
    "DEFAULT_GROUP",
    "SYSTEM",
    "AlertRow",
    "AuditEntry",
    "CommandRow",
    "CommandState",
    "Confirmation",
    "Connected",
    "Counters",
    "Created",
    "Date",
    "DeclarationRow",
    "Device",
    "DeviceCounts",
    "DeviceEntry",
    "DevicePlugin",
    "DropCount",
    "Enrolment",
    "Facts",
    "LaneGap",
    "LaneSequences",
    "Latest",
    "Lease",
    "NewCommand",
    "Page",
    "PluginCredential",
    "PluginPresenceRow",
    "Point",
    "Presence",
    "PresenceState",
    "Redeemed",
    "RosterEntry",
    "Row",
    "Series",
    "SeriesResult",
    "Setting",
    "StateValue",
    "StepOutcome",
    "StepRow",
    "Stored",
    "StoredRecord",
    "Token",
    "TokenKind",
    "User",
    "Value",
    "Workgroup",
    "plain",
]
