# SPDX-License-Identifier: Apache-2.0
"""Happenings: what a hub announces on the bus after the commit that made it true.

On the wire: one version byte, then a msgpack map tagged by ``t``. Members that a reader does not know are ignored,
so hubs and doors of neighbouring versions understand each other; an unknown tag decodes to None.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from towline.errors import InvalidInput
from towline.hub.views import CommandView, Value

VERSION = 1
_PREFIX = bytes([VERSION])
_ACCEPTED = frozenset({VERSION})

WireValue = int | bool | str | tuple[str, str] | None
"""A value as it travels: a decimal is ``("d", text)`` so that it stays apart from text."""


class Happening(msgspec.Struct, frozen=True, kw_only=True, tag_field="t"):
    """Base of all happenings. Every one names its workgroup: doors show nothing to another."""

    workgroup: str


class DevicePresence(Happening, tag="presence", frozen=True, kw_only=True):
    """A device's presence changed. ``state``: online, offline, verifying."""

    device_id: str
    online: bool
    state: str
    cause: str
    cause_text: str
    since_us: int


class DeviceNew(Happening, tag="device_new", frozen=True, kw_only=True):
    """A device was created (spec ardexa §1.3 ``device:new``)."""

    device_id: str
    name: str


class DeviceChanged(Happening, tag="device_changed", frozen=True, kw_only=True):
    """Name, group, facts or flags of a device changed: fetch it again."""

    device_id: str


class DeviceDeleted(Happening, tag="device_deleted", frozen=True, kw_only=True):
    device_id: str


class MetaChange(Happening, tag="meta_change", frozen=True, kw_only=True):
    """The agent's configuration changed (spec ardexa §1.3 ``device:metaChange``)."""

    device_id: str


class StoredRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record as committed. ``message_id`` counts up for each device; the database has the same number."""

    message_id: int
    kind: str
    table: str
    source: str
    event_time_us: int
    fields: dict[str, WireValue]

    def values(self) -> dict[str, Value]:
        """The fields with decimals as :class:`decimal.Decimal`."""
        return {name: from_wire(value) for name, value in self.fields.items()}


class RecordsStored(Happening, tag="records", frozen=True, kw_only=True):
    """Records were committed, in this order, ``store_time_us`` being the commit's."""

    device_id: str
    first_message_id: int
    store_time_us: int
    records: list[StoredRecord]


class ChangedState(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin state's latest value; ``value`` is JSON text."""

    app_guid: str
    table: str
    source: str
    name: str
    value: str
    time_us: int


class StatesChanged(Happening, tag="states", frozen=True, kw_only=True):
    device_id: str
    states: list[ChangedState]


class Declared(Happening, tag="declared", frozen=True, kw_only=True):
    """A plugin registered; its declaration may have changed."""

    device_id: str
    app_guid: str
    app_name: str
    version: str


class PluginPresence(Happening, tag="plugin_presence", frozen=True, kw_only=True):
    """A plugin connected to its agent or left it."""

    device_id: str
    app_guid: str
    app_name: str
    online: bool
    cause: str
    since_us: int


class CommandChanged(Happening, tag="command", frozen=True, kw_only=True):
    """A command took a step; the whole view, so that doors need not ask."""

    device_id: str
    command: CommandView


class AlertRaised(Happening, tag="alert", frozen=True, kw_only=True):
    """A plugin triggered or resolved an alarm. ``action``: trigger, resolve."""

    device_id: str
    app_guid: str
    table: str
    source: str
    name: str
    action: str
    message: str
    time_us: int


class TokenEnded(Happening, tag="token_ended", frozen=True, kw_only=True):
    """A session or API token is no longer valid: close what it opened."""

    jti: str


class AccessChanged(Happening, tag="access_changed", frozen=True, kw_only=True):
    """A user lost privileges: whatever their tokens opened may do less from now on."""

    user_id: str


AnyHappening = (
    DevicePresence
    | DeviceNew
    | DeviceChanged
    | DeviceDeleted
    | MetaChange
    | RecordsStored
    | StatesChanged
    | Declared
    | PluginPresence
    | CommandChanged
    | AlertRaised
    | TokenEnded
    | AccessChanged
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyHappening] = msgspec.msgpack.Decoder(AnyHappening)


class _Tag(msgspec.Struct, frozen=True):
    t: str = ""


class _Whose(msgspec.Struct, frozen=True):
    device_id: str = ""


_whose_decoder = msgspec.msgpack.Decoder(_Whose)
_RECORDS = b"\xa1t\xa7records"
"""How the map of RecordsStored begins, behind its head."""


_TAGS = frozenset(
    str(kind.__struct_config__.tag)
    for kind in (
        DevicePresence,
        DeviceNew,
        DeviceChanged,
        DeviceDeleted,
        MetaChange,
        RecordsStored,
        StatesChanged,
        Declared,
        PluginPresence,
        CommandChanged,
        AlertRaised,
        TokenEnded,
        AccessChanged,
    )
)
_tag_decoder = msgspec.msgpack.Decoder(_Tag)


def encode(happening: Happening) -> bytes:
    """The bytes for :meth:`towline.bus.base.Endpoint.announce`."""
    return _PREFIX + _encoder.encode(happening)


def decode(payload: bytes) -> AnyHappening | None:
    """The inverse of :func:`encode`; None for a kind this version does not know (a newer hub's).

    InvalidInput ``hub.bad_event`` for another version byte or malformed bytes.
    """
    if not payload or payload[0] not in _ACCEPTED:
        found = payload[0] if payload else "nothing"
        raise InvalidInput("hub.bad_event", f"a happening starts with the version byte {VERSION}, not {found}")
    body = memoryview(payload)[1:]
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        try:
            known = _tag_decoder.decode(body).t in _TAGS
        except msgspec.DecodeError:
            known = True
        if not known:
            return None
        raise InvalidInput("hub.bad_event", f"malformed happening: {error}") from None


def records_of(payload: bytes) -> str | None:
    """The device whose records a happening tells of; None for any other. Cheap: records are most of what happens, and
    mostly nobody is watching."""
    if payload[:1] != _PREFIX or not payload.startswith(_RECORDS, 2):
        return None
    try:
        return _whose_decoder.decode(memoryview(payload)[1:]).device_id
    except msgspec.DecodeError:
        return None


def to_wire(value: Value) -> WireValue:
    """A field's value as it travels in a happening."""
    return ("d", format(value, "f")) if isinstance(value, Decimal) else value


def from_wire(value: WireValue) -> Value:
    """The inverse of :func:`to_wire`."""
    return Decimal(value[1]) if isinstance(value, (tuple, list)) else value
