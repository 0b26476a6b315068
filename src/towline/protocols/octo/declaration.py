# SPDX-License-Identifier: Apache-2.0
"""What a plugin says it is: the checked content of ``notifyPluginUpdate`` (spec octo §2 to §3.1).

Names, versions, types, enumerations and required members are always enforced. What older SDKs leave out, and
the sizes of values, are enforced with ``strict`` only; otherwise they become :attr:`Declaration.warnings`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, structs

from towline.protocols.octo import messages as m
from towline.protocols.octo.errors import OctoError, Reason
from towline.protocols.octo.limits import DEFAULT_LIMITS, Limits

NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]*")
VERSION = re.compile(r"[0-9]+[.][0-9]+[.][0-9]+")
SEMVER = re.compile(r"[0-9]+[.][0-9]+[.][0-9]+(?:[-+][0-9A-Za-z.+-]+)?")
GUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")

MAX_ITEM_NAME = 32
MAX_MODULE_NAME = 64
MAX_STRING_BYTES = 512
MAX_TABLE_BYTES = 1024
MAX_CELL_BYTES = 128
MAX_ITEM_VALUES_BYTES = 1024

PROPERTY_TYPES = ("string", "table", "link", "displayOn", "valueFromProperty")
STATE_TYPES = ("string", "table", "link")
METRIC_TYPES = ("temperature", "custom")
DATETIME_FORMATS = ("YYYY-MM-DD", "HH:MM", "YYYY-MM-DD HH:MM")
_SETTING_PARAMS = ("string", "datetime", "switch", "checkbox", "list", "temperature")
PARAM_TYPES = {
    "commands": ("string", "text", "datetime", "switch", "checkbox", "list", "tos"),
    "alarms": _SETTING_PARAMS,
    "configs": _SETTING_PARAMS,
}
CHOICES = ("switch", "checkbox", "list")
"""Parameter types whose value is one of displayValues."""

_EMPTY: dict[str, Any] = {
    "string": "",
    "displayOn": "",
    "table": [],
    "link": {"url": ""},
    "valueFromProperty": {"displayValues": [], "defaultValue": ""},
}
_encoder = msgspec.json.Encoder(order="sorted")

Named = TypeVar("Named", m.Property, m.State, m.Metric, m.Event, m.CommandSpec, m.SettingSpec)


@dataclass(frozen=True, slots=True)
class ModuleIndex:
    """One module's items by name."""

    spec: m.Module
    properties: dict[str, m.Property]
    states: dict[str, m.State]
    metrics: dict[str, m.Metric]
    events: dict[str, m.Event]
    commands: dict[str, m.CommandSpec]
    alarms: dict[str, m.SettingSpec]
    configs: dict[str, m.SettingSpec]


@dataclass(frozen=True, slots=True)
class Declaration:
    """A checked registration; later messages are validated against it.

    :ivar update: the registration in normal form
    :ivar modules: by module name
    :ivar warnings: deviations that were tolerated, each with its JSON path
    """

    update: m.Update
    modules: dict[str, ModuleIndex]
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, params: dict[str, Any] | bytes, limits: Limits = DEFAULT_LIMITS) -> Declaration:
        """From the ``params`` of a ``notifyPluginUpdate``, decoded or as JSON text.

        :raises OctoError: ``parse``, ``schema``, with path and rule
        """
        if isinstance(params, bytes):
            from towline.protocols.octo.envelope import decode_tree

            params = decode_tree(params)
        if not isinstance(params, dict):
            raise OctoError(Reason.SCHEMA, "expected an object", where="$.params")
        return _Checker(limits).check(m.read(params, m.Update))

    @property
    def app_guid(self) -> str:
        """Lower-case; two spellings are one plugin."""
        return self.update.app_guid.lower()

    @property
    def app_name(self) -> str:
        return self.update.app_name

    @property
    def version(self) -> str:
        return self.update.version

    def encode(self) -> bytes:
        """The normal form as JSON: ``parse(encode())`` gives an equal declaration."""
        return _encoder.encode(self.update)

    def to_builtins(self) -> dict[str, Any]:
        """The normal form as plain objects with wire names."""
        result: dict[str, Any] = msgspec.to_builtins(self.update)
        return result

    def digest(self) -> str:
        """SHA-256 over what a new version must be given for: all but epoch and the properties' values."""
        modules = []
        for index in self.modules.values():
            properties = [structs.replace(item, value=UNSET) for item in index.spec.properties]
            modules.append(structs.replace(index.spec, properties=properties))
        bare = structs.replace(self.update, epoch="", modules=modules)
        return hashlib.sha256(_encoder.encode(bare)).hexdigest()


def flat_params(params: m.Params) -> list[m.Param]:
    """Parameters in declaration order, rows joined."""
    flat: list[m.Param] = []
    for entry in params:
        flat.extend(entry if isinstance(entry, list) else [entry])
    return flat


def check_guid(text: str, where: str) -> str:
    """A UUID, lower-case.

    :raises OctoError: ``schema``
    """
    if GUID.fullmatch(text) is None:
        raise OctoError(Reason.SCHEMA, f"{text[:60]!r} is not a UUID", where=where)
    return text.lower()


def check_value(display_type: str, value: Any, where: str, limits: Limits) -> Any:
    """A property's or state's value by its displayType; the value in normal form.

    :raises OctoError: ``schema``
    """
    if display_type in ("string", "displayOn"):
        if not isinstance(value, str):
            raise OctoError(Reason.SCHEMA, f"a {display_type} value is a string, not {_kind(value)}", where=where)
        if limits.strict:
            _at_most(len(value.encode()), MAX_STRING_BYTES, "the string", where)
        return value
    if display_type == "link":
        return _check_link(value, where)
    if display_type == "table":
        return _check_table(value, where, limits)
    if not isinstance(value, dict) or not isinstance(value.get("displayValues"), list):
        raise OctoError(
            Reason.SCHEMA, "a valueFromProperty value is {displayValues: [string], defaultValue: string}", where=where
        )
    values, default = value["displayValues"], value.get("defaultValue", "")
    if not all(isinstance(entry, str) for entry in values):
        raise OctoError(Reason.SCHEMA, "displayValues are strings", where=f"{where}.displayValues")
    if not isinstance(default, str):
        raise OctoError(Reason.SCHEMA, "defaultValue is a string", where=f"{where}.defaultValue")
    return {"displayValues": values, "defaultValue": default}


def _check_link(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not isinstance(value.get("url"), str):
        raise OctoError(Reason.SCHEMA, "a link value is {url: string, alias?: string}", where=where)
    alias = value.get("alias", "")
    if not isinstance(alias, str):
        raise OctoError(Reason.SCHEMA, "alias is a string", where=f"{where}.alias")
    return {"url": value["url"], "alias": alias} if "alias" in value else {"url": value["url"]}


def _check_table(value: Any, where: str, limits: Limits) -> list[dict[str, str]]:
    if not isinstance(value, list):
        raise OctoError(Reason.SCHEMA, f"a table value is an array of objects, not {_kind(value)}", where=where)
    for row, cells in enumerate(value):
        if not isinstance(cells, dict):
            raise OctoError(Reason.SCHEMA, f"a table row is an object, not {_kind(cells)}", where=f"{where}[{row}]")
        for header, cell in cells.items():
            at = f"{where}[{row}].{header}"
            if not isinstance(cell, str):
                raise OctoError(Reason.SCHEMA, f"a cell is a string, not {_kind(cell)}", where=at)
            if limits.strict:
                _at_most(len(header.encode()), MAX_CELL_BYTES, "the header", at)
                _at_most(len(cell.encode()), MAX_CELL_BYTES, "the cell", at)
    if limits.strict:
        _at_most(len(msgspec.json.encode(value)), MAX_TABLE_BYTES, "the table", where)
    return value


def _at_most(size: int, limit: int, what: str, where: str) -> None:
    if size > limit:
        raise OctoError(Reason.SCHEMA, f"{what} has {size} bytes; at most {limit}", where=where)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    names: dict[type, str] = {str: "a string", dict: "an object", list: "an array", type(None): "null"}
    return names.get(type(value), "a number")


class _Checker:
    """One pass over a registration, collecting warnings."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._warnings: list[str] = []

    def check(self, update: m.Update) -> Declaration:
        top = "$.params"
        update = structs.replace(update, app_guid=check_guid(update.app_guid, f"{top}.appGUID"))
        self._name(update.app_name, f"{top}.appName")
        self._one_of(update.type, ("ib", "oob"), f"{top}.type")
        if VERSION.fullmatch(update.version) is None:
            raise self._bad(f"{update.version[:60]!r} is not of the form 1.2.3", f"{top}.version")
        if self._limits.strict and SEMVER.fullmatch(update.sdk) is None:
            raise self._bad("the SDK's version is required, of the form 1.2.3", f"{top}.sdk")
        if not update.sdk:
            self._warn("missing; older SDKs leave it out", f"{top}.sdk")
        if update.modules is UNSET:
            if self._limits.strict:
                raise self._bad("Object missing required field 'modules'", top)
            update = structs.replace(update, modules=[])
        assert isinstance(update.modules, list)
        modules: dict[str, ModuleIndex] = {}
        checked = []
        for number, module in enumerate(update.modules):
            at = f"{top}.modules[{number}]"
            self._name(module.module_name, f"{at}.moduleName", MAX_MODULE_NAME)
            if module.module_name in modules:
                raise self._bad(f"{module.module_name!r} occurs twice", f"{at}.moduleName")
            index = self._module(module, at)
            modules[module.module_name] = index
            checked.append(index.spec)
        return Declaration(structs.replace(update, modules=checked), modules, tuple(self._warnings))

    def _module(self, module: m.Module, at: str) -> ModuleIndex:
        properties = [
            self._property(item, f"{at}.properties[{number}]") for number, item in enumerate(module.properties)
        ]
        module = structs.replace(module, properties=properties)
        index = ModuleIndex(
            module,
            self._by_name(module.properties, f"{at}.properties"),
            self._by_name(module.states, f"{at}.states"),
            self._by_name(module.metrics, f"{at}.metrics"),
            self._by_name(module.events, f"{at}.events"),
            self._by_name(module.commands, f"{at}.commands"),
            self._by_name(module.alarms, f"{at}.alarms"),
            self._by_name(module.configs, f"{at}.configs"),
        )
        for number, state in enumerate(module.states):
            self._one_of(state.display_type, STATE_TYPES, f"{at}.states[{number}].displayType")
        for number, metric in enumerate(module.metrics):
            where = f"{at}.metrics[{number}]"
            self._one_of(metric.display_type, METRIC_TYPES, f"{where}.displayType")
            if metric.display_type == "custom" and not metric.display_unit:
                raise self._bad("a custom metric needs a displayUnit", f"{where}.displayUnit")
        for number, command in enumerate(module.commands):
            where = f"{at}.commands[{number}]"
            self._one_of(command.type, ("asynchronous",), f"{where}.type")
            self._params(command.params, "commands", index, f"{where}.params")
            for name in command.display_on_property:
                if name not in index.properties:
                    raise self._bad(f"{name!r} is no property of this module", f"{where}.displayOnProperty")
        for number, alarm in enumerate(module.alarms):
            self._params(alarm.params, "alarms", index, f"{at}.alarms[{number}].params")
        for number, config in enumerate(module.configs):
            self._params(config.params, "configs", index, f"{at}.configs[{number}].params")
        return index

    def _property(self, item: m.Property, at: str) -> m.Property:
        self._one_of(item.display_type, PROPERTY_TYPES, f"{at}.displayType")
        if item.value is UNSET:
            if self._limits.strict:
                raise self._bad("Object missing required field 'value'", at)
            # Older SDKs drop an empty value.
            return structs.replace(item, value=_EMPTY[item.display_type])
        return structs.replace(item, value=check_value(item.display_type, item.value, f"{at}.value", self._limits))

    def _params(self, params: m.Params, kind: str, index: ModuleIndex, at: str) -> None:
        rows = [isinstance(entry, list) for entry in params]
        if any(rows) and not all(rows):
            raise self._bad("parameters are flat or all in rows, not mixed", at)
        seen: set[str] = set()
        for where, param in _placed(params, at):
            self._name(param.name, f"{where}.name", MAX_ITEM_NAME)
            if param.name in seen:
                raise self._bad(f"{param.name!r} occurs twice", f"{where}.name")
            seen.add(param.name)
            self._param(param, kind, index, where)
        for where, param in _placed(params, at):
            if param.required_on and (param.required_on not in seen or param.required_on == param.name):
                raise self._bad(f"{param.required_on!r} is no other parameter of this item", f"{where}.requiredOn")

    def _param(self, param: m.Param, kind: str, index: ModuleIndex, at: str) -> None:
        display = param.display_type
        if display in ("file", "blobstore"):
            if self._limits.strict or (display == "blobstore" and kind != "commands"):
                raise self._bad(f"{display!r} is not supported", f"{at}.displayType")
            self._warn(f"{display!r} is undocumented; its value is taken as a string", f"{at}.displayType")
            return
        self._one_of(display, PARAM_TYPES[kind], f"{at}.displayType")
        if display == "tos" and not (param.display_name and param.description):
            raise self._bad("tos needs displayName (the label) and description (the URL of the terms)", at)
        if display == "datetime":
            self._one_of(param.display_format, DATETIME_FORMATS, f"{at}.displayFormat")
        if param.value_encoding:
            self._one_of(param.value_encoding, ("base64",), f"{at}.valueEncoding")
        if display not in CHOICES:
            return
        if param.value_from_property:
            source = index.properties.get(param.value_from_property)
            if source is None or source.display_type != "valueFromProperty":
                raise self._bad(
                    f"{param.value_from_property!r} is no property of this module with displayType 'valueFromProperty'",
                    f"{at}.valueFromProperty",
                )
            return
        if display == "list" and not param.display_values:
            raise self._bad("a list needs displayValues or valueFromProperty", f"{at}.displayValues")
        if display != "list" and len(param.display_values) != 2:
            raise self._bad(
                f"a {display} needs exactly 2 displayValues, off then on; got {len(param.display_values)}",
                f"{at}.displayValues",
            )
        if param.default_value and param.default_value not in param.display_values:
            self._warn("is none of displayValues", f"{at}.defaultValue")

    def _by_name(self, items: Sequence[Named], at: str) -> dict[str, Named]:
        result: dict[str, Named] = {}
        for number, item in enumerate(items):
            self._name(item.name, f"{at}[{number}].name", MAX_ITEM_NAME)
            if item.name in result:
                raise self._bad(f"{item.name!r} occurs twice", f"{at}[{number}].name")
            result[item.name] = item
        return result

    def _name(self, name: str, at: str, limit: int | None = None) -> None:
        if NAME.fullmatch(name) is None:
            raise self._bad(f"{name[:80]!r} is no name: a letter, then letters, digits, '_' and '-'", at)
        if limit is not None:
            _at_most(len(name), limit, "the name", at)

    def _one_of(self, value: str, allowed: Iterable[str], at: str) -> None:
        if value not in allowed:
            raise self._bad(f"{value[:60]!r} is none of {', '.join(allowed)}", at)

    def _bad(self, message: str, at: str) -> OctoError:
        return OctoError(Reason.SCHEMA, message, where=at)

    def _warn(self, message: str, at: str) -> None:
        self._warnings.append(f"{at}: {message}")


def _placed(params: m.Params, at: str) -> Iterator[tuple[str, m.Param]]:
    for number, entry in enumerate(params):
        if isinstance(entry, list):
            for column, param in enumerate(entry):
                yield f"{at}[{number}][{column}]", param
        else:
            yield f"{at}[{number}]", entry
