# SPDX-License-Identifier: Apache-2.0
"""Devices and their plugins."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from towline.api.models.base import Body, Timestamp, json_value, stamp
from towline.hub import views


class Presence(BaseModel):
    state: Literal["online", "offline", "verifying", "never"]
    since: Timestamp | None
    cause: str
    cause_text: str

    @classmethod
    def of(cls, view: views.PresenceView) -> Presence:
        return cls(state=view.state, since=stamp(view.since_us), cause=view.cause, cause_text=view.cause_text)


class Agent(BaseModel):
    version: str
    platform: str
    arch: str
    hostname: str
    os: str
    address: str


class Summary(BaseModel):
    cpu: float | None = Field(description="Percent.")
    memory: float | None = Field(description="Percent.")


class Device(BaseModel):
    id: str
    name: str
    cn: str
    workgroup: str
    group: str
    created_at: Timestamp | None
    presence: Presence
    agent: Agent
    summary: Summary | None
    flags: list[str] = Field(description="Words that want attention, such as duplicate_key.")

    @classmethod
    def of(cls, view: views.DeviceView) -> Device:
        agent, presence, summary = view.agent, view.presence, view.summary
        # One validation of the whole tree: five constructors a device would be felt in a long list.
        return cls.model_validate(
            {
                "id": view.id,
                "name": view.name,
                "cn": view.cn,
                "workgroup": view.workgroup,
                "group": view.group,
                "created_at": stamp(view.created_us),
                "presence": {
                    "state": presence.state,
                    "since": stamp(presence.since_us),
                    "cause": presence.cause,
                    "cause_text": presence.cause_text,
                },
                "agent": {
                    "version": agent.version,
                    "platform": agent.platform,
                    "arch": agent.arch,
                    "hostname": agent.hostname,
                    "os": agent.os,
                    "address": agent.address,
                },
                "summary": None if summary is None else {"cpu": summary.cpu, "memory": summary.memory},
                "flags": view.flags,
            }
        )


class DeviceCounts(BaseModel):
    total: int
    online: int


class Devices(BaseModel):
    devices: list[Device]
    next: str | None
    counts: DeviceCounts


class DeviceUpdate(Body):
    name: Annotated[str, Field(min_length=1, max_length=64)]


class DevicePlugin(BaseModel):
    app_guid: str
    app_name: str
    display_name: str
    version: str
    type: str
    online: bool
    since: Timestamp | None
    cause: str
    declared_at: Timestamp | None
    modules: list[dict[str, Any]] = Field(description="The declared modules as octo JSON.")

    @classmethod
    def of(cls, view: views.PluginView) -> DevicePlugin:
        return cls(
            app_guid=view.app_guid,
            app_name=view.app_name,
            display_name=view.display_name,
            version=view.version,
            type=view.type,
            online=view.online,
            since=stamp(view.since_us),
            cause=view.cause,
            declared_at=stamp(view.declared_us),
            modules=_modules(view.declaration),
        )


class DevicePlugins(BaseModel):
    plugins: list[DevicePlugin]


def _modules(declaration: str) -> list[dict[str, Any]]:
    value = json_value(declaration)
    modules = value.get("modules") if isinstance(value, dict) else None
    return [each for each in modules if isinstance(each, dict)] if isinstance(modules, list) else []
