# SPDX-License-Identifier: Apache-2.0
"""A command's parameters against the plugin's declaration (spec octo §3.1 and §3.2); pure.

Every error names the JSON path of the value in the request, the rule and the limit.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from towline.errors import InvalidInput
from towline.protocols.octo import messages as m
from towline.protocols.octo.declaration import CHOICES, ModuleIndex, flat_params
from towline.protocols.octo.limits import DEFAULT_LIMITS, SIGNATURE_BYTES

Params = Mapping[str, object] | Sequence[Mapping[str, object]]
"""``{name: value}`` or octo's ``[{"name", "value"}]``."""

_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_EPOCH = "0000000000"


def normalise(params: Params, where: str = "$.params") -> dict[str, object]:
    """Either form as ``{name: value}``. InvalidInput ``command.params`` names what has another shape or comes twice."""
    if isinstance(params, Mapping):
        return dict(params)
    if isinstance(params, (str, bytes)) or not isinstance(params, Sequence):
        raise InvalidInput("command.params", "expected an object or an array of {name, value}", where=where)
    result: dict[str, object] = {}
    for number, item in enumerate(params):
        at = f"{where}[{number}]"
        if not isinstance(item, Mapping) or set(item) != {"name", "value"} or not isinstance(item["name"], str):
            raise InvalidInput("command.params", "expected {name, value}", where=at)
        if item["name"] in result:
            raise InvalidInput("command.params", f"{item['name']!r} occurs twice", where=at)
        result[item["name"]] = item["value"]
    return result


def validate(module: ModuleIndex, command: m.CommandSpec, params: Params) -> dict[str, str | bool]:
    """The values to send, in declaration order. InvalidInput ``command.params`` names path and rule."""
    given = normalise(params)
    declared = flat_params(command.params)
    names = {param.name for param in declared}
    for name, value in given.items():
        if not _is_text(name) or (isinstance(value, str) and not _is_text(value)):
            raise InvalidInput(
                "command.params", f"{name[:60]!r} has half a character (a lone surrogate)", where="$.params"
            )
        if name not in names:
            known = f"it declares {', '.join(sorted(names))}" if names else "it has no parameters"
            raise InvalidInput(
                "command.params", f"the command {command.name} has no parameter {name!r}; {known}", where=_at(name)
            )
    result: dict[str, str | bool] = {}
    for param in declared:
        value = given.get(param.name)
        if value is None or value == "":
            _absent(param, given)
            if value is None:
                continue
            if param.display_type in (*CHOICES, "datetime", "tos"):
                continue
        result[param.name] = _value(param, module, value)
    return result


def frame_bytes(app_guid: str, command_id: str, module: str, name: str, params: Mapping[str, str | bool]) -> int:
    """Size of the ``v2/notifyPluginCommand`` frame that carries these values, signature included."""
    message = m.Command(
        app_guid=app_guid,
        epoch=_EPOCH,
        command_id=command_id,
        command_source="remote",
        module_name=module,
        commands=[
            m.CommandItem(name=name, params=[m.ParamValue(name=key, value=value) for key, value in params.items()])
        ],
    )
    envelope = {"jsonrpc": "2.0", "method": "v2/notifyPluginCommand", "params": message}
    return len(msgspec.json.encode(envelope)) + SIGNATURE_BYTES


def check_size(app_guid: str, command_id: str, module: str, name: str, params: Mapping[str, str | bool]) -> None:
    """InvalidInput ``command.too_large`` when the frame to the plugin would pass octo's payload limit."""
    size = frame_bytes(app_guid, command_id, module, name, params)
    limit = DEFAULT_LIMITS.max_payload_bytes
    if size > limit:
        raise InvalidInput(
            "command.too_large",
            f"the message to the plugin would have {size} bytes with its signature; at most {limit}",
            where="$.params",
            hint=f"shorten the values by {size - limit} bytes",
        )


def _absent(param: m.Param, given: Mapping[str, object]) -> None:
    if param.required:
        raise InvalidInput("command.params", f"{param.name} is required", where=_at(param.name))
    if param.required_on and given.get(param.required_on) not in (None, "", False):
        raise InvalidInput(
            "command.params", f"{param.name} is required when {param.required_on} has a value", where=_at(param.name)
        )


def _value(param: m.Param, module: ModuleIndex, value: object) -> str | bool:
    kind = param.display_type
    if kind == "tos":
        if not isinstance(value, bool):
            raise InvalidInput("command.params", f"{param.name} is true or false", where=_at(param.name))
        if param.required and not value:
            raise InvalidInput("command.params", f"{param.name} has to be agreed to", where=_at(param.name))
        return value
    if not isinstance(value, str):
        raise InvalidInput("command.params", f"{param.name} is a string", where=_at(param.name))
    if "\0" in value:
        raise InvalidInput("command.params", f"{param.name} contains U+0000", where=_at(param.name))
    if kind in CHOICES:
        choices = _choices(param, module)
        if value not in choices:
            raise InvalidInput(
                "command.params",
                f"{value[:60]!r} is none of {param.name}'s values: {', '.join(choices)}",
                where=_at(param.name),
            )
    elif kind == "datetime":
        _check_datetime(param, value)
    elif kind == "string" and param.value_encoding == "base64":
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidInput("command.params", f"{param.name} is not base64", where=_at(param.name)) from None
    return value


def _choices(param: m.Param, module: ModuleIndex) -> list[str]:
    if not param.value_from_property:
        return param.display_values
    source = module.properties.get(param.value_from_property)
    value = source.value if source is not None else None
    choices = value.get("displayValues") if isinstance(value, dict) else None
    return [choice for choice in choices if isinstance(choice, str)] if isinstance(choices, list) else []


def _check_datetime(param: m.Param, value: str) -> None:
    """The device's local time, 24-hour clock, no zone."""
    day, _, clock = value.partition(" ")
    wanted = param.display_format
    if wanted == "YYYY-MM-DD":
        right = not clock and " " not in value and _is_date(day)
    elif wanted == "HH:MM":
        right = _TIME.fullmatch(value) is not None
    else:
        right = _is_date(day) and _TIME.fullmatch(clock) is not None
    if not right:
        raise InvalidInput(
            "command.params",
            f"{value[:40]!r} is not of the form {wanted} (24-hour clock), or there is no such day",
            where=_at(param.name),
        )


def _is_date(text: str) -> bool:
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    try:
        date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return False
    return True


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _at(name: str) -> str:
    return f"$.params.{name}"
