# SPDX-License-Identifier: Apache-2.0
"""What a plugin tells, as the items of messages, checked as the agent checks them before anything is queued."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

from towline.protocols.octo.declaration import ModuleIndex
from towline.protocols.octo.envelope import Name, parse_envelope
from towline.protocols.octo.errors import OctoError, Reason
from towline.protocols.octo.outgoing import render
from towline.protocols.octo.session import read_report
from towline.protocols.octo.validate import Rules, decimal_text

Time = int | float
"""Seconds since 1970."""
Number = Any
"""int, float, Decimal or decimal text; floats are rounded to two decimals."""
Item = dict[str, Any]

MEMBERS = {Name.STATE: "states", Name.METRIC: "metrics", Name.EVENT: "events", Name.ALERT: "alarms"}
_TIMES_END = 10**11
"""An epoch has at most 11 digits."""


def metric_items(
    values: Mapping[str, Number] | Iterable[tuple[str, Number, Time | None]], time: Time | None, untimed: str | None
) -> list[Item]:
    """From ``{name: value}`` or rows of (name, value, time).

    :param time: of what has none of its own
    :param untimed: what to write for a time where there is none at all; None: nothing
    :raises OctoError: a value is no decimal, a time no time
    """
    rows = [(name, value, None) for name, value in values.items()] if isinstance(values, Mapping) else values
    items = []
    for number, (name, value, at) in enumerate(rows):
        where = f"$.params.metrics[{number}]"
        item = {"name": name, "value": decimal_text(value, f"{where}.value")}
        items.append(timed(item, time if at is None else at, untimed, where))
    return items


def state_items(values: Mapping[str, Any], time: Time | None, untimed: str | None) -> list[Item]:
    """From ``{name: value}``; numbers become text.

    :raises OctoError: a value has none of the shapes, or ``time`` is no time
    """
    items = []
    for number, (name, value) in enumerate(values.items()):
        where = f"$.params.states[{number}]"
        if isinstance(value, int | float | Decimal):
            value = str(value)
        elif not isinstance(value, str | dict | list):
            raise OctoError(
                Reason.SCHEMA,
                f"a state is text, a number, {{url, alias}} or rows of cells, not {type(value).__name__}",
                where=f"{where}.value",
            )
        items.append(timed({"name": name, "value": value}, time, untimed, where))
    return items


def timed(item: Item, time: Time | None, untimed: str | None, where: str) -> Item:
    """``item`` with its time.

    :raises OctoError: ``time`` is no time
    """
    if time is None:
        return item if untimed is None else {**item, "time": untimed}
    if isinstance(time, bool) or not isinstance(time, Real) or not 0 <= time < _TIMES_END:
        raise OctoError(
            Reason.SCHEMA, f"{time!r} is no time: seconds since 1970, 0 to {_TIMES_END - 1}", where=f"{where}.time"
        )
    return {**item, "time": str(int(time))}


def check_items(name: Name, base: dict[str, Any], items: list[Item], index: ModuleIndex, rules: Rules) -> None:
    """Read the message as the agent will: what it would refuse must not look as if it were sent.

    :raises OctoError:
    """
    read_report(name, as_read(name, {**base, MEMBERS[name]: items}), index, 0, rules)


def as_read(name: Name, params: dict[str, Any]) -> dict[str, Any]:
    """``params`` written and read again, as the agent gets them.

    :raises OctoError: they cannot be written as JSON, or hold what an agent does not read
    """
    try:
        frame = render(name, params)
    except UnicodeEncodeError as exc:
        problem = f"{exc.object[:40]!r} holds half a character (a lone surrogate) at {exc.start}"
        raise OctoError(Reason.SCHEMA, problem, where="$.params") from None
    except (TypeError, ValueError, RecursionError) as exc:
        raise OctoError(Reason.SCHEMA, f"cannot be written as JSON: {exc}", where="$.params") from None
    return parse_envelope(frame).params
