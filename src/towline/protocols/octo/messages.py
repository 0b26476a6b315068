# SPDX-License-Identifier: Apache-2.0
"""Every message's ``params`` as a typed structure (spec octo §3).

Attribute names are ours (``app_guid``), wire names theirs (``appGUID``). Unknown members are ignored, as
published examples carry some. Absent and empty optional members are the same, so an encoded message is in
normal form.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from towline.protocols.octo.errors import OctoError, Reason

Table = list[dict[str, str]]
Value = str | dict[str, str] | Table
"""A state's value: text, ``{url, alias}`` or rows."""


def wire_name(name: str) -> str:
    """``app_guid`` as ``appGUID``, ``display_name`` as ``displayName``."""
    head, *rest = name.split("_")
    return head + "".join("GUID" if part == "guid" else part.capitalize() for part in rest)


class Wire(Struct, rename=wire_name, kw_only=True, omit_defaults=True, frozen=True):
    """Base of all wire structures."""


# --- registration -------------------------------------------------------------------------------------------


class Param(Wire, kw_only=True, frozen=True):
    """One parameter of a command, alarm or config."""

    name: str
    display_type: str
    required: bool
    display_name: str = ""
    description: str = ""
    required_on: str = ""
    display_values: list[str] = []
    default_value: str = ""
    display_format: str = ""
    value_from_property: str = ""
    display_mask: bool = False
    value_encoding: str = ""


Params = list[Param | list[Param]]
"""Flat, or rows of parameters (a layout only)."""


class Property(Wire, kw_only=True, frozen=True):
    """A static fact of the device; ``value`` has the shape that ``display_type`` asks for."""

    name: str
    display_type: str
    display_name: str = ""
    display_category: str = ""
    description: str = ""
    value: Any = UNSET


class State(Wire, kw_only=True, frozen=True):
    """A value of which only the latest counts."""

    name: str
    display_type: str
    display_name: str = ""
    display_category: str = ""
    description: str = ""


class Metric(Wire, kw_only=True, frozen=True):
    """A number over time; ``temperature`` is in Kelvin."""

    name: str
    display_type: str
    display_name: str = ""
    display_category: str = ""
    description: str = ""
    display_unit: str = ""


class Event(Wire, kw_only=True, frozen=True):
    """Something that happens."""

    name: str
    display_name: str = ""
    display_category: str = ""
    description: str = ""


class CommandSpec(Wire, kw_only=True, frozen=True):
    """A command that the plugin can run."""

    name: str
    type: str
    display_name: str = ""
    display_category: str = ""
    description: str = ""
    params: Params = []
    display_on_property: dict[str, list[str]] = {}


class SettingSpec(Wire, kw_only=True, frozen=True):
    """An alarm or a config: what can be set for a group of devices."""

    name: str
    display_name: str = ""
    display_category: str = ""
    description: str = ""
    params: Params = []


class Module(Wire, kw_only=True, frozen=True):
    """A part of a plugin; has the cards."""

    module_name: str
    display_name: str = ""
    description: str = ""
    properties: list[Property] = []
    states: list[State] = []
    metrics: list[Metric] = []
    events: list[Event] = []
    commands: list[CommandSpec] = []
    alarms: list[SettingSpec] = []
    configs: list[SettingSpec] = []


class Update(Wire, kw_only=True, frozen=True):
    """``notifyPluginUpdate``: the registration, first on every connection."""

    app_guid: str
    app_name: str
    epoch: str = ""
    display_name: str = ""
    type: str
    sdk: str = ""
    version: str
    start_command: str = ""
    stop_command: str = ""
    modules: list[Module] | UnsetType = UNSET


# --- data ---------------------------------------------------------------------------------------------------


class StateItem(Wire, kw_only=True, frozen=True):
    name: str
    value: Any
    time: str = ""


class StateMessage(Wire, kw_only=True, frozen=True):
    """``notifyPluginState``."""

    app_guid: str
    module_name: str
    epoch: str
    states: list[StateItem]


class MetricItem(Wire, kw_only=True, frozen=True):
    name: str
    value: Any
    time: str = ""


class MetricMessage(Wire, kw_only=True, frozen=True):
    """``notifyPluginMetric``."""

    app_guid: str
    module_name: str
    epoch: str
    metrics: list[MetricItem]


class EventItem(Wire, kw_only=True, frozen=True):
    name: str
    value: str | UnsetType = UNSET
    time: str = ""


class EventMessage(Wire, kw_only=True, frozen=True):
    """``notifyPluginEvent``."""

    app_guid: str
    module_name: str
    epoch: str
    events: list[EventItem]


class AlertItem(Wire, kw_only=True, frozen=True):
    name: str
    action: str
    time: str
    message: str


class AlertMessage(Wire, kw_only=True, frozen=True):
    """``notifyPluginAlert``."""

    app_guid: str
    module_name: str
    epoch: str
    alarms: list[AlertItem]


# --- commands -----------------------------------------------------------------------------------------------


class ParamValue(Wire, kw_only=True, frozen=True):
    name: str
    value: str | bool


class CommandItem(Wire, kw_only=True, frozen=True):
    name: str
    params: list[ParamValue] = []


class Command(Wire, kw_only=True, frozen=True):
    """``notifyPluginCommand``."""

    app_guid: str
    serial_number: str = ""
    epoch: str
    command_id: str
    command_source: str
    module_name: str
    commands: list[CommandItem]


class AckItem(Wire, kw_only=True, frozen=True):
    name: str
    result: dict[str, Any] | str | UnsetType = UNSET


class CommandAck(Wire, kw_only=True, frozen=True):
    """``notifyPluginCommandAck``."""

    app_guid: str
    serial_number: str = ""
    epoch: str
    command_id: str
    command_source: str
    module_name: str
    command_state: str
    command_acks: list[AckItem] | UnsetType = UNSET
    states: list[StateItem] = []


class LocalCommandMessage(Wire, kw_only=True, frozen=True):
    """``notifyPluginLocalCommand``: one plugin runs another's command."""

    client_app_guid: str
    app_guid: str
    serial_number: str = ""
    epoch: str
    command_id: str
    command_source: str
    module_name: str
    commands: list[CommandItem]


# --- settings -----------------------------------------------------------------------------------------------


class AlarmItem(Wire, kw_only=True, frozen=True):
    name: str
    enabled: bool
    params: list[ParamValue] = []


class AlarmModule(Wire, kw_only=True, frozen=True):
    module_name: str
    epoch: str
    alarms: list[AlarmItem]


class AlarmUpdate(Wire, kw_only=True, frozen=True):
    """``notifyPluginAlarmUpdate``; the older form, "nothing is set", has neither version nor modules."""

    app_guid: str
    epoch: str
    version: str | UnsetType = UNSET
    modules: list[AlarmModule] | UnsetType = UNSET


class ConfigItem(Wire, kw_only=True, frozen=True):
    name: str
    params: list[ParamValue] = []


class ConfigModule(Wire, kw_only=True, frozen=True):
    module_name: str
    epoch: str
    configs: list[ConfigItem]


class ConfigUpdate(Wire, kw_only=True, frozen=True):
    """``notifyPluginConfigUpdate``; forms as :class:`AlarmUpdate`."""

    app_guid: str
    epoch: str
    version: str | UnsetType = UNSET
    modules: list[ConfigModule] | UnsetType = UNSET


class AgentEvent(Wire, kw_only=True, frozen=True):
    """``notifyAgentEvent``: ``online`` or ``offline``."""

    server_connectivity: str
    app_guid: str = ""
    epoch: str = ""


# --- reading ------------------------------------------------------------------------------------------------

T = TypeVar("T", bound=Wire)
_AT = re.compile(r"(.*?)(?: - at `\$(.*)`)?", re.DOTALL)


def read(params: dict[str, Any], kind: type[T], where: str = "$.params") -> T:
    """Decoded JSON as a structure.

    :raises OctoError: ``schema``, naming the JSON path and what was expected
    """
    try:
        return msgspec.convert(params, kind)
    except msgspec.ValidationError as exc:
        match = _AT.fullmatch(str(exc))
        assert match is not None
        raise OctoError(Reason.SCHEMA, match[1].replace("`", "'"), where=where + (match[2] or "")) from None
