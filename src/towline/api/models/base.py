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
from towline.protocols.octo.limits import too_deep

Json = Any
"""Any JSON value."""

MAX_DEPTH = 100
"""Of stored JSON in an answer. Encoders have limits of their own (pydantic's is near 255, the answer around it counts too),
and one stored value must not make a whole page fail."""

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
    """JSON text as a value; text that is not JSON, or nests deeper than :data:`MAX_DEPTH`, stays text."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text
    shallow = text.count("[") + text.count("{") <= MAX_DEPTH
    return value if shallow or not too_deep(value, MAX_DEPTH) else text
