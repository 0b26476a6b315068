# SPDX-License-Identifier: Apache-2.0
"""What devices measured and said."""

from __future__ import annotations

from towline.store.rows.common import Point, Row, Value


class StoredRecord(Row, frozen=True, kw_only=True):
    """A record as committed. ``fields``: name → value, in the order given by the device."""

    message_id: int
    kind: str
    table: str
    source: str
    event_time_us: int
    stored_us: int
    fields: dict[str, Value]


class Series(Row, frozen=True, kw_only=True):
    """One field over time, points ascending by time. ``thinned``: there are fewer points than were stored."""

    table: str
    source: str
    kind: str
    field: str
    points: list[Point]
    thinned: bool = False


class SeriesResult(Row, frozen=True, kw_only=True):
    """``truncated``: reading stopped at its limit, the oldest part of the window is missing."""

    series: list[Series]
    truncated: bool


class Latest(Row, frozen=True, kw_only=True):
    """The newest value of a series."""

    table: str
    source: str
    field: str
    time_us: int
    value: Value


class StateValue(Row, frozen=True, kw_only=True):
    """The latest value of a plugin's state; ``value`` is JSON text."""

    app_guid: str
    table: str
    source: str
    name: str
    value: str
    time_us: int


class AlertRow(Row, frozen=True, kw_only=True):
    """An alarm that fired (``trigger``) or was resolved (``resolve``)."""

    message_id: int
    device_id: str
    app_guid: str
    table: str
    source: str
    name: str
    action: str
    message: str
    time_us: int
    stored_us: int


class LaneSequences(Row, frozen=True, kw_only=True):
    """The last stored sequence of each lane of a spool; 0 when there is none."""

    urgent: int = 0
    live: int = 0
    backlog: int = 0


class LaneGap(Row, frozen=True, kw_only=True):
    """Sequences ``first``…``last`` of a lane never came. ``cause``: ``dropped`` when the agent told of drops in the
    same batch, ``first_seen`` when the lane was not known before, otherwise ``unexplained``."""

    device_id: str
    spool_id: str
    lane: str
    first: int
    last: int
    cause: str
    time_us: int


class DropCount(Row, frozen=True, kw_only=True):
    """Items of a kind that a device dropped before they could be sent, ever, and when it last said so."""

    device_id: str
    kind: str
    count: int
    time_us: int


class PluginCredential(Row, frozen=True, kw_only=True):
    """What a plugin signs with. ``sealed_key`` is the access key as the hub sealed it; the store never sees the key.

    ``devices``: how many devices have a declaration of this appGUID.
    """

    workgroup: str
    app_guid: str
    name: str
    platform: str
    architecture: str
    sealed_key: bytes
    created_us: int
    created_by: str
    revoked_us: int | None = None
    devices: int = 0


class DeclarationRow(Row, frozen=True, kw_only=True):
    """The last registration of a plugin on a device. ``declaration`` is the JSON of the update's ``params``.

    ``changed``: it differs from the one before (of use only in answers of ``store_batch``).
    """

    device_id: str
    app_guid: str
    app_name: str
    version: str
    display_name: str
    declaration: bytes
    declared_us: int
    changed: bool = False


class PluginPresenceRow(Row, frozen=True, kw_only=True):
    """Whether a plugin is connected to its agent, as the agent last said."""

    device_id: str
    app_guid: str
    app_name: str
    online: bool
    since_us: int
    cause: str


class DevicePlugin(Row, frozen=True, kw_only=True):
    """All that is known of a plugin on a device; either half may be missing."""

    app_guid: str
    declaration: DeclarationRow | None
    presence: PluginPresenceRow | None
