# SPDX-License-Identifier: Apache-2.0
"""Plugin commands and the remote shell."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from towline.api.models.base import Body, Json, Text, Timestamp, json_value, stamp
from towline.hub import views


class CommandCreate(Body):
    app_guid: Text
    module: Text
    name: Text
    params: dict[str, Any] = Field(default_factory=dict)
    expires_in_s: Annotated[int, Field(ge=1, le=30 * 86_400)] | None = None


class CommandStep(BaseModel):
    state: str
    time: Timestamp | None
    note: str


class Command(BaseModel):
    id: str
    device_id: str
    app_guid: str
    module: str
    name: str
    params: dict[str, Any]
    state: str = Field(description="queued, sent, received, delivered, accepted, acked, errored, rejected, …")
    final: bool
    created_at: Timestamp | None
    expires_at: Timestamp | None
    user: str
    steps: list[CommandStep]
    result: Json = None
    late_result: Json = Field(default=None, description="What came after the command had timed out.")

    @classmethod
    def of(cls, view: views.CommandView) -> Command:
        return cls(
            id=view.id,
            device_id=view.device_id,
            app_guid=view.app_guid,
            module=view.module,
            name=view.name,
            params=dict(view.params),
            state=view.state,
            final=view.final,
            created_at=stamp(view.created_us),
            expires_at=stamp(view.expires_us),
            user=view.user,
            steps=[CommandStep(state=step.state, time=stamp(step.time_us), note=step.note) for step in view.steps],
            result=None if view.result is None else json_value(view.result),
            late_result=None if view.late_result is None else json_value(view.late_result),
        )


class Commands(BaseModel):
    commands: list[Command]
    next: str | None


class ExecCreate(Body):
    cmd: Annotated[str, Field(min_length=1, max_length=16_384)]
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = None


class ExecResult(BaseModel):
    correlation_id: str
    stdout: str
    stderr: str
    return_code: int = Field(description="−1 with a reason when the device could not say.")
    reason: str | None = Field(description="A word: timeout, output_limit, the cause of the device's absence, …")
    message: str = Field(description="The reason as a sentence; empty without one.")
