# SPDX-License-Identifier: Apache-2.0
"""What devices measured: states, metrics, events."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query, Response

from towline.api import models
from towline.api.auth import ActorDep, ClockDep, HubDep
from towline.api.errors import documented
from towline.clock import US_PER_SECOND, parse_rfc3339, rfc3339
from towline.errors import InvalidInput

router = APIRouter(prefix="/devices/{device_id}", tags=["records"])

Names = Annotated[list[str] | None, Query(max_length=64)]
When = Annotated[str | None, Query(max_length=64, description="RFC 3339, or relative to now: -15m, -2h, -7d.")]

_RELATIVE = re.compile(r"-(\d{1,6})(ms|s|m|h|d)")
_UNIT_US = {"ms": 1000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_DEFAULT_WINDOW_US = 15 * 60 * US_PER_SECOND


@router.get("/states", responses=documented(404))
async def states(hub: HubDep, actor: ActorDep, device_id: str) -> models.States:
    """The latest value of every state."""
    found = await hub.records.states(actor, device_id)
    return models.States(states=[models.State.of(each) for each in found])


@router.get("/metrics", response_model=models.Metrics, responses=documented(404))
async def metrics(
    hub: HubDep,
    actor: ActorDep,
    clock: ClockDep,
    device_id: str,
    table: Names = None,
    source: Names = None,
    field: Names = None,
    from_: Annotated[When, Query(alias="from")] = None,
    to: When = None,
    max_points: Annotated[int, Query(ge=10, le=10_000)] = 600,
) -> Response:
    """Numeric values over time, the last 15 minutes unless told; each series thinned to `max_points`."""
    now_us = clock.now_us()
    to_us = now_us + 1 if to is None else moment(to, now_us, "query.to")
    from_us = max(0, to_us - _DEFAULT_WINDOW_US) if from_ is None else moment(from_, now_us, "query.from")
    if from_us >= to_us:
        raise InvalidInput("request.window", "from must lie before to", where="query.from")
    page = await hub.records.series(
        actor,
        device_id,
        "metric",
        tables=table,
        sources=source,
        fields=field,
        from_us=from_us,
        to_us=to_us,
        max_points=max_points,
    )
    found = models.Metrics.model_construct(
        from_=rfc3339(page.from_us),
        to=rfc3339(page.to_us),
        series=[models.Series.of(each) for each in page.series],
        truncated=page.truncated,
    )
    return models.answer(found)


@router.get("/events", responses=documented(404))
async def events(
    hub: HubDep,
    actor: ActorDep,
    device_id: str,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    before: Annotated[
        int | None, Query(ge=0, le=2**63 - 1, description="A message_id; `next` of the former page.")
    ] = None,
    table: Annotated[str | None, Query(max_length=256)] = None,
) -> models.Events:
    """Events, newest first."""
    page = await hub.records.events(actor, device_id, limit, before, table)
    return models.Events(events=[models.Event.of(each) for each in page.items], next=page.next)


def moment(text: str, now_us: int, where: str) -> int:
    """A point in time as microseconds; InvalidInput ``request.time`` says what would be right."""
    if text == "now":
        return now_us
    if relative := _RELATIVE.fullmatch(text):
        return max(0, now_us - int(relative[1]) * _UNIT_US[relative[2]])
    try:
        # A "+" of an offset that was not percent-encoded arrives as a space.
        found = parse_rfc3339(text.replace(" ", "+") if text.count(" ") == 1 and "T" in text else text)
    except (ValueError, OverflowError):
        found = -1
    if found < 0:
        raise InvalidInput(
            "request.time",
            f"{text!r} is not a time; write 2026-11-21T03:04:05Z, -15m, -2h or -7d",
            where=where,
        )
    return found
