# SPDX-License-Identifier: Apache-2.0
"""Each later message against the declaration, in both directions.

From the plugin: states by displayType, metrics as decimal text, events, alerts. To the plugin: command
parameters, alarm and config settings, so that what an operator asks for is refused with a path before
anything travels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from towline.protocols.octo import messages as m
from towline.protocols.octo.declaration import (
    CHOICES,
    MAX_ITEM_VALUES_BYTES,
    MAX_STRING_BYTES,
    Declaration,
    ModuleIndex,
    check_value,
    flat_params,
)
from towline.protocols.octo.errors import OctoError, Reason
from towline.protocols.octo.limits import DEFAULT_LIMITS, Limits

METRIC = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,2})?")
EPOCH = re.compile(r"[0-9]{1,11}")
US = 1_000_000

_HUNDREDTH = Decimal("0.01")
_DATETIME = {
    "YYYY-MM-DD": (re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"), "%Y-%m-%d"),
    "HH:MM": (re.compile(r"[0-9]{2}:[0-9]{2}"), "%H:%M"),
    "YYYY-MM-DD HH:MM": (re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}"), "%Y-%m-%d %H:%M"),
}


@dataclass(frozen=True, slots=True)
class StateValue:
    """``value`` is text, ``{url, alias?}`` or rows of cells, as the state's displayType says."""

    name: str
    value: m.Value
    time_us: int


@dataclass(frozen=True, slots=True)
class MetricSample:
    """``value`` is decimal text: at most 15 digits, at most 2 decimals."""

    name: str
    value: str
    time_us: int


@dataclass(frozen=True, slots=True)
class EventOccurrence:
    """``value`` is the detail shown with it, None when it has none."""

    name: str
    value: str | None
    time_us: int


@dataclass(frozen=True, slots=True)
class AlertChange:
    name: str
    action: Literal["trigger", "resolve"]
    message: str
    time_us: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What the checks need besides the message.

    :ivar now_us: our clock
    :ivar limits: for ``strict`` and the epoch window
    """

    limits: Limits
    now_us: int


def parse_epoch(text: str, where: str) -> int:
    """Decimal seconds since 1970 as microseconds.

    :raises OctoError: ``schema``
    """
    if EPOCH.fullmatch(text) is None:
        raise OctoError(
            Reason.SCHEMA,
            f"{text[:40]!r} is no epoch: decimal seconds (not milliseconds) since 1970, at most 11 digits, as a string",
            where=where,
        )
    return int(text) * US


def module_of(declaration: Declaration, name: str, where: str = "$.params.moduleName") -> ModuleIndex:
    """The declared module.

    :raises OctoError: ``schema``
    """
    try:
        return declaration.modules[name]
    except KeyError:
        raise OctoError(Reason.SCHEMA, f"{name[:80]!r} is no module of this registration", where=where) from None


def check_states(
    module: ModuleIndex, items: Sequence[m.StateItem], epoch_us: int, rules: Rules
) -> tuple[StateValue, ...]:
    """:raises OctoError: ``schema``, ``epoch``"""
    result = []
    for number, item in enumerate(items):
        at = f"$.params.states[{number}]"
        spec = module.states.get(item.name)
        if spec is None:
            raise _undeclared("state", item.name, module, at)
        value = check_value(spec.display_type, item.value, f"{at}.value", rules.limits)
        result.append(StateValue(item.name, value, _time(item.time, epoch_us, at, rules)))
    return tuple(result)


def check_metrics(
    module: ModuleIndex, items: Sequence[m.MetricItem], epoch_us: int, rules: Rules
) -> tuple[MetricSample, ...]:
    """:raises OctoError: ``schema``, ``epoch``"""
    result = []
    for number, item in enumerate(items):
        at = f"$.params.metrics[{number}]"
        if item.name not in module.metrics:
            raise _undeclared("metric", item.name, module, at)
        value = decimal_text(item.value, f"{at}.value", strict=rules.limits.strict)
        result.append(MetricSample(item.name, value, _time(item.time, epoch_us, at, rules)))
    return tuple(result)


def decimal_text(value: Any, where: str, *, strict: bool = False) -> str:
    """A metric's value as decimal text; JSON numbers, which older SDKs send, are rounded to 2 decimals.

    :raises OctoError: ``schema``
    """
    if isinstance(value, str):
        if METRIC.fullmatch(value) is None:
            raise OctoError(
                Reason.SCHEMA, f"{value[:40]!r} is no decimal with up to 15 digits and 2 decimals", where=where
            )
        return value
    if strict or isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise OctoError(Reason.SCHEMA, "a metric value is a decimal in a string", where=where)
    number = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite():
        raise OctoError(Reason.SCHEMA, f"{number} is not a finite number", where=where)
    # A huge exponent must be refused before quantize writes it out in digits.
    if number.adjusted() > 14:
        raise OctoError(Reason.SCHEMA, "the number has more than 15 integer digits", where=where)
    rounded = number.quantize(_HUNDREDTH, ROUND_HALF_EVEN) if number.adjusted() >= -4 else Decimal(0)
    text = f"{rounded.copy_abs() if rounded == 0 else rounded:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if METRIC.fullmatch(text) is None:  # rounding can add a digit: 999999999999999.999
        raise OctoError(Reason.SCHEMA, "the number has more than 15 integer digits", where=where)
    return text


def check_events(
    module: ModuleIndex, items: Sequence[m.EventItem], epoch_us: int, rules: Rules
) -> tuple[EventOccurrence, ...]:
    """:raises OctoError: ``schema``, ``epoch``"""
    result = []
    for number, item in enumerate(items):
        at = f"$.params.events[{number}]"
        if item.name not in module.events:
            raise _undeclared("event", item.name, module, at)
        value = None if item.value is UNSET else str(item.value)
        if value is not None:
            check_value("string", value, f"{at}.value", rules.limits)
        result.append(EventOccurrence(item.name, value, _time(item.time, epoch_us, at, rules)))
    return tuple(result)


def check_alerts(
    module: ModuleIndex, items: Sequence[m.AlertItem], epoch_us: int, rules: Rules
) -> tuple[AlertChange, ...]:
    """:raises OctoError: ``schema``, ``epoch``"""
    result = []
    for number, item in enumerate(items):
        at = f"$.params.alarms[{number}]"
        if item.name not in module.alarms:
            raise _undeclared("alarm", item.name, module, at)
        if item.action not in ("trigger", "resolve"):
            raise OctoError(Reason.SCHEMA, f"{item.action[:40]!r} is none of trigger, resolve", where=f"{at}.action")
        action: Literal["trigger", "resolve"] = "trigger" if item.action == "trigger" else "resolve"
        parse_epoch(item.time, f"{at}.time")
        result.append(AlertChange(item.name, action, item.message, _time(item.time, epoch_us, at, rules)))
    return tuple(result)


def check_command(
    declaration: Declaration,
    module: str,
    command: str,
    params: Mapping[str, str | bool],
    *,
    where: str = "$.params",
    limits: Limits = DEFAULT_LIMITS,
) -> list[m.ParamValue]:
    """What an operator wants to run, against its declaration; values in declaration order, as plugins expect.

    :param params: by parameter name; a parameter left out, or an empty string, counts as not given
    :raises OctoError: ``schema``, with ``where`` naming the parameter
    """
    index = module_of(declaration, module, "$.module")
    spec = index.commands.get(command)
    if spec is None:
        raise OctoError(Reason.SCHEMA, f"{command[:80]!r} is no command of module {module!r}", where="$.command")
    return _check_params(index, spec.params, params, "command", where, limits)


def check_setting(
    declaration: Declaration,
    kind: Literal["alarms", "configs"],
    module: str,
    name: str,
    params: Mapping[str, str | bool],
    *,
    where: str = "$.params",
    limits: Limits = DEFAULT_LIMITS,
) -> list[m.ParamValue]:
    """An alarm's or config's settings against the declaration; as :func:`check_command`.

    :raises OctoError: ``schema``
    """
    index = module_of(declaration, module, "$.module")
    specs = index.alarms if kind == "alarms" else index.configs
    spec = specs.get(name)
    if spec is None:
        raise OctoError(Reason.SCHEMA, f"{name[:80]!r} is none of module {module!r}'s {kind}", where="$.name")
    return _check_params(index, spec.params, params, kind[:-1], where, limits)


def _check_params(
    index: ModuleIndex,
    specs: m.Params,
    given: Mapping[str, str | bool],
    what: str,
    where: str,
    limits: Limits,
) -> list[m.ParamValue]:
    flat = flat_params(specs)
    for name in given:
        if all(name != spec.name for spec in flat):
            raise OctoError(Reason.SCHEMA, f"the {what} declares no such parameter", where=f"{where}.{name[:80]}")
    result = []
    for spec in flat:
        value = given.get(spec.name, "")
        at = f"{where}.{spec.name}"
        if value == "" and (spec.required or given.get(spec.required_on, "") not in ("", False)):
            raise OctoError(Reason.SCHEMA, "a value is required", where=at)
        if value == "":
            if spec.name in given and spec.display_type in ("string", "text"):
                result.append(m.ParamValue(name=spec.name, value=""))
            continue
        result.append(m.ParamValue(name=spec.name, value=_check_param(index, spec, value, at, limits)))
    size = len(msgspec.json.encode(result))
    if size > MAX_ITEM_VALUES_BYTES and limits.strict:
        raise OctoError(Reason.SCHEMA, f"the values have {size} bytes; at most {MAX_ITEM_VALUES_BYTES}", where=where)
    return result


def _check_param(index: ModuleIndex, spec: m.Param, value: Any, at: str, limits: Limits) -> str | bool:
    display = spec.display_type
    if display == "tos":
        if not isinstance(value, bool):
            raise OctoError(Reason.SCHEMA, "a tos value is true or false", where=at)
        if spec.required and not value:
            raise OctoError(Reason.SCHEMA, "the terms must be agreed to", where=at)
        return value
    if not isinstance(value, str):
        raise OctoError(Reason.SCHEMA, f"a {display} value is a string", where=at)
    if "\0" in value:
        raise OctoError(Reason.SCHEMA, "text must not contain U+0000", where=at)
    if limits.strict and len(value.encode()) > MAX_STRING_BYTES:
        raise OctoError(
            Reason.SCHEMA, f"the string has {len(value.encode())} bytes; at most {MAX_STRING_BYTES}", where=at
        )
    if display in CHOICES:
        allowed = _choices(index, spec)
        if value not in allowed:
            listed = ", ".join(allowed[:20])
            raise OctoError(Reason.SCHEMA, f"{value[:60]!r} is none of {listed}", where=at)
    elif display == "datetime":
        pattern, form = _DATETIME[spec.display_format]
        if pattern.fullmatch(value) is None:
            raise OctoError(Reason.SCHEMA, f"{value[:40]!r} is not of the form {spec.display_format}", where=at)
        try:
            datetime.strptime(value, form)
        except ValueError:
            raise OctoError(Reason.SCHEMA, f"there is no such day or time as {value}", where=at) from None
    elif display == "temperature" and METRIC.fullmatch(value) is None:
        raise OctoError(Reason.SCHEMA, f"{value[:40]!r} is no temperature in Kelvin such as 301.15", where=at)
    return value


def _choices(index: ModuleIndex, spec: m.Param) -> list[str]:
    if not spec.value_from_property:
        return spec.display_values
    source = index.properties[spec.value_from_property]
    values: list[str] = source.value["displayValues"]
    return values


def _undeclared(what: str, name: str, module: ModuleIndex, at: str) -> OctoError:
    return OctoError(
        Reason.SCHEMA,
        f"{name[:80]!r} is no {what} of module {module.spec.module_name!r}",
        where=f"{at}.name",
    )


def _time(text: str, epoch_us: int, at: str, rules: Rules) -> int:
    # "0" is what programs write that know no time; the message's own epoch cannot be that old.
    time_us = parse_epoch(text, f"{at}.time") if text else 0
    if time_us == 0:
        return epoch_us
    window = rules.limits.epoch_window_s * US
    if window and time_us > rules.now_us + window:
        raise OctoError(
            Reason.EPOCH,
            f"time error: {text} is more than {rules.limits.epoch_window_s} s in the future",
            where=f"{at}.time",
        )
    return time_us
