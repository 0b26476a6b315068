# SPDX-License-Identifier: Apache-2.0
"""What devices measured."""

from __future__ import annotations

from pydantic import BaseModel, Field

from towline.api.models.base import Json, Timestamp, json_value, stamp
from towline.hub import views
from towline.protocols.ardexa.events import plain


class State(BaseModel):
    app_guid: str
    table: str
    source: str
    field: str
    value: Json
    time: Timestamp | None

    @classmethod
    def of(cls, view: views.StateView) -> State:
        return cls(
            app_guid=view.app_guid,
            table=view.table,
            source=view.source,
            field=view.name,
            value=json_value(view.value),
            time=stamp(view.time_us),
        )


class States(BaseModel):
    states: list[State]


class Series(BaseModel):
    table: str
    source: str
    field: str
    points: list[tuple[int, float]] = Field(description="[milliseconds since 1970, value], ascending.")

    @classmethod
    def of(cls, view: views.Series) -> Series:
        # Not validated: there can be tens of thousands of points, all made here.
        return cls.model_construct(
            table=view.table,
            source=view.source,
            field=view.field,
            points=[(time_us // 1000, float(value)) for time_us, value in view.points],
        )


class Metrics(BaseModel):
    from_: Timestamp = Field(serialization_alias="from")
    to: Timestamp
    series: list[Series]
    truncated: bool


class Event(BaseModel):
    message_id: int
    table: str
    source: str
    name: str
    value: Json
    time: Timestamp | None
    stored_at: Timestamp | None

    @classmethod
    def of(cls, view: views.EventView) -> Event:
        return cls(
            message_id=view.message_id,
            table=view.table,
            source=view.source,
            name=view.name,
            value=plain(view.value),
            time=stamp(view.time_us),
            stored_at=stamp(view.stored_us),
        )


class Events(BaseModel):
    events: list[Event]
    next: str | None
