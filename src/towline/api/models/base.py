# SPDX-License-Identifier: Apache-2.0
"""What the families of models share.

Times are RFC 3339 UTC with milliseconds, null when unknown; chart points use milliseconds since 1970 as integers.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from towline.clock import rfc3339

Json = Any
"""Any JSON value."""

Timestamp = Annotated[str, Field(examples=["2026-11-21T03:04:05.678Z"])]
Text = Annotated[str, Field(min_length=1, max_length=256)]


class Body(BaseModel):
    """A request's body: unknown members are refused."""

    model_config = ConfigDict(extra="forbid")


def answer(model: BaseModel) -> Response:
    """A model as the whole answer, encoded at once: for lists that can be long, where FastAPI's own way through
    validation and plain objects would hold the loop for too long."""
    return Response(model.model_dump_json(by_alias=True), media_type="application/json")


def stamp(us: int) -> str | None:
    """A time at the door; None for 0, which means unknown."""
    return rfc3339(us) if us else None


def json_value(text: str) -> Json:
    """JSON text as a value; text that is not JSON stays text."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text
